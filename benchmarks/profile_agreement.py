"""How far two profiles of the same program agree.

    python benchmarks/profile_agreement.py FIRST_RAW_FOLDER SECOND_RAW_FOLDER

Profiles of all raw measurements that both folders have. Goals: medians within 5% for kernels over
5 µs, class shares within 3 points. Rows go to benchmarks/results/h200/profile_agreement.json.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

import common
from fico.profiling import raw_file
from fico.profiling.analysis import analyse
from fico.profiling.classes import shares
from fico.records.profile import Profile
from fico.report.profile_summary import difference

MOST_PCT = 5.0


def compared(name: str, first: Profile, second: Profile) -> list[common.Row]:
    rows = []
    for found in difference(first, second):
        if found.first is None or found.second is None:
            raise SystemExit(f"{name}: a kind of request is in one profile only")
        changes_pct = np.array([100 * abs(ratio - 1) for ratio, _, _ in found.ratios])
        mine, theirs = (
            asdict(shares(profile.trace_launches(trace)))
            for profile, trace in ((first, found.first), (second, found.second))
        )
        rows.append(
            {
                "program": name,
                "request": found.first,
                "launches": first.traces[found.first].launches,
                "not_in_both": len(found.only_first) + len(found.only_second),
                "over_5us": len(changes_pct),
                "median_change_pct": round(float(np.median(changes_pct)), 2),
                "p95_change_pct": round(float(np.percentile(changes_pct, 95)), 2),
                "worst_change_pct": round(float(changes_pct.max()), 2),
                "within_5pct": round(100 * float((changes_pct <= MOST_PCT).mean()), 2),
                "class_points": round(max(100 * abs(mine[key] - theirs[key]) for key in mine), 2),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    options = parser.parse_args()
    rows: list[common.Row] = []
    measured: dict[str, object] = {}
    for raw in sorted(options.second.glob("*.npz")):
        if (options.first / raw.name).exists():
            first = analyse(raw_file.load(options.first / raw.name))
            measured = common.gpu_of(first)
            rows += compared(raw.stem, first, analyse(raw_file.load(raw)))
    if not rows:
        parser.error("the folders have no file in common")
    path = common.RESULTS / "profile_agreement.json"
    common.write(path, common.header_from(measured, []), rows)
    common.show(rows, list(rows[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
