#include "emulator/device_view.hpp"

#include <algorithm>

namespace fico::emulator {

DeviceView::DeviceView() : model_(std::vector<std::uint32_t>(device::kSmCount, 1)) {}

DeviceView::Entry& DeviceView::add(double now_us, const RunningKernel& kernel) {
  auto free = std::ranges::find(entries_, false, &Entry::used);
  if (free == entries_.end()) free = entries_.emplace(entries_.end());
  step(now_us);
  free->kernel = kernel;
  free->used = free->running = free->seen = true;
  const auto priority = static_cast<int>(kernel.priority);
  const auto demand = device::demand_of(kernel.shape, kernel.sms, priority, free->durations);
  free->model_id = model_.start(clock_us_, demand, kernel.arrival_us);
  return *free;
}

void DeviceView::start(double now_us, const RunningKernel& kernel) {
  add(now_us, kernel).own = true;
}

void DeviceView::mirror(double now_us, std::span<const RunningKernel> others) {
  for (auto& entry : entries_) entry.seen = entry.own;
  std::vector<const RunningKernel*> newcomers;
  for (const auto& kernel : others) {
    const auto known = std::ranges::find_if(entries_, [&](const Entry& entry) {
      return entry.used && !entry.own && entry.kernel.id == kernel.id;
    });
    if (known == entries_.end()) {
      newcomers.push_back(&kernel);
    } else {
      known->seen = true;
    }
  }
  for (auto& entry : entries_) {
    if (!entry.used || entry.seen) continue;
    if (entry.running) model_.remove(clock_us_, entry.model_id);
    entry.used = false;
  }
  others_ = others.size();
  std::ranges::sort(newcomers, {}, [](const auto* kernel) { return kernel->arrival_us; });
  for (const auto* kernel : newcomers) {
    add(std::min(now_us, kernel->arrival_us), *kernel).own = false;
  }
}

void DeviceView::advance(double now_us, std::vector<std::uint64_t>& ended) {
  step(now_us);
  ended.insert(ended.end(), ended_.begin(), ended_.end());
  ended_.clear();
}

void DeviceView::step(double now_us) {
  clock_us_ = std::max(clock_us_, now_us);
  completions_.clear();
  model_.advance(clock_us_, completions_);
  for (const auto& completion : completions_) {
    auto& entry = *std::ranges::find_if(entries_, [&](const Entry& e) {
      return e.used && e.running && e.model_id == completion.id;
    });
    entry.running = false;
    if (!entry.own) continue;  // remembered until its owner says that it has gone
    entry.used = false;
    ended_.push_back(entry.kernel.id);
  }
}

}  // namespace fico::emulator
