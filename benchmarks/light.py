"""What a light tenant gets beside heavy ones: a table from the runs of `fico bench run mixed`.

    python benchmarks/light.py build/mixed [--policies mps,static,fico]

The first tenant of a cell is the light one. In closed loop: its p99 over what a request takes
alone (as profiled), and the rates of all tenants over those alone, added up, less the same under
`mps`. Where it is open and the others are not: its p99 over that of the same arrivals served
alone, and the rates of the others over what it leaves of the GPU's time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from fico.bench.sim_device import SimDevice
from fico.bench.store import Run, load_run

CLOSED, OPEN = "closed", "medium"
P99_CLOSED, SUM_OVER_MPS = 1.5, 0.10
P99_OPEN, PART_OF_REST = 1.3, 0.9


def alone_p99_us(arrivals_us: np.ndarray, request_us: float) -> float:
    """Requests of one length, one after another."""
    free_us = 0.0
    latencies = []
    for arrival_us in arrivals_us:
        free_us = max(free_us, arrival_us) + request_us
        latencies.append(free_us - arrival_us)
    return float(np.percentile(latencies, 99))


class Figures:
    """Of one run."""

    def __init__(self, run: Run) -> None:
        self.workload = run.cell.workload.partition("+")[0]
        models = [str(model) for model in run.cell.models]
        device = SimDevice.of(models)
        alone_us = [device.alone_us(model) for model in models]
        served = run.outcome.tenants
        self.rates = [
            float((tenant.end_us <= run.window_us).sum()) / run.window_us * us
            for tenant, us in zip(served, alone_us, strict=True)
        ]
        light = served[0]
        inside = light.end_us <= run.window_us if self.workload == CLOSED else slice(None)
        latencies_us = (light.end_us - light.arrival_us)[inside]
        alone_p99 = (
            alone_us[0]
            if self.workload == CLOSED
            else alone_p99_us(np.sort(light.arrival_us), alone_us[0])
        )
        self.p99 = float(np.percentile(latencies_us, 99)) / alone_p99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of `fico bench run mixed --out`")
    parser.add_argument("--policies", default="mps,static,fico")
    options = parser.parse_args()
    figures: dict[str, dict[str, Figures]] = {}
    for path in sorted((options.folder / "runs").glob("*.parquet")):
        run = load_run(path)
        if run.cell.workload.partition("+")[0] in (CLOSED, OPEN):
            figures.setdefault(str(run.policy), {})[run.cell.name] = Figures(run)
    policies = options.policies.split(",")
    print("| cell | " + " | ".join(policies) + " |")
    print("|---" * (len(policies) + 1) + "|")
    met = {policy: [0, 0, 0, 0] for policy in policies}
    count = {CLOSED: 0, OPEN: 0}
    for cell, mps in figures["mps"].items():
        count[mps.workload] += 1
        texts = []
        for policy in policies:
            ours = figures[policy][cell]
            if ours.workload == CLOSED:
                more = sum(ours.rates) - sum(mps.rates)
                texts.append(f"{ours.p99:.2f}, {more:+.2f}")
                met[policy][0] += ours.p99 <= P99_CLOSED
                met[policy][1] += more >= SUM_OVER_MPS
            else:
                rest = sum(ours.rates[1:]) / (1 - ours.rates[0])
                texts.append(f"{ours.p99:.2f}, {rest:.2f}")
                met[policy][2] += ours.p99 <= P99_OPEN
                met[policy][3] += rest >= PART_OF_REST
        print(f"| {cell.replace('-graph', '')} | " + " | ".join(texts) + " |")
    print(
        f"\ncells with: p99 <= {P99_CLOSED} and sum >= +{SUM_OVER_MPS} of {count[CLOSED]} closed;"
    )
    print(f"p99 <= {P99_OPEN} and >= {PART_OF_REST} of the rest of {count[OPEN]} open")
    for policy in policies:
        print(f"{policy}: {', '.join(map(str, met[policy]))}")


if __name__ == "__main__":
    main()
