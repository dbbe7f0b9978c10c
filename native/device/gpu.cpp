// Stand-in until the device model lands.
#include "device/gpu.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fico::device {

Gpu::Gpu(std::vector<std::uint32_t> sms_per_unit) : sms_(std::move(sms_per_unit)) {}

std::uint32_t Gpu::start(double now_us, const profile::Kernel& kernel, Units units, int priority,
                         std::uint32_t) {
  for (auto& r : running_) r.left -= (now_us - now_us_) * r.rate;
  now_us_ = now_us;
  std::uint32_t id = 0;
  while (id < running_.size() && running_[id].kernel) ++id;
  if (id == running_.size()) running_.emplace_back();
  running_[id] = {&kernel, units, priority, 1, 0};
  share();
  return id;
}

void Gpu::share() {
  double room[profile::kMaxUnits];
  std::fill(room, room + sms_.size(), 1.0);
  for (int level = -5; level <= 0; ++level) {
    double sharers[profile::kMaxUnits] = {};
    for (auto& r : running_) {
      if (r.kernel && r.priority == level)
        for (auto u = r.units.lo; u < r.units.hi; ++u) sharers[u] += 1;
    }
    double left[profile::kMaxUnits];
    std::copy(room, room + sms_.size(), left);
    for (auto& r : running_) {
      if (!r.kernel || r.priority != level) continue;
      double got = 0;
      for (auto u = r.units.lo; u < r.units.hi; ++u) got += room[u] / sharers[u];
      const double fill =
          std::max(1.0, std::ceil(double(r.kernel->blocks) / r.kernel->blocks_per_sm) / 8);
      const double scale = got > fill ? fill / got : 1;
      for (auto u = r.units.lo; u < r.units.hi; ++u) left[u] -= scale * room[u] / sharers[u];
      const double x = std::max(0.02, got);
      const auto n = std::size_t(x);
      const double f = x - double(n);
      const auto* d = r.kernel->duration_us;
      const double lo = n ? 1 / d[n - 1] : 0;
      const double hi = n < sms_.size() ? 1 / d[n] : lo;
      r.rate = lo + (hi - lo) * f;
    }
    std::copy(left, left + sms_.size(), room);
  }
  for (auto& r : running_) {
    if (!r.kernel) continue;
    double slow = 1;
    for (std::uint32_t k = 0; k < profile::kResources; ++k) {
      double p = 0;
      for (auto& o : running_)
        if (o.kernel && &o != &r) p += o.kernel->pressure[k];
      slow += r.kernel->sensitivity[k] * std::min(1.0, p);
    }
    r.rate /= slow;
  }
}

double Gpu::next_us() const {
  double next = std::numeric_limits<double>::infinity();
  for (auto& r : running_)
    if (r.kernel) next = std::min(next, now_us_ + std::max(0.0, r.left) / r.rate);
  return next;
}

void Gpu::advance(double now_us, std::vector<Completion>& ended) {
  bool any = false;
  for (std::uint32_t id = 0; id < running_.size(); ++id) {
    auto& r = running_[id];
    if (!r.kernel) continue;
    r.left -= (now_us - now_us_) * r.rate;
    if (r.left <= 1e-9) {
      ended.push_back({id, now_us});
      r.kernel = nullptr;
      any = true;
    }
  }
  now_us_ = now_us;
  if (any) share();
}

}  // namespace fico::device
