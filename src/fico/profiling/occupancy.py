"""How many blocks of a kernel one SM holds at once.

Limits of compute capability 9.0 (Hopper): CUDA C++ Programming Guide, "Technical Specifications
per Compute Capability", and the CUDA Occupancy Calculator for the granularities.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmLimits:
    """What one SM has."""

    threads: int
    blocks: int
    registers: int
    register_granularity: int
    """Registers are given to a warp in multiples of this."""
    warp_granularity: int
    """The register file is split over this many schedulers."""
    shared_bytes: int
    reserved_shared_bytes: int
    """That the driver takes for itself, a block."""
    shared_granularity_bytes: int


HOPPER = SmLimits(
    threads=2048,
    blocks=32,
    registers=65536,
    register_granularity=256,
    warp_granularity=4,
    shared_bytes=228 * 1024,
    reserved_shared_bytes=1024,
    shared_granularity_bytes=128,
)
_WARP = 32


def blocks_per_sm(
    threads: int, registers: int, shared_bytes: int, limits: SmLimits = HOPPER
) -> int:
    """Blocks of `threads` threads that one SM holds at once; at least 1, since the kernel did run.

    `registers` a thread, `shared_bytes` a block, static and dynamic together.
    """
    warps = max(-(-threads // _WARP), 1)
    fits = min(limits.blocks, limits.threads // (warps * _WARP))
    if registers:
        per_warp = _rounded_up(registers * _WARP, limits.register_granularity)
        resident = limits.registers // per_warp
        resident -= resident % limits.warp_granularity
        fits = min(fits, resident // warps)
    if shared_bytes:
        per_block = _rounded_up(shared_bytes, limits.shared_granularity_bytes)
        fits = min(fits, limits.shared_bytes // (per_block + limits.reserved_shared_bytes))
    return max(fits, 1)


def _rounded_up(value: int, granularity: int) -> int:
    return -(-value // granularity) * granularity
