r"""How near the simulator is to the GPU: results of a suite in both, cell by cell, in one file.

    fico bench run poster --rounds 3 --policies mps,mps-quota,static,timeslice \
        --capacity-of benchmarks/results/h200/poster --out build/sim
    python benchmarks/fidelity.py build/sim benchmarks/results/h200/poster [SIM GPU...]
    python benchmarks/fidelity.py --profiles DIR

With `--profiles` also the cells of `latencies.json` that have several tenants in closed loop,
simulated on the profiles of a folder; each tenant of a cell is a row there.

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

import calibrate_model
from fico.bench.fidelity import Difference, differences, order_agrees
from fico.bench.store import read_header, read_summary

OUTPUT = Path(__file__).parent / "results" / "h200" / "fidelity.json"


def is_held_out(cell: str) -> bool:
    return hashlib.sha256(cell.encode()).digest()[0] % 2 == 1


def closed_loops(profiles: Path) -> list[Difference]:
    """The tenants of the cells of `latencies.json` that have several."""
    model = calibrate_model.Model(profiles)
    measured = json.loads((OUTPUT.parent / "latencies.json").read_text())
    cells = [
        cell
        for cell in calibrate_model.latency_cells(measured["rows"])
        if len(cell.tenants) > 1 and model.has(cell)
    ]
    simulated = model.predict_all(cells, calibrate_model.Settings())
    return [
        Difference(
            {"mean_ms": ms},
            {
                "cell": f"{cell.name} {number}",
                "half": cell.name,
                "models": [one.model for one in cell.tenants],
                "batch": [one.batch for one in cell.tenants],
                "n": len(cell.tenants),
                "workload": "closed",
                "quotas": [one.units[1] - one.units[0] for one in cell.tenants],
                "policy": cell.mode,
                "tenant": number,
                "mean_ms": tenant.measured_ms,
            },
        )
        for cell, found in zip(cells, simulated, strict=True)
        for number, (tenant, ms) in enumerate(zip(cell.tenants, found, strict=True))
    ]


def half_of(difference: Difference) -> str:
    """What decides whether it is held out."""
    name: str = difference.second.get("half") or difference.second["cell"]
    return name


def row(difference: Difference) -> dict[str, Any]:
    measured = difference.second
    columns = ("models", "batch", "n", "workload", "quotas", "tenant")
    return {
        **{key: measured[key] for key in columns if key in measured},
        "mode": measured["policy"],
        "simulated_ms": round(difference.first["mean_ms"], 5),
        "measured_ms": measured["mean_ms"],
        "error_pct": round(difference.error_pct, 3),
        "held_out": is_held_out(half_of(difference)),
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
    parser.add_argument("folders", nargs="*", type=Path, metavar="SIM GPU")
    parser.add_argument("--profiles", type=Path, help="folder with profiles, for latencies.json")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    options = parser.parse_args()
    if len(options.folders) % 2 or not (options.folders or options.profiles):
        parser.error("give pairs of folders: simulated, measured; or --profiles")
    found: list[Difference] = []
    gpus: set[str] = set()
    for simulated, measured in zip(options.folders[::2], options.folders[1::2], strict=True):
        same = [replace(read_header(f), device="", gpu="") for f in (simulated, measured)]
        if same[0] != same[1]:
            parser.error(f"{simulated} and {measured} are not of the same cells: {same}")
        summaries = read_summary(simulated), read_summary(measured)
        found += differences(*summaries)
        gpus.add(summaries[1]["gpu"])
    if options.profiles:
        found += closed_loops(options.profiles)
        gpus.add(json.loads((OUTPUT.parent / "latencies.json").read_text())["gpu"])
    held_out = [d for d in found if is_held_out(half_of(d))]
    calibrated = [d for d in found if not is_held_out(half_of(d))]
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
