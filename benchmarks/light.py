"""What a light model beside a heavy one has of each policy, from the runs of `fico bench`.

    fico bench run light --device cuda --out benchmarks/results/h200/light
    python benchmarks/light.py [DIR] [--alone DIR] [--output FILE]

For every pair, quotas, workload and policy the light one's p99 over its p99 alone, and

- both in closed loop: the sum of their rates relative to alone, and how far it is over that of mps;
- the light one's requests arriving: the heavy one's rate over its rate alone, of what the light one
  leaves of the GPU's time (1 - its rate x its mean time alone).

Alone is as measured in the same suite under mps. On the same arrivals it is not measured but found
from the times of requests measured alone, served one after another (Lindley's recursion).

Then how far each policy keeps the promise that no tenant is worse off than under static.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common
from fico.bench.light import LEAST_OF_REST, LEAST_OVER_MPS, MOST_P99, light_figures
from fico.bench.promise import promise_rows
from fico.bench.store import Run, load_run, read_header
from fico.runtime.errors import FicoError

COLUMNS = ("pair", "quotas", "workload", "policy", "valid", "light_p99_ms", "light_p99_ratio")
RATES = ("rates_sum", "rates_over_mps", "heavy_of_rest")
DIGITS = 5


def runs_of(folder: Path) -> list[Run]:
    return [load_run(path) for path in sorted((folder / "runs").glob("*.parquet"))]


def rounded(row: common.Row) -> common.Row:
    return {k: round(v, DIGITS) if isinstance(v, float) else v for k, v in row.items()}


def for_people(row: common.Row) -> common.Row:
    models = [f"{name}-bs{batch}" for name, batch in zip(row["models"], row["batch"], strict=True)]
    quotas = "/".join(f"{quota:g}" for quota in row["quotas"])
    return row | {"pair": " ".join(models), "quotas": quotas}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, default=common.RESULTS / "light", metavar="DIR"
    )
    parser.add_argument("--alone", type=Path, help="where the models were run alone; default: DIR")
    parser.add_argument("--output", type=Path, help="default: beside DIR, DIR.json")
    options = parser.parse_args()
    output = options.output or options.folder.with_name(f"{options.folder.name}.json")
    try:
        header = read_header(options.folder)
        runs = runs_of(options.folder)
        alone_runs = runs_of(options.alone) if options.alone else runs
        found, goals = light_figures(runs, alone_runs, header.rounds)
    except FicoError as error:
        parser.error(f"{error.message}: {error.remedy}")
    if not found:
        parser.error(f"{options.folder} has no runs of a light and a heavy model")
    rows = [rounded(row) for row in found]
    counted = [rounded(row) for row in goals]
    promise = [rounded(row) for row in promise_rows(runs)]
    common.write(
        output,
        {
            "device": header.device,
            "gpu": header.gpu,
            "suite": header.suite,
            "seeds": [header.seed],
            "commit": common.commit(),
            "alone": "closed: measured under mps in the same suite; medium+closed: the same "
            "arrivals served one after another with the times measured there (Lindley 1952)",
            "goals": {
                "light_p99_ratio": MOST_P99,
                "rates_over_mps": LEAST_OVER_MPS,
                "heavy_of_rest": LEAST_OF_REST,
            },
        },
        rows,
        met=counted,
        promise=promise,
    )
    if any(row["light_p99_ratio"] is None for row in rows):
        common.note("some models were not run alone; their figures are missing")
    common.show([for_people(row) for row in rows], [*COLUMNS, *RATES])
    print()
    common.show(counted, list(counted[0]))
    if promise:
        print()
        common.show(promise, list(promise[0]))


if __name__ == "__main__":
    main()
