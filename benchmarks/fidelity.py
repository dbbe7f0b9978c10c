r"""How near the simulator is to the GPU: results of a suite in both, cell by cell, in one file.

    python benchmarks/fidelity.py --simulate build/sim benchmarks/results/h200/{poster,mixed,light}
    python benchmarks/fidelity.py SIM GPU [SIM GPU...]
    python benchmarks/fidelity.py --profiles DIR

With `--simulate` the suites of measured results are run in the simulator under the policies that
were measured, into a folder each; else both folders are given. With `--profiles` also the cells of
`latencies.json` that have several tenants in closed loop, simulated on the profiles of a folder;
each tenant of a cell is a row there.

Windows and arrivals have to be the same in both: the same seed, requests, rounds and capacities.
Runs that are not valid in both are left out, and counted by their reason. Half of the cells are
held out: whoever calibrates the simulator leaves them alone. Which half depends on the names of the
cells alone. Rows go to benchmarks/results/h200/fidelity_live.json; those of `--profiles` alone to
fidelity.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import calibrate_model
from fico.bench.fidelity import Difference, differences, pairs_in_order
from fico.bench.store import read_header, read_summary

RESULTS = Path(__file__).parent / "results" / "h200"


def is_held_out(cell: str) -> bool:
    return hashlib.sha256(cell.encode()).digest()[0] % 2 == 1


def closed_loops(profiles: Path) -> list[Difference]:
    """The tenants of the cells of `latencies.json` that have several."""
    model = calibrate_model.Model(profiles)
    measured = json.loads((RESULTS / "latencies.json").read_text())
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
    columns = ("folder", "models", "batch", "n", "workload", "quotas", "tenant")
    return {
        **{key: measured[key] for key in columns if key in measured},
        "mode": measured["policy"],
        "simulated_ms": round(difference.first["mean_ms"], 5),
        "measured_ms": measured["mean_ms"],
        "error_pct": round(difference.error_pct, 3),
        "held_out": is_held_out(half_of(difference)),
    }


def simulated(measured: Path, out: Path) -> Path:
    """The suite of measured results in the simulator, on the same arrivals; gives the folder."""
    header = read_header(measured)
    policies = dict.fromkeys(row["policy"] for row in read_summary(measured)["cells"])
    folder = out / measured.name
    own = Path(__file__).with_name(f"{header.suite}.toml")
    suite = str(own) if own.exists() else header.suite
    command = [sys.executable, "-m", "fico.cli", "bench", "run", suite]
    command += ["--seed", str(header.seed), "--requests", str(header.requests)]
    command += ["--rounds", str(header.rounds), "--policies", ",".join(policies)]
    command += ["--capacity-of", str(measured), "--out", str(folder)]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    if done.returncode != 0:  # which has said why
        sys.exit(done.returncode)
    return folder


def left_out(simulated: dict[str, Any], measured: dict[str, Any]) -> Counter[str]:
    """How many measured runs are in no row, by the reason."""
    known = {(row["cell"], row["policy"]): row["valid"] for row in simulated["cells"]}
    reasons: Counter[str] = Counter()
    for row in measured["cells"]:
        valid = known.get((row["cell"], row["policy"]))
        if not row["valid"]:
            reasons["not valid as measured"] += 1
        elif not valid:
            reasons["not simulated" if valid is None else "not valid in the simulator"] += 1
    return reasons


def by_policy(found: Sequence[Difference]) -> dict[str, Any]:
    """Errors policy by policy; negative is too fast in the simulator."""
    errors: dict[str, list[float]] = {}
    for difference in found:
        errors.setdefault(difference.second["policy"], []).append(difference.error_pct)
    found_by: dict[str, Any] = {}
    for policy, mine in sorted(errors.items()):
        worst = max(mine, key=abs)
        found_by[policy] = {
            "rows": len(mine),
            "median_error_pct": round(statistics.median([abs(error) for error in mine]), 3),
            "worst_error_pct": round(worst, 3),
            "bias_pct": round(statistics.median(mine), 3),
        }
    return found_by


def summed_up(found: list[Difference]) -> dict[str, Any]:
    errors = [abs(difference.error_pct) for difference in found]
    # Results of two folders are not of the same arrivals, though the cell has the same name.
    folders: dict[str | None, list[Difference]] = {}
    for difference in found:
        folders.setdefault(difference.second.get("folder"), []).append(difference)
    cells = [pairs for same in folders.values() for pairs in pairs_in_order(same).values()]
    agrees = [all(pairs) for pairs in cells]
    pairs = [right for cell in cells for right in cell]
    return {
        "rows": len(found),
        "median_error_pct": round(statistics.median(errors), 3) if errors else None,
        "worst_error_pct": round(max(errors), 3) if errors else None,
        "cells_in_order": f"{sum(agrees)} of {len(agrees)}",
        "order_right_pct": round(100 * statistics.mean(agrees), 3) if agrees else None,
        "pairs_in_order": f"{sum(pairs)} of {len(pairs)}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="SIM GPU")
    parser.add_argument(
        "--simulate", type=Path, metavar="DIR", help="give measured folders only; simulate into DIR"
    )
    parser.add_argument("--profiles", type=Path, help="folder with profiles, for latencies.json")
    parser.add_argument("--out", type=Path, help="default: as said above")
    options = parser.parse_args()
    if not (options.folders or options.profiles):
        parser.error("give folders, or --profiles")
    if options.simulate:
        pairs = [(simulated(folder, options.simulate), folder) for folder in options.folders]
    elif len(options.folders) % 2:
        parser.error("give pairs of folders: simulated, measured; or --simulate")
    else:
        pairs = list(zip(options.folders[::2], options.folders[1::2], strict=True))
    found: list[Difference] = []
    gpus: set[str] = set()
    missing: Counter[str] = Counter()
    for first, second in pairs:
        same = [replace(read_header(folder), device="", gpu="") for folder in (first, second)]
        if same[0] != same[1]:
            parser.error(f"{first} and {second} are not of the same cells: {same}")
        summaries = read_summary(first), read_summary(second)
        found += [
            replace(difference, second={**difference.second, "folder": second.name})
            for difference in differences(*summaries)
        ]
        missing += left_out(*summaries)
        gpus.add(summaries[1]["gpu"])
    if options.profiles:
        found += closed_loops(options.profiles)
        gpus.add(json.loads((RESULTS / "latencies.json").read_text())["gpu"])
    held_out = [d for d in found if is_held_out(half_of(d))]
    calibrated = [d for d in found if not is_held_out(half_of(d))]
    content = {
        "gpu": ", ".join(sorted(gpus)),
        "all": summed_up(found),
        "held_out": summed_up(held_out),
        "calibrated": summed_up(calibrated),
        "policies": by_policy(found),
        "left_out": dict(missing),
        "rows": [row(difference) for difference in found],
    }
    out = options.out or RESULTS / ("fidelity_live.json" if pairs else "fidelity.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1) + "\n")
    del content["rows"]
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
