r"""Where in a heavy neighbour's request those of a light tenant make progress.

    python benchmarks/phases.py CELL [--policy mps] [--results DIR] [--simulated DIR]

Of a cell of two tenants, the second of which is always there: requests of the first that found
no other of its own before them, by the phase at which they arrive in the request of the second
(ms since that began), and when they end in that phase's time. With `--simulated` the same of
simulated results, side by side: where the two part, so does what the device model says of the
kernels that run there. CELL may have wildcards; all cells that match are taken together.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

RESULTS = Path(__file__).parent / "results" / "h200" / "mixed"
PAUSE_US = 50.0
"""A request that comes so long after the one before has found nobody."""
Array = np.ndarray


def fresh(file: Path) -> Array:
    """Phase of arrival and latency, µs, of each request of tenant 0 that did not queue."""
    rows = pq.read_table(file).to_pandas()
    light, heavy = (rows[rows.tenant == tenant].sort_values("arrival_us") for tenant in (0, 1))
    arrival_us, end_us = light.arrival_us.to_numpy(), light.end_us.to_numpy()
    before_us = np.r_[-np.inf, np.maximum.accumulate(end_us)[:-1]]
    begin_us, over_us = heavy.arrival_us.to_numpy(), heavy.end_us.to_numpy()
    place = np.searchsorted(begin_us, arrival_us) - 1
    counts = (place >= 0) & (arrival_us > before_us + PAUSE_US)
    counts[counts] &= arrival_us[counts] < over_us[place[counts]]
    phase_us = arrival_us[counts] - begin_us[place[counts]]
    return np.column_stack([phase_us, end_us[counts] - arrival_us[counts]])


def of_cells(folder: Path, cell: str, policy: str) -> Array:
    files = sorted((folder / "runs").glob(f"{cell}.{policy}.parquet"))
    if not files:
        sys.exit(f"phases: no run of a cell {cell} under {policy} in {folder}/runs")
    return np.concatenate([fresh(file) for file in files])


def column(rows: Array, low_us: float, high_us: float) -> str:
    """When those end that arrive from `low_us` on: how many, mean, first and last."""
    ends_ms = rows[(rows[:, 0] >= low_us) & (rows[:, 0] < high_us)].sum(axis=1) / 1e3
    if not len(ends_ms):
        return "-"
    return f"{len(ends_ms)} at {ends_ms.mean():.2f} ({ends_ms.min():.2f} to {ends_ms.max():.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cell")
    parser.add_argument("--policy", default="mps")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--simulated", type=Path)
    parser.add_argument("--bin-ms", type=float, default=0.4)
    options = parser.parse_args()
    folders = [folder for folder in (options.results, options.simulated) if folder]
    found = [of_cells(folder, options.cell, options.policy) for folder in folders]
    names = ["measured", "simulated"][: len(found)]
    print(f"{'arrive, ms':<12}" + "".join(f"{name + ': end':<30}" for name in names))
    step_us = options.bin_ms * 1e3
    for low_us in np.arange(0, max(rows[:, 0].max() for rows in found), step_us):
        columns = [column(rows, low_us, low_us + step_us) for rows in found]
        print(f"{low_us / 1e3:<12.1f}" + "".join(f"{text:<30}" for text in columns))


if __name__ == "__main__":
    main()
