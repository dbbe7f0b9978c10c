"""What the policy decided and when: fico timeline DIR

Of programs that were started with 'fico run --timeline DIR' or 'fico bench run --timeline DIR', or
still run. Writes a file for https://ui.perfetto.dev and prints where the time of requests went, in
µs of the device, on average. docs/live.md says what the columns and the tracks are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fico.cli.tables import print_table, print_wrapped

if TYPE_CHECKING:
    from fico.bench.marks import Mark


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="where timelines were recorded")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="for Perfetto; default: DIR/trace.json"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    of_bench = parser.add_argument_group("of 'fico bench'")
    of_bench.add_argument("--cell", metavar="TEXT", help="only cells whose name has TEXT in it")
    of_bench.add_argument("--policy", metavar="NAME", help="only runs under this policy")
    of_bench.add_argument("--round", type=int, metavar="N", help="only this round of each run")


def run(arguments: argparse.Namespace) -> int:
    """Write the trace and print the tables."""
    import json

    from fico.report.timeline import tracks
    from fico.report.timeline_figures import figure_tables, figures
    from fico.report.timeline_trace import trace_events
    from fico.runtime.errors import FicoError
    from fico.runtime.timeline_file import load_folder

    recordings = load_folder(arguments.folder)
    marks = _marks(arguments)
    found = list(tracks(recordings, marks))
    runs = {
        of: list(figures(list(tracks(recordings, its_marks))))
        for of, its_marks in _by_run(marks).items()
    }
    output = arguments.output or arguments.folder / "trace.json"
    scale = recordings[0].clock_scale if recordings else 1.0
    try:
        output.write_text(json.dumps(trace_events(found, marks, scale)))
    except OSError as error:
        raise FicoError(f"{output} cannot be written: {error.strerror}") from None
    if arguments.json:
        rows = [
            {"cell": cell, "policy": policy} | row.to_json()
            for (cell, policy), its_rows in runs.items()
            for row in its_rows
        ]
        print(json.dumps({"rows": rows}, indent=1))
        return 0
    for (cell, policy), its_rows in runs.items():
        if not its_rows:
            continue
        if cell is not None:
            print_wrapped(f"{cell} under {policy}\n")
        for table in figure_tables(its_rows):
            print_table(table)
            print()
    if not any(runs.values()):
        print("no request was recorded from its begin to its end under a policy that decides")
    for track in found:
        if track.lost:
            print_wrapped(
                f"{track.tenant} ({track.pid}): {track.lost} older records are lost: "
                "the file keeps the latest"
            )
    print_wrapped(f"open {output} in https://ui.perfetto.dev")
    return 0


def _by_run(marks: Sequence[Mark]) -> dict[tuple[str | None, str | None], list[Mark]]:
    """The rounds of each cell under each policy; without marks all is one run."""
    if not marks:
        return {(None, None): []}
    runs: dict[tuple[str | None, str | None], list[Mark]] = {}
    for mark in marks:
        runs.setdefault((mark.cell, mark.policy), []).append(mark)
    return runs


def _marks(arguments: argparse.Namespace) -> Sequence[Mark]:
    """The runs that were asked for; all of them where nothing was. UsageError if there is none."""
    from fico.bench.marks import read_marks
    from fico.runtime.errors import UsageError

    marks = read_marks(arguments.folder)
    chosen = [
        mark
        for mark in marks
        if (arguments.cell is None or arguments.cell in mark.cell)
        and (arguments.policy is None or arguments.policy == mark.policy)
        and (arguments.round is None or arguments.round == mark.round)
    ]
    asked = (arguments.cell, arguments.policy, arguments.round)
    if not chosen and any(word is not None for word in asked):
        names = sorted({f"{mark.cell} under {mark.policy}" for mark in marks})
        raise UsageError(
            f"{arguments.folder} has no such run",
            f"choose from {', '.join(names)}" if names else "only 'fico bench --timeline' has runs",
        )
    return chosen
