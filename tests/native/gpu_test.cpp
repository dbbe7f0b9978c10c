// The device model: kernels alone take what was measured, room is handed over as documented, and
// properties that hold whatever runs.
#include <cstdlib>
#include <new>
#include <random>

#include "gpu_world.hpp"
#include "profile/footprint.hpp"

using namespace fico::check;

namespace {

// Anything from a few blocks to hundreds of waves.
Kernel random_kernel(std::mt19937& random) {
  const auto draw = [&](double lo, double hi) {
    return lo * std::pow(hi / lo, double(random()) / 0x1p32);
  };
  Kernel kernel = wave_kernel(static_cast<std::uint32_t>(draw(1, 20000)),
                              static_cast<std::uint32_t>(draw(1, 17)), draw(1, 50));
  for (std::size_t r = 0; r < fico::profile::kResources; ++r) {
    kernel.sensitivity[r] = static_cast<float>(random() % 100) / 100;
    kernel.pressure[r] = static_cast<float>(random() % 100) / 100;
  }
  return kernel;
}

Units random_units(std::mt19937& random) {
  if (random() % 2) return kAll;
  const auto lo = static_cast<std::uint32_t>(random() % kUnits);
  return {lo, lo + 1 + static_cast<std::uint32_t>(random() % (kUnits - lo))};
}

// As they are, and with blocks that leave room on their SMs.
std::vector<Launch> random_launches(std::mt19937& random, bool footprints = false) {
  std::vector<Launch> launches(2 + random() % 8);
  for (auto& launch : launches) {
    launch = {double(random() % 100), random_kernel(random), random_units(random),
              -static_cast<int>(random() % 3)};
    if (!footprints) continue;
    for (auto& part : launch.kernel.footprint) part = static_cast<float>(1 + random() % 100) / 100;
  }
  return launches;
}

constexpr int kScenarios = 2000;

std::size_t allocations = 0;

}  // namespace

// Counts what the tests allocate.
void* operator new(std::size_t bytes) {
  ++allocations;
  void* found = std::malloc(bytes);
  if (!found) throw std::bad_alloc();
  return found;
}
void operator delete(void* found) noexcept { std::free(found); }
void operator delete(void* found, std::size_t) noexcept { std::free(found); }

TEST(alone_a_kernel_takes_what_was_measured) {
  std::mt19937 random(1);  // NOLINT(bugprone-random-generator-seed)
  for (int i = 0; i < kScenarios; ++i) {
    Launch launch{double(random() % 1000), random_kernel(random), random_units(random)};
    for (auto& us : launch.kernel.duration_us) us *= 0.7F;
    const auto units = launch.units.hi - launch.units.lo;
    if (launch.units.hi == kUnits) launch.units = {0, units};  // the last one has more SMs
    CHECK(near(ends_of({launch})[0] - launch.at_us, launch.kernel.duration_us[units - 1]));
  }
}

// As long as on so many first units, in proportion to the SMs, and as on one unit more at least.
double on_last_units_us(const Kernel& kernel, std::uint32_t units) {
  const double first_sms = 8 * units;
  return std::max<double>(kernel.duration_us[std::min(units, kUnits - 1)],
                          kernel.duration_us[units - 1] * first_sms / (first_sms + 4));
}

TEST(on_units_with_more_sms_a_kernel_is_faster_in_proportion) {
  std::mt19937 random(7);  // NOLINT(bugprone-random-generator-seed)
  for (int i = 0; i < kScenarios; ++i) {
    const auto blocks = static_cast<std::uint32_t>(1 + random() % 2000);
    const auto per_sm = static_cast<std::uint32_t>(1 + random() % 8);
    const auto units = static_cast<std::uint32_t>(1 + random() % (kUnits - 1));
    const auto kernel = wave_kernel(blocks, per_sm, 10);
    const double end = ends_of({{0, kernel, {kUnits - units, kUnits}}})[0];
    CHECK(near(end, on_last_units_us(kernel, units)));
  }
}

