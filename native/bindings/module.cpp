// The arena for Python. The signatures and their meaning are in src/fico/_native.pyi.
#include <cxxabi.h>
#include <dlfcn.h>
#include <linux/futex.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

#include "arena/arena.hpp"
#include "arena/claims.hpp"
#include "arena/counters.hpp"
#include "arena/membership.hpp"
#include "arena/shares.hpp"
#include "base/process.hpp"
#include "bindings/scheduling.hpp"
#include "seat/schedule.hpp"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT(google-build-using-namespace): the "name"_a of nanobind
using fico::arena::Arena;

// In kernel_table.cpp.
void add_kernel_table(nb::module_& m);
void add_seat(nb::module_& m);
void add_timeline(nb::module_& m);

namespace {

std::string demangle(const std::string& name) {
  if (!name.starts_with("_Z")) return name;  // "i" would be read as a type
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free);
  return text ? text.get() : name;
}

double seconds(std::uint64_t ns) { return static_cast<double>(ns) / 1e9; }

// What a box holds; zeros if it is empty, or if its writer was killed while it wrote.
template <class Value, std::size_t kBytes>
Value value_of(const fico::arena::Box<kBytes>& box) {
  constexpr int kTries = 1000;  // a writer takes far less than that to end what it has begun
  Value value{};
  std::uint64_t seen = box.kNoVersion;
  for (int tries = 0; tries < kTries && !box.read(value, seen); ++tries) {
  }
  return value;
}

nb::dict tenant_row(const Arena& arena, std::uint32_t slot) {
  const fico::arena::Tenant& tenant = arena.tenant(slot);
  const std::uint32_t generation = tenant.generation.load();
  nb::dict row;
  nb::list processes;
  bool alive = fico::base::is_alive(tenant.leader.load());
  for (const auto& process : tenant.processes) {
    if (!fico::base::is_alive(process.load())) continue;
    processes.append(fico::base::pid_of(process.load()));
    alive = true;
  }
  nb::list held;
  const fico::arena::UnitSet units = units_of(arena, fico::arena::make_holder(slot, generation));
  for (std::uint32_t unit = 0; unit < arena.layout().unit_count; ++unit) {
    if ((units >> unit) & 1U) held.append(unit);
  }
  const fico::arena::Grant grant = tenant.grant.load();
  std::uint32_t sms = 0;
  for (std::uint32_t unit = grant.lo; unit < grant.hi; ++unit)
    sms += arena.layout().sms_per_unit[unit];
  nb::dict counters;
  for (std::size_t i = 0; i < std::size(fico::arena::kCounters); ++i) {
    counters[fico::arena::kCounters[i].name] = tenant.counters[i].load();
  }
  nb::list notes;
  const std::uint32_t note_count = std::min(tenant.note_count.load(), fico::arena::kMaxNotes);
  for (std::uint32_t i = 0; i < note_count; ++i) {
    notes.append(std::string(tenant.notes[i], strnlen(tenant.notes[i], sizeof tenant.notes[i])));
  }
  row["slot"] = slot;
  row["generation"] = generation;
  row["name"] = std::string(tenant.name);
  row["pid"] = fico::base::pid_of(tenant.leader.load());
  row["processes"] = processes;
  row["alive"] = alive;
  row["quota_ppm"] = tenant.quota.load().ppm;
  row["quota_units"] = tenant.quota.load().units;
  row["units"] = nb::make_tuple(grant.lo, grant.hi);
  row["held"] = held;
  row["sms"] = sms;
  row["priority"] = tenant.priority.load();
  const auto progress = value_of<fico::arena::Progress>(tenant.progress);
  row["progress"] = nb::make_tuple(progress.kind, progress.position, progress.launches);
  row["remaining_us"] = progress.remaining_us;
  const auto said = value_of<fico::policy::Row>(tenant.row);
  const bool decides = said.learned > 0;  // a row of zeros is of a tenant that has decided nothing
  row["learned"] = decides ? said.learned : 1.0F;
  row["crowded"] = decides && (said.crowded || said.crowded_loop);
  row["memory_bytes"] = tenant.memory_bytes;
  row["joined_s"] = seconds(tenant.joined_ns);
  row["counters"] = counters;
  row["notes"] = notes;
  return row;
}

nb::list tenant_rows(const Arena& arena) {
  nb::list rows;
  for (std::uint32_t slot = 0; slot < fico::arena::kMaxTenants; ++slot) {
    if (arena.tenant(slot).phase.load() == fico::arena::Phase::kLive)
      rows.append(tenant_row(arena, slot));
  }
  return rows;
}

std::vector<std::uint32_t> sms_per_unit(const Arena& arena) {
  const fico::arena::Layout& layout = arena.layout();
  return {layout.sms_per_unit, layout.sms_per_unit + layout.unit_count};
}

// Throws ArenaError: no such policy, or settings that it does not have.
std::string schedule_text(const std::string& policy, const fico::policy::Values& settings) {
  try {
    return fico::seat::schedule_text(policy, settings);
  } catch (const std::invalid_argument& error) {
    throw fico::arena::ArenaError(error.what());
  }
}

Arena create(const std::string& path, const std::string& gpu_uuid, const std::string& gpu_name,
             const std::string& driver_version, const std::vector<std::uint32_t>& sms,
             bool emulated, const std::string& policy) {
  const std::string schedule = schedule_text(policy, {});
  return Arena::create(path, {gpu_uuid, gpu_name, driver_version, sms, emulated},
                       fico::seat::mode_of(policy), schedule);
}

