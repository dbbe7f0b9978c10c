"""Shares of kernel classes in the shipped profiles, beside those of the poster's Table 1.

    python benchmarks/table1.py

Writes benchmarks/results/h200/table1.json: for each model, batch and mode the shares by time and by
number of launches. The poster (Chen and Qiu, "Optimizing Concurrent Inferences with Fine-grained
GPU Sharing") measured on an NVIDIA A6000 and names neither the batch nor how it counts.
"""

from __future__ import annotations

import sys
from dataclasses import asdict

import common
from fico.profiling.classes import shares
from fico.runtime import profile_file
from fico.runtime.profiles import available_profiles
from profiles import SHIPPED, name_of

CLASSES = ("dominant", "neutral", "insensitive")
POSTER_PCT = {
    "resnet152": (46.20, 11.84, 41.97),
    "resnet101": (42.73, 14.79, 42.48),
    "densenet201": (29.08, 29.05, 41.87),
    "vgg16": (76.01, 0.0, 23.99),
    "mobilenet_v2": (22.01, 39.44, 38.55),
}


def main() -> int:
    files = available_profiles()
    rows: list[common.Row] = []
    thresholds: dict[str, float] = {}
    measured: dict[str, object] = {}
    for program in SHIPPED:
        model, batch, mode = program.split(":")
        profile = profile_file.load(files[name_of(program)])
        thresholds, measured = dict(profile.thresholds), common.gpu_of(profile)
        for index in range(len(profile.traces)):
            launches = profile.trace_launches(index)
            by_time = asdict(shares(launches))
            by_count = asdict(shares(launches, by_time=False))
            row: common.Row = {"model": model, "batch": int(batch), "mode": mode, "request": index}
            row |= {f"{name}_pct": round(100 * by_time[name], 2) for name in CLASSES}
            row |= {f"{name}_count_pct": round(100 * by_count[name], 2) for name in CLASSES}
            for name, pct in zip(CLASSES, POSTER_PCT.get(model, ()), strict=False):
                row[f"poster_{name}_pct"] = pct
            rows.append(row)
    path = common.RESULTS / "table1.json"
    common.write(path, common.header_from(measured, []), rows, thresholds=thresholds)
    common.show(rows, list(rows[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
