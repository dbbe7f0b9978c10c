// Several processes on one emulated device: they slow each other down as the model says, partitions
// hold between them, and one that is killed leaves nothing behind.
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <atomic>
#include <csignal>
#include <string>

#include "emulator_world.hpp"

using namespace fico::check;

namespace {

std::string use_state(const char* name) {
  auto path = std::string("/dev/shm/fico-emulator-test-") + name + "-" + std::to_string(getppid());
  unlink(path.c_str());
  setenv("FICO_EMULATED_STATE", path.c_str(), 1);
  // Slow enough that the processes' delays do not count.
  setenv("FICO_EMULATED_DILATION", "20", 1);
  return path;
}

struct Board {
  std::atomic<int> arrived;
  std::atomic<int> finished;
};

// A child that dies with its parent, even if that is killed.
pid_t fork_child() {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  return child;
}

Board& make_board() {
  return *static_cast<Board*>(
      mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

double ms_of(const World& world, CUstream stream, int kernels, const char* name = "slow") {
  CUevent events[2];
  for (auto& event : events) OK(CU(cuEventCreate)(&event, CU_EVENT_DEFAULT));
  OK(CU(cuEventRecord)(events[0], stream));
  for (int i = 0; i < kernels; ++i) OK(launch(world.function(name), stream, nullptr, 132 * 2));
  OK(CU(cuEventRecord)(events[1], stream));
  OK(CU(cuStreamSynchronize)(stream));
  float ms = 0;
  OK(CU(cuEventElapsedTime)(&ms, events[0], events[1]));
  return ms;
}

// A process of a pair: the kernel that it runs and its units; up to unit 0 is all SMs.
struct Side {
  unsigned lo = 0;
  unsigned hi = 0;
  const char* kernel = "slow";
};

// Two processes that keep the device busy together; each measures kernels of 2 waves on its units
// and gives the ms of one kernel.
std::vector<double> measure_pair(const Side& a, const Side& b) {
  auto& board = make_board();
  int pipes[2][2];
  for (int side = 0; side < 2; ++side) {
    if (pipe(pipes[side]) != 0) std::exit(1);
    if (fork_child() != 0) continue;
    const World world;
    const auto& [lo, hi, kernel] = side ? b : a;
    const auto stream = hi ? make_green_stream(make_green(lo, hi)) : make_stream();
    ++board.arrived;
    while (board.arrived < 2) usleep(100);
    ms_of(world, stream, 2, kernel);
    const double ms = ms_of(world, stream, 6, kernel) / 6;
    ++board.finished;
    // Stay busy while the other measures: several at once, as between two calls there is nothing
    // for as long as a busy machine takes.
    while (board.finished < 2) ms_of(world, stream, 6, kernel);
    if (write(pipes[side][1], &ms, sizeof ms) != sizeof ms) _exit(1);
    _exit(failures);
  }
  std::vector<double> ms(2);
  for (int side = 0; side < 2; ++side) {
    if (read(pipes[side][0], &ms[side], sizeof(double)) != sizeof(double)) ++failures;
  }
  return ms;
}

// The model is exact inside a process; what processes know of each other comes as late as the
// scheduler of a busy machine lets it.
bool near(double value, double expected) {
  const bool ok = value > expected * 0.75 && value < expected * 1.35;
  if (!ok) std::fprintf(stderr, "%g ms instead of %g\n", value, expected);
  return ok;
}

}  // namespace

TEST(processes_share_the_sms) {
  const auto path = use_state("share");
  // Two waves of 1 ms on all SMs, twice as many on half of them.
  for (double ms : measure_pair({}, {})) CHECK(near(ms, 4));
  unlink(path.c_str());
}

TEST(partitions_hold_between_processes) {
  const auto path = use_state("partitions");
  const auto disjoint =
      measure_pair({0, 11}, {11, 15});  // 88 and 32 SMs: 3 and 9 waves of 264 blocks
  CHECK(near(disjoint[0], 3));
  CHECK(near(disjoint[1], 9));
  const auto same = measure_pair({0, 11}, {0, 11});
  CHECK(near(same[0], 6));
  CHECK(near(same[1], 6));
  unlink(path.c_str());
}

TEST(processes_disturb_each_other_through_memory) {
  const auto path = use_state("interference");
  // 264 blocks are 5 waves on 64 SMs as on 56.
  const auto ms = measure_pair({0, 8, "touchy"}, {8, 15, "loud"});
  CHECK(near(ms[0], 5 * 1.6));
  CHECK(near(ms[1], 5));
  unlink(path.c_str());
}

TEST(a_killed_process_leaves_the_device) {
  const auto path = use_state("kill");
  auto& board = make_board();
  const pid_t victim = fork_child();
  if (victim == 0) {
    const World world;
    ++board.arrived;
    while (true) ms_of(world, nullptr, 1);
  }
  const World world;
  while (!board.arrived) usleep(100);
  ms_of(world, nullptr, 1);
  kill(victim, SIGKILL);
  waitpid(victim, nullptr, 0);
  ms_of(world, nullptr, 6);  // long enough for its slot to be swept
  CHECK(near(ms_of(world, nullptr, 2) / 2, 2));
  unlink(path.c_str());
}

TEST(memory_of_a_killed_process_comes_back) {
  const auto path = use_state("memory");
  auto& board = make_board();
  const pid_t victim = fork_child();
  if (victim == 0) {
    const World world;
    CUdeviceptr buffer = 0;
    OK(CU(cuMemAlloc)(&buffer, std::size_t{1} << 34));
    ++board.arrived;
    while (true) pause();
  }
  const World world;
  while (!board.arrived) usleep(100);
  std::size_t during = 0;
  std::size_t after = 0;
  std::size_t total = 0;
  OK(CU(cuMemGetInfo)(&during, &total));
  kill(victim, SIGKILL);
  waitpid(victim, nullptr, 0);
  OK(CU(cuMemGetInfo)(&after, &total));
  CHECK_EQ(after - during, std::size_t{1} << 34);
  unlink(path.c_str());
}

TEST(a_damaged_state_file_is_replaced) {
  const auto path = use_state("damaged");
  auto* file = std::fopen(path.c_str(), "w");
  std::fputs("not the state of a device", file);
  std::fclose(file);
  const World world;
  CHECK(ms_of(world, nullptr, 1) > 0);
  struct stat status{};
  CHECK_EQ(stat(path.c_str(), &status), 0);
  CHECK_EQ(status.st_mode & 0777, 0600);
  unlink(path.c_str());
}

TEST(without_a_state_file_a_process_is_alone) {
  setenv("FICO_EMULATED_STATE", "/nonexistent/folder/state", 1);
  std::fclose(stderr);  // one line is said there
  const World world;
  CHECK(near(ms_of(world, nullptr, 1), 2));
}

TEST(random_kills_leave_a_usable_device) {
  const auto path = use_state("random-kills");
  for (unsigned round = 0; round < 100; ++round) {
    const pid_t victim = fork_child();
    if (victim == 0) {
      const World world;
      const auto stream = make_stream();
      while (true) {
        for (int i = 0; i < 10; ++i) OK(launch(world.function("spin"), stream, nullptr, 100));
        OK(CU(cuStreamSynchronize)(stream));
      }
    }
    usleep(round * 137 % 5000);
    kill(victim, SIGKILL);
    waitpid(victim, nullptr, 0);
  }
  const World world;
  ms_of(world, nullptr, 2);
  CHECK(near(ms_of(world, nullptr, 1), 2));
  unlink(path.c_str());
}
