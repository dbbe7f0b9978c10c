#include "emulator/kernel_image.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <functional>

#include "emulator/memory.hpp"

namespace fico::emulator {
namespace {

constexpr std::string_view kMagic = "fico-emulated-module";
// A CUDA kernel takes 32764 bytes of parameters at most.
constexpr std::size_t kMaxParamsBytes = 32764;

struct OpName {
  std::string_view name;
  KernelOp op;
  std::vector<std::size_t> params;
};

const std::vector<OpName>& op_names() {
  static const auto& names = *new std::vector<OpName>{
      {"spin", KernelOp::kSpin, {}},           {"fill", KernelOp::kFill, {8, 4, 4}},
      {"axpy", KernelOp::kAxpy, {8, 8, 4, 4}}, {"mix", KernelOp::kMix, {8, 4, 4}},
      {"mix2", KernelOp::kMix2, {8, 8, 4, 4}}, {"fault", KernelOp::kFault, {}},
  };
  return names;
}

// Takes the first word off `text`.
std::string_view next_word(std::string_view& text) {
  const auto from = text.find_first_not_of(" \t\r");
  if (from == std::string_view::npos) return text = {};
  const auto to = std::min(text.find_first_of(" \t\r", from), text.size());
  const auto word = text.substr(from, to - from);
  text.remove_prefix(to);
  return word;
}

template <class Number>
bool read_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value >= 0;
}

// Numbers that commas separate.
template <class Number>
bool read_list(std::string_view text, std::vector<Number>& list) {
  list.clear();
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    Number value = 0;
    if (!read_number(text.substr(0, comma), value)) return false;
    list.push_back(value);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return true;
}

bool read_sizes(std::string_view text, std::vector<std::size_t>& sizes) {
  return read_list(text, sizes) && std::ranges::find(sizes, 0U) == sizes.end();
}

// A duration for each number of units, which never grows with them.
bool read_curve(std::string_view text, device::KernelShape& timing) {
  std::vector<float> curve;
  if (!read_list(text, curve) || curve.empty() || curve.size() > device::kUnits) return false;
  if (curve.back() <= 0 || !std::ranges::is_sorted(curve, std::greater{})) return false;
  std::ranges::copy(curve, timing.curve_us.begin());
  timing.curve_points = curve.size();
  return true;
}

bool read_shares(std::string_view text, std::array<float, profile::kResources>& shares) {
  std::vector<float> list;
  if (!read_list(text, list) || list.size() != shares.size()) return false;
  std::ranges::copy(list, shares.begin());
  return true;
}

// Places the parameters as a compiler does: each aligned to its size, up to 8.
bool lay_out_params(KernelImage& kernel) {
  for (auto size : kernel.param_sizes) {
    const std::size_t alignment = size % 8 == 0 ? 8 : size % 4 == 0 ? 4 : size % 2 == 0 ? 2 : 1;
    kernel.params_bytes = (kernel.params_bytes + alignment - 1) / alignment * alignment;
    kernel.param_offsets.push_back(kernel.params_bytes);
    kernel.params_bytes += size;
  }
  return kernel.params_bytes <= kMaxParamsBytes;
}

bool read_kernel_option(std::string_view key, std::string_view value, KernelImage& kernel) {
  if (key == "op") {
    for (const auto& known : op_names()) {
      if (known.name != value) continue;
      kernel.op = known.op;
      kernel.param_sizes = known.params;
      return true;
    }
    return false;
  }
  auto& timing = kernel.timing;
  if (key == "blocks_per_sm") {
    return read_number(value, timing.blocks_per_sm) && timing.blocks_per_sm > 0;
  }
  if (key == "us_per_block") return read_number(value, timing.us_per_block);
  if (key == "saturates_sms") return read_number(value, timing.saturates_sms);
  if (key == "curve") return read_curve(value, timing);
  if (key == "pressure") return read_shares(value, timing.pressure);
  if (key == "registers") return read_number(value, kernel.registers);
  if (key == "shared") return read_number(value, kernel.shared_bytes);
  if (key == "sensitivity") return read_shares(value, timing.sensitivity);
  if (key == "params") return read_sizes(value, kernel.param_sizes);
  return false;
}

bool read_line(std::string_view line, ModuleImage& image) {
  const auto kind = next_word(line);
  if (kind.empty() || kind.front() == '#') return true;
  const auto name = next_word(line);
  if (name.empty()) return false;
  KernelImage kernel;
  kernel.name = name;
  GlobalImage global;
  global.name = name;
  bool has_op = false;
  bool has_params = false;
  for (auto word = next_word(line); !word.empty(); word = next_word(line)) {
    const auto equals = word.find('=');
    if (equals == std::string_view::npos) return false;
    const auto key = word.substr(0, equals);
    const auto value = word.substr(equals + 1);
    if (kind == "global") {
      if (key != "bytes" || !read_number(value, global.bytes)) return false;
    } else if (!read_kernel_option(key, value, kernel)) {
      return false;
    }
    has_op |= key == "op";
    has_params |= key == "params";
  }
  if (kind == "global" && global.bytes) {
    image.globals.push_back(std::move(global));
    return true;
  }
  // Only spin leaves its parameters alone, so only there the image may choose them.
  if (kind != "kernel" || !has_op || (has_params && kernel.op != KernelOp::kSpin)) return false;
  if (!lay_out_params(kernel)) return false;
  image.kernels.push_back(std::make_shared<const KernelImage>(std::move(kernel)));
  return true;
}

std::uint32_t hash(std::uint32_t value, std::uint32_t seed) {
  value = (value ^ seed) * 0x9E3779B1U;
  value ^= value >> 15U;
  value = (value + seed) * 0x85EBCA77U;
  return value ^ (value >> 13U);
}

template <class T>
T param(const KernelImage& kernel, const std::byte* params, std::size_t index) {
  T value;
  std::memcpy(&value, params + kernel.param_offsets[index], sizeof value);
  return value;
}

}  // namespace

