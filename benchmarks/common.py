"""What the benchmarks on a real GPU share: their programs, their tenants, their result files."""

from __future__ import annotations

import json
import os
import queue
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fico import _native
from fico.records.profile import Profile
from fico.runtime.control import chosen_session
from fico.runtime.session import known_sessions

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "benchmarks" / "programs"
RESULTS = ROOT / "benchmarks" / "results" / "h200"
BUILD = Path(os.environ.get("FICO_BENCHMARK_BUILD") or ROOT / "build" / "benchmarks")
FICO = [sys.executable, "-m", "fico.cli"]
ARCHITECTURE = "sm_90"

Row = dict[str, Any]


def note(line: str) -> None:
    """Say how far a benchmark is."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


# Programs.


def built(name: str, source: str, *flags: str) -> Path:
    """A CUDA program of programs/native, with the runtime library linked into it."""
    folder = PROGRAMS / "native"
    binary = BUILD / name
    newest = max(path.stat().st_mtime for path in folder.iterdir())
    if binary.exists() and binary.stat().st_mtime >= newest:
        return binary
    BUILD.mkdir(parents=True, exist_ok=True)
    command = ["nvcc", "-std=c++20", "-O2", f"-arch={ARCHITECTURE}", "-cudart", "static", *flags]
    command += ["-o", str(binary), str(folder / source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{source} does not compile:\n{done.stdout}{done.stderr}")
    return binary


def environment(**more: str) -> dict[str, str]:
    """The environment of a program, the same with and without Fico.

    What programs compile at run time is kept in one place, so that all runs use the same kernels.
    """
    ours = ("FICO_TENANT", "FICO_ARENA", "LD_PRELOAD")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("CUDA_MPS_")
    }
    caches = {
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "TRITON_CACHE_DIR": "triton",
        "CUPY_CACHE_DIR": "cupy",
    }
    kept |= {name: str(BUILD / "cache" / folder) for name, folder in caches.items()}
    kept |= {"OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1"}
    return kept | more


def as_tenant(
    command: Sequence[str],
    *,
    name: str,
    quota: str | None = None,
    policy: str | None = None,
    profiles: Sequence[Path] = (),
    timeline: Path | None = None,
) -> list[str]:
    """The command line that runs a program under Fico."""
    options = ["--name", name]
    options += ["--quota", quota] if quota is not None else []
    options += ["--policy", policy] if policy is not None else []
    options += [word for profile in profiles for word in ("--profile", str(profile))]
    options += ["--timeline", str(timeline)] if timeline is not None else []
    return [*FICO, "run", *options, "--", *command]


def end_group(process: subprocess.Popen[Any], patience_s: float = 5.0) -> None:
    """End a program that was started in a session of its own, with all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return


class Child:
    """A program that is told lines and answers with lines. Its standard error goes to a file."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("ab") as errors:
            self.started_ns = time.monotonic_ns()
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=dict(env),
                start_new_session=True,
            )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def tell(self, line: str) -> None:
        """Send a line. RuntimeError if the program has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except OSError:
            raise RuntimeError(self._ended()) from None

    def hear(self, within_s: float = 60.0) -> str:
        """The next line. RuntimeError if none comes in time or the program ends."""
        try:
            line = self._lines.get(timeout=within_s)
        except queue.Empty:
            raise RuntimeError(f"no answer within {within_s:g} s; see {self._log}") from None
        if line is None:
            raise RuntimeError(self._ended())
        return line

    def ask(self, line: str, within_s: float = 60.0) -> str:
        """Tell and hear."""
        self.tell(line)
        return self.hear(within_s)

    def _ended(self) -> str:
        said = self._log.read_text(errors="replace").strip().splitlines()[-3:]
        return f"the program has ended: {' | '.join(said)}"

    def close(self) -> None:
        """End the program by ending its input, or by force if that does not end it."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            end_group(self._process)


# Sessions.


def arena() -> _native.Arena:
    """The arena of the session that the benchmark has started."""
    return chosen_session(None).arena()


def tenant(name: str) -> _native.TenantRow:
    """A tenant's row."""
    return next(row for row in arena().tenants() if row["name"] == name)


def has_session() -> bool:
    """Whether a session has been started whole."""
    return bool(known_sessions())


def mps_environment() -> dict[str, str]:
    """What makes a program a client of the session's MPS without being a tenant."""
    mps = chosen_session(None).mps
    return {} if mps is None else mps.environment()


def fico(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Fico's to its end."""
    return subprocess.run(
        [*FICO, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def end_session() -> None:
    """End the session and its tenants, if there is one."""
    fico("down", "--force")


# Results.


def header(seeds: Sequence[int]) -> dict[str, Any]:
    """What every result file begins with."""
    name = driver = cuda = "unknown"
    try:
        import pynvml

        pynvml.nvmlInit()
        name = str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)))
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        number = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        cuda = f"{number // 1000}.{number % 1000 // 10}"
    except Exception as error:
        note(f"the GPU's name is unknown: {error}")
    return {
        "gpu": name,
        "driver": driver,
        "cuda": cuda,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seeds": list(seeds),
    }


def header_from(measured: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """What a result file begins with that was made of results measured elsewhere."""
    return {
        **{name: measured[name] for name in ("gpu", "driver", "cuda")},
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seeds": list(seeds),
    }


def gpu_of(profile: Profile) -> dict[str, Any]:
    """What a profile says of where it was measured, as result files have it."""
    return {
        "gpu": profile.gpu.name,
        "driver": profile.gpu.driver_version,
        "cuda": profile.cuda,
    }


def commit() -> str:
    named = os.environ.get("FICO_COMMIT")
    if named:
        return named
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def write(path: Path, head: Mapping[str, Any], rows: Sequence[Row], **more: Any) -> None:
    """Write a result file in one step; a run that is cut short leaves its last whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({**head, "rows": list(rows), **more}, indent=1) + "\n")
    os.replace(draft, path)


def spread_pct(values: Sequence[float]) -> float:
    """Distance between the quartiles in percent of the median; 0 of fewer than four values."""
    if len(values) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4)
    return 100 * (high - low) / middle


def show(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Print rows as a table, as wide as it needs to be."""
    cells = [list(columns)] + [[_text(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    sys.stdout.flush()


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
