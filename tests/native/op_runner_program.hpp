#pragma once

#include <cstddef>
#include <cstdint>
#include <istream>
#include <stdexcept>
#include <string>
#include <vector>

// The text of a program of driver calls. The order of the lines is one order in which the program
// could run; only what CUDA orders, and the posts and awaits of the threads, order the run itself.
//
//   words 32                    length of every buffer in 32-bit words
//   contexts 2                  0 is the primary context, the others are made by cuCtxCreate
//   device 3 1                  device buffer d3 in context 1
//   dynamic 4 0                 device buffer d4, which the program itself allocates and frees
//   host 0 pinned|pageable      host buffer h0
//   THREAD OPERATION ARGS...    one call by a thread (0..3), see op_runner_calls.cpp and
//                               op_runner_graphs.cpp
//   # ...                       a comment
namespace fico::testing {

struct ProgramError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Call {
  int line = 0;
  std::string operation;
  std::vector<std::string> args;

  // The argument; throws ProgramError where it is missing.
  const std::string& text(std::size_t index) const;
  std::uint32_t number(std::size_t index) const;
};

struct BufferSpec {
  char kind = 'd';  // d or h
  int id = 0;
  int context = 0;
  bool dynamic = false;
  bool pinned = false;
};

struct Program {
  int words = 32;
  int contexts = 1;
  std::vector<BufferSpec> buffers;
  std::vector<std::vector<Call>> threads;
};

// Reads to the line `end` or to the end of the stream. Throws ProgramError with the line's number.
Program read_program(std::istream& in);

// The number in a name such as d3 or s12; throws ProgramError for any other text.
int id_of(char kind, const std::string& name);

}  // namespace fico::testing
