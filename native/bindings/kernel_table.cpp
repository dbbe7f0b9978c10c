// Kernel tables and the tracker for Python. The signatures and their meaning are in
// src/fico/_native.pyi.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "profile/table.hpp"
#include "sched/tracker.hpp"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT(google-build-using-namespace): the "name"_a of nanobind

namespace {

using Triple = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;
using Row = std::tuple<std::string, Triple, Triple>;
using TraceRows = std::pair<std::vector<Row>, std::shared_ptr<fico::profile::Trace>>;

fico::profile::Dim dim(const Triple& triple) {
  return {std::get<0>(triple), std::get<1>(triple), std::get<2>(triple)};
}

std::uint64_t signature(const std::string& mangled, const Triple& grid, const Triple& block) {
  return fico::profile::signature(fico::profile::name_hash(mangled), dim(grid), dim(block));
}

// On all units of the device that it was profiled on.
float shortest_us(const fico::profile::Kernel& kernel) {
  std::size_t units = fico::profile::kMaxUnits;
  while (units > 1 && kernel.duration_us[units - 1] == 0) --units;
  return kernel.duration_us[units - 1];
}

void write_table(const std::string& path, const std::vector<TraceRows>& traces) {
  std::vector<fico::profile::TableTrace> ranges;
  std::vector<fico::profile::TableLaunch> launches;
  std::vector<fico::profile::Kernel> kernels;
  for (const auto& [rows, trace] : traces) {
    if (rows.empty() || rows.size() != trace->kernels.size()) {
      throw std::invalid_argument("a trace has a row a launch, and at least one");
    }
    const std::size_t first = launches.size();
    for (std::size_t place = 0; place < rows.size(); ++place) {
      const auto& [mangled, grid, block] = rows[place];
      const fico::profile::Kernel& kernel = trace->kernels[place];
      kernels.push_back(kernel);
      launches.push_back({signature(mangled, grid, block), 0, kernel.kernel_class});
    }
    double remaining_us = 0;
    for (std::size_t place = launches.size(); place-- > first;) {
      remaining_us += static_cast<double>(kernels[place].gap_us) + shortest_us(kernels[place]);
      launches[place].remaining_us = static_cast<float>(remaining_us);
    }
    ranges.push_back({static_cast<std::uint32_t>(first),
                      static_cast<std::uint32_t>(launches.size()), trace->from_graph ? 1U : 0U});
  }
  fico::profile::Table::write(path, ranges, launches, kernels);
}

// A table and the tracker over it.
class Tracker {
 public:
  explicit Tracker(const std::string& path)
      : table_(fico::profile::Table::open(path)), tracker_(table_) {}

  std::tuple<std::uint32_t, std::uint32_t, bool> trace(std::size_t index) const {
    if (index >= table_.traces().size()) throw nb::index_error("trace");
    const fico::profile::TableTrace& trace = table_.traces()[index];
    return {trace.first, trace.last, trace.from_graph != 0};
  }
  std::pair<fico::profile::Kernel, float> launch(std::size_t index) const {
    if (index >= table_.launches().size()) throw nb::index_error("launch");
    return {table_.kernels()[index], table_.launches()[index].remaining_us};
  }
  std::tuple<std::optional<std::uint32_t>, bool, bool> launched(std::uint64_t signature) {
    const fico::sched::Tracker::Step step = tracker_.launched(signature);
    return {step.launch, step.resynced, step.completes};
  }
  std::optional<std::uint32_t> trace_of_graph(const std::vector<std::uint64_t>& signatures) const {
    return tracker_.trace_of_graph(signatures);
  }

 private:
  fico::profile::Table table_;
  fico::sched::Tracker tracker_;
};

}  // namespace

void add_kernel_table(nb::module_& m) {
  m.def("write_kernel_table", &write_table, "path"_a, "traces"_a);
  m.def("launch_signature", &signature, "mangled"_a, "grid"_a, "block"_a);
  nb::class_<Tracker>(m, "Tracker")
      .def(nb::init<const std::string&>(), "path"_a)
      .def("trace", &Tracker::trace, "index"_a)
      .def("launch", &Tracker::launch, "index"_a)
      .def("launched", &Tracker::launched, "signature"_a)
      .def("trace_of_graph", &Tracker::trace_of_graph, "signatures"_a);
}