std::pair<std::uint32_t, std::uint32_t> join(const Arena& arena, const std::string& name, int pid,
                                             std::uint32_t quota_ppm, std::uint32_t quota_units,
                                             std::int32_t priority, std::uint64_t memory_bytes) {
  const fico::arena::Member member =
      fico::arena::join(arena, {name, {quota_ppm, quota_units}, priority, memory_bytes}, pid);
  return {member.slot, member.generation};
}

void update(const Arena& arena, const std::string& name, std::optional<std::uint32_t> quota_ppm,
            std::optional<std::uint32_t> quota_units, std::optional<std::int32_t> priority,
            std::optional<std::string> new_name) {
  fico::arena::Change change{std::nullopt, priority, std::move(new_name)};
  if (quota_ppm || quota_units) change.quota = {quota_ppm.value_or(0), quota_units.value_or(0)};
  fico::arena::update(arena, name, change);
}

// The folder this module was loaded from: the shared libraries are installed beside it.
std::string own_folder() {
  Dl_info info{};
  dladdr(reinterpret_cast<void*>(&own_folder), &info);
  const std::string file = info.dli_fname;
  return file.substr(0, file.rfind('/'));
}

// An OSError of the subclass that Python has for the number (FileNotFoundError, PermissionError,
// ...).
void raise_os_error(const fico::base::SystemError& error) {
  errno = error.number;
  const nb::object arguments = nb::make_tuple(error.number, error.what());
  PyErr_SetObject(PyExc_OSError, arguments.ptr());
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() =
      "The native part: the arena of a session, the scheduler in virtual time, and where the "
      "libraries lie.";
  // NOLINTNEXTLINE(bugprone-unused-raii,bugprone-throw-keyword-missing): it enters the class
  nb::exception<fico::arena::ArenaError>(m, "ArenaError");
  nb::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const fico::base::SystemError& error) {
      raise_os_error(error);
    }
  });

  nb::class_<Arena>(m, "Arena")
      .def_static("create", &create, "path"_a, "gpu_uuid"_a, "gpu_name"_a, "driver_version"_a,
                  "sms_per_unit"_a, "emulated"_a, "policy"_a = "static")
      .def_static("open", &Arena::open, "path"_a)
      .def_prop_ro("path", &Arena::path)
      .def_prop_ro("gpu_uuid", [](const Arena& a) { return std::string(a.layout().gpu_uuid); })
      .def_prop_ro("gpu_name", [](const Arena& a) { return std::string(a.layout().gpu_name); })
      .def_prop_ro("driver_version",
                   [](const Arena& a) { return std::string(a.layout().driver_version); })
      .def_prop_ro("sms_per_unit", &sms_per_unit)
      .def_prop_ro("emulated", [](const Arena& a) { return a.layout().emulated != 0; })
      .def_prop_ro("created_s", [](const Arena& a) { return seconds(a.layout().created_ns); })
      .def_prop_ro("policy",
                   [](const Arena& a) { return fico::seat::parse_schedule(a.schedule()).name; })
      .def_prop_ro("policy_settings",
                   [](const Arena& a) { return fico::seat::parse_schedule(a.schedule()).settings; })
      .def(
          "set_policy",
          [](const Arena& a, const std::string& name, const fico::policy::Values& settings) {
            const std::string schedule = schedule_text(name, settings);
            fico::arena::set_policy(a, fico::seat::mode_of(name), schedule);
          },
          "policy"_a, "settings"_a = fico::policy::Values{})
      .def("join", &join, "name"_a, "pid"_a, "quota_ppm"_a = 0, "quota_units"_a = 0,
           "priority"_a = 0, "memory_bytes"_a = 0)
      .def(
          "leave",
          [](const Arena& a, std::uint32_t slot, std::uint32_t generation) {
            fico::arena::leave(a, {slot, generation});
          },
          "slot"_a, "generation"_a)
      .def("update", &update, "name"_a, "quota_ppm"_a = nb::none(), "quota_units"_a = nb::none(),
           "priority"_a = nb::none(), "new_name"_a = nb::none())
      .def("sweep", [](const Arena& arena) { return fico::arena::sweep(arena); })
      .def("tenants", &tenant_rows);

  m.def(
      "share_units",
      [](const std::vector<std::pair<std::uint32_t, std::uint32_t>>& quotas,
         std::uint32_t unit_count) {
        std::vector<fico::arena::Quota> parsed;
        parsed.reserve(quotas.size());
        for (const auto& [ppm, units] : quotas) parsed.push_back({ppm, units});
        return fico::arena::share_units(parsed, unit_count);
      },
      "quotas"_a, "unit_count"_a);
  m.def("live_policies", [] {
    nb::list names;
    for (const char* name : fico::seat::live_policies()) names.append(name);
    return names;
  });
  m.def("counter_meanings", [] {
    nb::dict meanings;
    for (const auto& counter : fico::arena::kCounters) {
      meanings[counter.name] = nb::make_tuple(counter.fall_back, counter.meaning);
    }
    return meanings;
  });
  m.def("demangle", &demangle, "name"_a);
  add_kernel_table(m);
  m.def("library_path", [] { return own_folder() + "/libfico.so"; });
  m.def("collector_path", [] { return own_folder() + "/libfico_collector.so"; });
  m.def("neighbour_path", [] { return own_folder() + "/fico-neighbour"; });
  m.def(
      "wake",
      [](std::uintptr_t address) {
        syscall(SYS_futex, address, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
      },
      "address"_a);
  m.def("emulated_driver_dir", [] { return own_folder() + "/emulated"; });
  fico::bindings::add_scheduling(m);
  add_seat(m);
  add_timeline(m);
}
