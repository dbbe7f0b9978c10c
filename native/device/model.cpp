#include "device/model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

namespace fico::device {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
// Below this, a difference of rooms or shares is rounding.
constexpr double kRounding = 1e-9;

}  // namespace

Footprint footprint_of(std::span<const float, profile::kSmResources> parts) {
  // A kernel without shared memory, say, takes next to nothing of it.
  constexpr double kLeast = 1e-3;
  if (std::ranges::none_of(parts, [](float part) { return part > 0; })) return kWholeSm;
  Footprint footprint;
  for (std::size_t r = 0; r < footprint.size(); ++r) {
    footprint[r] = std::max(kLeast, double{parts[r]});
  }
  return footprint;
}

Model::Model(std::vector<std::uint32_t> sms_per_cell, const Settings& settings)
    : settings_(settings), sms_per_cell_(std::move(sms_per_cell)), next_us_(kNever) {
  reset_segments();
}

void Model::reset_segments() {
  segments_.resize(1);
  segments_[0] = {};
  for (std::size_t cell = 0; cell < sms_per_cell_.size(); ++cell) {
    segments_[0].cells.set(cell);
    segments_[0].sms += sms_per_cell_[cell];
  }
}

// Afterwards each segment lies within `cells` or outside of it.
void Model::split_segments(const Cells& cells) {
  for (std::size_t s = segments_.size(); s-- > 0;) {
    const Cells inside = segments_[s].cells & cells;
    if (inside.none() || inside == segments_[s].cells) continue;
    double sms = 0;
    for (std::size_t cell = 0; cell < sms_per_cell_.size(); ++cell) {
      if (inside[cell]) sms += sms_per_cell_[cell];
    }
    const double part = sms / segments_[s].sms;
    const std::size_t added = segments_.size();
    segments_.push_back({.cells = inside, .sms = sms, .covered = segments_[s].covered * part});
    segments_[s].cells &= ~inside;
    segments_[s].sms -= sms;
    segments_[s].covered -= segments_[added].covered;
    for (std::size_t r = 0; r < profile::kSmResources; ++r) {
      segments_[added].taken[r] = segments_[s].taken[r] * part;
      segments_[s].taken[r] -= segments_[added].taken[r];
    }
    for (auto id : order_) {
      auto& kernel = running_[id];
      kernel.room[added] = kernel.room[s] * part;
      kernel.room[s] -= kernel.room[added];
      kernel.may_use[added] = kernel.may_use[s];
    }
  }
}

std::uint32_t Model::start(double now_us, const Demand& demand, double arrival_us) {
  if (order_.empty()) reset_segments();
  split_segments(demand.cells);
  if (free_ids_.empty()) {
    free_ids_.push_back(static_cast<std::uint32_t>(running_.size()));
    running_.emplace_back();
  }
  const auto id = free_ids_.back();
  free_ids_.pop_back();
  auto& kernel = running_[id];
  kernel.demand = demand;
  kernel.arrival_us = arrival_us;
  kernel.serial = ++serial_;
  double sms = 0;
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    kernel.room[s] = 0;
    kernel.may_use[s] = (segments_[s].cells & demand.cells).any();
    if (kernel.may_use[s]) sms += segments_[s].sms;
  }
  kernel.loads = demand.blocks / demand.blocks_per_sm;
  kernel.waves = std::max(1.0, std::ceil(kernel.loads / sms - kRounding));
  kernel.most = std::min(sms, kernel.loads);
  kernel.spread = std::min(sms, demand.blocks);
  kernel.dense = kernel.waves == 1 && kernel.loads >= settings_.dense_from * sms;
  kernel.left = 1;
  kernel.since_us = now_us;
  kernel.pace_us = kNever;
  kernel.waited = kernel.held = 0;
  kernel.wait_since_us = now_us;
  kernel.wait_us = kernel.wait_due_us = kNever;
  kernel.dispatched = false;
  kernel.stale = true;
  const auto key = [&](std::uint32_t other) {
    const auto& k = running_[other];
    return std::tuple(k.demand.priority, k.arrival_us, k.serial);
  };
  order_.insert(std::ranges::upper_bound(order_, key(id), {}, key), id);
  settle(now_us);
  return id;
}

void Model::remove(double now_us, std::uint32_t id) {
  finish(static_cast<std::size_t>(std::ranges::find(order_, id) - order_.begin()));
  settle(now_us);
}

