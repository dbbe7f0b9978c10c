#include "op_runner_program.hpp"

#include <charconv>
#include <sstream>

namespace fico::testing {
namespace {

constexpr int kMaxThreads = 4;

std::uint32_t parse_number(const std::string& text) {
  std::uint32_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) throw ProgramError("not a number: " + text);
  return value;
}

void read_line(Program& program, int line, const std::string& text) {
  std::istringstream in(text);
  Call call{.line = line, .operation = {}, .args = {}};
  std::string first;
  in >> first;
  for (std::string word; in >> word;) call.args.push_back(word);
  const auto number = [&call](std::size_t index) { return static_cast<int>(call.number(index)); };
  if (first == "words") {
    program.words = number(0);
  } else if (first == "contexts") {
    program.contexts = number(0);
  } else if (first == "device" || first == "dynamic") {
    program.buffers.push_back(
        {.kind = 'd', .id = number(0), .context = number(1), .dynamic = first == "dynamic"});
  } else if (first == "host") {
    program.buffers.push_back({.kind = 'h', .id = number(0), .pinned = call.text(1) == "pinned"});
  } else {
    const std::uint32_t thread = parse_number(first);
    if (thread >= kMaxThreads) throw ProgramError("no such thread: " + first);
    if (program.threads.size() <= thread) program.threads.resize(thread + 1);
    call.operation = call.text(0);
    call.args.erase(call.args.begin());
    program.threads[thread].push_back(std::move(call));
  }
}

}  // namespace

const std::string& Call::text(std::size_t index) const {
  if (index >= args.size()) throw ProgramError(operation + ": an argument is missing");
  return args[index];
}

std::uint32_t Call::number(std::size_t index) const { return parse_number(text(index)); }

Program read_program(std::istream& in) {
  Program program;
  int line = 0;
  for (std::string text; std::getline(in, text) && text != "end";) {
    ++line;
    if (text.empty() || text[0] == '#') continue;
    try {
      read_line(program, line, text);
    } catch (const ProgramError& error) {
      throw ProgramError("line " + std::to_string(line) + ": " + error.what());
    }
  }
  return program;
}

int id_of(char kind, const std::string& name) {
  if (name.size() < 2 || name[0] != kind) throw ProgramError("no such name: " + name);
  return static_cast<int>(parse_number(name.substr(1)));
}

}  // namespace fico::testing
