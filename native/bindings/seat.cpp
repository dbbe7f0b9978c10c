// Seats for Python: what each process of a session does, several of them in one process. The
// signatures and their meaning are in src/fico/_native.pyi.
#include "seat/seat.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "base/process.hpp"

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT(google-build-using-namespace): the "name"_a of nanobind

namespace {

using Units = std::pair<std::uint32_t, std::uint32_t>;
// Units, priority, whether they are claimed, and the works that may go.
using Piece = std::tuple<Units, int, bool, Units>;

class Seat {
 public:
  Seat(const std::string& arena, std::uint32_t slot)
      : arena_(fico::arena::Arena::open(arena)),
        seat_(arena_, slot, fico::base::identify(getpid())) {}

  bool refresh() { return seat_.is_taken() && seat_.refresh(); }
  void begin(double now_us, const std::shared_ptr<const fico::profile::Trace>& trace) {
    plan_ = fico::sched::plan(*trace, {}, arena_.layout().unit_count);
    seat_.begin(now_us, plan_);
  }
  // Nothing on a hold.
  std::optional<Piece> want(double now_us) {
    const fico::sched::Decision decision = seat_.want(now_us);
    const fico::policy::Grant& grant = decision.grant;
    if (!grant.run) return std::nullopt;
    return Piece{{grant.units.lo, grant.units.hi},
                 grant.level,
                 grant.exclusive,
                 {decision.first, decision.last}};
  }
  void advance(double now_us) { seat_.advance(now_us); }
  void end(double now_us) { seat_.end(now_us); }
  void beat() { seat_.beat(); }
  bool is_contended() const { return seat_.is_contended(); }
  bool has_company() const { return seat_.has_company(); }
  std::size_t works() const { return plan_.work.size(); }
  double claimed_us() const { return seat_.claimed_us(); }
  void learn(double took_us, double claimed_us) { seat_.learn(took_us, claimed_us); }
  double slice_us() const { return seat_.slice_us(); }

 private:
  fico::arena::Arena arena_;
  fico::seat::Seat seat_;
  fico::sched::Plan plan_;
};

}  // namespace

void add_seat(nb::module_& m) {
  nb::class_<Seat>(m, "Seat")
      .def(nb::init<const std::string&, std::uint32_t>(), "arena"_a, "slot"_a)
      .def("refresh", &Seat::refresh)
      .def("begin", &Seat::begin, "now_us"_a, "trace"_a)
      .def("want", &Seat::want, "now_us"_a)
      .def("advance", &Seat::advance, "now_us"_a)
      .def("end", &Seat::end, "now_us"_a)
      .def("beat", &Seat::beat)
      .def("learn", &Seat::learn, "took_us"_a, "claimed_us"_a)
      .def_prop_ro("claimed_us", &Seat::claimed_us)
      .def_prop_ro("slice_us", &Seat::slice_us)
      .def_prop_ro("works", &Seat::works)
      .def_prop_ro("is_contended", &Seat::is_contended)
      .def_prop_ro("has_company", &Seat::has_company);
}