void Model::advance(double now_us, std::vector<Completion>& ended) {
  while (next_us_ <= now_us && !order_.empty()) {
    const double at_us = next_us_;
    for (std::size_t place = 0; place < order_.size();) {
      auto& kernel = running_[order_[place]];
      if (kernel.wait_due_us <= at_us) hand_over(place);
      if (kernel.due_us <= at_us && kernel.dispatched) {
        ended.push_back({order_[place], at_us});
        finish(place);
        continue;
      }
      // Who has just given up room has blocks left that wait for some.
      if (kernel.due_us <= at_us && !kernel.stale) dispatch(kernel, at_us);
      ++place;
    }
    settle(at_us);
  }
}

// Gives the kernel room, or takes it where `room` is negative.
void Model::take(Running& kernel, std::size_t s, double room) {
  segments_[s].covered -= closed_sms(kernel, s);
  kernel.room[s] += room;
  segments_[s].covered += closed_sms(kernel, s);
  auto& taken = segments_[s].taken;
  for (std::size_t r = 0; r < taken.size(); ++r) taken[r] += room * kernel.demand.footprint[r];
}

// Gives back part of the room of a kernel.
void Model::release(Running& kernel, double part) {
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    if (kernel.room[s] > 0) take(kernel, s, part < 1 ? -kernel.room[s] * part : -kernel.room[s]);
  }
  kernel.held -= kernel.held * part;
}

// SMs of a segment on which the kernel has a block: they go to the emptiest SMs first.
double Model::cover(const Running& kernel, std::size_t s) const {
  return std::min(segments_[s].sms, kernel.room[s] * kernel.demand.blocks_per_sm);
}

// SMs of a segment that are not empty for others because of the kernel.
double Model::closed_sms(const Running& kernel, std::size_t s) const {
  return kernel.dense ? std::min(segments_[s].sms, kernel.room[s]) : cover(kernel, s);
}

// SMs' worth of room that the kernel can have in a segment, once others have given up `given` and
// with that `given_cover` of their SMs: SMs where nobody is, and what others leave of their SMs as
// far as whole blocks fit there.
double Model::free_room(const Running& kernel, std::size_t s, const Footprint& given,
                        double given_cover) const {
  const auto& segment = segments_[s];
  const auto& demand = kernel.demand;
  const double most = segment.sms - kernel.room[s];
  const double empty = std::clamp(segment.sms - segment.covered + given_cover, 0.0, segment.sms);
  const double occupied = segment.sms - empty;
  if (occupied <= kRounding || most <= empty) return std::max(0.0, std::min(most, empty));
  double loads = 1;  // of this kernel's blocks on one of the SMs where others are
  for (std::size_t r = 0; r < given.size(); ++r) {
    const double left = segment.sms - segment.taken[r] + given[r] - empty;
    loads = std::min(loads, left / (occupied * demand.footprint[r]));
  }
  loads = std::floor(loads * demand.blocks_per_sm + kRounding) / demand.blocks_per_sm;
  return std::clamp(empty + std::max(0.0, loads) * occupied, 0.0, std::max(0.0, most));
}

void Model::finish(std::size_t place) {
  const auto id = order_[place];
  release(running_[id], 1);
  order_.erase(order_.begin() + static_cast<std::ptrdiff_t>(place));
  free_ids_.push_back(id);
}

double Model::left_at(const Running& kernel, double now_us) {
  return kernel.left - (now_us - kernel.since_us) / kernel.pace_us;
}

// What is left of the kernel when its last block starts.
double Model::threshold(const Running& kernel) {
  return kernel.dispatched ? 0 : kernel.held / (kernel.most * kernel.waves);
}

// What follows from a change of the kernels or of their room.
void Model::settle(double now_us) {
  for (bool released = true; released;) {
    released = false;
    for (auto& segment : segments_) segment.blocked = false;
    for (auto id : order_) {
      auto& kernel = running_[id];
      if (kernel.dispatched) continue;
      released |= take_free(kernel, now_us);
      if (kernel.dispatched) continue;
      for (std::size_t s = 0; s < segments_.size(); ++s) {
        segments_[s].blocked |= kernel.may_use[s];
      }
    }
  }
  claim(now_us);
  set_paces(now_us);
  next_us_ = kNever;
  for (auto id : order_) {
    next_us_ = std::min({next_us_, running_[id].due_us, running_[id].wait_due_us});
  }
  next_us_ = std::max(next_us_, now_us);
}

