"""Latencies predicted from profiles beside those that were measured.

    python benchmarks/profile_accuracy.py --held-out RAW_FOLDER

Measured: benchmarks/results/h200/latencies.json, in closed loop. Predicted: `alone` by playing the
request's kernels on their curves (fico.profiling.prediction), on every partition size, those that
no profile was measured on among them; `pair-split` and `pair-free` by the simulator. Programs that
do not ship are held out: nothing was chosen by looking at them; their profiles are made from
RAW_FOLDER. Rows go to benchmarks/results/h200/profile_accuracy.json.

A latency is the time from the end of a request to the end of the next one: the median alone, the
mean of those beside others, who make it vary.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import common
from fico import _native, sim
from fico.profiling import prediction, raw_file
from fico.profiling.analysis import analyse
from fico.records.profile import Profile
from fico.runtime import profile_file
from fico.runtime.profiles import available_profiles
from fico.runtime.traces import traces_of
from profiles import HELD_OUT, name_of

REQUESTS = 40
WHAT = {"mps": "pair-free", "static": "pair-split"}


def read_profiles(held_out: Path) -> dict[str, Profile]:
    """Those of graphs, by name."""
    found = {
        name: profile_file.load(path)
        for name, path in available_profiles().items()
        if name.endswith("-graph")
    }
    for program in HELD_OUT:
        name = name_of(program)
        found[name] = analyse(raw_file.load(held_out / f"{name}.npz"))
    return found


def names_of(row: common.Row) -> list[str]:
    return [
        f"{model}-bs{batch}-graph"
        for model, batch in zip(row["models"], row["batches"], strict=True)
    ]


def simulated_ms(profiles: Sequence[Profile], mode: str, units: Sequence[int]) -> list[float]:
    """Mean latency of each tenant in closed loop; requests count once all have ended one."""
    tenants = [
        sim.Tenant(traces_of(profile), own / len(profile.gpu.sms_per_unit), requests=REQUESTS)
        for profile, own in zip(profiles, units, strict=True)
    ]
    result = sim.simulate(
        tenants,
        mode,
        sms_per_unit=profiles[0].gpu.sms_per_unit,
        costs=_native.SimCosts(request_us=0),  # launches were hidden
    )
    all_run_us = max(one.end_us[0] for one in result.tenants)
    return [
        float((one.end_us - one.start_us)[one.start_us >= all_run_us].mean()) / 1e3
        for one in result.tenants
    ]


def compared(what: str, row: common.Row, predicted_ms: float, measured_ms: float) -> common.Row:
    held_out = {name_of(program) for program in HELD_OUT}
    return {
        "what": what,
        "models": row["models"],
        "batches": row["batches"],
        "partition": row["units"] if what != "pair-free" else "all",
        "tenant": row["tenant"],
        "predicted_ms": round(predicted_ms, 4),
        "measured_ms": measured_ms,
        "error_pct": round(100 * (predicted_ms / measured_ms - 1), 2),
        "held_out": bool(held_out & set(names_of(row))),
    }


def alone(rows: Sequence[common.Row], profiles: dict[str, Profile]) -> list[common.Row]:
    found = []
    for row in rows:
        (name,), (units,) = names_of(row), row["units"]
        if row["n"] != 1 or name not in profiles:
            continue
        predicted_ms = prediction.alone_us(profiles[name], 0, units) / 1e3
        size = {"size_profiled": units in profiles[name].measured_units}
        found.append(compared("alone", row, predicted_ms, row["median_ms"]) | size)
    return found


def pairs(rows: Sequence[common.Row], profiles: dict[str, Profile]) -> list[common.Row]:
    found = []
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        both = [profiles[name] for name in names_of(first)]
        what = WHAT[first["mode"]]
        predicted = simulated_ms(both, first["mode"], first["units"])
        formula: list[dict[str, float]] = [{}, {}]
        if what == "pair-split":
            one, other = zip(both, (0, 0), first["units"], strict=True)
            formula = [
                {"formula_error_pct": round(100 * (us / 1e3 / row["mean_ms"] - 1), 2)}
                for us, row in zip(prediction.split_us(one, other), (first, second), strict=True)
            ]
        for row, ms, more in zip((first, second), predicted, formula, strict=True):
            found.append(compared(what, row, ms, row["mean_ms"]) | more)
    return found


def summed_up(rows: Sequence[common.Row], key: str = "error_pct") -> dict[str, float]:
    errors = [abs(row[key]) for row in rows]
    return {
        "rows": len(errors),
        "median_error_pct": round(statistics.median(errors), 2),
        "worst_error_pct": max(errors),
    }


def summary(rows: Sequence[common.Row]) -> dict[str, dict[str, float]]:
    """Errors of each kind, of the programs that were looked at and of those that were not."""
    found = {}
    for what in ("alone", "pair-split", "pair-free"):
        for held_out in (False, True):
            chosen = [r for r in rows if r["what"] == what and r["held_out"] == held_out]
            name = f"{what}, held out" if held_out else what
            found[name] = summed_up(chosen)
            if what == "alone":
                unseen = [row for row in chosen if not row["size_profiled"]]
                found[f"{name}, sizes that were not profiled"] = summed_up(unseen)
            if what == "pair-split":
                found[f"{name}, by the formula"] = summed_up(chosen, "formula_error_pct")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--held-out", type=Path, required=True, metavar="RAW_FOLDER")
    options = parser.parse_args()
    measured = json.loads((common.RESULTS / "latencies.json").read_text())
    profiles = read_profiles(options.held_out)
    closed = [row for row in measured["rows"] if row["workload"] == "closed"]
    rows = alone([row for row in closed if row["n"] == 1], profiles)
    rows += pairs([row for row in closed if row["n"] == 2], profiles)
    errors = summary(rows)
    head = common.header_from(measured, [0])
    path = common.RESULTS / "profile_accuracy.json"
    common.write(path, head, rows, summary=errors, note=measured["note"])
    table = [{"what": what, **found} for what, found in errors.items()]
    common.show(table, ["what", "rows", "median_error_pct", "worst_error_pct"])
    worst = sorted(rows, key=lambda row: -abs(row["error_pct"]))[:12]
    common.show(worst, ["what", "models", "batches", "partition", "tenant", "error_pct"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
