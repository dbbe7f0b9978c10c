#include "policy/builtin.hpp"
#include "policy/placement.hpp"
#include "policy/settings.hpp"

namespace fico::policy {
namespace {

// Experimental: modes.
class Fico final : public Policy {
 public:
  struct Settings {
    int mode = 0;
    double alone_span_us = 500;
    double p1 = 0, p2 = 0, p3 = 0;
  };
  static constexpr std::tuple kFields{
      Field{"mode", &Settings::mode, 0.0, 100.0, "mode"},
      Field{"alone_span_us", &Settings::alone_span_us, 0.0, 1e9, "span"},
      Field{"p1", &Settings::p1, -1e9, 1e9, "p1"}, Field{"p2", &Settings::p2, -1e9, 1e9, "p2"},
      Field{"p3", &Settings::p3, -1e9, 1e9, "p3"}};
  explicit Fico(Settings settings) : settings_(settings) {}

  double longest_hold_us() const noexcept override { return 20000; }
  // Does slot a go before b: shortest remaining first.
  static bool before(const View& view, std::uint32_t a, std::uint32_t b) {
    const Row& x = view.rows[a];
    const Row& y = view.rows[b];
    if (x.remaining_us != y.remaining_us) return x.remaining_us < y.remaining_us;
    return a < b;
  }

  Grant decide(const View& view) const noexcept override {
    if (!view.contended()) {
      return {.units = view.all(), .span_us = settings_.alone_span_us};
    }
    std::uint32_t rank = 0;
    for (std::uint32_t slot = 0; slot < view.count; ++slot) {
      if (view.rival(slot) && before(view, slot, view.self)) ++rank;
    }
    const auto level = static_cast<std::int8_t>(kLevelFirst + static_cast<int>(std::min(rank, 5U)));
    switch (settings_.mode) {
      case 0:  // priority by rank
        return {.level = level, .units = view.all()};
      case 1:  // gate
        if (rank > 0) return Grant::hold(kForever_us);
        return {.level = level, .units = view.all()};
      case 2:  // mps cut
        return {.units = view.all()};
      case 3:  // rank 0 all units; others confined to p1 units
        if (rank > 0) {
          return {.level = level,
                  .units = {static_cast<std::uint16_t>(view.unit_count - settings_.p1),
                            static_cast<std::uint16_t>(view.unit_count)}};
        }
        return {.level = level, .units = view.all()};
      case 4:  // priority by fifo
      {
        std::uint32_t r = 0;
        for (std::uint32_t slot = 0; slot < view.count; ++slot) {
          if (view.rival(slot) &&
              (view.rows[slot].begin_us < view.own().begin_us ||
               (view.rows[slot].begin_us == view.own().begin_us && slot < view.self)))
            ++r;
        }
        return {.level = static_cast<std::int8_t>(kLevelFirst + static_cast<int>(std::min(r, 5U))),
                .units = view.all()};
      }
      default:
        break;
    }
    return {.units = view.all()};
  }

 private:
  Settings settings_;
};

}  // namespace

PolicyInfo fico() { return describe<Fico>("fico", "critical kernels first, within quotas"); }

}  // namespace fico::policy