// Takes free room, evenly from the cells. True if its last block has started by that and it gave
// room back.
bool Model::take_free(Running& kernel, double now_us) {
  const double wanted = kernel.most - kernel.held;
  if (wanted > kRounding) {
    double free = 0;
    for (std::size_t s = 0; s < segments_.size(); ++s) {
      if (kernel.may_use[s] && !segments_[s].blocked) free += free_room(kernel, s, {}, 0);
    }
    if (free > kRounding) {
      const double part = std::min(1.0, wanted / free);
      for (std::size_t s = 0; s < segments_.size(); ++s) {
        if (!kernel.may_use[s] || segments_[s].blocked) continue;
        take(kernel, s, free_room(kernel, s, {}, 0) * part);
      }
      kernel.held = part < 1 ? kernel.most : kernel.held + free;
      kernel.stale = true;
    }
  }
  if (left_at(kernel, now_us) > threshold(kernel) + kRounding) return false;
  const double before = kernel.held;
  dispatch(kernel, now_us);
  return kernel.held < before;
}

// The last block has started: it takes the time of a block, and the room that the last wave does
// not fill is free.
void Model::dispatch(Running& kernel, double now_us) {
  const double kept = kernel.loads / kernel.most - (kernel.waves - 1);
  if (kept < 1 - kRounding) release(kernel, 1 - kept);
  kernel.left = 1 / kernel.waves;
  kernel.since_us = now_us;
  kernel.dispatched = true;
  kernel.stale = true;
}

// Room that kernels of several waves give up goes to the first kernel that wants it and comes
// before them: it gets what it lacks once enough blocks have ended.
void Model::claim(double now_us) {
  for (auto& segment : segments_) segment.owned = false;
  for (std::size_t place = 0; place < order_.size(); ++place) {
    auto& kernel = running_[order_[place]];
    const double lacking = kernel.dispatched ? 0 : kernel.most - kernel.held;
    double held = 0;
    double weighted_us = 0;
    for (std::size_t s = 0; lacking > kRounding && s < segments_.size(); ++s) {
      if (!kernel.may_use[s] || segments_[s].owned) continue;
      segments_[s].owned = true;
      segments_[s].owner = order_[place];
      for (std::size_t after = place + 1; after < order_.size(); ++after) {
        const auto& junior = running_[order_[after]];
        if (junior.dispatched) continue;
        held += junior.room[s];
        weighted_us += junior.room[s] * junior.demand.alone_us / junior.waves;
      }
    }
    const double available = held > kRounding ? claimable_room(place) : 0;
    if (available <= kRounding) {
      kernel.waited = 0;
      kernel.wait_us = kernel.wait_due_us = kNever;
      continue;
    }
    kernel.waited += (now_us - kernel.wait_since_us) / kernel.wait_us;
    kernel.wait_since_us = now_us;
    const double part = std::min(1.0, lacking / available);
    kernel.wait_us = weighted_us / held * part;
    kernel.wait_due_us = now_us + std::max(0.0, 1 - kernel.waited) * kernel.wait_us;
  }
}

// What the kernel would gain if all kernels after it gave up what is coming free for it.
double Model::claimable_room(std::size_t place) const {
  const auto& kernel = running_[order_[place]];
  double room = 0;
  for (std::size_t s = 0; s < segments_.size(); ++s) {
    if (!segments_[s].owned || segments_[s].owner != order_[place]) continue;
    Footprint given{};
    double given_cover = 0;
    for (std::size_t after = place + 1; after < order_.size(); ++after) {
      const auto& junior = running_[order_[after]];
      if (junior.dispatched) continue;
      given_cover += closed_sms(junior, s);
      for (std::size_t r = 0; r < given.size(); ++r) {
        given[r] += junior.room[s] * junior.demand.footprint[r];
      }
    }
    room += free_room(kernel, s, given, given_cover);
  }
  return room;
}

