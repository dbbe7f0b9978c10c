// The policy at work in this process: which piece of a request may go out, where, at what priority,
// and when. Launches ask in their own thread; nothing is queued or copied.
//
// A piece is let go when the one before it is the only one on the device and has, by the profile,
// no more than the policy's `lead_us` left, so that what is decided runs soon; with no other tenant
// in the session nothing is waited for. No wait is longer than `kLongestWait_ns`: then the piece
// goes out all the same, and is counted.
#pragma once

#include <cuda.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "hook/live.hpp"
#include "hook/streams.hpp"
#include "hook/timeline.hpp"
#include "seat/seat.hpp"

namespace fico::hook {

class Pacer {
 public:
  // One a process, never destroyed.
  static Pacer& self();

  // Whether a policy decides on this tenant's launches now.
  static bool is_on();
  // Whether, since `grant` was given, there is no other tenant, and nothing is known to be on its
  // way here: then launches stay at home, and nothing has to be asked. Without a lock.
  static bool is_alone(arena::Grant grant) {
    return grant.mode == arena::Mode::kScheduled &&
           hot.alone_since.load(std::memory_order_relaxed) == grant.epoch && !is_outstanding();
  }

  // One less of the launches of an eager program that have nothing to ask, since the last decision
  // keeps them at home until the next mark, if it still holds; else false. Without a lock.
  static bool takes_of_span(arena::Grant grant) {
    return hot.span_launches.load(std::memory_order_relaxed) > 0 &&
           hot.span_since.load(std::memory_order_relaxed) == grant.epoch &&
           grant.mode == arena::Mode::kScheduled && !may_be_contended() &&
           hot.span_launches.fetch_sub(1, std::memory_order_relaxed) > 0;
  }
  // The program has waited, so a new request may begin: the next launch looks where it stands.
  static void end_span() {
    if (hot.span_launches.load(std::memory_order_relaxed) <= 0) return;
    hot.span_launches.store(0, std::memory_order_relaxed);
  }

  struct Piece {
    std::uint32_t first;  // works [first, last) of the plan
    std::uint32_t last;
    Target target;
  };

  // The launch of a graph, from the first decision to the last piece. While one lives, no other
  // thread's launches are decided on.
  class Turn {
   public:
    Turn(Turn&&) = default;
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn();

    // What goes out next. May wait. The caller holds a graph's lock, and no stream's until the
    // first piece is known.
    Piece next();
    // All that is left goes out at once instead.
    void take_all();
    // It is on its way, in this stream.
    void issued(const Issue& issue);
    bool is_done() const { return done_; }

   private:
    friend class Pacer;
    Turn(Pacer& pacer, std::unique_lock<std::mutex> lock)
        : pacer_(&pacer), lock_(std::move(lock)) {}
    Pacer* pacer_;
    std::unique_lock<std::mutex> lock_;
    bool done_ = false;
  };
  // Nothing if another thread has the turn or another process the tenant's seat.
  std::optional<Turn> begin_graph(std::shared_ptr<const sched::Plan> plan);

  // Where the next launch goes; `position`: of the launch in the profile, if it is known. May wait.
  Target before_launch(const std::optional<Live::Position>& position);
  // It is on its way.
  void launched(const Issue& issue, const std::optional<Live::Position>& position);

  // Where launches go that nothing is decided for.
  Target fallback() const;

  // Notes what has ended. Called whenever the program has waited for something or asked whether it
  // has ended, and now and then by the keeper, with a sign of life.
  void poke();
  void tick();

  // A request that was launched without others in one; 0: there was none yet.
  double last_alone_us() const { return last_alone_us_.load(std::memory_order_relaxed); }

  // The contexts' events have gone with them.
  void forget();

 private:
  // Where nothing is known of the launches, every one is a piece, and so many may be on their way.
  static constexpr std::size_t kAheadUnknown = 16;
  static constexpr std::uint64_t kLongestWait_ns = 20'000'000;
  static constexpr std::uint64_t kRetry_ns = 100'000'000;
  // An eager program's run-ahead is measured in steps of so much device time.
  static constexpr double kMark_us = 100;
  static constexpr double kOneLaunch = std::numeric_limits<double>::infinity();

  struct Mark {
    CUevent event;
    CUcontext context;
    double takes_us;          // by the profile, on the units that it was granted
    double begins_us;         // when it was issued, or the one before it ended
    double claimed_us;        // what the policy reckons with, if it claims them; else 0
    std::uint32_t piece = 0;  // its number in the timeline
  };

  Pacer();
  // A request is in flight: worth a poke.
  static bool is_outstanding() { return hot.is_outstanding.load(std::memory_order_relaxed); }
  bool is_ready();
  bool refresh();
  // Whether another tenant is in a request, at one look: perhaps also one that was killed in it.
  static bool may_be_contended() {
    return (hot.in_request->load(std::memory_order_acquire) & ~hot.own_bit) != 0;
  }
  // The last decision holds for this launch of an eager program too.
  bool goes_on(const Live::Position& position) const;
  // How many launches after this one the last decision lets go at home, before the next mark and
  // the last launch of the request.
  std::int32_t span_after(std::uint32_t launch) const;
  double now_us() const;
  // Of a plan: an index of so many units in its arrays.
  static std::size_t index_of(policy::Units units);
  sched::Decision decide();
  Target target_of(const policy::Grant& grant) const;
  void begin(std::shared_ptr<const sched::Plan> plan);
  void finish();
  // Works [first, last) are on their way, in one piece.
  void mark(const Issue& issue, std::uint32_t first, std::uint32_t last, double takes_us,
            double claimed_us = 0);
  void reap();
  // From a piece whose end was seen as it happened.
  void learn(const Mark& ended, double took_us);
  void await_room();
  void await_marks(std::size_t most);
  // Waits until `has_room()`, and no longer than may be.
  template <class HasRoom>
  void await(HasRoom has_room);
  std::unique_lock<std::mutex> lock_briefly();

  const double clock_scale_;  // device time over real time: the emulated GPU may be slowed down
  std::mutex mutex_;          // taken after a graph's and before a stream's
  std::atomic<bool> in_turn_{false};  // the mutex is held for long
  std::unique_ptr<seat::Seat> seat_;
  std::uint64_t next_try_ns_ = 0;
  std::shared_ptr<const sched::Plan> plan_;  // of the request; nullptr: none
  std::shared_ptr<const sched::Plan> unknown_;
  double begin_us_ = 0;
  bool alone_ = true;  // nobody else has been in a request since it began
  bool all_issued_ = false;
  std::uint64_t unbuilt_ = 0;  // pieces that did not go as decided, until it began
  // Of an eager program: the first work after its last mark; one past the plan's last: none yet.
  std::uint32_t since_work_ = 0;
  bool late_ = false;       // what is on its way has been waited for long enough
  double took_ratio_ = 1;   // how long pieces take, of what the profile says; a running mean
  std::deque<Mark> marks_;  // in the order in which they were recorded
  double running_us_ = 0;   // when the first of them was last seen on the device
  std::vector<Mark> spare_;
  std::uint32_t first_work_ = 0;  // of what the last decision let go, and one past its last
  std::uint32_t end_work_ = 0;
  double piece_us_ = 0;  // what that takes, by the profile
  Target last_target_;
  // Of an eager program: the last decision was made while nobody else was in a request, and holds
  // until the next mark, while more than this is left of the request, alone on all units;
  // kOneLaunch: for no other launch.
  double holds_above_us_ = kOneLaunch;
  Timeline timeline_;
  std::atomic<double> last_alone_us_{0};
};

}  // namespace fico::hook
