"""Calibrate the device model against measured pairs of models, and say how far off it is.

`benchmarks/results/h200/pairs.json` has pairs of models in a closed loop under MPS: free, with one
of them at high priority, on disjoint partitions, and both. Half of the cells are for calibration,
the other half is held out. With `--profiles DIR` the kernels are those of DIR/MODEL-bsBATCH.fico,
where there is such a file; the others are synthetic (synthetic_traces.py).

    python benchmarks/calibrate_model.py [--fit] [--profiles DIR] [--out FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import synthetic_traces

ROOT = Path(__file__).parents[1]
PAIRS = ROOT / "benchmarks" / "results" / "h200" / "pairs.json"
BUILD = ROOT / "build" / "calibration"
ALL_UNITS = 16
HIGH_PRIORITY = -5
REQUESTS = 20


@dataclass(frozen=True, slots=True)
class Settings:
    """Those of native/device/settings.hpp; the values are the ones that are built in."""

    stagger: float = 0.5
    drain: float = 0.5
    overlap: float = 0.0
    shared_gap_us: float = 0.5
    compute: float = 1.0
    memory: float = 1.0
    l2: float = 1.0


TRIED = {
    "stagger": (0.0, 0.25, 0.5, 0.75, 1.0),
    "drain": (0.0, 0.15, 0.3, 0.5, 0.7),
    "overlap": (0.0, 0.15, 0.3, 0.5),
    "shared_gap_us": (0.2, 0.35, 0.5, 0.7),
    "compute": (0.0, 0.3, 0.6, 1.0, 1.5),
    "memory": (0.0, 0.3, 0.6, 0.8, 1.0, 1.3),
    "l2": (0.0, 0.25, 0.5, 1.0),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A measured pair of models."""

    a: str
    a_batch: int
    a_sms: int
    a_high: bool
    b: str
    b_batch: int
    b_sms: int
    a_ms: float
    b_ms: float

    @property
    def held_out(self) -> bool:
        """Half of the cells, by a hash of what was measured."""
        key = [str(value) for value in (self.a, self.a_batch, self.a_sms, self.a_high, self.b)]
        key += [str(self.b_batch), str(self.b_sms)]
        return hashlib.sha256(" ".join(key).encode()).digest()[0] % 2 == 1

    @property
    def setting(self) -> str:
        """What the two share."""
        confined = self.b_sms < synthetic_traces.UNIT_SMS[-1]
        if self.a_high:
            return "high-confined" if confined else "high"
        return "split" if confined else "free"

    def units(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of A and of B. Who has the 4 SMs that belong to no group of 8 has the last unit."""
        if self.setting in ("free", "high"):
            return (0, ALL_UNITS), (0, ALL_UNITS)
        if self.b_sms % 8:
            ours = ALL_UNITS - (self.b_sms - 4) // 8
            b = (ours, ALL_UNITS)
            a = (0, ours)
        else:
            b = (0, self.b_sms // 8)
            a = (self.b_sms // 8, ALL_UNITS)
        return ((0, ALL_UNITS) if self.a_high else a), b


def read_cells(data: dict[str, Any]) -> list[Cell]:
    names = [field.name for field in fields(Cell)]
    return [Cell(**{name: row[name] for name in names}) for row in data["rows"]]


def footprint(launch: Any) -> list[float]:
    """As native/profile/footprint.hpp has it."""
    threads = math.prod(launch.block)
    taken = (
        threads / 2048,
        threads * launch.registers / 65536,
        (launch.shared_bytes + 1024) / 233472,
        1 / 32,
    )
    return [min(1.0, part * max(1, launch.blocks_per_sm)) for part in taken]


def trace_lines(model: str, batch: int, data: dict[str, Any], profiles: Path | None) -> str:
    """The kernels of a request, as closed_loop reads them."""
    file = profiles / f"{model}-bs{batch}.fico" if profiles else None
    launches: Sequence[Any]
    if file and file.exists():
        # Imported only here: without profiles nothing but the standard library is needed.
        profile = importlib.import_module("fico.runtime.profile_file").load(file)
        launches = [launch for launch in profile.launches if launch.trace == 0]
    else:
        latency_us = {
            row["sms"]: 1e3 * row["ms"]
            for row in data["alone"]
            if row["model"] == model and row["batch"] == batch
        }
        launches = synthetic_traces.trace(model, batch, latency_us)
    lines = []
    before_us = 0.0
    launch: Any
    for launch in launches:
        if getattr(launch, "kind", "kernel") != "kernel":
            # The model does not know copies: the next kernel comes later by what they take.
            before_us += launch.gap_us + launch.duration_us
            continue
        grid = getattr(launch, "grid", None)
        blocks = math.prod(grid) if grid else launch.blocks
        numbers = [launch.gap_us + before_us, max(1, blocks), max(1, launch.blocks_per_sm)]
        numbers += [*launch.scaling_us, *launch.sensitivity, *launch.pressure]
        numbers += footprint(launch)
        before_us = 0.0
        lines.append(" ".join(f"{number:.7g}" for number in numbers))
    return "\n".join([f"trace {model}-{batch} {len(lines)}", *lines])


def build_loop() -> Path:
    """The program that runs the model (tests/native/closed_loop.cpp)."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(BUILD), "-DFICO_TEST_PROGRAMS=ON"]
    configure += ["-DCMAKE_BUILD_TYPE=Release"]
    for command in (configure, ["cmake", "--build", str(BUILD), "--target", "closed_loop"]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return BUILD / "tests" / "native" / "closed_loop"


class Model:
    """The device model over the traces of all models."""

    def __init__(self, traces: Iterable[str]) -> None:
        self.program = build_loop()
        self.traces = "\n".join(traces)
        self.kernels = 0
        self.seconds = 0.0

    def predict(self, cells: Sequence[Cell], settings: Settings) -> list[tuple[float, float]]:
        """Mean latencies of A and B in ms, for each cell."""
        runs = []
        for cell in cells:
            a, b = cell.units()
            priority = HIGH_PRIORITY if cell.a_high else 0
            runs.append(
                f"run {REQUESTS} 2 {cell.a}-{cell.a_batch} {a[0]} {a[1]} {priority}"
                f" {cell.b}-{cell.b_batch} {b[0]} {b[1]} 0"
            )
        return [(found[0], found[1]) for found in self._run_all(runs, settings)]

    def predict_equal(self, rows: Sequence[dict[str, Any]], settings: Settings) -> list[float]:
        """Mean latency in ms of so many tenants that run the same model on all SMs."""
        runs = [
            f"run {REQUESTS} {row['tenants']}"
            + f" {row['model']}-{row['batch']} 0 {ALL_UNITS} 0" * row["tenants"]
            for row in rows
        ]
        return [statistics.fmean(found) for found in self._run_all(runs, settings)]

    def _run_all(self, runs: Sequence[str], settings: Settings) -> list[list[float]]:
        halves = (runs[: len(runs) // 2], runs[len(runs) // 2 :])
        with ThreadPoolExecutor() as pool:
            first, second = pool.map(lambda half: self._run(half, settings), halves)
        return first + second

    def _run(self, runs: Sequence[str], settings: Settings) -> list[list[float]]:
        words = [self.traces, "settings " + " ".join(map(str, asdict(settings).values())), *runs]
        done = subprocess.run(
            [self.program], input="\n".join(words), capture_output=True, text=True, check=True
        )
        predicted = []
        for line in done.stdout.splitlines():
            *latencies_us, kernels, seconds = map(float, line.split())
            predicted.append([us / 1e3 for us in latencies_us])
            self.kernels += int(kernels)
            self.seconds += seconds
        return predicted


def errors(cells: Sequence[Cell], predicted: Sequence[tuple[float, float]]) -> list[float]:
    """Predicted over measured, less 1, for both tenants of each cell."""
    return [
        ms / measured - 1
        for cell, pair in zip(cells, predicted, strict=True)
        for ms, measured in zip(pair, (cell.a_ms, cell.b_ms), strict=True)
    ]


def loss(model: Model, cells: Sequence[Cell], settings: Settings) -> float:
    found = errors(cells, model.predict(cells, settings))
    return statistics.fmean(abs(math.log1p(error)) for error in found)


def fit(model: Model, cells: Sequence[Cell], settings: Settings) -> Settings:
    """The best of TRIED, one setting after the other until nothing changes."""
    best = loss(model, cells, settings)
    changed = True
    while changed:
        changed = False
        for name, values in TRIED.items():
            for value in values:
                tried = replace(settings, **{name: value})
                found = loss(model, cells, tried)
                if found < best - 1e-6:
                    settings, best, changed = tried, found, True
        print(f"{best:.4f} {settings}", flush=True)
    return settings


def summary(cells: Sequence[Cell], predicted: Sequence[tuple[float, float]]) -> None:
    """A line for each setting and half: median and worst error, and bias."""
    for setting in ("free", "high", "split", "high-confined"):
        for held_out in (False, True):
            chosen = [
                (cell, pair)
                for cell, pair in zip(cells, predicted, strict=True)
                if cell.setting == setting and cell.held_out == held_out
            ]
            if not chosen:
                continue
            found = errors([c for c, _ in chosen], [p for _, p in chosen])
            sizes = [abs(error) for error in found]
            print(
                f"{setting:14} {'held out' if held_out else 'fitted':9} {len(chosen):3} cells:"
                f" median {100 * statistics.median(sizes):5.1f}%"
                f" worst {100 * max(sizes):5.1f}% bias {100 * statistics.median(found):+5.1f}%"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--fit", action="store_true", help="look for better settings")
    parser.add_argument("--profiles", type=Path, help="folder with profiles of the models")
    parser.add_argument("--out", type=Path, help="write the cells as JSON")
    for field in fields(Settings):
        parser.add_argument(f"--{field.name}", type=float, default=field.default)
    parser.add_argument("--cells", action="store_true", help="print every cell")
    options = parser.parse_args()
    data = json.loads(PAIRS.read_text())
    cells = read_cells(data)
    models = {(c.a, c.a_batch) for c in cells} | {(c.b, c.b_batch) for c in cells}
    model = Model(trace_lines(name, batch, data, options.profiles) for name, batch in models)
    settings = Settings(**{f.name: getattr(options, f.name) for f in fields(Settings)})
    if options.fit:
        settings = fit(model, [cell for cell in cells if not cell.held_out], settings)
    predicted = model.predict(cells, settings)
    summary(cells, predicted)
    equal = [
        row | {"predicted_ms": round(ms, 3)}
        for row, ms in zip(data["equal"], model.predict_equal(data["equal"], settings), strict=True)
    ]
    for row in equal:
        print(
            f"{row['tenants']} of {row['model']} {row['batch']}: {row['ms']:.2f} ms,"
            f" predicted {row['predicted_ms']:.2f}"
            f" ({100 * row['predicted_ms'] / row['ms'] - 100:+.0f}%)"
        )
    print(f"{1e6 * model.seconds / model.kernels:.2f} µs a kernel")
    rows = [
        asdict(cell)
        | {
            "setting": cell.setting,
            "held_out": cell.held_out,
            "a_predicted_ms": round(pair[0], 3),
            "b_predicted_ms": round(pair[1], 3),
        }
        for cell, pair in zip(cells, predicted, strict=True)
    ]
    if options.cells:
        for row in rows:
            print(
                f"{row['a']:>13} {row['a_batch']:2} on {row['a_sms']:3} + {row['b']:>11}"
                f" {row['b_batch']:2} on {row['b_sms']:3} {row['setting']:13}"
                f" A {row['a_ms']:6.2f} {row['a_predicted_ms']:6.2f}"
                f" ({100 * row['a_predicted_ms'] / row['a_ms'] - 100:+4.0f}%)"
                f" B {row['b_ms']:6.2f} {row['b_predicted_ms']:6.2f}"
                f" ({100 * row['b_predicted_ms'] / row['b_ms'] - 100:+4.0f}%)"
            )
    if options.out:
        head = {key: data[key] for key in ("gpu", "driver", "cuda", "commit", "seeds")}
        head["date"] = datetime.now(UTC).isoformat(timespec="seconds")
        head["profiles"] = "measured" if options.profiles else "synthetic"
        document = {**head, "settings": asdict(settings), "equal": equal, "rows": rows}
        options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
