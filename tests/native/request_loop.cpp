// A program as it is profiled: answers requests in closed loop, each a list of kernels, copies and
// fills that it waits for. Says `ready` after the first cycle.
//
//   request_loop [--module FILE] [--kernel TEXT]... --request NAME[:COUNT]=STEP,STEP,... ...
//                [--graph] [--streams N] [--period SECONDS] [--seconds SECONDS]
//
// --module   a module of the emulated device; or --kernel: its lines, without the word `kernel`
// --request  one kind of request; a cycle is COUNT of each kind, in the order given. A STEP is
//            KERNEL*BLOCKS of a kernel without parameters, or h2d*BYTES, d2h*BYTES, fill*BYTES;
//            followed by xN it comes N times
// --graph    each kind is captured once and launched as a graph; else its calls are made each time
// --streams  the steps of a request go to N streams in turn; they begin and end together
// --period   a report every so many seconds
// --seconds  ends after so long; otherwise a line on the standard input asks for a report, and
//            `stop` or its end for the last one and the end
//
// A report is a line of JSON: {"NAME": {"requests": since the start, "median_us": since the last
// report, as the host sees it; 0 if there was none}, ...}.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "op_runner_driver.hpp"

namespace {

using fico::testing::DriverEntries;
using Clock = std::chrono::steady_clock;

constexpr unsigned kThreads = 256;

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Step {
  std::string name;
  unsigned size = 0;  // blocks of a kernel, bytes of a copy or fill
  unsigned times = 1;
};

struct Request {
  std::string name;
  unsigned per_cycle = 1;
  std::vector<Step> steps;
  CUgraphExec exec = nullptr;
  std::uint64_t answered = 0;
  std::vector<double> latencies_us;  // since the last report
};

struct Options {
  std::string module = "fico-emulated-module\n";
  std::vector<Request> requests;
  bool as_graph = false;
  unsigned streams = 1;
  double period_s = 0;
  double seconds = 0;
};

void require(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  throw std::runtime_error(std::string(what) + " gave " + std::to_string(result));
}

template <class Number>
Number number_from(std::string_view text, std::string_view whole) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && end == text.data() + text.size() && value > 0) return value;
  throw UsageError("'" + std::string(text) + "' in '" + std::string(whole) +
                   "' is not a number above 0");
}

// Cuts `text` at the first `mark`: what is before it is given, what is after it stays.
std::string_view cut(std::string_view& text, char mark) {
  const auto at = std::min(text.find(mark), text.size());
  const auto before = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return before;
}

Step step_from(std::string_view text) {
  auto rest = text;
  Step step;
  step.name = cut(rest, '*');
  const auto size = cut(rest, 'x');
  step.size = number_from<unsigned>(size, text);
  if (!rest.empty()) step.times = number_from<unsigned>(rest, text);
  return step;
}

Request request_from(std::string_view text) {
  auto rest = text;
  auto head = cut(rest, '=');
  Request request;
  request.name = cut(head, ':');
  if (!head.empty()) request.per_cycle = number_from<unsigned>(head, text);
  while (!rest.empty()) request.steps.push_back(step_from(cut(rest, ',')));
  if (request.name.empty() || request.steps.empty()) {
    throw UsageError("'" + std::string(text) + "' is not NAME[:COUNT]=STEP,...");
  }
  return request;
}

std::string read_file(const char* path) {
  const std::ifstream file(path);
  if (!file) throw UsageError(std::string(path) + " cannot be read");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Options options_from(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--graph") {
      options.as_graph = true;
      continue;
    }
    if (i + 1 == argc) throw UsageError(std::string(option) + " takes a value, or is unknown");
    const char* value = argv[++i];
    if (option == "--module") {
      options.module = read_file(value);
    } else if (option == "--kernel") {
      options.module += "kernel " + std::string(value) + "\n";
    } else if (option == "--request") {
      options.requests.push_back(request_from(value));
    } else if (option == "--streams") {
      options.streams = number_from<unsigned>(value, option);
    } else if (option == "--period") {
      options.period_s = number_from<double>(value, option);
    } else if (option == "--seconds") {
      options.seconds = number_from<double>(value, option);
    } else {
      throw UsageError(std::string(option) + " is unknown");
    }
  }
  if (options.requests.empty()) throw UsageError("give at least one --request");
  return options;
}

