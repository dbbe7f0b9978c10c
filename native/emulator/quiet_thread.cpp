#include "emulator/quiet_thread.hpp"

#include <pthread.h>

#include <csignal>
#include <system_error>

namespace fico::emulator {
namespace {

struct ThreadStart {
  void (*body)(void*);
  void* argument;
};

void* enter_thread(void* raw) {
  const auto start = *static_cast<ThreadStart*>(raw);
  delete static_cast<ThreadStart*>(raw);
  start.body(start.argument);
  return nullptr;
}

}  // namespace

void start_quiet_thread(void (*body)(void*), void* argument) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  auto* start = new ThreadStart{body, argument};
  const int error = pthread_create(&thread, nullptr, enter_thread, start);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error) {
    delete start;
    throw std::system_error(error, std::generic_category(), "no thread for the emulated device");
  }
  pthread_detach(thread);
}

}  // namespace fico::emulator
