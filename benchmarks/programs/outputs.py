"""What every program here does with its results: one digest of all bytes, printed as one JSON line.

As a tenant a program also prints its own row of the session's arena, the counters above all, as
its last act: nobody else can read them later than that.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any


class Outputs:
    """All results of a program, in the order in which they are added."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._finite = True

    def add(self, *values: Any) -> None:
        """Add bytes, or arrays of NumPy, PyTorch, CuPy or JAX. Waits for those on a GPU."""
        for value in values:
            content = self._content(value)
            self._digest.update(content)
            self._bytes += len(content)

    def _content(self, value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        import numpy

        if hasattr(value, "detach"):  # PyTorch; not every type of it has a counterpart in NumPy
            import torch

            tensor = value.detach().cpu().contiguous()
            if tensor.is_floating_point():
                self._finite &= bool(torch.isfinite(tensor).all())
            described = f"{tensor.dtype}{tuple(tensor.shape)}"
            content: bytes = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
            return described.encode() + content
        array = numpy.ascontiguousarray(value.get() if hasattr(value, "get") else value)
        if array.dtype.kind == "f":
            self._finite &= bool(numpy.isfinite(array).all())
        content = array.tobytes()
        return f"{array.dtype}{array.shape}".encode() + content

    def report(self, **more: Any) -> None:
        """Print the line. RuntimeError if the results prove nothing: none, or NaN among them."""
        if not self._bytes or not self._finite:
            raise RuntimeError("the program's results are empty, infinite or not a number")
        line = {
            "digest": self._digest.hexdigest(),
            "output_bytes": self._bytes,
            **more,
            "tenant": tenant_row(),
        }
        print(json.dumps(line), flush=True)


def tenant_row() -> dict[str, Any] | None:
    """This process's row of the arena: counters, notes, units; None if it is no tenant."""
    arena, member = os.environ.get("FICO_ARENA"), os.environ.get("FICO_TENANT")
    if arena is None or member is None:
        return None
    from fico import _native

    place = [int(word) for word in member.split(":")]
    for row in _native.Arena.open(arena).tenants():
        if [row["slot"], row["generation"]] == place:
            return dict(row)
    return None


def launches_seen() -> int | None:
    """Kernel launches that Fico has counted for this process's tenant; None if it is no tenant."""
    row = tenant_row()
    return None if row is None else int(row["counters"]["launches"])
