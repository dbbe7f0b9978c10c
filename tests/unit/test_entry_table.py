"""The table of intercepted entries against the driver's own headers."""

from __future__ import annotations

import re
import site
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "native" / "hook" / "entries.def"
ROW = re.compile(r"^FICO_ENTRY\((\w+), (v\d+(?:_pt[sd][sz])?), (\w+), (\w+)\)", re.M)
TYPE = re.compile(r"PFN_(cu\w+?)_(v\d+(?:_pt[sd][sz])?)\)\(([^;]*)\);")

# What takes a stream or an executable graph and may go past: it asks about a stream by the
# program's own handle, which stays a real stream, or about an instance without changing it.
PASSES = {
    "cuGraphExecGetFlags",
    "cuGraphNodeGetEnabled",
    "cuStreamCopyAttributes",
    "cuStreamGetAttribute",
    "cuStreamGetCaptureInfo",
    "cuStreamGetCtx",
    "cuStreamGetDevice",
    "cuStreamGetFlags",
    "cuStreamGetGreenCtx",
    "cuStreamGetId",
    "cuStreamGetPriority",
    "cuStreamIsCapturing",
    "cuStreamSetAttribute",
    "cuStreamUpdateCaptureDependencies",
    # A stream of a green context of the program's own: left alone, and its launches are counted.
    "cuGreenCtxStreamCreate",
}


def header() -> str:
    folders = [*site.getsitepackages(), "/usr/local/cuda/include"]
    for folder in folders:
        for path in [
            *Path(folder).glob("nvidia/cu13/include/cudaTypedefs.h"),
            Path(folder) / "cudaTypedefs.h",
        ]:
            if path.is_file():
                return path.read_text()
    pytest.fail("cudaTypedefs.h is in none of " + ", ".join(folders))


def rows() -> list[tuple[str, str, str, str]]:
    return [match.groups() for match in ROW.finditer(TABLE.read_text())]  # type: ignore[misc]


def test_every_ordered_entry_is_intercepted() -> None:
    """GIVEN all types of the driver's entries THEN those with a stream are in the table."""
    known = {(name, version) for name, version, _, _ in rows()}
    missing = []
    for name, version, parameters in TYPE.findall(header().replace("\n", " ")):
        takes_work = re.search(r"\bCUstream\s+\w|\bCUgraphExec\s+\w", parameters) is not None
        defaults_to_stream = version.endswith(("_ptsz", "_ptds"))
        ancient = int(re.findall(r"\d+", version)[0]) < 3020 and any(
            other == name and number != version for other, number in known
        )
        if (takes_work or defaults_to_stream) and not ancient and name not in PASSES:
            missing += [f"{name}_{version}"] if (name, version) not in known else []
    assert missing == []


def test_symbols_are_unique() -> None:
    symbols = [symbol for _, _, symbol, _ in rows()]
    assert len(symbols) == len(set(symbols))


def test_per_thread_variants_have_their_suffix() -> None:
    for _, version, symbol, _ in rows():
        suffix = (
            "_ptsz" if version.endswith("_ptsz") else "_ptds" if version.endswith("_ptds") else ""
        )
        assert symbol.endswith(suffix)
        assert bool(suffix) == symbol.endswith(("_ptsz", "_ptds"))
