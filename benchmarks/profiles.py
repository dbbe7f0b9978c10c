"""Profiles of the models that ship with Fico, measured on this machine's GPU.

    python benchmarks/profiles.py --output FOLDER [MODEL:BATCH:MODE...]

Runs `fico profile` for each of programs/closed_loop.py's models; without names, for all that ship
and those that are held out. `fico profile analyse` makes a profile again from the raw measurement,
`ship_profiles.py` all that ship. FOLDER/profiling.json has, for each program, how long its start
and all of it took, and how much slower it was while it was traced, on all units and on half of
them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import common
from fico.profiling import raw_file
from fico.profiling.records import Measurement

MODELS = ("resnet152", "resnet101", "densenet201", "vgg16", "mobilenet_v2")
SHIPPED = (
    *(f"{model}:{batch}:graph" for batch in (8, 1, 32) for model in MODELS),
    "decoder:1:graph",
    *(f"{model}:8:eager" for model in MODELS),
)
HELD_OUT = ("resnet50:8:graph", "resnet50:1:graph", "efficientnet_b0:8:graph", "vit_b_16:8:graph")
MOST_S = 120


def name_of(program: str) -> str:
    """The name of a profile's file, without its ending."""
    model, batch, mode = program.split(":")
    return f"{model}-bs{batch}-{mode}"


def slower_pct(measured: Measurement, units: int) -> float:
    """How much slower the program was traced than not, on so many units, alone."""
    pace = next(
        pace
        for window, pace in zip(measured.windows, measured.paces, strict=True)
        if window.units == units and window.neighbour is None
    )
    return 100 * (pace.calls_per_s / pace.traced_calls_per_s - 1)


def profiled(program: str, folder: Path, keep_raw: bool) -> common.Row:
    """Profile one program; gives what came of it."""
    name = name_of(program)
    raw = folder / f"{name}.npz"
    files = ["-o", str(folder / f"{name}.fico")] + (["--raw", str(raw)] if keep_raw else [])
    command = [*common.FICO, "profile", *files, "--", "python3", "closed_loop.py"]
    begun = time.monotonic()
    process = subprocess.Popen(
        [*command, *program.split(":")],
        cwd=common.PROGRAMS,
        env=common.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    too_long = threading.Timer(MOST_S, common.end_group, [process])
    too_long.start()
    said: list[str] = []
    start_s = 0.0
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line.strip())
        if len(said) == 2:  # the step after the wait for the program
            start_s = time.monotonic() - begun
    code = process.wait()
    too_long.cancel()
    took_s = time.monotonic() - begun
    if code != 0:
        common.end_session()  # it may have been killed before it could
    row: common.Row = {"program": name, "exit": code, "start_s": start_s, "took_s": took_s}
    if keep_raw and raw.exists():
        measured = raw_file.load(raw)
        row |= {
            "traced_all_pct": slower_pct(measured, len(measured.gpu.sms_per_unit)),
            "traced_half_pct": slower_pct(measured, len(measured.gpu.sms_per_unit) // 2),
            "raw_kb": os.path.getsize(raw) // 1024,
        }
    if code != 0:
        row["said"] = said[-1] if said else ""
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--budget-s", type=float, default=500, help="start no program after this")
    parser.add_argument(
        "--no-raw", action="store_true", help="keep no raw measurement, which takes seconds"
    )
    parser.add_argument("programs", nargs="*", default=[*SHIPPED, *HELD_OUT])
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + options.budget_s
    head, rows = common.header([]), list[common.Row]()
    for program in options.programs:
        if time.monotonic() > deadline:
            common.note(f"the time is up before {program}")
            break
        rows.append(profiled(program, options.output, not options.no_raw))
        common.note(" ".join(f"{key} {value}" for key, value in rows[-1].items()))
        common.write(options.output / "profiling.json", head, rows)
    common.show(
        rows,
        [
            "program",
            "exit",
            "start_s",
            "took_s",
            "traced_all_pct",
            "traced_half_pct",
            "raw_kb",
            "said",
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