class Server {
 public:
  Server(const DriverEntries& api, Options options) : api_(api), options_(std::move(options)) {
    CUcontext context = nullptr;
    CUdevice device = 0;
    require(api_.fico_cuInit(0), "cuInit");
    require(api_.fico_cuDeviceGet(&device, 0), "cuDeviceGet");
    require(api_.fico_cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
    require(api_.fico_cuCtxSetCurrent(context), "cuCtxSetCurrent");
    require(api_.fico_cuModuleLoadData(&module_, options_.module.c_str()), "cuModuleLoadData");
    streams_.resize(options_.streams);
    joins_.resize(options_.streams);
    for (auto& stream : streams_) {
      require(api_.fico_cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    }
    for (auto& join : joins_) {
      require(api_.fico_cuEventCreate(&join, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
    }
    prepare_steps();
    if (!options_.as_graph) return;
    for (auto& request : options_.requests) capture(request);
  }

  void run() {
    const auto start = Clock::now();
    auto last_report = start;
    const auto is_past = [](Clock::time_point from, double seconds) {
      return seconds > 0 && Clock::now() - from >= std::chrono::duration<double>(seconds);
    };
    for (bool is_first = true;; is_first = false) {
      for (auto& request : options_.requests) {
        for (unsigned i = 0; i < request.per_cycle; ++i) answer(request);
      }
      if (is_first) {
        std::puts("ready");
        std::fflush(stdout);
      }
      if (options_.seconds > 0 ? is_past(start, options_.seconds) : is_told_to_stop()) break;
      if (is_past(last_report, options_.period_s)) {
        report();
        last_report = Clock::now();
      }
    }
    report();
  }

 private:
  bool is_transfer(const Step& step) const {
    return step.name == "h2d" || step.name == "d2h" || step.name == "fill";
  }

  // Finds the kernels, and makes the memory that is copied and filled.
  void prepare_steps() {
    unsigned most_bytes = 1;
    for (const auto& request : options_.requests) {
      for (const auto& step : request.steps) {
        if (is_transfer(step)) {
          most_bytes = std::max(most_bytes, step.size);
          continue;
        }
        auto& kernel = kernels_[step.name];
        if (kernel == nullptr &&
            api_.fico_cuModuleGetFunction(&kernel, module_, step.name.c_str()) != CUDA_SUCCESS) {
          throw UsageError("the module has no kernel '" + step.name + "'");
        }
      }
    }
    require(api_.fico_cuMemAlloc(&device_memory_, most_bytes), "cuMemAlloc");
    require(api_.fico_cuMemAllocHost(&host_memory_, most_bytes), "cuMemAllocHost");
  }

  void issue(const Step& step, CUstream stream) {
    if (step.name == "h2d") {
      require(api_.fico_cuMemcpyHtoDAsync(device_memory_, host_memory_, step.size, stream),
              "cuMemcpyHtoDAsync");
    } else if (step.name == "d2h") {
      require(api_.fico_cuMemcpyDtoHAsync(host_memory_, device_memory_, step.size, stream),
              "cuMemcpyDtoHAsync");
    } else if (step.name == "fill") {
      require(api_.fico_cuMemsetD8Async(device_memory_, 0, step.size, stream), "cuMemsetD8Async");
    } else {
      require(api_.fico_cuLaunchKernel(kernels_.at(step.name), step.size, 1, 1, kThreads, 1, 1, 0,
                                       stream, nullptr, nullptr),
              "cuLaunchKernel");
    }
  }

  void order(CUstream earlier, CUstream later, CUevent event) {
    require(api_.fico_cuEventRecord(event, earlier), "cuEventRecord");
    require(api_.fico_cuStreamWaitEvent(later, event, 0), "cuStreamWaitEvent");
  }

  // Everything after the start and before the end on the first stream.
  void issue_all(const Request& request) {
    for (std::size_t s = 1; s < streams_.size(); ++s) order(streams_[0], streams_[s], joins_[0]);
    std::size_t turn = 0;
    for (const auto& step : request.steps) {
      for (unsigned i = 0; i < step.times; ++i) issue(step, streams_[turn++ % streams_.size()]);
    }
    for (std::size_t s = 1; s < streams_.size(); ++s) order(streams_[s], streams_[0], joins_[s]);
  }

  void capture(Request& request) {
    CUgraph graph = nullptr;
    require(api_.fico_cuStreamBeginCapture(streams_[0], CU_STREAM_CAPTURE_MODE_GLOBAL),
            "cuStreamBeginCapture");
    issue_all(request);
    require(api_.fico_cuStreamEndCapture(streams_[0], &graph), "cuStreamEndCapture");
    require(api_.fico_cuGraphInstantiate(&request.exec, graph, 0), "cuGraphInstantiate");
    require(api_.fico_cuGraphDestroy(graph), "cuGraphDestroy");
  }

  void answer(Request& request) {
    const auto start = Clock::now();
    if (request.exec != nullptr) {
      require(api_.fico_cuGraphLaunch(request.exec, streams_[0]), "cuGraphLaunch");
    } else {
      issue_all(request);
    }
    require(api_.fico_cuStreamSynchronize(streams_[0]), "cuStreamSynchronize");
    const std::chrono::duration<double, std::micro> latency = Clock::now() - start;
    request.latencies_us.push_back(latency.count());
    ++request.answered;
  }

  void report() {
    const char* separator = "{";
    for (auto& request : options_.requests) {
      auto& latencies = request.latencies_us;
      double median_us = 0;
      if (!latencies.empty()) {
        const auto middle = latencies.begin() + static_cast<std::ptrdiff_t>(latencies.size() / 2);
        std::ranges::nth_element(latencies, middle);
        median_us = *middle;
      }
      std::printf("%s\"%s\": {\"requests\": %llu, \"median_us\": %.3f}", separator,
                  request.name.c_str(), static_cast<unsigned long long>(request.answered),
                  median_us);
      separator = ", ";
      latencies.clear();
    }
    std::puts("}");
    std::fflush(stdout);
  }

  // Answers what the standard input asks for; true for `stop` and at its end.
  bool is_told_to_stop() {
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    while (poll(&input, 1, 0) > 0) {
      char text[256];
      const auto bytes = read(STDIN_FILENO, text, sizeof text);
      if (bytes <= 0) return true;
      asked_.append(text, static_cast<std::size_t>(bytes));
      for (auto end = asked_.find('\n'); end != std::string::npos; end = asked_.find('\n')) {
        if (asked_.substr(0, end) == "stop") return true;
        asked_.erase(0, end + 1);
        report();
      }
    }
    return false;
  }

  const DriverEntries& api_;
  Options options_;
  CUmodule module_ = nullptr;
  std::map<std::string, CUfunction> kernels_;
  CUdeviceptr device_memory_ = 0;
  void* host_memory_ = nullptr;
  std::vector<CUstream> streams_;
  std::vector<CUevent> joins_;
  std::string asked_;
};

}  // namespace

int main(int argc, char** argv) {
  try {
    Options options = options_from(argc, argv);
    const auto driver = fico::testing::reach_driver("dlsym");
    Server(driver.legacy, std::move(options)).run();
  } catch (const UsageError& error) {
    std::fprintf(stderr, "request_loop: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "request_loop: %s\n", error.what());
    return 1;
  }
  return 0;
}
