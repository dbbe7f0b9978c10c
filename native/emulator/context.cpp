#include "emulator/context.hpp"

#include <algorithm>

#include "device/h200.hpp"
#include "emulator/capture.hpp"
#include "emulator/event.hpp"
#include "emulator/module.hpp"

namespace fico::emulator {

void open_context(Runtime& rt, Context& context) {
  context.id = rt.next_id++;
  context.legacy = std::make_unique<Stream>();
  context.legacy->context = &context;
  context.legacy->handle = CU_STREAM_LEGACY;
  context.legacy->is_legacy = true;
  context.legacy->id = rt.next_id++;
}

void close_context(Runtime& rt, Context& context) {
  for (auto* stream : context.streams) drop_from_capture(rt, *stream);
  rt.streams.remove_if([&](const Stream& s) { return s.context == &context; });
  rt.events.remove_if([&](const Event& e) { return e.context == &context; });
  rt.functions.remove_if(
      [&](const Function& f) { return f.module && f.module->context == &context; });
  rt.modules.remove_if([&](const Module& m) { return m.context == &context; });
  context.streams.clear();
  context.per_thread.clear();
  context.legacy.reset();
  context.orphans.clear();
  context.blocking_orphans.clear();
  context.limits.clear();
  context.flags = context.kind == Context::Kind::kPrimary ? context.flags : 0;
  memory().release_context(context.handle());
}

Context& context_of(Runtime& rt, CUcontext handle) {
  if (!handle) return current_context(rt);
  auto& context = rt.contexts.get(handle, CUDA_ERROR_INVALID_CONTEXT);
  require(context.is_active(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  return context;
}

Context& current_context(Runtime& rt) {
  const auto& stack = this_thread().contexts;
  require(!stack.empty() && stack.back(), CUDA_ERROR_INVALID_CONTEXT);
  auto& context = rt.contexts.get(stack.back(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  require(context.is_active(), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  return context;
}

Context& green_context_of(Runtime& rt, CUgreenCtx handle) {
  Context* found = nullptr;
  rt.contexts.for_each([&](Context& context) {
    if (context.kind == Context::Kind::kGreen && context.green() == handle) found = &context;
  });
  require(found != nullptr, CUDA_ERROR_INVALID_CONTEXT);
  return *found;
}

namespace {

std::vector<OpRef> work_of(Runtime& rt, Context& context, OpRef Stream::* newest) {
  std::vector<OpRef> work;
  const auto add = [&](const OpRef& op) {
    if (op && !op->is_done()) work.push_back(op);
  };
  rt.contexts.for_each([&](Context& each) {
    const bool included = &each == &context || (each.root == &context && context.root == &context);
    if (!included || !each.legacy) return;
    add((*each.legacy).*newest);
    for (auto* stream : each.streams) add(stream->*newest);
    for (const auto& op : each.orphans) add(op);
  });
  return work;
}

}  // namespace

std::vector<OpRef> all_work(Runtime& rt, Context& context) {
  return work_of(rt, context, &Stream::last);
}

std::vector<OpRef> awaited_work(Runtime& rt, Context& context) {
  return work_of(rt, context, &Stream::awaited);
}

Context& retain_primary(Runtime& rt) {
  auto& primary = *rt.primary;
  if (primary.users++ == 0) open_context(rt, primary);
  return primary;
}

void release_primary(Call& call) {
  auto& primary = *call.rt.primary;
  if (primary.users == 1) call.wait(all_work(call.rt, primary));
  if (--primary.users == 0) close_context(call.rt, primary);
}

}  // namespace fico::emulator
