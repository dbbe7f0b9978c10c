#include "base/limit.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "base/log.hpp"

namespace fico::base {

std::size_t limit(const char* variable, std::size_t usual) {
  const char* text = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe)
  if (text == nullptr) return usual;
  std::size_t number = 0;
  const char* end = text + std::strlen(text);
  const auto read = std::from_chars(text, end, number);
  if (read.ec == std::errc{} && read.ptr == end) return number;
  log_line("%s is '%s', not a number: it is taken as %zu", variable, text, usual);
  return usual;
}

}  // namespace fico::base
