"""What thresholds of the classes are worth, on the shipped profiles of graphs.

    python benchmarks/thresholds.py

For each candidate, means over the programs (classes are worth what is done with them):
- right_loss_pct: how much longer the kernels take if insensitive ones run at their right size and
  all others on all units; freed_pct: the part of all SM-time that this leaves to others;
- quarter_loss_pct: the same if insensitive ones run on a quarter of the units;
- recovered_pct: of what a program on a quarter of the units would gain by having all of them, the
  part that it gains if only its dominant kernels have all of them; over_pct: the part of its
  time on a quarter that those kernels are; moved_pct: the part of its launches.
Rows go to benchmarks/results/h200/thresholds.json, with the shares of the classes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from statistics import fmean

import common
from fico.profiling.classes import Thresholds, evaluate, reclassified
from fico.records.profile import KernelClass, Launch, Profile
from fico.runtime import profile_file
from fico.runtime.profiles import available_profiles

SHARES = (0.0, 0.0025, 0.005, 0.01, 0.02)
DOMINANT_GAINS = (0.3, 0.4, 0.5, 0.6)
INSENSITIVE_GAINS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)


def candidates() -> Iterator[Thresholds]:
    chosen = Thresholds()
    for gain in INSENSITIVE_GAINS:
        yield Thresholds(gain, chosen.dominant_gain, chosen.dominant_share)
    for share in SHARES:
        for gain in DOMINANT_GAINS:
            if (gain, share) != (chosen.dominant_gain, chosen.dominant_share):
                yield Thresholds(chosen.insensitive_gain, gain, share)


def worth(profile: Profile) -> dict[str, float]:
    """What the classes of a profile are worth, in percent."""
    units = len(profile.gpu.sms_per_unit)
    quarter = units // 4
    launches = profile.launches
    on_all = [launch.scaling_us[-1] for launch in launches]
    on_quarter = [launch.scaling_us[quarter - 1] for launch in launches]
    insensitive = [launch.kernel_class is KernelClass.INSENSITIVE for launch in launches]
    dominant = [launch.kernel_class is KernelClass.DOMINANT for launch in launches]
    all_us, quarter_us = sum(on_all), sum(on_quarter)

    def mixed_us(which: list[bool], then: list[float], other: list[float]) -> float:
        return sum(a if its else b for its, a, b in zip(which, then, other, strict=True))

    right = [launch.scaling_us[launch.right_units - 1] for launch in launches]
    freed = [us * (units - x.right_units) / units for us, x in zip(on_all, launches, strict=True)]
    helped_us = quarter_us - mixed_us(dominant, on_all, on_quarter)
    none = [0.0] * len(launches)
    return {
        "right_loss_pct": 100 * (mixed_us(insensitive, right, on_all) / all_us - 1),
        "freed_pct": 100 * mixed_us(insensitive, freed, none) / all_us,
        "quarter_loss_pct": 100 * (mixed_us(insensitive, on_quarter, on_all) / all_us - 1),
        "recovered_pct": 100 * helped_us / (quarter_us - all_us),
        "over_pct": 100 * mixed_us(dominant, on_quarter, none) / quarter_us,
        "moved_pct": 100 * sum(dominant) / len(launches),
    }


def is_judged(launches: tuple[Launch, ...]) -> bool:
    """Several kinds of requests have shares each, of their own."""
    return all(launch.trace == 0 for launch in launches)


def main() -> int:
    profiles = {
        name: profile_file.load(path)
        for name, path in available_profiles().items()
        if name.endswith("-graph")
    }
    profiles = {name: one for name, one in profiles.items() if is_judged(one.launches)}
    rows: list[common.Row] = []
    for candidate in candidates():
        found = [worth(reclassified(profile, candidate)) for profile in profiles.values()]
        of_each = evaluate(profiles, [candidate])
        row: common.Row = {key: of_each[0][key] for key in candidate.__slots__}
        row |= {key: round(fmean(one[key] for one in found), 2) for key in found[0]}
        row["right_loss_worst_pct"] = round(max(one["right_loss_pct"] for one in found), 2)
        for share in ("dominant_time", "insensitive_time", "dominant_count", "insensitive_count"):
            row[f"{share}_pct"] = round(100 * fmean(float(one[share]) for one in of_each), 2)
        row["chosen"] = candidate == Thresholds()
        rows.append(row)
    measured = common.gpu_of(next(iter(profiles.values())))
    path = common.RESULTS / "thresholds.json"
    common.write(path, common.header_from(measured, []), rows, programs=sorted(profiles))
    common.show(rows, list(rows[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
