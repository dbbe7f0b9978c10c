// What the emulated device tells, in the layout of CUPTI 13.0's activity records.
#pragma once

#include <cupti.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "emulator/trace_record.hpp"

namespace fico::emulator::cupti {

inline constexpr std::size_t kLargestRecord = sizeof(CUpti_ActivityKernel10);

/// Nothing where the kind is not emulated.
std::optional<TraceKind> trace_kind(CUpti_ActivityKind kind);
/// Bytes of a record; 0 where the kind is not emulated.
std::size_t record_bytes(CUpti_ActivityKind kind);

/// Writes a record as CUPTI lays it out and gives its length. `name` must stay valid for ever.
std::size_t write_record(const TraceRecord& record, const char* name,
                         std::span<std::uint8_t, kLargestRecord> target);

}  // namespace fico::emulator::cupti
