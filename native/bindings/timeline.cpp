// Timelines for Python: how their files are laid out, and the writer. The signatures and their
// meaning are in src/fico/_native.pyi.
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "seat/timeline_file.hpp"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT(google-build-using-namespace): the "name"_a of nanobind

namespace {

using fico::seat::TimelineFile;
using fico::seat::TimelineHeader;
using fico::seat::TimelineRecord;

// Name, type as numpy writes it, offset.
using Field = std::tuple<std::string, std::string, std::size_t>;

template <class T>
std::string type_of() {
  if constexpr (std::is_array_v<T>) {
    return "S" + std::to_string(sizeof(T));
  } else {
    const char* kind = std::is_floating_point_v<T> ? "<f" : std::is_signed_v<T> ? "<i" : "<u";
    return kind + std::to_string(sizeof(T));
  }
}

std::vector<Field> header_fields() {
#define FICO_HEADER_FIELD(name)                                                      \
  {                                                                                  \
    #name, type_of<decltype(TimelineHeader::name)>(), offsetof(TimelineHeader, name) \
  }
  return {FICO_HEADER_FIELD(magic),
          FICO_HEADER_FIELD(version),
          FICO_HEADER_FIELD(capacity),
          FICO_HEADER_FIELD(pid),
          FICO_HEADER_FIELD(unit_count),
          FICO_HEADER_FIELD(clock_scale),
          FICO_HEADER_FIELD(tenant),
          {"written", type_of<std::uint64_t>(), offsetof(TimelineHeader, written)}};
#undef FICO_HEADER_FIELD
}

std::vector<Field> record_fields() {
#define FICO_RECORD_FIELD(type, name) {#name, type_of<type>(), offsetof(TimelineRecord, name)},
  return {FICO_TIMELINE_FIELDS(FICO_RECORD_FIELD)};
#undef FICO_RECORD_FIELD
}

std::map<std::string, int> events() {
#define FICO_EVENT(identifier, name, meaning) \
  {name, static_cast<int>(fico::seat::Event::identifier)},
  return {FICO_TIMELINE_EVENTS(FICO_EVENT)};
#undef FICO_EVENT
}

std::map<std::string, int> flags() {
#define FICO_FLAG(identifier, bit, name, meaning) {name, fico::seat::timeline_flag::identifier},
  return {FICO_TIMELINE_FLAGS(FICO_FLAG)};
#undef FICO_FLAG
}

void add(TimelineFile& file, const nb::bytes& bytes) {
  TimelineRecord record;
  if (bytes.size() != sizeof record) throw nb::value_error("a record has another size");
  std::memcpy(&record, bytes.c_str(), sizeof record);
  file.add(record);
}

}  // namespace

void add_timeline(nb::module_& m) {
  m.def("timeline_layout", [] {
    nb::dict layout;
    layout["magic"] = nb::bytes(fico::seat::kTimelineMagic, sizeof TimelineHeader::magic);
    layout["version"] = fico::seat::kTimelineVersion;
    layout["header_bytes"] = fico::seat::kTimelineHeaderBytes;
    layout["header"] = nb::cast(header_fields());
    layout["record_bytes"] = sizeof(TimelineRecord);
    layout["record"] = nb::cast(record_fields());
    layout["events"] = nb::cast(events());
    layout["flags"] = nb::cast(flags());
    return layout;
  });
  nb::class_<TimelineFile>(m, "TimelineFile")
      .def(nb::init<const std::string&, const std::string&, std::uint32_t, double, std::uint32_t>(),
           "folder"_a, "tenant"_a, "unit_count"_a, "clock_scale"_a, "capacity"_a)
      .def("add", &add, "record"_a)
      .def_prop_ro("path", &TimelineFile::path);
}
