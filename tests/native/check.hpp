// Tests in a program of their own: TEST(name) { CHECK(...); } and RUN_TESTS() in main. Each runs in
// a process of its own, so that it may set the environment and initialise the driver.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace fico::check {

struct Test {
  const char* name;
  void (*body)();
};
inline std::vector<Test> tests;
inline int failures = 0;

struct Add {
  Add(const char* name, void (*body)()) { tests.push_back({name, body}); }
};

inline bool run_in_child(const Test& test) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    test.body();
    std::exit(failures ? 1 : 0);  // not _exit: sanitizers report at the end
  }
  int status = -1;
  waitpid(child, &status, 0);
  const bool passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  std::printf("%s %s\n", passed ? "ok    " : "FAILED", test.name);
  return passed;
}

/// All tests, or those whose name contains the first argument. The exit status of main.
inline int run_all(int argc, char** argv) {
  int failed = 0;
  for (const auto& test : tests) {
    if (argc < 2 || std::strstr(test.name, argv[1])) failed += !run_in_child(test);
  }
  return failed ? 1 : 0;
}

}  // namespace fico::check

#define TEST(name)                                              \
  static void test_##name();                                    \
  static const fico::check::Add add_##name{#name, test_##name}; \
  static void test_##name()

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      ++fico::check::failures;                                                       \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                                \
  } while (false)

#define CHECK_EQ(left, right)                                                                      \
  do {                                                                                             \
    const auto left_value = static_cast<long long>(left);                                          \
    const auto right_value = static_cast<long long>(right);                                        \
    if (left_value != right_value) {                                                               \
      ++fico::check::failures;                                                                     \
      std::fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #left, left_value, \
                   right_value);                                                                   \
    }                                                                                              \
  } while (false)
