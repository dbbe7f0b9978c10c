"""Programs with graphs that are long enough to be cut into segments: what is in them, and what
becomes of them between and after their launches.

In the language of op_runner, as ordering_rules.py. The library cuts a graph that no profile knows
after every 16 kernels.
"""

from __future__ import annotations

from collections.abc import Iterable

EACH = 16
"""Kernels of a segment."""


def kernels(graph: str, first: int, count: int, seed: int, after: str = "") -> list[str]:
    """A chain of kernels over d0 and d1, as nodes `first` and on; after node `after`, if given."""
    lines = []
    for i in range(count):
        node = first + i
        before = after if i == 0 else str(node - 1)
        kernel = f"mix d0 {seed + i}" if i % 3 else f"mix2 d1 d0 {seed + i}"
        lines.append(f"0 node_kernel {graph} {node} {before or '-'} {kernel}")
    return lines


def program(*parts: str | Iterable[str]) -> str:
    """The lines of all parts, each a call or calls with semicolons between."""
    groups = [[part] if isinstance(part, str) else part for part in parts]
    return "\n".join(line.replace("; ", "\n") for group in groups for line in group)


def captured(graph: str, stream: str, seed: int, count: int = 40) -> list[str]:
    launches = [
        f"0 launch {stream} plain mix2 d{1 - i % 2} d{i % 2} {seed + i}" for i in range(count)
    ]
    return [f"0 begin_capture {stream} global", *launches, f"0 end_capture {stream} {graph}"]


LONG = program("0 graph_create g0", kernels("g0", 0, 40, 1), "0 instantiate x0 g0")

# Everything waits until the last line: what is not in order comes first then.
FIRST_MOVES = {
    "of a blocking stream": program(
        LONG,
        "0 wait_value s0 0 3 7",
        "0 graph_launch x0 s0",
        "0 launch null plain mix2 d3 d1 7",
        "0 write_value s2 0 3 7",
    ),
    "of the legacy stream": program(
        LONG,
        "0 wait_value null 0 3 7",
        "0 graph_launch x0 null",
        "0 launch s0 plain mix2 d3 d1 7",
        "0 write_value s2 0 3 7",
    ),
}

