// The device model: kernels that share the SMs of one GPU, in virtual time.
//
// A kernel is a number of blocks; its duration alone on n SMs is a measured curve. The model
// follows room, not blocks: a kernel holds so many SMs' worth of it, and goes on at the rate that
// its curve has there. In short (docs/device-model.md has the equations):
//  - free room goes to the kernels that still have blocks to start, by priority and then arrival;
//    on one SM there is room for blocks of several kernels while threads, registers and shared
//    memory last;
//  - room that is held is never taken away. A kernel of several waves gives it up as its blocks
//    end, to whoever comes before it; one whose blocks all run keeps it until they end;
//  - when its last block starts, a kernel still takes the time of one block;
//  - kernels on the same SMs share their issue rate; all share memory and L2.
#pragma once

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "device/curve.hpp"
#include "device/settings.hpp"

namespace fico::device {

/// The parts of a GPU that sets of SMs are made of: units, or single SMs.
constexpr std::uint32_t kMaxCells = 192;
using Cells = std::bitset<kMaxCells>;

/// Threads, registers, shared memory and places for blocks: parts of one SM, or SMs' worth.
using Footprint = std::array<double, profile::kSmResources>;
constexpr Footprint kWholeSm{1, 1, 1, 1};

/// From the parts that a profile has; all 0 stands for the whole SM.
Footprint footprint_of(std::span<const float, profile::kSmResources> parts);

/// What a kernel asks of the device.
struct Demand {
  Curve curve;
  /// Alone on the cells that it may use, in µs; the SMs of the curve that this stands for.
  double alone_us = 0;
  double alone_sms = 0;
  /// Alone on half of the device: where pressure was measured.
  double half_us = 0;
  double blocks = 1;
  double blocks_per_sm = 1;
  std::array<float, profile::kResources> sensitivity{};
  std::array<float, profile::kResources> pressure{};
  /// Parts of an SM that `blocks_per_sm` blocks take, each above 0.
  Footprint footprint = kWholeSm;
  Cells cells;
  /// Lower goes first.
  int priority = 0;
};

struct Completion {
  std::uint32_t id;
  double time_us;
};

/// Deterministic: the same calls give the same times, bit for bit. Not thread-safe. No allocation
/// once as many kernels as ever run together have run together.
class Model {
 public:
  explicit Model(std::vector<std::uint32_t> sms_per_cell, const Settings& settings = {});

  /// A kernel is ready at `now_us`. `arrival_us` orders it among those of its priority. The id is
  /// free for reuse once the kernel has ended.
  std::uint32_t start(double now_us, const Demand& demand, double arrival_us);
  /// Ends a kernel that runs, whatever is left of it.
  void remove(double now_us, std::uint32_t id);
  /// When something happens next if no kernel comes; infinite if nothing runs.
  double next_us() const { return next_us_; }
  /// Goes on to `now_us`, which is at most next_us(), and appends what has ended by then.
  void advance(double now_us, std::vector<Completion>& ended);

  bool runs(std::uint32_t id) const { return std::ranges::find(order_, id) != order_.end(); }
  /// SMs' worth of room that a running kernel holds.
  double held_sms(std::uint32_t id) const { return running_[id].held; }

 private:
  // Cells that all running kernels treat alike, so that one number a kernel is enough for them.
  struct Segment {
    Cells cells;
    double sms = 0;
    double covered = 0;       // SMs that are not empty, added up over the kernels
    Footprint taken{};        // SMs' worth of each resource
    std::uint32_t owner = 0;  // the kernel that what comes free here goes to
    bool owned = false;
    bool blocked = false;  // a kernel that still has blocks to start comes first here
  };

  struct Running {
    Demand demand;
    double arrival_us = 0;
    std::uint64_t serial = 0;
    double waves = 1;    // whole ones, on all its cells
    double loads = 0;    // SMs' worth of all its blocks
    double most = 0;     // SMs' worth that it can hold at once
    double spread = 0;   // SMs that its blocks cover when it holds that
    bool dense = false;  // leaves what it does not need of that as whole SMs
    // Progress: `left` of the whole at `since_us`, `pace_us` for the whole.
    double left = 1;
    double since_us = 0;
    double pace_us = 0;
    double due_us = 0;
    // Room that is coming free for it: part of the wait that is over at `wait_since_us`.
    double waited = 0;
    double wait_since_us = 0;
    double wait_us = 0;
    double wait_due_us = 0;
    double held = 0;
    double shared = 0;  // SMs' worth of issue rate that its blocks have
    double undisturbed_us = 0;
    std::array<double, profile::kResources> used{};
    bool dispatched = false;  // all its blocks have started
    bool stale = true;        // due_us must be computed again
    std::array<double, kMaxCells> room{};
    std::array<bool, kMaxCells> may_use{};
  };

  void split_segments(const Cells& cells);
  void reset_segments();
  void release(Running& kernel, double part);
  void finish(std::size_t place);
  void settle(double now_us);
  bool take_free(Running& kernel, double now_us);
  void take(Running& kernel, std::size_t s, double room);
  double cover(const Running& kernel, std::size_t s) const;
  double closed_sms(const Running& kernel, std::size_t s) const;
  double free_room(const Running& kernel, std::size_t s, const Footprint& given,
                   double given_cover) const;
  void dispatch(Running& kernel, double now_us);
  void claim(double now_us);
  double claimable_room(std::size_t place) const;
  void hand_over(std::size_t place);
  void set_paces(double now_us);
  void share_segment(std::size_t s);
  static double undisturbed_us(const Running& kernel);
  static void set_pace(Running& kernel, double pace_us, double now_us);
  static double left_at(const Running& kernel, double now_us);
  static double threshold(const Running& kernel);

  Settings settings_;
  std::vector<std::uint32_t> sms_per_cell_;
  std::vector<Segment> segments_;
  std::deque<Running> running_;       // by id
  std::vector<std::uint32_t> order_;  // ids that run, by priority and arrival
  std::vector<std::uint32_t> free_ids_;
  double next_us_;
  std::uint64_t serial_ = 0;
};

}  // namespace fico::device