// The kernels after it give up so much that it has what it lacks; if that was more than it takes,
// they have the rest again at once.
void Model::hand_over(std::size_t place) {
  auto& kernel = running_[order_[place]];
  const double available = claimable_room(place);
  if (available <= kRounding) return;
  const double part = std::min(1.0, (kernel.most - kernel.held) / available);
  for (std::size_t after = place + 1; after < order_.size(); ++after) {
    auto& junior = running_[order_[after]];
    if (junior.dispatched) continue;
    for (std::size_t s = 0; s < segments_.size(); ++s) {
      if (!segments_[s].owned || segments_[s].owner != order_[place]) continue;
      const double given = junior.room[s] * part;
      take(junior, s, -given);
      junior.held -= given;
      junior.stale = true;
    }
  }
  kernel.waited = 0;
  kernel.wait_us = kernel.wait_due_us = kNever;
}

// Adds what the kernels have of the issue rate of a segment. Who cannot use its share, because its
// blocks cover fewer SMs, leaves it to the others.
void Model::share_segment(std::size_t s) {
  const double sms = segments_[s].sms;
  double room = 0;
  for (auto id : order_) room += running_[id].room[s];
  double left_sms = sms;
  double left_room = room;
  const auto is_content = [&](const Running& kernel) {
    return cover(kernel, s) * room <= sms * kernel.room[s];
  };
  for (auto id : order_) {
    const auto& kernel = running_[id];
    if (!is_content(kernel)) continue;
    left_sms -= cover(kernel, s);
    left_room -= kernel.room[s];
  }
  for (auto id : order_) {
    auto& kernel = running_[id];
    if (kernel.room[s] <= kRounding) continue;
    const double most = cover(kernel, s);
    const double share =
        is_content(kernel) ? most : std::min(most, left_sms * kernel.room[s] / left_room);
    kernel.shared += share + settings_.overlap * (most - share);
  }
}

// Time for the whole of a kernel on the SMs that it has, without what memory and L2 cost.
double Model::undisturbed_us(const Running& kernel) {
  if (kernel.held <= kRounding) return kNever;
  const auto& demand = kernel.demand;
  // Blocks that all run need only the density of blocks on the SMs that they have alone.
  const double wanted = kernel.dispatched ? kernel.held / kernel.most : 1;
  const double part = kernel.shared / (kernel.spread * wanted);
  if (part >= 1 - kRounding) return demand.alone_us;
  // The blocks that wait for others lose what they wait, but a partial last wave loses nothing: a
  // step of the curve costs at most what is taken away.
  const double sms = std::min(demand.alone_sms, demand.blocks);
  const double by_curve = demand.curve.throughput(sms * part) / demand.curve.throughput(sms);
  return demand.alone_us / std::clamp(by_curve, part, 1.0);
}

void Model::set_paces(double now_us) {
  for (auto id : order_) running_[id].shared = 0;
  for (std::size_t s = 0; s < segments_.size(); ++s) share_segment(s);
  std::array<double, profile::kResources> used{};
  for (auto id : order_) {
    auto& kernel = running_[id];
    kernel.undisturbed_us = undisturbed_us(kernel);
    if (order_.size() == 1) continue;  // nobody feels it
    const double speed = kernel.demand.half_us / kernel.undisturbed_us;
    const double activity = std::pow(speed, settings_.activity_power);
    for (std::size_t r = 0; r < used.size(); ++r) {
      kernel.used[r] = kernel.demand.pressure[r] * activity;
      used[r] += kernel.used[r];
    }
  }
  for (auto id : order_) {
    auto& kernel = running_[id];
    double slowdown = 1;
    for (std::size_t r = 0; order_.size() > 1 && r < used.size(); ++r) {
      slowdown += settings_.interference[r] * kernel.demand.sensitivity[r] *
                  std::clamp(used[r] - kernel.used[r], 0.0, 1.0);
    }
    set_pace(kernel, kernel.undisturbed_us * slowdown, now_us);
  }
}

// Nothing is computed again while nothing changes, so that no rounding adds up.
void Model::set_pace(Running& kernel, double pace_us, double now_us) {
  if (!kernel.stale && pace_us == kernel.pace_us) return;
  kernel.left = left_at(kernel, now_us);
  kernel.since_us = now_us;
  kernel.pace_us = pace_us;
  kernel.stale = false;
  const double left = std::max(0.0, kernel.left - threshold(kernel));
  kernel.due_us = pace_us < kNever ? now_us + left * pace_us : kNever;
}

}  // namespace fico::device