CUT_RULES = {
    "pieces of a graph keep its order": program(
        LONG,
        "0 launch s2 plain mix d0 5",
        "0 graph_launch x0 s2",
        "0 launch s2 plain mix2 d2 d1 6",
        "0 graph_launch x0 s2",
        "0 copy_async s2 h0 d1",
    ),
    "pieces on the legacy stream order blocking streams": program(
        LONG,
        "0 launch s0 plain mix d0 5",
        "0 graph_launch x0 null",
        "0 launch s1 plain mix2 d2 d1 6; 0 launch null plain mix d3 4",
        "0 graph_launch x0 s0",
        "0 launch null plain mix2 d3 d1 7",
    ),
    "launches of a graph in pieces follow each other on any stream": program(
        LONG,
        [f"0 graph_launch x0 {stream}" for stream in ("s2", "s3", "s0", "pt", "s2", "null", "s3")],
    ),
    "copies, fills and host functions in a graph that is cut": program(
        "0 graph_create g0",
        kernels("g0", 0, 15, 1),
        "0 node_copy g0 15 14 h0 d0",
        "0 node_host g0 16 15 h0 3",
        "0 node_copy g0 17 16 d0 h0",
        kernels("g0", 18, 2, 50, "17"),
        "0 node_memset g0 20 - d2 32 7; 0 node_empty g0 21 20,19; 0 node_copy g0 22 21 d3 d2",
        "0 node_kernel g0 23 22 mix2 d0 d3 9",
        kernels("g0", 24, 20, 70, "23"),
        "0 node_copy g0 44 43 h1 d1; 0 node_host g0 45 44 h1 4; 0 node_memset g0 46 44 d2 16 8",
        "0 instantiate x0 g0",
        ["0 graph_launch x0 s2"] * 3,
        "0 copy_async s2 d2 h1",
    ),
    "nothing but copies and host functions": program(
        "0 graph_create g0; 0 node_copy g0 0 - h0 d0; 0 node_host g0 1 0 h0 3",
        "0 node_copy g0 2 1 d0 h0; 0 instantiate x0 g0",
        ["0 graph_launch x0 s2"] * 2,
        "0 launch s2 plain mix2 d1 d0 4",
    ),
    "a graph of nothing": program(
        "0 launch s2 plain mix d0 1; 0 graph_create g0; 0 instantiate x0 g0",
        "0 graph_launch x0 s2; 0 record e0 s2; 0 wait s3 e0; 0 launch s3 plain mix2 d1 d0 4",
    ),
    "branches that meet are cut": program(
        "0 graph_create g0; 0 node_kernel g0 0 - mix d0 1",
        [f"0 node_kernel g0 {n} {n - 1} mix d0 {n}" for n in range(1, 12)],
        "0 node_kernel g0 12 0 mix d1 3; 0 node_kernel g0 13 - mix d2 4",
        [f"0 node_kernel g0 {n} {n - 1} mix d2 {n}" for n in range(14, 30)],
        "0 node_kernel g0 30 12,11 mix2 d1 d0 5; 0 node_kernel g0 31 30,29 mix2 d1 d2 6",
        kernels("g0", 32, 12, 80, "31"),
        "0 instantiate x0 g0",
        ["0 graph_launch x0 s2"] * 3,
    ),
    "a child graph between two cuts": program(
        "0 graph_create g0",
        kernels("g0", 0, 6, 1),
        "0 graph_create g1",
        kernels("g1", 0, 10, 20),
        "0 node_child g1 10 9 g0",
        kernels("g1", 11, 20, 40, "10"),
        "0 instantiate x0 g1",
        ["0 graph_launch x0 s2"] * 3,
    ),
    "a child graph across a cut": program(
        "0 graph_create g0",
        kernels("g0", 0, 12, 1),
        "0 graph_create g1",
        kernels("g1", 0, 10, 20),
        "0 node_child g1 10 9 g0",
        kernels("g1", 11, 20, 40, "10"),
        "0 instantiate x0 g1",
        ["0 graph_launch x0 s2"] * 3,
    ),
    "an update between two launches in pieces": program(
        captured("g0", "s2", 1),
        "0 instantiate x0 g0; 0 graph_launch x0 s2",
        captured("g1", "s2", 100),
        "0 exec_update x0 g1; 0 graph_launch x0 s2; 0 graph_launch x0 s3",
        captured("g2", "s2", 200),
        "0 exec_update x0 g2; 0 graph_launch x0 s2; 0 exec_update x0 g0; 0 graph_launch x0 s2",
    ),
    "nodes changed between two launches in pieces": program(
        LONG,
        "0 graph_launch x0 s2",
        [
            line
            for node in (0, 15, 16, 31, 39)
            for line in (f"0 exec_set x0 g0 {node} mix d1 {node + 300}", "0 graph_launch x0 s2")
        ],
    ),
    "children and fills changed between two launches in pieces": program(
        "0 graph_create g0",
        kernels("g0", 0, 4, 1),
        "0 graph_create g1",
        "0 node_memset g1 0 - d2 32 4",
        kernels("g1", 1, 11, 20, "0"),
        "0 node_child g1 12 11 g0",
        kernels("g1", 13, 20, 40, "12"),
        "0 instantiate x0 g1; 0 graph_launch x0 s2",
        "0 graph_create g2",
        kernels("g2", 0, 4, 400),
        "0 exec_child x0 g1 12 g2; 0 graph_launch x0 s2",
        "0 exec_memset x0 g1 0 d2 32 9; 0 graph_launch x0 s2",
        "0 exec_child x0 g1 12 g0; 0 graph_launch x0 s2",
    ),
    "a graph destroyed while its pieces run": program(
        LONG,
        "0 graph_destroy g0; 0 graph_launch x0 s2; 0 exec_destroy x0",
        "0 launch s2 plain mix d1 3; 0 graph_create g1",
        kernels("g1", 0, 40, 500),
        "0 instantiate x0 g1; 0 graph_launch x0 s2; 0 exec_destroy x0; 0 ctx_sync",
        "0 copy_async s2 h0 d1",
    ),
    "a synchronised context has run all pieces": program(
        "0 graph_create g0",
        kernels("g0", 0, 40, 1),
        "0 node_copy g0 40 39 h0 d1; 0 instantiate x0 g0; 0 graph_launch x0 s2; 0 ctx_sync",
        "0 host_mix h0 2; 0 graph_launch x0 s3; 0 ctx_sync; 0 host_mix h0 3",
    ),
    "a graph in pieces behind work that waits": program(
        LONG,
        "0 wait_value s2 0 3 7; 0 post p0; 1 await p0; 1 post p1; 0 graph_launch x0 s2",
        "1 launch s3 plain mix d2 1; 1 stream_sync s3; 1 write_value s3 0 3 7",
        "0 launch s2 plain mix d1 2",
    ),
    "other threads launch while a graph goes out in pieces": program(
        LONG,
        "0 post p0; 1 await p0; 0 post p1; 2 await p1",
        [f"0 graph_launch x0 s2; 1 launch s3 plain mix d2 {i}" for i in range(4)],
        [f"2 launch pt plain mix d3 {i}" for i in range(8)],
        "2 stream_sync pt; 2 launch null@p plain mix d3 9",
    ),
    "another thread captures while a graph goes out in pieces": program(
        LONG,
        "0 post p0; 1 await p0; 1 begin_capture s3 thread",
        "0 graph_launch x0 s2; 0 post p1; 0 graph_launch x0 s2",
        [f"1 launch s3 plain mix d2 {i}" for i in range(20)],
        "1 await p1; 1 end_capture s3 g1; 1 instantiate x1 g1; 1 graph_launch x1 s3",
        "0 graph_launch x0 s2; 1 graph_launch x1 s3",
    ),
    "forked children exit while instances are built": program(
        *[
            part
            for _ in range(4)
            for part in (
                *[
                    line
                    for g in range(6)
                    for line in (
                        f"0 graph_create g{g}",
                        kernels(f"g{g}", 0, 60, 100 + g),
                        f"0 instantiate x{g} g{g}",
                    )
                ],
                [f"0 graph_launch x{g} s2" for g in range(6)],
                "0 fork_child exit; 0 fork_child exit; 0 fork_child exit",
                [f"0 exec_destroy x{g}; 0 graph_destroy g{g}" for g in range(6)],
            )
        ],
        "0 copy_async s2 h0 d1",
    ),
    "forked children change nothing in launches in pieces": program(
        LONG,
        "0 post p0; 1 await p0; 1 fork_child end",
        ["0 graph_launch x0 s2; 1 fork_child end; 0 launch s2 plain mix d0 4"] * 4,
        "0 fork_child end; 0 graph_launch x0 s2",
    ),
}
