"""What each part of the `fico` policy is worth on a GPU: a few cells, one part off at a time.

    python benchmarks/live_ablation.py [--cells FILE] [--budget-s 480] [--output ablation.json]

Runs the cells of a suite file under `mps`, `static` and `fico` with each part switched off (the
settings that `ablation.py` lists), in turns and on the same arrivals. `static` is `fico` without
any lending. Figures of a part are means over the cells that are valid for all parts. When the time
is up the file has the cells that are done, and the same command goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import common
from ablation import COLUMNS, cell_rows, command, part_rows
from fico.bench.policy import CAPACITY, YARDSTICK
from fico.bench.store import read_summary

SEED = 1
CELLS = Path(__file__).parent / "ablation.toml"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", default=str(CELLS), help="a suite, or a .toml file of cells")
    parser.add_argument("--device", default="cuda", help="cuda; emulated or sim to try it")
    parser.add_argument("--runs", type=Path, help="folder of the runs; default: beside the output")
    parser.add_argument("--budget-s", type=float, default=480, help="begin no cell after this")
    parser.add_argument("--output", type=Path, default=common.RESULTS / "ablation.json")
    options = parser.parse_args()
    runs = options.runs or options.output.with_suffix("")
    words = [*command(options.cells, runs, SEED), "--device", options.device]
    if options.device != "sim":
        words += ["--budget-s", f"{options.budget_s:g}"]
    done = subprocess.run(words, check=False)
    if done.returncode != 0:
        return done.returncode
    summary = read_summary(runs)
    rows = cell_rows(runs)
    parts = part_rows(rows)
    lending = [
        {name: row[name] for name in ("cell", "policy", "mean_ms", "p99_ms", "valid")}
        for row in summary["cells"]
        if row["policy"] in (CAPACITY, YARDSTICK)
    ]
    head = {"device": summary["device"], **common.header([SEED]), "gpu": summary["gpu"]}
    common.write(options.output, head, rows, parts=parts, others=lending)
    common.show(parts, COLUMNS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
