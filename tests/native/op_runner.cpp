// Runs programs of driver calls (see op_runner_program.hpp) and answers what they left behind.
//
//   op_runner [--reach dlsym|proc1|proc2|linked] [--serve] [FILE]
//
// The answer to one program: a line `dN HASH` or `hN HASH` for each buffer, `result LINE CODE` for
// each call that did not succeed, `error TEXT` where the program could not be run, and `end`.
// With --serve one program after the other is read from the standard input, each up to its `end`.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <thread>

#include "op_runner_calls.hpp"

namespace {

using fico::testing::Driver;
using fico::testing::Program;
using fico::testing::ProgramError;
using fico::testing::ThreadRunner;
using fico::testing::World;

std::vector<std::string> execute(const Driver& driver, const Program& program) {
  World world(driver, program);
  std::vector<ThreadRunner> runners(program.threads.size(), ThreadRunner(world));
  std::vector<std::thread> threads;
  threads.reserve(runners.size());
  for (std::size_t i = 0; i < runners.size(); ++i)
    threads.emplace_back([&, i] { runners[i].run(program.threads[i]); });
  for (std::thread& thread : threads) thread.join();

  std::vector<std::pair<int, int>> failures;
  for (const ThreadRunner& runner : runners) {
    if (!runner.error().empty()) throw ProgramError(runner.error());
    failures.insert(failures.end(), runner.failures().begin(), runner.failures().end());
  }
  std::sort(failures.begin(), failures.end());
  std::vector<std::string> lines;
  lines.reserve(failures.size());
  for (const auto& [line, code] : failures)
    lines.push_back("result " + std::to_string(line) + " " + std::to_string(code));
  world.digest(lines);
  return lines;
}

bool answer(const Driver& driver, std::istream& in) {
  std::vector<std::string> lines;
  bool right = true;
  try {
    lines = execute(driver, fico::testing::read_program(in));
  } catch (const std::exception& error) {
    lines.push_back(std::string("error ") + error.what());
    right = false;
  }
  for (const std::string& line : lines) std::cout << line << '\n';
  std::cout << "end\n" << std::flush;
  return right;
}

}  // namespace

int main(int argc, char** argv) {
#ifdef FICO_OP_RUNNER_LINKED
  std::string reach = "linked";
#else
  std::string reach = "dlsym";
#endif
  std::string file;
  bool serve = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--reach" && i + 1 < argc) {
      reach = argv[++i];
    } else if (word == "--serve") {
      serve = true;
    } else {
      file = word;
    }
  }
  const Driver driver = fico::testing::reach_driver(reach);
  const CUresult started = driver.legacy.fico_cuInit(0);
  if (started != CUDA_SUCCESS) {
    std::fprintf(stderr, "op_runner: cuInit gave %d\n", static_cast<int>(started));
    return 1;
  }
  if (!file.empty()) {
    std::ifstream in(file);
    return answer(driver, in) ? 0 : 1;
  }
  if (!serve) return answer(driver, std::cin) ? 0 : 1;
  while (std::cin.peek() != std::istream::traits_type::eof()) answer(driver, std::cin);
  return 0;
}
