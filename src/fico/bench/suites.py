"""The suites: which cells are measured together, and how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fico.bench.cell import Cell
from fico.bench.workload import TRACE
from fico.runtime.errors import FicoError, UsageError
from fico.runtime.toml_file import line_of, read_toml

_POSTER_MODELS = ("resnet152", "resnet101", "densenet201", "vgg16", "mobilenet_v2")
_FIVE = ("closed", "sparse", "medium", "dense", "bursty")
_PAIRS = (
    ("mobilenet_v2-bs1", "vgg16-bs32"),
    ("mobilenet_v2-bs1", "resnet152-bs32"),
    ("mobilenet_v2-bs1", "densenet201-bs32"),
    ("mobilenet_v2-bs8", "resnet152-bs32"),
    ("resnet152-bs8", "vgg16-bs32"),
    ("mobilenet_v2-bs1", "decoder-bs1"),
)
_LIGHT = tuple(pair for pair in _PAIRS if pair[0] == "mobilenet_v2-bs1")
_TRIPLE = ("mobilenet_v2-bs1", "resnet152-bs8", "vgg16-bs32")


def _alone(*groups: tuple[str, ...]) -> tuple[Cell, ...]:
    """Each model of the groups by itself in closed loop, for the others to be compared with."""
    models = dict.fromkeys(model for group in groups for model in group)
    return tuple(Cell.of([model], [], "closed") for model in models)


@dataclass(frozen=True, slots=True)
class Suite:
    """Cells, and how many requests each tenant has in them at least (at the rates of MPS)."""

    name: str
    what: str
    requests: int
    cells: tuple[Cell, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all models, sorted."""
        return tuple(sorted({str(model) for cell in self.cells for model in cell.models}))

    def only(self, patterns: Sequence[str]) -> Suite:
        """With those cells whose name is like one of these (fnmatch). UsageError if none is."""
        cells = tuple(
            cell
            for cell in self.cells
            if any(fnmatchcase(cell.name, pattern) for pattern in patterns)
        )
        if not cells:
            raise UsageError(
                f"no cell of {self.name} is like {' or '.join(map(repr, patterns))}",
                f"names are like {self.cells[0].name}",
            )
        return replace(self, cells=cells)


def suites() -> tuple[Suite, ...]:
    """All that ship."""
    return (
        Suite(
            "poster",
            "5 models x 2 or 4 equal tenants x 5 workloads",
            150,
            tuple(
                Cell.of([f"{model}-bs8"] * count, [], workload)
                for model in _POSTER_MODELS
                for count in (2, 4)
                for workload in _FIVE
            ),
        ),
        Suite(
            "mixed",
            "light models beside heavy ones, unequal quotas",
            150,
            _alone(*_PAIRS, _TRIPLE)
            + tuple(
                Cell.of(list(pair), quotas, workload)
                for pair in _PAIRS
                for quotas in ([75, 25], [50, 50], [25, 75])
                for workload in ("closed", "medium+closed", "dense")
            )
            + tuple(
                Cell.of(list(_TRIPLE), quotas, workload)
                for quotas in ([50, 30, 20], [20, 30, 50])
                for workload in ("closed", "medium+closed+closed", "dense")
            ),
        ),
        Suite(
            "light",
            "a light model beside a heavy one: 5 minutes of a GPU for 4 policies",
            80,
            _alone(*_LIGHT)
            + tuple(
                Cell.of(list(pair), quotas, workload)
                for pair in _LIGHT
                for quotas, workload in (
                    ([50, 50], "closed"),
                    ([60, 40], "closed"),
                    ([75, 25], "closed"),
                    ([50, 50], "medium+closed"),
                    ([60, 40], "medium+closed"),
                )
            ),
        ),
        Suite(
            "smoke",
            "3 small cells, to see that everything works",
            80,
            (
                Cell.of(["mobilenet_v2-bs8"] * 2, [], "closed"),
                Cell.of(["mobilenet_v2-bs8"] * 2, [], "medium"),
                Cell.of(["mobilenet_v2-bs1", "vgg16-bs8"], [75, 25], "closed"),
            ),
        ),
    )


class _Cell(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    models: list[str] = Field(min_length=1)
    quotas: list[float] = []
    workloads: list[str] = Field(min_length=1)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    requests: int = Field(150, ge=1)
    cell: list[_Cell] = Field(min_length=1)


def find_suite(text: str) -> Suite:
    """A suite by its name, or from a TOML file (docs/bench.md has the format). UsageError."""
    known = {suite.name: suite for suite in suites()}
    if text in known:
        return known[text]
    if not text.endswith(".toml"):
        raise UsageError(
            f"there is no suite {text!r}", f"choose from {', '.join(known)}, or give a .toml file"
        )
    path = Path(text)
    file = read_toml(path, _File, "a suite")
    cells: list[Cell] = []
    for index, entry in enumerate(file.cell):
        for workload in entry.workloads:
            try:
                cell = Cell.of(entry.models, entry.quotas, _in_folder(workload, path.parent))
            except FicoError as error:
                field = _field_of(entry, error)
                where = line_of(path, "cell", index, field)
                raise UsageError(f"{where}: {error.message}", error.remedy) from None
            if cell in cells:
                where = line_of(path, "cell", index)
                raise UsageError(f"{where}: cell {cell.name} is there already", "leave one out")
            cells.append(cell)
    return Suite(path.stem, f"cells of {path}", file.requests, tuple(cells))


def _in_folder(workload: str, folder: Path) -> str:
    """The workload with the paths of its traces relative to the file that names them."""
    return "+".join(
        TRACE + str(folder / word.removeprefix(TRACE)) if word.startswith(TRACE) else word
        for word in workload.split("+")
    )


def _field_of(entry: _Cell, error: FicoError) -> str:
    """Which field of a cell an error is about, by what it says."""
    if error.message.startswith("quota") or " quotas for " in error.message:
        return "quotas" if entry.quotas else "models"
    return "models" if error.message.startswith("model ") else "workloads"
