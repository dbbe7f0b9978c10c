#include "device/h200.hpp"

#include <algorithm>

namespace fico::device {
namespace {

unsigned co_scheduled_groups(const SmSet& input, unsigned group_sms) {
  const unsigned fitting = input.count() / group_sms;
  // Four SMs of the whole device belong to no co-scheduled group, and a group of 8 goes with them.
  if (input.count() < kSmCount) return fitting;
  return group_sms == kUnitSms ? std::min(fitting, 15U) : (kSmCount - 4) / group_sms;
}

}  // namespace

SmSplit split_sms(const SmSet& input, unsigned min_sms, bool co_scheduled, unsigned max_groups) {
  const unsigned step = co_scheduled ? kUnitSms : 2;
  SmSplit split;
  split.group_sms = std::max(1U, (min_sms + step - 1) / step) * step;
  const unsigned possible =
      co_scheduled ? co_scheduled_groups(input, split.group_sms) : input.count() / split.group_sms;
  const unsigned groups = std::min(possible, max_groups);
  for (unsigned group = 0; group < groups; ++group) {
    split.groups.push_back(input.slice(group * split.group_sms, split.group_sms));
  }
  split.remainder = input.slice(groups * split.group_sms, kSmCount);
  return split;
}

}  // namespace fico::device
