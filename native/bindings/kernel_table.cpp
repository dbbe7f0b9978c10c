// Kernel tables and the tracker for Python. The signatures and their meaning are in
// src/fico/_native.pyi.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <tuple>
#include <utility>

#include "profile/table.hpp"
#include "sched/tracker.hpp"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT(google-build-using-namespace): the "name"_a of nanobind

namespace {

using Triple = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;
using Row = std::tuple<std::string, Triple, Triple, float, int>;

fico::profile::Dim dim(const Triple& triple) {
  return {std::get<0>(triple), std::get<1>(triple), std::get<2>(triple)};
}

std::uint64_t signature(const std::string& mangled, const Triple& grid, const Triple& block) {
  return fico::profile::signature(fico::profile::name_hash(mangled), dim(grid), dim(block));
}

void write_table(const std::string& path, const std::vector<std::vector<Row>>& traces) {
  std::vector<fico::profile::TableTrace> ranges;
  std::vector<fico::profile::TableLaunch> launches;
  for (const std::vector<Row>& trace : traces) {
    const auto first = static_cast<std::uint32_t>(launches.size());
    for (const auto& [mangled, grid, block, remaining_us, kernel_class] : trace) {
      launches.push_back({signature(mangled, grid, block), remaining_us,
                          static_cast<fico::profile::Class>(kernel_class)});
    }
    ranges.push_back({first, static_cast<std::uint32_t>(launches.size())});
  }
  fico::profile::Table::write(path, ranges, launches);
}

// A table and the tracker over it.
class Tracker {
 public:
  explicit Tracker(const std::string& path)
      : table_(fico::profile::Table::open(path)), tracker_(table_) {}

  std::tuple<std::optional<std::uint32_t>, bool, bool> launched(std::uint64_t signature) {
    const fico::sched::Tracker::Step step = tracker_.launched(signature);
    return {step.launch, step.resynced, step.completes};
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
      .def("launched", &Tracker::launched, "signature"_a);
}
