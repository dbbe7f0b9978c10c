"""The identity of GPU operations: numbers that are equal where the operations are the same code.

A signature is what does not change when a program repeats itself: kind, name, grid, block,
cluster, registers, shared memory, and bytes for copies and fills. A family is kind and name only:
a step whose shapes grow keeps its families. Graph ids, streams and contexts are no identity, since
programs instantiate their graphs anew and take streams from pools. Both are 64-bit hashes, equal
across windows and programs; the sum of hashes over a set of operations is the identity of the set
whatever its order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fico.profiling.records import KERNEL, Window

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]


@lru_cache(maxsize=65536)
def _name_hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def mixed(values: Hashes) -> Hashes:
    """Scatter 64-bit numbers evenly (the finalizer of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def joined(left: Hashes, right: Hashes) -> Hashes:
    """The hash of ordered pairs."""
    with np.errstate(over="ignore"):
        return mixed(mixed(left + np.uint64(0x9E3779B97F4A7C15)) + right)


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """The operations of a window in the order in which the program issued them.

    Operations on several streams start in an order that varies from request to request; the order
    of the calls does not, nor does that of the nodes within a graph.
    """

    order: Indices
    """Rows of `Window.operations`."""
    signatures: Hashes
    families: Hashes
    start_ns: Indices
    end_ns: Indices
    piece_begins: Indices
    """Where a piece begins: a graph launch, or one operation outside of graphs."""


def sequence_of(window: Window) -> Sequence:
    """Put the operations of a window in order and hash them."""
    rows = window.operations
    node = np.where(rows["graph_id"] != 0, rows["graph_node"], 0)
    order = np.lexsort((rows["start_ns"], node, rows["correlation"]))
    # CUPTI gives 0 where it could not take the time.
    timed = (rows["start_ns"] > 0) & (rows["end_ns"] >= rows["start_ns"])
    order = order[timed[order]]
    rows = rows[order]
    in_graph = rows["graph_id"] != 0
    names = np.array([_name_hash(name) for name in window.names] or [0], dtype=np.uint64)
    families = joined(names[rows["name"]], rows["kind"].astype(np.uint64))
    signatures = families
    columns = [rows[name][:, axis] for name in ("grid", "block", "cluster") for axis in range(3)]
    columns += [rows[name] for name in ("registers", "static_shared", "dynamic_shared")]
    columns.append(np.where(rows["kind"] == KERNEL, 0, rows["bytes"]))
    for column in columns:
        signatures = joined(signatures, column.astype(np.uint64))
    goes_on = (
        in_graph[1:]
        & in_graph[:-1]
        & (rows["correlation"][1:] == rows["correlation"][:-1])
        & (rows["graph_id"][1:] == rows["graph_id"][:-1])
    )
    return Sequence(
        order=order.astype(np.int64),
        signatures=signatures,
        families=families,
        start_ns=rows["start_ns"].astype(np.int64),
        end_ns=rows["end_ns"].astype(np.int64),
        piece_begins=np.flatnonzero(np.concatenate(([len(rows) > 0], ~goes_on))).astype(np.int64)
        if len(rows)
        else np.zeros(0, dtype=np.int64),
    )
