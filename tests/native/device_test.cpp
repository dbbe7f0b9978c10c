// The fluid model: durations alone are those of the formula; shared SMs are shared as documented.
#include "device/fluid_model.hpp"

#include <cmath>
#include <vector>

#include "check.hpp"
#include "device/h200.hpp"

using namespace fico::device;

namespace {

bool near(double left, double right) { return std::abs(left - right) <= 1e-6 * std::abs(right); }

std::vector<double> shares_of(const std::vector<RunningKernel>& kernels) {
  std::vector<double> shares(kernels.size());
  share_sms(kernels, shares);
  return shares;
}

constexpr KernelShape kWide{.blocks = 1e6, .us_per_block = 10, .blocks_per_sm = 2};

}  // namespace

TEST(alone_a_kernel_takes_whole_waves) {
  const KernelShape shape{.blocks = 529, .us_per_block = 10, .blocks_per_sm = 4};
  CHECK(near(alone_us(shape, 132), 20));  // 528 blocks fit, so there is a second wave
  CHECK(near(alone_us(shape, 66), 30));
  CHECK(std::isinf(alone_us(shape, 0)));
  for (unsigned sms = 1; sms <= kSmCount; ++sms) {
    const RunningKernel kernel{SmSet::range(0, sms), shape};
    double rate = 0;
    progress_rates({&kernel, 1}, {&rate, 1});
    CHECK(near(1 / rate, std::ceil(529.0 / (4 * sms)) * 10));
  }
}

TEST(beyond_saturation_sms_gain_nothing) {
  const KernelShape shape{
      .blocks = 132, .us_per_block = 10, .blocks_per_sm = 1, .saturates_sms = 33};
  CHECK(near(alone_us(shape, 132), 40));
  CHECK(near(alone_us(shape, 33), 40));
  CHECK(near(alone_us(shape, 11), 120));
}

TEST(equal_kernels_share_equally) {
  const auto shares = shares_of({{SmSet::all(), kWide}, {SmSet::all(), kWide}});
  CHECK(near(shares[0], 66));
  CHECK(near(shares[1], 66));
}

TEST(disjoint_partitions_do_not_disturb_each_other) {
  const auto shares = shares_of({{SmSet::range(0, 80), kWide}, {SmSet::range(80, 132), kWide}});
  CHECK(near(shares[0], 80));
  CHECK(near(shares[1], 52));
}

TEST(an_unconfined_kernel_also_uses_the_sms_of_a_partition) {
  const auto shares = shares_of({{SmSet::all(), kWide}, {SmSet::range(0, 40), kWide}});
  CHECK(near(shares[0], 92 + 20));
  CHECK(near(shares[1], 20));
}

TEST(what_a_small_kernel_leaves_goes_to_the_others) {
  const KernelShape small{.blocks = 20, .us_per_block = 10, .blocks_per_sm = 1};
  const auto shares = shares_of({{SmSet::all(), small}, {SmSet::all(), kWide}});
  CHECK(near(shares[0], 20));
  CHECK(near(shares[1], 112));
}

TEST(higher_priority_is_served_first) {
  const KernelShape half{.blocks = 66, .us_per_block = 10, .blocks_per_sm = 1};
  auto shares = shares_of({{SmSet::all(), kWide, 0}, {SmSet::all(), half, -5}});
  CHECK(near(shares[0], 66));
  CHECK(near(shares[1], 66));
  shares = shares_of({{SmSet::all(), kWide, 0}, {SmSet::all(), kWide, -5}});
  CHECK_EQ(shares[0], 0);
  CHECK(near(shares[1], 132));
}

TEST(no_sm_is_given_twice) {
  const std::vector<RunningKernel> kernels{
      {SmSet::all(), kWide, 0},
      {SmSet::range(0, 40), kWide, 0},
      {SmSet::range(20, 60), {.blocks = 7, .us_per_block = 1, .blocks_per_sm = 2}, -1},
      {SmSet::range(50, 132), kWide, 0}};
  double total = 0;
  for (auto share : shares_of(kernels)) total += share;
  CHECK(near(total, 132));
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
