"""Plans against brute force, their files and their words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fico.bench.packing import Bin, pack
from fico.bench.plan import Planner
from fico.bench.plan_file import Demand, Demands, Objective, read_demands
from fico.bench.prediction import in_proportion, predict
from fico.report.plan import explanations, plan_json, title
from fico.runtime import profile_file
from fico.runtime.errors import UsageError
from helpers.profiles import synthetic_profile
from helpers.sharing_device import SharingDevice

UNITS = 4
DEVICE = SharingDevice(alone={"a": 2000.0, "b": 4000.0, "c": 8000.0})


def demand(name: str, rate_rps: float, limit_ms: float, figure: str = "p99") -> Demand:
    return Demand(f"{name}-bs8-graph", Path(), rate_rps, (Objective(figure, limit_ms),), 0)


def planner(*models: Demand, memory_bytes: int = 0) -> Planner:
    return Planner(Demands(models, memory_bytes), DEVICE, UNITS, 1)


def partitions(things: list[int]) -> Iterator[list[list[int]]]:
    if not things:
        yield []
        return
    first, *rest = things
    for smaller in partitions(rest):
        yield [[first], *smaller]
        for index, content in enumerate(smaller):
            yield [*smaller[:index], [first, *content], *smaller[index + 1 :]]


def quotas(count: int) -> Iterator[tuple[int, ...]]:
    for units in product(range(1, UNITS + 1), repeat=count):
        if sum(units) == UNITS:
            yield units


DEMANDS = st.tuples(
    *(
        st.builds(demand, st.just(name), st.floats(10, 450), st.floats(2, 60))
        for name in ("a", "b", "c")
    )
)


@given(DEMANDS)
@settings(max_examples=40, deadline=None)
def test_plans_need_no_more_gpus_than_brute_force_finds(demands: tuple[Demand, ...]) -> None:
    under = planner(*demands)
    plan = under.plan()

    def fits(models: list[int]) -> bool:
        chosen = [demands[index] for index in sorted(models)]
        return any(
            predict(chosen, units, "fico", DEVICE, UNITS, 1).fits for units in quotas(len(chosen))
        )

    placeable = [index for index in range(len(demands)) if fits([index])]
    assert sorted(plan.alone) == placeable
    assert [misfit.model for misfit in plan.misfits] == [
        index for index in range(len(demands)) if index not in placeable
    ]
    least = min(
        len(bins) for bins in partitions(placeable) if all(fits(content) for content in bins)
    )
    assert len(plan.packing.gpus) == least
    for models, group in plan.packing.gpus:
        assert group.fits
        assert sum(one.units for one in group.served) == UNITS
        assert len(group.served) == len(models)
    assert sorted(index for models, _ in plan.packing.gpus for index in models) == placeable


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(9, 20),
)
@settings(max_examples=200, deadline=None)
def test_packing_is_the_least_for_sizes(sizes: list[int], room: int) -> None:
    def fits(content: Bin) -> bool:
        return sum(sizes[index] for index in content) <= room

    bins = pack(list(range(len(sizes))), fits)
    assert sorted(index for content in bins for index in content) == list(range(len(sizes)))
    assert all(fits(content) for content in bins)
    least = min(
        len(other)
        for other in partitions(list(range(len(sizes))))
        if all(fits(tuple(content)) for content in other)
    )
    assert len(bins) == least


def test_many_things_are_packed_by_first_fit() -> None:
    bins = pack(list(range(30)), lambda content: len(content) <= 7)
    assert [len(content) for content in bins] == [7, 7, 7, 7, 2]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.integers(8, 64))
def test_units_in_proportion(weights: list[float], unit_count: int) -> None:
    units = in_proportion(weights, unit_count)
    assert sum(units) == unit_count
    assert min(units) >= 1
    for one, weight in zip(units, weights, strict=True):
        spare = unit_count - len(weights)
        assert abs(one - 1 - weight / sum(weights) * spare) < 1


def test_a_model_gets_the_units_that_its_limit_needs() -> None:
    # As much work each, and one with little time.
    hurried, patient = demand("a", 150, 9), demand("b", 75, 60)
    ((_, group),) = planner(hurried, patient).plan().packing.gpus
    ((_, relaxed),) = planner(demand("a", 150, 60), patient).plan().packing.gpus
    assert [one.units for one in relaxed.served] == [2, 2]
    assert [one.units for one in group.served] == [3, 1]


def words(*models: Demand, memory_bytes: int = 0) -> list[str]:
    return list(explanations(planner(*models, memory_bytes=memory_bytes).plan()))


def test_what_does_not_fit_is_explained() -> None:
    (slow,) = words(demand("b", 10, 3))
    assert slow.startswith(
        "b-bs8-graph does not fit on a GPU of its own, even when no request waits: the p99 of "
        "b-bs8-graph is 4.00 ms, over its 3 ms; raise the limit"
    )
    assert title(planner(demand("b", 10, 3)).plan(), "a GPU") == (
        "no model fits on a GPU of its own (a GPU)"
    )
    (often,) = words(demand("b", 700, 50))
    assert "requests of b-bs8-graph come faster than they are served; up to about " in often
    assert often.endswith("make it 3 models of 233.3/s each")
    (both,) = words(demand("a", 250, 10), demand("c", 80, 45))
    assert both.startswith("a-bs8-graph + c-bs8-graph do not fit on one GPU")


def test_memory_counts() -> None:
    small = Demand("a-bs8-graph", Path(), 10, (Objective("p99", 100),), 3 << 30)
    other = Demand("b-bs8-graph", Path(), 10, (Objective("p99", 100),), 6 << 30)
    plan = planner(small, other, memory_bytes=8 << 30).plan()
    assert len(plan.packing.gpus) == 2
    assert list(explanations(plan)) == [
        "a-bs8-graph + b-bs8-graph do not fit on one GPU: they need 9 GiB of memory, and it has "
        "8 GiB"
    ]
    plan = planner(small, other, memory_bytes=4 << 30).plan()
    assert [misfit.model for misfit in plan.misfits] == [1]
    assert list(explanations(plan)) == [
        "b-bs8-graph does not fit on a GPU of its own: it needs 6 GiB of memory, and the GPU has "
        "4 GiB"
    ]
    assert title(plan, "a GPU") == (
        "1 of 2 models fit on 1 GPU (a GPU): one model a GPU takes 1, MPS 1"
    )


def test_more_models_than_units_do_not_share() -> None:
    models = [
        Demand(f"a-bs{batch}-graph", Path(), 1, (Objective("p99", 100),), 0)
        for batch in range(1, UNITS + 2)
    ]
    plan = planner(*models).plan()
    assert len(plan.packing.gpus) == 2
    assert any("more models than units" in line for line in explanations(plan))
    facts = plan_json(plan, "a GPU")
    assert [len(gpu) for gpu in facts["gpus"]] in ([4, 1], [3, 2])
    assert facts["gpus_one_each"] == UNITS + 1


WHOLE = """
gpu_memory = "141GB"

