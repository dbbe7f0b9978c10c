// SM resources and green contexts: the entry points.
#include <cstring>

#include "device/h200.hpp"
#include "emulator/capture.hpp"
#include "emulator/context.hpp"

using namespace fico::emulator;

namespace fico::emulator {
namespace {

using device::SmSet;

// What a CUdevResource carries in its private bytes.
struct ResourceContent {
  SmSet sms;
  std::uint64_t split = 0;  // identifies the split it came from; 0 for one that was queried
  bool co_scheduled = true;
};
static_assert(sizeof(ResourceContent) <= sizeof(CUdevResource::_internal_padding));

CUdevResource make_resource(const ResourceContent& content, unsigned alignment) {
  CUdevResource resource{};
  resource.type = CU_DEV_RESOURCE_TYPE_SM;
  resource.sm.smCount = content.sms.count();
  resource.sm.minSmPartitionSize = alignment;
  resource.sm.smCoscheduledAlignment = alignment;
  std::memcpy(resource._internal_padding, &content, sizeof content);
  return resource;
}

ResourceContent content_of(const CUdevResource& resource) {
  require(resource.type == CU_DEV_RESOURCE_TYPE_SM, CUDA_ERROR_INVALID_RESOURCE_TYPE);
  ResourceContent content;
  std::memcpy(&content, resource._internal_padding, sizeof content);
  require_value(content.sms.count() == resource.sm.smCount && content.sms.count() > 0);
  return content;
}

void write_resource(const Context& context, CUdevResource* resource, CUdevResourceType type) {
  require_value(resource != nullptr);
  require(type == CU_DEV_RESOURCE_TYPE_SM, CUDA_ERROR_INVALID_RESOURCE_TYPE);
  *resource = make_resource({context.sms, 0, context.co_scheduled},
                            context.co_scheduled ? device::kUnitSms : 2);
}

// A CUdevResourceDesc. The API has no call that destroys one, so they live as long as the process.
struct Description {
  SmSet sms;
  bool co_scheduled = true;
};

Table<Description>& descriptions() {
  static auto& table = *new Table<Description>;
  return table;
}

}  // namespace
}  // namespace fico::emulator

CUresult cuDeviceGetDevResource(CUdevice device, CUdevResource* resource, CUdevResourceType type) {
  return api([&](Call&) {
    require(device == 0, CUDA_ERROR_INVALID_DEVICE);
    write_resource(Context{}, resource, type);
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxGetDevResource(CUcontext handle, CUdevResource* resource, CUdevResourceType type) {
  return api([&](Call& call) {
    write_resource(context_of(call.rt, handle), resource, type);
    return CUDA_SUCCESS;
  });
}

CUresult cuGreenCtxGetDevResource(CUgreenCtx handle, CUdevResource* resource,
                                  CUdevResourceType type) {
  return api([&](Call& call) {
    write_resource(green_context_of(call.rt, handle), resource, type);
    return CUDA_SUCCESS;
  });
}

CUresult cuDevSmResourceSplitByCount(CUdevResource* result, unsigned* group_count,
                                     const CUdevResource* input, CUdevResource* remaining,
                                     unsigned flags, unsigned min_count) {
  return api([&](Call& call) {
    constexpr unsigned known_flags = CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING |
                                     CU_DEV_SM_RESOURCE_SPLIT_MAX_POTENTIAL_CLUSTER_SIZE;
    require_value(group_count != nullptr && input != nullptr && (flags & ~known_flags) == 0);
    const auto whole = content_of(*input);
    require_value(min_count <= whole.sms.count());
    const bool co_scheduled =
        whole.co_scheduled && !(flags & CU_DEV_SM_RESOURCE_SPLIT_IGNORE_SM_COSCHEDULING);
    const auto split = fico::device::split_sms(whole.sms, min_count, co_scheduled,
                                               result ? *group_count : fico::device::kSmCount);
    require(!split.groups.empty(), CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
    *group_count = static_cast<unsigned>(split.groups.size());
    const auto id = call.rt.next_id++;
    const unsigned alignment = co_scheduled ? fico::device::kUnitSms : 2;
    for (unsigned group = 0; result && group < *group_count; ++group) {
      result[group] = make_resource({split.groups[group], id, co_scheduled}, alignment);
    }
    if (remaining && split.remainder.count()) {
      *remaining = make_resource({split.remainder, id, co_scheduled}, 0);
    } else if (remaining) {
      *remaining = CUdevResource{};
    }
    return CUDA_SUCCESS;
  });
}

CUresult cuDevResourceGenerateDesc(CUdevResourceDesc* out, CUdevResource* resources,
                                   unsigned count) {
  return api([&](Call&) {
    require_value(out != nullptr && resources != nullptr && count > 0);
    auto description = std::make_unique<Description>();
    const auto first = content_of(resources[0]);
    for (unsigned i = 0; i < count; ++i) {
      const auto content = content_of(resources[i]);
      // Several must be distinct outputs of one split.
      require(i == 0 || (first.split != 0 && content.split == first.split),
              CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
      require(!description->sms.intersects(content.sms), CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
      description->sms |= content.sms;
      description->co_scheduled &= content.co_scheduled;
    }
    *out = descriptions().add<CUdevResourceDesc>(std::move(description));
    return CUDA_SUCCESS;
  });
}

CUresult cuGreenCtxCreate(CUgreenCtx* out, CUdevResourceDesc handle, CUdevice device,
                          unsigned flags) {
  return api([&](Call& call) {
    require_value(out != nullptr && flags == CU_GREEN_CTX_DEFAULT_STREAM);
    require(device == 0, CUDA_ERROR_INVALID_DEVICE);
    check_unsafe_call(call.rt);
    const auto& description = descriptions().get(handle, CUDA_ERROR_INVALID_VALUE);
    auto context = std::make_unique<Context>();
    context->kind = Context::Kind::kGreen;
    context->root = &retain_primary(call.rt);
    context->sms = description.sms;
    context->co_scheduled = description.co_scheduled;
    open_context(call.rt, *context);
    memory().charge(fico::device::kGreenContextBytes);
    *out = context->green();
    call.rt.contexts.add<CUcontext>(std::move(context));
    return CUDA_SUCCESS;
  });
}

CUresult cuGreenCtxDestroy(CUgreenCtx handle) {
  return api([&](Call& call) {
    auto* context = &green_context_of(call.rt, handle);
    call.wait(all_work(call.rt, *context));
    context = &green_context_of(call.rt, handle);
    close_context(call.rt, *context);
    call.rt.contexts.remove(context);
    memory().discharge(fico::device::kGreenContextBytes);
    release_primary(call);
    return CUDA_SUCCESS;
  });
}

CUresult cuCtxFromGreenCtx(CUcontext* out, CUgreenCtx handle) {
  return api([&](Call& call) {
    require_value(out != nullptr);
    *out = green_context_of(call.rt, handle).handle();
    return CUDA_SUCCESS;
  });
}

CUresult cuGreenCtxGetId(CUgreenCtx handle, unsigned long long* id) {
  return api([&](Call& call) {
    require_value(id != nullptr);
    *id = green_context_of(call.rt, handle).id;
    return CUDA_SUCCESS;
  });
}