TEST(a_chain_alone_takes_the_sum) {
  Gpu gpu(h200_units());
  std::vector<Completion> ended;
  const auto kernel = wave_kernel(1000, 2, 10);
  double now = 5;
  for (int i = 0; i < 10; ++i) {
    gpu.start(now, kernel, kAll, 0, 0);
    while (ended.empty()) gpu.advance(gpu.next_us(), ended);
    now = ended[0].time_us;
    ended.clear();
  }
  CHECK(near(now, 5 + 10 * kernel.duration_us[kUnits - 1]));
}

TEST(kernels_that_fit_beside_each_other_do_not_wait) {
  const auto half = wave_kernel(66, 1, 10);
  const auto ends = ends_of({{0, half}, {1, half}, {0, half, kAll, -5}});
  CHECK(near(ends[2], 10));
  CHECK(near(ends[0], 10));
  CHECK(near(ends[1], 20));  // no room before the others end
}

TEST(equal_priority_waits_until_all_blocks_of_the_older_have_started) {
  // Ten waves of 10 µs; the newcomer gets room when the last of them has started and ended.
  const auto ends = ends_of({{0, wave_kernel(1320, 1, 10)}, {1, wave_kernel(132, 1, 10)}});
  CHECK(near(ends[0], 100));
  CHECK(near(ends[1], 110));
}

TEST(a_partial_last_wave_leaves_room) {
  // One and a half waves: from 10 µs on, half of the SMs are free.
  const auto ends = ends_of({{0, wave_kernel(198, 1, 10)}, {1, wave_kernel(66, 1, 10)}});
  CHECK(near(ends[0], 20));
  CHECK(near(ends[1], 20));
}

TEST(high_priority_gets_room_as_resident_blocks_end) {
  const auto wide = wave_kernel(1320, 1, 10);
  const auto small = wave_kernel(33, 1, 4);
  const auto ends = ends_of({{0, wide}, {50, small, kAll, -5}});
  CHECK(near(ends[1], 50 + 10.0 / 4 + 4));  // a quarter of the blocks must end
  // The wide kernel is out of a quarter of the SMs for 4 µs.
  CHECK(ends[0] >= 101 - 1e-9);
  CHECK(ends[0] <= 104 + 1e-9);
}

TEST(room_given_up_when_the_last_block_was_to_start_delays_it) {
  // Two waves; all of the room of the first one goes to the newcomer as it ends.
  const auto ends = ends_of({{0, wave_kernel(264, 1, 10)}, {0, wave_kernel(132, 1, 10), kAll, -5}});
  CHECK(near(ends[1], 20));
  CHECK(near(ends[0], 30));
}

TEST(high_priority_waits_for_a_kernel_whose_blocks_all_run) {
  const auto ends = ends_of({{0, wave_kernel(132, 1, 100)}, {1, wave_kernel(10, 1, 5), kAll, -5}});
  CHECK(near(ends[0], 100));
  CHECK(near(ends[1], 105));
}

TEST(a_wide_kernel_of_high_priority_takes_all) {
  const auto wide = wave_kernel(1320, 1, 10);
  const auto ends = ends_of({{0, wide}, {0, wide}, {5, wide, kAll, -1}});
  CHECK(ends[2] < ends[0]);
  CHECK(ends[0] < ends[1]);
  CHECK(near(ends[1], 300, 0.05));
}

TEST(partitions_do_not_wait_for_each_other) {
  const auto wide = wave_kernel(1320, 1, 10);
  const auto ends = ends_of({{0, wide, {0, 8}}, {0, wide, {8, 16}}});
  CHECK(near(ends[0], wide.duration_us[7]));
  CHECK(near(ends[1], on_last_units_us(wide, 8)));
}

TEST(a_kernel_on_all_units_also_uses_a_partition) {
  // 64 SMs are taken by a partition for 100 µs; the other kernel has 68 until then.
  const auto ends =
      ends_of({{0, wave_kernel(64, 1, 100), {0, 8}}, {0, wave_kernel(680, 1, 10), kAll}});
  CHECK(near(ends[0], 100));
  CHECK(near(ends[1], 100, 0.07));  // ten waves of 68
}

