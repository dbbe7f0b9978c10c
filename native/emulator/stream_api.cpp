// Streams: the entry points.
#include <algorithm>

#include "emulator/capture.hpp"
#include "emulator/context.hpp"
#include "emulator/stream.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

Stream& add_stream(Runtime& rt, Context& context, unsigned flags, int priority) {
  auto stream = std::make_unique<Stream>();
  stream->context = &context;
  stream->flags = flags;
  stream->priority = std::clamp(priority, kGreatestPriority, kLeastPriority);
  stream->id = rt.next_id++;
  auto& added = *stream;
  added.handle = rt.streams.add<CUstream>(std::move(stream));
  context.streams.push_back(&added);
  return added;
}

}  // namespace
}  // namespace fico::emulator

CUresult cuStreamCreateWithPriority(CUstream* out, unsigned flags, int priority) {
  return api([&](Call& call) {
    require_value(out != nullptr && (flags & ~unsigned{CU_STREAM_NON_BLOCKING}) == 0);
    *out = add_stream(call.rt, current_context(call.rt), flags, priority).handle;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamCreate(CUstream* out, unsigned flags) {
  return cuStreamCreateWithPriority(out, flags, 0);
}

CUresult cuGreenCtxStreamCreate(CUstream* out, CUgreenCtx handle, unsigned flags, int priority) {
  return api([&](Call& call) {
    require_value(out != nullptr && flags == CU_STREAM_NON_BLOCKING);
    *out = add_stream(call.rt, green_context_of(call.rt, handle), flags, priority).handle;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamDestroy_v2(CUstream handle) {
  return api([&](Call& call) {
    auto& stream = call.rt.streams.get(handle);
    drop_from_capture(call.rt, stream);
    auto& context = *stream.context;
    // Its work goes on, and the legacy stream and synchronisations still wait for it.
    std::erase_if(context.orphans, [](const OpRef& op) { return op->is_done(); });
    std::erase_if(context.blocking_orphans, [](const OpRef& op) { return op->is_done(); });
    if (stream.last && !stream.last->is_done()) {
      context.orphans.push_back(stream.last);
      if (stream.is_blocking()) context.blocking_orphans.push_back(stream.last);
    }
    std::erase(context.streams, &stream);
    call.rt.streams.remove(handle);
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamQuery(CUstream handle) {
  return api([&](Call& call) {
    auto& stream = stream_of(call.rt, handle);
    require_not_capturing(call.rt, stream);
    check_unsafe_call(call.rt);
    return tail_of(stream).empty() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
  });
}

CUresult cuStreamSynchronize(CUstream handle) {
  return api([&](Call& call) {
    auto& stream = stream_of(call.rt, handle);
    require_not_capturing(call.rt, stream);
    check_unsafe_call(call.rt);
    call.wait(tail_of(stream));
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetPriority(CUstream handle, int* priority) {
  return api([&](Call& call) {
    require_value(priority != nullptr);
    *priority = stream_of(call.rt, handle).priority;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetFlags(CUstream handle, unsigned* flags) {
  return api([&](Call& call) {
    require_value(flags != nullptr);
    *flags = stream_of(call.rt, handle).flags;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetId(CUstream handle, unsigned long long* id) {
  return api([&](Call& call) {
    require_value(id != nullptr);
    *id = stream_of(call.rt, handle).id;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetDevice(CUstream handle, CUdevice* device) {
  return api([&](Call& call) {
    require_value(device != nullptr);
    stream_of(call.rt, handle);
    *device = 0;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetCtx(CUstream handle, CUcontext* out) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    *out = stream_of(call.rt, handle).context->handle();
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetCtx_v2(CUstream handle, CUcontext* out, CUgreenCtx* green) {
  return api([&](Call& call) {
    require_value(out != nullptr && green != nullptr);
    auto& context = *stream_of(call.rt, handle).context;
    const bool is_green = context.kind == Context::Kind::kGreen;
    *green = is_green ? context.green() : nullptr;
    *out = context.root->handle();
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetGreenCtx(CUstream handle, CUgreenCtx* green) {
  return api([&](Call& call) {
    require_value(green != nullptr);
    auto& context = *stream_of(call.rt, handle).context;
    *green = context.kind == Context::Kind::kGreen ? context.green() : nullptr;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamGetAttribute(CUstream handle, CUstreamAttrID id, CUstreamAttrValue* value) {
  return api([&](Call& call) {
    require_value(value != nullptr);
    auto& stream = stream_of(call.rt, handle);
    const auto known = stream.attributes.find(id);
    *value = known == stream.attributes.end() ? CUstreamAttrValue{} : known->second;
    if (id == CU_STREAM_ATTRIBUTE_PRIORITY) value->priority = stream.priority;
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamSetAttribute(CUstream handle, CUstreamAttrID id, const CUstreamAttrValue* value) {
  return api([&](Call& call) {
    require_value(value != nullptr);
    auto& stream = stream_of(call.rt, handle);
    stream.attributes[id] = *value;
    if (id == CU_STREAM_ATTRIBUTE_PRIORITY) {
      stream.priority = std::clamp(value->priority, kGreatestPriority, kLeastPriority);
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamCopyAttributes(CUstream target, CUstream source) {
  return api([&](Call& call) {
    stream_of(call.rt, target).attributes = stream_of(call.rt, source).attributes;
    return CUDA_SUCCESS;
  });
}

// What a stream does besides kernels and copies.

CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* user_data) {
  return api([&](Call& call) {
    require_value(function != nullptr);
    enqueue(call, stream_of(call.rt, handle),
            HostCall{.function = function, .user_data = user_data});
    return CUDA_SUCCESS;
  });
}

CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void* user_data,
                             unsigned flags) {
  return api([&](Call& call) {
    require_value(callback != nullptr && flags == 0);
    auto& stream = stream_of(call.rt, handle);
    require_not_capturing(call.rt, stream);
    submit_to(call, stream,
              HostCall{.callback = callback, .stream = handle, .user_data = user_data});
    return CUDA_SUCCESS;
  });
}

namespace fico::emulator {
namespace {

CUresult value_operation(CUstream handle, CUdeviceptr address, unsigned bytes, Work work) {
  return api([&](Call& call) {
    require_value(address % bytes == 0 && memory().device_can_reach(address, bytes));
    auto& stream = stream_of(call.rt, handle);
    // Batch memory nodes are not emulated, so these cannot be captured.
    require_not_capturing(call.rt, stream);
    submit_to(call, stream, std::move(work));
    return CUDA_SUCCESS;
  });
}

}  // namespace
}  // namespace fico::emulator

CUresult cuStreamWaitValue32_v2(CUstream stream, CUdeviceptr address, cuuint32_t value,
                                unsigned flags) {
  return value_operation(stream, address, 4, ValueWait{address, value, 4, flags});
}
CUresult cuStreamWaitValue64_v2(CUstream stream, CUdeviceptr address, cuuint64_t value,
                                unsigned flags) {
  return value_operation(stream, address, 8, ValueWait{address, value, 8, flags});
}
CUresult cuStreamWriteValue32_v2(CUstream stream, CUdeviceptr address, cuuint32_t value, unsigned) {
  return value_operation(stream, address, 4, ValueWrite{address, value, 4});
}
CUresult cuStreamWriteValue64_v2(CUstream stream, CUdeviceptr address, cuuint64_t value, unsigned) {
  return value_operation(stream, address, 8, ValueWrite{address, value, 8});
}
CUresult cuStreamWaitValue32(CUstream stream, CUdeviceptr address, cuuint32_t value,
                             unsigned flags) {
  return cuStreamWaitValue32_v2(stream, address, value, flags);
}
CUresult cuStreamWaitValue64(CUstream stream, CUdeviceptr address, cuuint64_t value,
                             unsigned flags) {
  return cuStreamWaitValue64_v2(stream, address, value, flags);
}
CUresult cuStreamWriteValue32(CUstream stream, CUdeviceptr address, cuuint32_t value,
                              unsigned flags) {
  return cuStreamWriteValue32_v2(stream, address, value, flags);
}
CUresult cuStreamWriteValue64(CUstream stream, CUdeviceptr address, cuuint64_t value,
                              unsigned flags) {
  return cuStreamWriteValue64_v2(stream, address, value, flags);
}
