// Kernels that are described take what the formula or the curve says; SMs split as documented.
#include <cmath>
#include <vector>

#include "check.hpp"
#include "device/h200.hpp"
#include "device/kernel_shape.hpp"

using namespace fico::device;

namespace {

bool near(double left, double right) { return std::abs(left - right) <= 1e-6 * std::abs(right); }

// Alone on the SMs, by the model.
double modelled_us(const KernelShape& shape, const SmSet& sms) {
  Model model(std::vector<std::uint32_t>(kSmCount, 1));
  SmDurations durations;
  model.start(0, demand_of(shape, sms, 0, durations), 0);
  std::vector<Completion> ended;
  while (ended.empty()) model.advance(model.next_us(), ended);
  return ended[0].time_us;
}

}  // namespace

TEST(a_described_kernel_takes_whole_waves) {
  const KernelShape shape{.blocks = 529, .us_per_block = 10, .blocks_per_sm = 4};
  CHECK(near(alone_us(shape, 132), 20));  // 528 blocks fit, so there is a second wave
  CHECK(near(alone_us(shape, 66), 30));
  for (unsigned sms = 1; sms <= kSmCount; ++sms) {
    CHECK(near(modelled_us(shape, SmSet::range(0, sms)), std::ceil(529.0 / (4 * sms)) * 10));
  }
}

TEST(beyond_saturation_sms_gain_nothing) {
  const KernelShape shape{
      .blocks = 132, .us_per_block = 10, .blocks_per_sm = 1, .saturates_sms = 33};
  for (unsigned sms : {33U, 100U, 132U}) CHECK(near(modelled_us(shape, SmSet::range(0, sms)), 40));
  CHECK(near(modelled_us(shape, SmSet::range(20, 31)), 120));
}

TEST(a_curve_is_followed) {
  KernelShape shape{.blocks = 1000, .blocks_per_sm = 2};
  shape.curve_points = 3;
  shape.curve_us = {90, 50, 40};
  const double expected[] = {90, 50, 40, 40};
  for (unsigned n = 1; n <= 4; ++n) {
    CHECK(near(modelled_us(shape, SmSet::range(0, n * kUnitSms)), expected[n - 1]));
  }
  CHECK(near(modelled_us(shape, SmSet::all()), 40));
  CHECK(near(modelled_us(shape, SmSet::range(4, 8)), 180));
  CHECK(near(modelled_us(shape, SmSet::range(0, 12)), 2 / (1 / 90.0 + 1 / 50.0)));
}

TEST(splits_cover_the_device_once) {
  for (unsigned min_sms : {1U, 2U, 8U, 16U, 24U, 66U, 132U}) {
    for (bool co_scheduled : {false, true}) {
      const auto split = split_sms(SmSet::all(), min_sms, co_scheduled, kSmCount);
      SmSet all = split.remainder;
      unsigned total = split.remainder.count();
      for (const auto& group : split.groups) {
        CHECK(group.count() >= min_sms);
        total += group.count();
        all |= group;
      }
      CHECK_EQ(total, kSmCount);
      CHECK(all == SmSet::all());
    }
  }
}

int main(int argc, char** argv) { return fico::check::run_all(argc, argv); }