TEST(kernels_on_the_same_sms_share_the_issue_rate) {
  // Each fills every SM to half. Alone its blocks need an SM for 10 µs, two of them for 20.
  Kernel kernel = wave_kernel(132, 2, 10);
  for (std::uint32_t n = 1; n <= kUnits; ++n) {
    kernel.duration_us[n - 1] = 10.0F * 132 / static_cast<float>(sms_of({0, n}));
  }
  CHECK(near(ends_of({{0, kernel}, {0, kernel}}, Settings{.overlap = 0})[1], 20, 1e-6));
  CHECK(near(ends_of({{0, kernel}, {0, kernel}}, Settings{.overlap = 1})[1], 10, 1e-6));
}

TEST(blocks_run_beside_others_while_the_resources_of_the_sm_last) {
  // One block of 512 threads with 96 registers an SM, held to that by its shared memory.
  Kernel wide = wave_kernel(1320, 1, 10);
  Kernel small = wave_kernel(132, 16, 5);
  const auto needs = [](Kernel& kernel, const fico::profile::BlockNeeds& block) {
    const auto parts = fico::profile::footprint_of(block, kernel.blocks_per_sm);
    std::ranges::copy(parts, kernel.footprint);
  };
  needs(wide, {512, 96, 150'000});
  needs(small, {128, 32, 0});
  // From 90 µs on all blocks of the wide one have started.
  const auto end_beside = [&] { return ends_of({{0, wide}, {91, small}})[1]; };
  CHECK(end_beside() < 98);  // at once, on SMs that it shares
  CHECK(near(ends_of({{0, wide}, {12, small}})[1], end_beside(), 0.02));  // not before that
  needs(small, {128, 32, 20'000});
  small.blocks_per_sm = 8;
  CHECK(end_beside() < 98);
  needs(small, {128, 200, 0});  // more registers than are left, with eight blocks an SM
  small.blocks_per_sm = 1;
  needs(small, {128, 200, 100'000});
  CHECK(end_beside() > 100);
}

TEST(blocks_on_every_sm_keep_out_those_that_need_a_whole_one) {
  const auto thin = wave_kernel(132, 4, 100);  // a quarter of each SM
  CHECK(near(ends_of({{0, thin}, {1, wave_kernel(10, 1, 5)}})[1], 105));
  CHECK(near(ends_of({{0, thin}, {1, wave_kernel(10, 4, 5)}}, Settings{.overlap = 1})[1], 6));
  const auto few = wave_kernel(100, 4, 100);  // 32 SMs are empty
  CHECK(near(ends_of({{0, few}, {1, wave_kernel(10, 1, 5)}})[1], 6));
}

TEST(a_kernel_of_one_wave_that_fills_most_sms_leaves_the_others_whole) {
  const auto most = wave_kernel(512, 4, 100);  // 128 SMs' worth: 4 SMs are empty
  const auto newcomer = wave_kernel(4, 1, 5);
  CHECK(near(ends_of({{0, most}, {1, newcomer}})[1], 6));
  CHECK(near(ends_of({{0, most}, {1, newcomer}}, Settings{.dense_from = 1})[1], 105));
}

TEST(a_neighbour_slows_down_by_sensitivity_and_pressure) {
  Kernel loud = wave_kernel(64, 1, 1000);
  loud.pressure[1] = 0.5F;
  Kernel touchy = wave_kernel(64, 1, 10);
  touchy.sensitivity[1] = 0.6F;
  CHECK(near(ends_of({{0, loud, {0, 8}}, {0, touchy, {8, 16}}})[1], 13, 1e-6));
  loud.pressure[1] = 5;  // nobody uses more than all of it
  CHECK(near(ends_of({{0, loud, {0, 8}}, {0, touchy, {8, 16}}})[1], 16, 1e-6));
}

TEST(nothing_is_allocated_once_as_many_have_run) {
  std::mt19937 random(7);  // NOLINT(bugprone-random-generator-seed)
  std::vector<Kernel> kernels;
  kernels.reserve(50);
  for (int i = 0; i < 50; ++i) kernels.push_back(random_kernel(random));
  Gpu gpu(h200_units());
  std::vector<Completion> ended;
  ended.reserve(100);
  double now = 0;
  const auto run_round = [&] {
    for (std::uint32_t i = 0; i < 8; ++i) {
      gpu.start(now, kernels[random() % kernels.size()], {i, kUnits}, 0, i);
    }
    while (gpu.next_us() < HUGE_VAL) gpu.advance(now = gpu.next_us(), ended);
    ended.clear();
  };
  run_round();
  const auto before = allocations;
  for (int i = 0; i < 100; ++i) run_round();
  CHECK_EQ(allocations, before);
}

TEST(the_same_launches_end_at_the_same_times) {
  std::mt19937 random(2);  // NOLINT(bugprone-random-generator-seed)
  for (int i = 0; i < kScenarios; ++i) {
    const auto launches = random_launches(random, i % 2);
    CHECK(ends_of(launches) == ends_of(launches));
  }
}

TEST(all_kernels_end_and_none_before_its_time) {
  std::mt19937 random(3);  // NOLINT(bugprone-random-generator-seed)
  for (int i = 0; i < kScenarios; ++i) {
    const auto launches = random_launches(random, i % 2);
    const auto ends = ends_of(launches);
    for (std::size_t k = 0; k < launches.size(); ++k) {
      const auto& [at_us, kernel, units, priority] = launches[k];
      // The last unit has more SMs than another, and fewer than two.
      const std::uint32_t most_units = std::min(kUnits, units.hi - units.lo + units.hi / kUnits);
      CHECK(ends[k] - at_us >= kernel.duration_us[most_units - 1] * (1 - 1e-9));
    }
  }
}

TEST(room_is_never_given_twice_and_never_lies_idle) {
  std::mt19937 random(4);  // NOLINT(bugprone-random-generator-seed)
  for (int i = 0; i < kScenarios; ++i) {
    const auto launches = random_launches(random);
    ends_of(launches, {}, [&](const Gpu& gpu, const auto& launch_of, const auto& ends) {
      double held = 0;
      double covered = 0;
      for (std::uint32_t id = 0; id < launch_of.size(); ++id) {
        const auto k = launch_of[id];
        if (gpu.runs(id) && ends[k] < 0) {
          held += gpu.held_sms(id);
          covered += std::min(132.0, gpu.held_sms(id) * launches[k].kernel.blocks_per_sm);
        }
      }
      CHECK(held <= 132 + 1e-6);
      // All that run on all units have some room while there are SMs where nobody is.
      for (std::uint32_t id = 0; id < launch_of.size(); ++id) {
        const auto& [at_us, kernel, units, priority] = launches[launch_of[id]];
        if (!gpu.runs(id) || units.hi - units.lo != kUnits || covered > 132 - 1e-6) continue;
        CHECK(gpu.held_sms(id) > 0);
      }
    });
  }
}

TEST(higher_priority_is_never_later) {
  std::mt19937 random(5);  // NOLINT(bugprone-random-generator-seed)
  for (int i = 0; i < kScenarios; ++i) {
    auto launches = random_launches(random);
    for (auto& launch : launches) {
      // Where partitions differ, so may the neighbours on the SMs that the blocks come to lie on.
      launch.units = kAll;
    }
    // Two equal kernels that come together, the one of higher priority first.
    launches[1] = launches[0];
    launches[1].priority = launches[0].priority + 1;
    const auto ends = ends_of(launches);
    CHECK(ends[0] <= ends[1] + 1e-6);
  }
}

TEST(more_units_never_slow_a_kernel_alone) {
  std::mt19937 random(6);  // NOLINT(bugprone-random-generator-seed)
  for (int i = 0; i < kScenarios; ++i) {
    const auto kernel = random_kernel(random);
    double before = HUGE_VAL;
    for (std::uint32_t n = 1; n <= kUnits; ++n) {
      const double end = ends_of({{0, kernel, {0, n}}})[0];
      CHECK(end <= before * (1 + 1e-9));
      before = end;
    }
  }
}

int main(int argc, char** argv) { return run_all(argc, argv); }