[[model]]
profile = "vgg16-bs8-graph"
rate = 120
p99_ms = 15
memory = "6GiB"

[[model]]
profile = "mine.fico"
name = "mine"
rate = 0.5
mean_ms = 2.5
p95_ms = 4
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "profiles").mkdir()
    profile = synthetic_profile("vgg16-bs8-graph")
    profile_file.save(profile, tmp_path / "profiles" / "vgg16-bs8-graph.fico")
    profile_file.save(profile, tmp_path / "mine.fico")
    return tmp_path


def read(folder: Path, text: str) -> Demands:
    (folder / "m.toml").write_text(text)
    return read_demands(folder / "m.toml", [folder / "profiles"])


def test_a_whole_file(folder: Path) -> None:
    vgg = folder / "profiles" / "vgg16-bs8-graph.fico"
    mine = (Objective("mean", 2.5), Objective("p95", 4.0))
    assert read(folder, WHOLE) == Demands(
        (
            Demand("vgg16-bs8-graph", vgg, 120, (Objective("p99", 15),), 6 << 30),
            Demand("mine", folder / "mine.fico", 0.5, mine, 0),
        ),
        141_000_000_000,
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("rate = 120", "rate = -1"), "m.toml:6: model 1: rate: Input should be greater than 0"),
        (("rate = 120", ""), "m.toml:4: model 1: rate: is missing"),
        (("rate = 0.5", "rate = inf"), "m.toml:13: model 'mine': rate: Input should be a finite"),
        (("p99_ms", "p999_ms"), "m.toml:7: model 1: p999_ms: is not known here, only name,"),
        (("p99_ms = 15", ""), "m.toml:4: model 'vgg16-bs8-graph' has no objective; give one or"),
        (('"6GiB"', '"6 apples"'), "m.toml:8: model 1: memory: size '6 apples' is not"),
        (('gpu_memory = "141GB"', ""), "m.toml:8: model 'vgg16-bs8-graph' has memory, and the GPU"),
        (('"mine"', '"vgg16-bs8-graph"'), "m.toml:12: two models are named 'vgg16-bs8-graph'"),
        (('"mine.fico"', '"yours.fico"'), "m.toml:11: there is no file "),
        (('"vgg16-bs8-graph"', '"vgg"'), "m.toml:5: there is no profile of vgg in "),
        (("gpu_memory", "memory"), "m.toml:2: memory: is not known here, only gpu_memory, model"),
        (("[[model]]", "[[models]]"), "m.toml: model: is missing"),
        (('"141GB"', '"141GB'), "m.toml is not TOML: "),
    ],
)
def test_a_wrong_file_is_named_with_its_line(
    folder: Path, change: tuple[str, str], complaint: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        read(folder, WHOLE.replace(*change))
    line = str(refusal.value).replace(f"{folder}/", "")
    assert line.startswith(complaint)
    assert "\n" not in line