bool parse_module(std::string_view text, ModuleImage& image, std::string& error) {
  const auto first_end = std::min(text.find('\n'), text.size());
  auto first = text.substr(0, first_end);
  if (next_word(first) != kMagic) {
    error = "the image does not start with 'fico-emulated-module'";
    return false;
  }
  text.remove_prefix(std::min(first_end + 1, text.size()));
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    if (!read_line(line, image)) {
      error = "this line of the image is not understood: " + std::string(line);
      return false;
    }
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return true;
}

bool KernelRun::begin(const KernelImage& kernel, const std::byte* params) {
  if (kernel.op == KernelOp::kSpin) return true;
  if (kernel.op == KernelOp::kFault) return false;
  const bool has_source = kernel.op == KernelOp::kAxpy || kernel.op == KernelOp::kMix2;
  const auto target = param<std::uint64_t>(kernel, params, 0);
  const auto source = has_source ? param<std::uint64_t>(kernel, params, 1) : target;
  const auto count = param<std::uint32_t>(kernel, params, has_source ? 2 : 1);
  const auto factor = param<std::uint32_t>(kernel, params, has_source ? 3 : 2);
  const std::size_t bytes = std::size_t{count} * sizeof(std::uint32_t);
  if (!memory().device_can_reach(target, bytes) || !memory().device_can_reach(source, bytes)) {
    return false;
  }
  target_ = pointer_to<std::uint32_t>(target);
  const auto* from = pointer_to<const std::uint32_t>(source);
  result_.resize(count);
  if (kernel.op != KernelOp::kFill && bytes) std::memcpy(result_.data(), target_, bytes);
  for (std::uint32_t i = 0; i < count; ++i) {
    auto& value = result_[i];
    switch (kernel.op) {
      case KernelOp::kFill:
        value = factor;
        break;
      case KernelOp::kAxpy:
        value += factor * from[i];
        break;
      case KernelOp::kMix:
        value = hash(value, factor + i);
        break;
      case KernelOp::kMix2:
        value = hash(value + 3 * hash(from[i], factor), factor + i);
        break;
      default:
        break;
    }
  }
  return true;
}

void KernelRun::finish() {
  if (!result_.empty()) {
    std::memcpy(target_, result_.data(), result_.size() * sizeof(std::uint32_t));
  }
}

}  // namespace fico::emulator
