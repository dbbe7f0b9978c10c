#include "hook/timeline.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/error.hpp"
#include "base/log.hpp"

namespace fico::hook {
namespace {

namespace flag = seat::timeline_flag;

// How many records are kept, to test.
std::uint32_t capacity() {
  const char* text = std::getenv("FICO_TIMELINE_RECORDS");  // NOLINT(concurrency-mt-unsafe)
  if (text == nullptr) return seat::TimelineFile::kCapacity;
  std::uint32_t records = 0;
  const char* end = text + std::strlen(text);
  const auto read = std::from_chars(text, end, records);
  if (read.ec != std::errc{} || read.ptr != end) {
    throw base::Error("FICO_TIMELINE_RECORDS is '" + std::string(text) + "', not a number");
  }
  return records;
}

std::uint16_t flag_if(bool is_so, std::uint16_t bit) { return is_so ? bit : std::uint16_t{0}; }

}  // namespace

void Timeline::open(double clock_scale) {
  if (tried_) return;
  tried_ = true;
  const char* folder = std::getenv("FICO_TIMELINE");  // NOLINT(concurrency-mt-unsafe)
  if (folder == nullptr || *folder == 0) return;
  const Tenant& tenant = Tenant::self();
  try {
    file_ =
        std::make_unique<seat::TimelineFile>(folder, tenant.arena().tenant(tenant.slot()).name,
                                             tenant.session().unit_count, clock_scale, capacity());
  } catch (const std::exception& error) {
    Tenant::count(Counter::lost_timelines, error.what());
    base::log_line("no timeline is recorded: %s", error.what());
  }
}

void Timeline::add(seat::TimelineRecord record, seat::Event event) {
  record.time_ns = base::monotonic_ns();
  record.request = requests_;
  record.event = static_cast<std::uint16_t>(event);
  file_->add(record);
}

void Timeline::add_begin(const sched::Plan& plan, double predicted_us) {
  ++requests_;
  add({.last = static_cast<std::uint32_t>(plan.work.size()),
       .predicted_us = static_cast<float>(predicted_us),
       .flags = flag_if(plan.from_graph, flag::kGraph)},
      seat::Event::kBegin);
}

void Timeline::add_decision(const sched::Decision& decision, double predicted_us,
                            const seat::Seat& seat) {
  seat::TimelineRecord record = next_;
  next_ = {};
  record.first = decision.first;
  record.last = decision.last;
  record.predicted_us = static_cast<float>(predicted_us);
  record.flags |= flag_if(decision.grant.exclusive, flag::kExclusive);
  record.flags |= flag_if(seat.is_contended(), flag::kContended);
  record.lo = static_cast<std::uint8_t>(decision.grant.units.lo);
  record.hi = static_cast<std::uint8_t>(decision.grant.units.hi);
  record.level = decision.grant.level;
  add(record, seat::Event::kDecision);
}

std::uint32_t Timeline::add_issue(const Issue& issue, std::uint32_t first, std::uint32_t last,
                                  double predicted_us) {
  const Place place = issue.place();
  const bool home = place.partition == nullptr;
  const std::uint32_t all = Tenant::self().session().unit_count;
  add({.piece = ++pieces_,
       .first = first,
       .last = last,
       .predicted_us = static_cast<float>(predicted_us),
       .flags = flag_if(home, flag::kHome),
       .lo = static_cast<std::uint8_t>(home ? 0 : place.partition->lo),
       .hi = static_cast<std::uint8_t>(home ? all : place.partition->hi),
       .level = static_cast<std::int8_t>(place.priority)},
      seat::Event::kIssue);
  return pieces_;
}

void Timeline::add_end(bool alone, bool whole) {
  const int flags = flag_if(alone, flag::kAlone) | flag_if(whole, flag::kWhole);
  add({.flags = static_cast<std::uint16_t>(flags)}, seat::Event::kEnd);
}

}  // namespace fico::hook
