r"""How near the simulator is to the GPU: results of a suite in both, cell by cell, in one file.

    fico bench run poster --rounds 3 --policies mps,mps-quota,static,timeslice \
        --capacity-of benchmarks/results/h200/poster --out build/sim
    python benchmarks/fidelity.py build/sim benchmarks/results/h200/poster [SIM GPU...]

Windows and arrivals have to be the same in both: the same seed, requests, rounds and capacities.
Half of the cells are held out: whoever calibrates the simulator leaves them alone. Which half
depends on the names of the cells alone. Rows go to benchmarks/results/h200/fidelity.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from fico.bench.fidelity import Difference, differences, order_agrees
from fico.bench.store import read_header, read_summary

OUTPUT = Path(__file__).parent / "results" / "h200" / "fidelity.json"


def is_held_out(cell: str) -> bool:
    return hashlib.sha256(cell.encode()).digest()[0] % 2 == 1


def row(difference: Difference) -> dict[str, Any]:
    measured = difference.second
    return {
        **{key: measured[key] for key in ("models", "batch", "n", "workload", "quotas")},
        "mode": measured["policy"],
        "simulated_ms": difference.first["mean_ms"],
        "measured_ms": measured["mean_ms"],
        "error_pct": round(difference.error_pct, 3),
        "held_out": is_held_out(measured["cell"]),
    }


def summed_up(found: list[Difference]) -> dict[str, Any]:
    errors = [abs(difference.error_pct) for difference in found]
    agrees = order_agrees(found)
    return {
        "rows": len(found),
        "median_error_pct": round(statistics.median(errors), 3) if errors else None,
        "worst_error_pct": round(max(errors), 3) if errors else None,
        "order_right_pct": round(100 * statistics.mean(agrees.values()), 3) if agrees else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="SIM GPU")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    options = parser.parse_args()
    if len(options.folders) % 2:
        parser.error("give pairs of folders: simulated, measured")
    found: list[Difference] = []
    gpus: set[str] = set()
    for simulated, measured in zip(options.folders[::2], options.folders[1::2], strict=True):
        same = [replace(read_header(f), device="", gpu="") for f in (simulated, measured)]
        if same[0] != same[1]:
            parser.error(f"{simulated} and {measured} are not of the same cells: {same}")
        summaries = read_summary(simulated), read_summary(measured)
        found += differences(*summaries)
        gpus.add(summaries[1]["gpu"])
    held_out = [d for d in found if is_held_out(d.second["cell"])]
    calibrated = [d for d in found if not is_held_out(d.second["cell"])]
    content = {
        "gpu": ", ".join(sorted(gpus)),
        "all": summed_up(found),
        "held_out": summed_up(held_out),
        "calibrated": summed_up(calibrated),
        "rows": [row(difference) for difference in found],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({key: content[key] for key in ("all", "held_out", "calibrated")}, indent=1))


if __name__ == "__main__":
    main()
