// The error of everything outside the hot path: one line that says what is wrong and what to do.
#pragma once

#include <stdexcept>
#include <string>

namespace fico::base {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A system call failed; carries its errno, so that callers can tell "absent" from "refused".
struct SystemError : Error {
  SystemError(int error_number, const std::string& text) : Error(text), number(error_number) {}
  int number;
};

}  // namespace fico::base
