"""Quotas and sizes as people write them."""

import re
from dataclasses import dataclass

from fico.runtime.errors import UsageError

PPM = 1_000_000


@dataclass(frozen=True, slots=True)
class Quota:
    """A share of the SMs in millionths, or a number of units; both 0 is no quota."""

    ppm: int = 0
    units: int = 0

    def __str__(self) -> str:
        if self.units:
            return f"{self.units}u"
        return f"{self.ppm / 10_000:.6g}%" if self.ppm else "none"


NO_QUOTA = Quota()

_QUOTA = re.compile(r"(\d+(?:\.\d+)?)\s*%|(\d+)\s*u", re.IGNORECASE)


def parse_quota(text: str) -> Quota:
    """Read `40%`, `37.5%` or `6u` (units). UsageError for anything else, 0 and 101% included."""
    match = _QUOTA.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"quota {text!r} is not understood", "write a share as 40% or units as 6u")
    share, units = match.groups()
    if units is not None:
        if int(units) == 0:
            raise UsageError("quota 0u is no unit at all", "give at least 1u, or no quota")
        return Quota(units=int(units))
    ppm = round(float(share) * 10_000)
    if not 0 < ppm <= PPM:
        raise UsageError(
            f"quota {text} is out of range", "a share is more than 0% and at most 100%"
        )
    return Quota(ppm=ppm)


# As nvidia-smi, PyTorch and CUDA MPS count: G and GiB are the same; only GB is a power of ten.
_SIZE_UNITS: dict[str, int] = {
    "": 1,
    "b": 1,
    **{name + end: 1024**power for power, name in enumerate("kmgt", 1) for end in ("", "ib")},
    **{name + "b": 1000**power for power, name in enumerate("kmgt", 1)},
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Read a size in bytes: `20GiB` or `20G` (2^30), `20GB` (10^9), `512MiB`, plain bytes."""
    match = _SIZE.fullmatch(text.strip())
    scale = _SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or scale is None:
        raise UsageError(f"size {text!r} is not understood", "write it as 20GiB, 512MiB or bytes")
    size_bytes = round(float(match[1]) * scale)
    if size_bytes <= 0:
        raise UsageError(f"size {text!r} is nothing", "give a size above 0, or none")
    return size_bytes


def format_size(size_bytes: int) -> str:
    """Write a size for people: `20 GiB`, `1.5 GiB`, `300 B`."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
