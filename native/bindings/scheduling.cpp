#include "bindings/scheduling.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <stdexcept>

#include "device/settings.hpp"
#include "policy/policy.hpp"
#include "profile/footprint.hpp"
#include "sched/work.hpp"
#include "seat/schedule.hpp"
#include "sim/simulation.hpp"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT(google-build-using-namespace): the "name"_a of nanobind

namespace fico::bindings {
namespace {

using profile::Trace;

template <typename Value>
using Vector = nb::ndarray<const Value, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename Value>
using Table = nb::ndarray<const Value, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// A new NumPy array with these values.
template <typename Value>
nb::object array_of(std::vector<Value> values) {
  auto* held = new std::vector<Value>(std::move(values));
  const nb::capsule owner(held,
                          [](void* p) noexcept { delete static_cast<std::vector<Value>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, Value, nb::ndim<1>>(held->data(), {held->size()}, owner));
}

Trace make_trace(const Table<double>& duration_us, const Vector<double>& gap_us,
                 const Vector<std::uint32_t>& blocks, const Vector<std::uint32_t>& blocks_per_sm,
                 const Vector<std::uint32_t>& threads, const Vector<std::uint32_t>& registers,
                 const Vector<std::uint32_t>& shared_bytes, const Vector<std::uint32_t>& cluster,
                 const Table<double>& sensitivity, const Table<double>& pressure,
                 const Vector<std::uint32_t>& right_units, const Vector<std::uint8_t>& kernel_class,
                 const Vector<std::uint8_t>& bound, bool from_graph) {
  const std::size_t launches = duration_us.shape(0);
  const std::size_t units = duration_us.shape(1);
  if (units < 1 || units > profile::kMaxUnits) {
    throw nb::value_error("duration_us has 1 to 64 columns, one a unit");
  }
  for (const std::size_t length :
       {gap_us.shape(0), blocks.shape(0), blocks_per_sm.shape(0), threads.shape(0),
        registers.shape(0), shared_bytes.shape(0), cluster.shape(0), sensitivity.shape(0),
        pressure.shape(0), right_units.shape(0), kernel_class.shape(0), bound.shape(0)}) {
    if (length != launches) throw nb::value_error("all arrays have a row a launch");
  }
  if (sensitivity.shape(1) != profile::kResources || pressure.shape(1) != profile::kResources) {
    throw nb::value_error("sensitivity and pressure have 3 columns");
  }
  Trace trace;
  trace.from_graph = from_graph;
  trace.kernels.resize(launches);
  for (std::size_t k = 0; k < launches; ++k) {
    profile::Kernel& kernel = trace.kernels[k];
    for (std::size_t n = 0; n < units; ++n) {
      if (!(duration_us(k, n) > 0)) throw nb::value_error("durations are positive");
      kernel.duration_us[n] = static_cast<float>(duration_us(k, n));
    }
    for (std::size_t r = 0; r < profile::kResources; ++r) {
      kernel.sensitivity[r] = static_cast<float>(sensitivity(k, r));
      kernel.pressure[r] = static_cast<float>(pressure(k, r));
    }
    if (!(gap_us(k) >= 0) || blocks(k) < 1 || blocks_per_sm(k) < 1 || right_units(k) < 1 ||
        right_units(k) > units || kernel_class(k) > 2 || bound(k) > 2) {
      throw nb::value_error(("launch " + std::to_string(k) + " has a value out of range").c_str());
    }
    kernel.gap_us = static_cast<float>(gap_us(k));
    kernel.blocks = blocks(k);
    kernel.blocks_per_sm = blocks_per_sm(k);
    kernel.clustered = cluster(k) >= profile::kLargeCluster ? 1 : 0;
    const auto footprint =
        profile::footprint_of({threads(k), registers(k), shared_bytes(k)}, kernel.blocks_per_sm);
    std::ranges::copy(footprint, kernel.footprint);
    kernel.right_units = static_cast<std::uint16_t>(right_units(k));
    kernel.kernel_class = static_cast<profile::Class>(kernel_class(k));
    kernel.bound = static_cast<profile::Bound>(bound(k));
  }
  return trace;
}

// A policy written in Python: an object with decide(view) -> Grant. It is only asked under the GIL;
// what it raises is kept for the end of the run, which goes on with all units until then.
class PythonPolicy final : public policy::Policy {
 public:
  explicit PythonPolicy(nb::object policy) : policy_(std::move(policy)) {}

  policy::Grant decide(const policy::View& view) const noexcept override {
    const policy::Grant everything{.units = view.all(), .span_us = policy::kForever_us};
    const nb::gil_scoped_acquire gil;
    if (error_) return everything;
    try {
      return nb::cast<policy::Grant>(policy_.attr("decide")(view));
    } catch (...) {
      error_ = std::current_exception();
      return everything;
    }
  }
  void raise_error() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  nb::object policy_;
  mutable std::exception_ptr error_;
};

policy::Units units_of(const std::pair<std::uint32_t, std::uint32_t>& pair) {
  if (pair.first >= pair.second || pair.second > profile::kMaxUnits) {
    throw nb::value_error("units are a range (lo, hi) that is not empty");
  }
  return {static_cast<std::uint16_t>(pair.first), static_cast<std::uint16_t>(pair.second)};
}

nb::tuple pair_of(policy::Units units) { return nb::make_tuple(units.lo, units.hi); }

sim::Tenant make_tenant(std::vector<std::shared_ptr<Trace>> traces,
                        std::pair<std::uint32_t, std::uint32_t> units,
                        std::optional<std::vector<double>> arrivals_us, std::uint64_t requests,
                        std::vector<std::uint32_t> trace_of_request, std::int32_t priority,
                        double dies_us) {
  sim::Tenant tenant;
  for (auto& trace : traces) tenant.traces.push_back(std::move(trace));
  tenant.own = units_of(units);
  tenant.closed = !arrivals_us.has_value();
  if (arrivals_us) tenant.arrivals_us = std::move(*arrivals_us);
  tenant.requests = requests;
  tenant.trace_of_request = std::move(trace_of_request);
  tenant.priority = priority;
  tenant.dies_us = std::min(dies_us, policy::kForever_us);
  return tenant;
}

nb::dict tenant_result(const sim::TenantResult& result) {
  std::vector<double> arrival_us;
  std::vector<double> start_us;
  std::vector<double> end_us;
  for (const sim::Request& request : result.requests) {
    arrival_us.push_back(request.arrival_us);
    start_us.push_back(request.start_us);
    end_us.push_back(request.end_us);
  }
  nb::dict row;
  row["arrival_us"] = array_of(std::move(arrival_us));
  row["start_us"] = array_of(std::move(start_us));
  row["end_us"] = array_of(std::move(end_us));
  row["sm_time_us"] = result.sm_time_us;
  row["held_us"] = result.held_us;
  row["holds"] = result.holds;
  row["decisions"] = result.decisions;
  row["hops"] = result.hops;
  return row;
}

nb::list timeline_of(const sim::Result& result) {
  nb::list rows;
  for (const sim::Piece& piece : result.timeline) {
    nb::dict row;
    row["tenant"] = piece.tenant;
    row["launches"] = nb::make_tuple(piece.first, piece.last);
    row["units"] = pair_of(piece.units);
    row["level"] = static_cast<int>(piece.level);
    row["exclusive"] = piece.exclusive;
    row["wanted_us"] = piece.wanted_us;
    row["granted_us"] = piece.granted_us;
    row["ended_us"] = piece.ended_us;
    rows.append(row);
  }
  return rows;
}

nb::dict simulate(
    const std::vector<std::uint32_t>& sms_per_unit, const std::vector<sim::Tenant>& tenants,
    const nb::object& policy, const policy::Values& settings, std::uint64_t seed, double until_us,
    const sim::Costs& costs, const device::Settings& device, std::pair<double, double> segment_us,
    const std::vector<std::pair<double, std::vector<std::pair<std::uint32_t, std::uint32_t>>>>&
        quota_changes,
    bool timeline) {
  sim::Setup setup{.sms_per_unit = sms_per_unit,
                   .tenants = tenants,
                   .quota_changes = {},
                   .costs = costs,
                   .device = device,
                   .cut = {segment_us.first, segment_us.second},
                   .seed = seed,
                   .until_us = until_us,
                   .with_timeline = timeline};
  for (const auto& [time_us, own] : quota_changes) {
    auto& change = setup.quota_changes.emplace_back(sim::QuotaChange{time_us, {}});
    if (own.size() != tenants.size()) throw nb::value_error("a quota change names all tenants");
    for (const auto& units : own) change.own.push_back(units_of(units));
  }
  std::unique_ptr<policy::Policy> made;
  const PythonPolicy* python = nullptr;
  if (nb::isinstance<nb::str>(policy)) {
    made = policy::make_policy(nb::cast<std::string>(policy), settings);
  } else {
    auto wrapped = std::make_unique<PythonPolicy>(policy);
    python = wrapped.get();
    made = std::move(wrapped);
  }
  sim::Result result;
  {
    const nb::gil_scoped_release release;
    result = sim::simulate(setup, *made);
  }
  if (python) python->raise_error();
  nb::list rows;
  for (const auto& tenant : result.tenants) rows.append(tenant_result(tenant));
  nb::dict answer;
  answer["tenants"] = rows;
  answer["timeline"] = timeline_of(result);
  answer["end_us"] = result.end_us;
  return answer;
}

nb::list setting_rows(std::span<const policy::SettingInfo> settings) {
  nb::list rows;
  for (const auto& setting : settings) {
    nb::dict row;
    const char* const types[] = {"bool", "int", "float"};
    row["name"] = setting.name;
    row["type"] = types[static_cast<int>(setting.type)];
    row["initial"] = setting.initial;
    row["lowest"] = setting.lowest;
    row["highest"] = setting.highest;
    row["meaning"] = setting.meaning;
    rows.append(row);
  }
  return rows;
}

nb::list policy_rows() {
  nb::list rows;
  for (const auto& info : policy::policies()) {
    nb::dict row;
    row["name"] = info.name;
    row["idea"] = info.idea;
    row["settings"] = setting_rows(info.settings);
    rows.append(row);
  }
  return rows;
}

void add_view(nb::module_& m) {
  nb::class_<profile::Kernel>(m, "Kernel")
      .def(
          "duration_us",
          [](const profile::Kernel& kernel, std::uint32_t units) {
            if (units < 1 || units > profile::kMaxUnits) throw nb::index_error("units");
            return kernel.duration_us[units - 1];
          },
          "units"_a)
      .def_ro("right_units", &profile::Kernel::right_units)
      .def_prop_ro("kernel_class",
                   [](const profile::Kernel& k) { return static_cast<int>(k.kernel_class); })
      .def_prop_ro("bound", [](const profile::Kernel& k) { return static_cast<int>(k.bound); });
  nb::class_<policy::View>(m, "View")
      .def_ro("now_us", &policy::View::now_us)
      .def_ro("self", &policy::View::self)
      .def_ro("unit_count", &policy::View::unit_count)
      .def_ro("count", &policy::View::count)
      .def(
          "present",
          [](const policy::View& v, std::uint32_t slot) {
            return slot < v.count && v.members[slot].present;
          },
          "slot"_a)
      .def(
          "active",
          [](const policy::View& v, std::uint32_t slot) {
            return slot < v.count && v.rows[slot].phase != policy::Phase::kIdle;
          },
          "slot"_a)
      .def(
          "slice",
          [](const policy::View& v, std::uint32_t slot) {
            if (slot >= v.count) throw nb::index_error("slot");
            return pair_of(v.members[slot].own);
          },
          "slot"_a)
      .def(
          "granted",
          [](const policy::View& v, std::uint32_t slot) {
            if (slot >= v.count) throw nb::index_error("slot");
            return pair_of(v.rows[slot].units);
          },
          "slot"_a)
      .def(
          "remaining_us",
          [](const policy::View& v, std::uint32_t slot) {
            if (slot >= v.count) throw nb::index_error("slot");
            return v.rows[slot].remaining_us;
          },
          "slot"_a)
      .def(
          "due_us",
          [](const policy::View& v, std::uint32_t slot) {
            if (slot >= v.count) throw nb::index_error("slot");
            return v.rows[slot].due_us;
          },
          "slot"_a)
      .def(
          "kernel",
          [](const policy::View& v, std::uint32_t slot) -> const profile::Kernel* {
            return slot < v.count ? v.work[slot] : nullptr;
          },
          "slot"_a, nb::rv_policy::reference);
  nb::class_<policy::Grant>(m, "Grant")
      .def(
          "__init__",
          [](policy::Grant* self, std::pair<std::uint32_t, std::uint32_t> units, int level,
             bool exclusive, double span_us) {
            new (self) policy::Grant{.exclusive = exclusive,
                                     .level = static_cast<std::int8_t>(std::clamp(level, -5, 0)),
                                     .units = units_of(units),
                                     .span_us = std::min(span_us, policy::kForever_us)};
          },
          "units"_a, "level"_a = 0, "exclusive"_a = false, "span_us"_a = 0.0)
      .def_static("hold", &policy::Grant::hold, "until_us"_a);
}

}  // namespace

void add_scheduling(nb::module_& m) {
  add_view(m);
  nb::class_<Trace>(m, "SimTrace")
      .def(
          "__init__",
          [](Trace* self, const Table<double>& duration_us, const Vector<double>& gap_us,
             const Vector<std::uint32_t>& blocks, const Vector<std::uint32_t>& blocks_per_sm,
             const Vector<std::uint32_t>& threads, const Vector<std::uint32_t>& registers,
             const Vector<std::uint32_t>& shared_bytes, const Vector<std::uint32_t>& cluster,
             const Table<double>& sensitivity, const Table<double>& pressure,
             const Vector<std::uint32_t>& right_units, const Vector<std::uint8_t>& kernel_class,
             const Vector<std::uint8_t>& bound, bool from_graph) {
            new (self) Trace(make_trace(duration_us, gap_us, blocks, blocks_per_sm, threads,
                                        registers, shared_bytes, cluster, sensitivity, pressure,
                                        right_units, kernel_class, bound, from_graph));
          },
          "duration_us"_a, "gap_us"_a, "blocks"_a, "blocks_per_sm"_a, "threads"_a, "registers"_a,
          "shared_bytes"_a, "cluster"_a, "sensitivity"_a, "pressure"_a, "right_units"_a,
          "kernel_class"_a, "bound"_a, "from_graph"_a = true)
      .def("__len__", [](const Trace& trace) { return trace.kernels.size(); });
  nb::class_<sim::Costs>(m, "SimCosts")
      .def(
          "__init__",
          [](sim::Costs* self, double boundary_us, double hop_us, double resume_us,
             double stream_gap_us, double request_us, double cold_us, double cold_after_us,
             double shared_gap_us, double turn_us, double mps_us) {
            new (self)
                sim::Costs{boundary_us, hop_us,        resume_us,     stream_gap_us, request_us,
                           cold_us,     cold_after_us, shared_gap_us, turn_us,       mps_us};
          },
          "boundary_us"_a = sim::Costs{}.boundary_us, "hop_us"_a = sim::Costs{}.hop_us,
          "resume_us"_a = sim::Costs{}.resume_us, "stream_gap_us"_a = sim::Costs{}.stream_gap_us,
          "request_us"_a = sim::Costs{}.request_us, "cold_us"_a = sim::Costs{}.cold_us,
          "cold_after_us"_a = sim::Costs{}.cold_after_us,
          "shared_gap_us"_a = sim::Costs{}.shared_gap_us, "turn_us"_a = sim::Costs{}.turn_us,
          "mps_us"_a = sim::Costs{}.mps_us)
      .def_ro("shared_gap_us", &sim::Costs::shared_gap_us)
      .def_ro("turn_us", &sim::Costs::turn_us);
  nb::class_<device::Settings>(m, "DeviceSettings")
      .def(
          "__init__",
          [](device::Settings* self, double overlap, double dense_from, double activity_power,
             double compute, double memory, double l2) {
            new (self) device::Settings{.overlap = overlap,
                                        .dense_from = dense_from,
                                        .activity_power = activity_power,
                                        .interference = {compute, memory, l2}};
          },
          "overlap"_a = device::Settings{}.overlap, "dense_from"_a = device::Settings{}.dense_from,
          "activity_power"_a = device::Settings{}.activity_power,
          "compute"_a = device::Settings{}.interference[0],
          "memory"_a = device::Settings{}.interference[1],
          "l2"_a = device::Settings{}.interference[2])
      .def_ro("overlap", &device::Settings::overlap)
      .def_ro("dense_from", &device::Settings::dense_from)
      .def_ro("activity_power", &device::Settings::activity_power)
      .def_prop_ro("compute", [](const device::Settings& self) { return self.interference[0]; })
      .def_prop_ro("memory", [](const device::Settings& self) { return self.interference[1]; })
      .def_prop_ro("l2", [](const device::Settings& self) { return self.interference[2]; });
  nb::class_<sim::Tenant>(m, "SimTenant")
      .def(
          "__init__",
          [](sim::Tenant* self, std::vector<std::shared_ptr<Trace>> traces,
             std::pair<std::uint32_t, std::uint32_t> units,
             std::optional<std::vector<double>> arrivals_us, std::uint64_t requests,
             std::vector<std::uint32_t> trace_of_request, std::int32_t priority, double dies_us) {
            new (self)
                sim::Tenant(make_tenant(std::move(traces), units, std::move(arrivals_us), requests,
                                        std::move(trace_of_request), priority, dies_us));
          },
          "traces"_a, "units"_a, "arrivals_us"_a = nb::none(), "requests"_a = 0,
          "trace_of_request"_a = std::vector<std::uint32_t>{}, "priority"_a = 0,
          "dies_us"_a = policy::kForever_us);
  m.def("simulate", &simulate, "sms_per_unit"_a, "tenants"_a, "policy"_a,
        "settings"_a = policy::Values{}, "seed"_a = 0, "until_us"_a = policy::kForever_us,
        "costs"_a = sim::Costs{}, "device"_a = device::Settings{},
        "segment_us"_a = std::pair{sched::Cut{}.shortest_us, sched::Cut{}.longest_us},
        "quota_changes"_a =
            std::vector<std::pair<double, std::vector<std::pair<std::uint32_t, std::uint32_t>>>>{},
        "timeline"_a = false);
  m.def("policies", &policy_rows);
  m.def("pace_settings", [] { return setting_rows(seat::pace_settings()); });
}

}  // namespace fico::bindings
