"""Requests are found by themselves in whatever a program does, or not at all."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fico.profiling.records import COPY, RAW, Window
from fico.profiling.requests import NoRequestsError, Requests, find_requests
from helpers.raw_records import Call, Recorder, Step, closed_loop, decoder_step, in_turn, network


def record(calls: list[Call], seed: int = 0, sms: int = 132) -> Window:
    return Recorder(sms, seed=seed).play(calls).window()


def names_of(window: Window, requests: Requests, kind: int) -> list[str]:
    rows = window.operations[requests.kinds[kind].example]
    return [window.names[row["name"]] for row in rows]


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("idle_us", [1.0, 15.0, 500.0])
def test_a_closed_loop(graph: bool, idle_us: float) -> None:
    steps = network(30)
    window = record(closed_loop(steps, 40, graph=graph, idle_us=idle_us))
    requests = find_requests([window])
    (kind,) = requests.kinds
    assert len(kind.signatures) == len(steps)
    assert len(requests.found[0][0].rows) >= 38
    assert requests.coverage > 0.97
    if graph or idle_us > 10:
        assert names_of(window, requests, 0) == [step.name for step in steps]
        assert len(requests.found[0][0].rows) == 40


def test_rows_are_those_of_the_position() -> None:
    window = record(closed_loop(network(5), 20))
    requests = find_requests([window])
    rows = window.operations[requests.found[0][0].rows]
    example = window.operations[requests.kinds[0].example]
    for field in ("name", "grid", "kind"):
        assert (rows[field] == example[field]).all()
    assert (np.diff(rows["start_ns"].astype(np.int64), axis=1) > 0).all()


def test_few_requests_of_equal_layers_are_not_cut_at_layers() -> None:
    steps = network(35)
    requests = find_requests([record(closed_loop(steps, 6, idle_us=1.0))])
    assert [len(kind.signatures) for kind in requests.kinds] == [len(steps)]


def test_streams_that_overtake_each_other_are_one_kind() -> None:
    head, tail = Step("head"), Step("tail", gap_us=12.0)
    left = [Step(f"left{i}", stream=0, wave_us=4.0) for i in range(6)]
    right = [Step(f"right{i % 2}", stream=1, wave_us=3.9) for i in range(6)]
    steps = (head, *(s for pair in zip(left, right, strict=True) for s in pair), tail)
    calls = closed_loop(steps, 50, idle_us=60.0)
    window = Recorder(132, seed=3, jitter=0.3).play(calls).window()
    starts = np.sort(window.operations, order="start_ns")["name"].reshape(50, -1)
    assert len(np.unique(starts, axis=0)) > 1, "the order of starting varies"
    graphs = Recorder(132, seed=3, jitter=0.3).play([replace(call, graph=True) for call in calls])
    threads = np.array(window.operations)  # each stream is served by a thread of its own
    threads["correlation"] = np.argsort(np.argsort(threads["start_ns"]))
    for made in (window, graphs.window(), replace(window, operations=threads)):
        requests = find_requests([made])
        (kind,) = requests.kinds
        assert len(kind.signatures) == len(steps)
        found = requests.found[0][0].rows
        assert found.shape == (50, len(steps))
        codes = made.operations["name"][found]
        assert (codes == codes[0]).all()


def test_batch_sizes_in_random_order_are_kinds() -> None:
    source = random.Random(1)
    shapes = [network(12, width=100), network(12, width=400), network(12, width=900)]
    calls = [Call(source.choice(shapes), idle_us=60.0) for _ in range(90)]
    window = record(calls)
    requests = find_requests([window])
    assert len(requests.kinds) == 3
    widths = {int(window.operations["grid"][kind.example, 0].max()) for kind in requests.kinds}
    assert widths == {100, 400, 900}
    assert sum(len(found.rows) for found in requests.found[0]) == 90


def test_batch_sizes_in_turn_are_kinds_where_the_gpu_idles_between() -> None:
    shapes = [
        Call(network(12, width=100), idle_us=80.0),
        Call(network(12, width=900), idle_us=80.0),
    ]
    requests = find_requests([record(in_turn(shapes, 40))])
    assert len(requests.kinds) == 2


@pytest.mark.parametrize("graph", [False, True])
def test_prefill_and_growing_decode(graph: bool) -> None:
    generation = [
        Call(network(8, width=700, name="prefill"), graph, idle_us=60.0),
        *(Call(decoder_step(100 + n), graph, idle_us=60.0) for n in range(16)),
    ]
    window = record(generation * 8)
    requests = find_requests([window])
    lengths = {
        len(kind.signatures): len(requests.found[0][i].rows)
        for i, kind in enumerate(requests.kinds)
    }
    assert lengths == {len(network(8)): 8, len(decoder_step(1)): 128}
    decode = next(i for i, kind in enumerate(requests.kinds) if len(kind.signatures) == 34)
    rows = requests.found[0][decode].rows
    assert (rows >= 0).all()
    codes = window.operations["name"][rows]
    assert (codes == codes[0]).all()


def test_a_kind_that_windows_see_once_is_one_if_many_do() -> None:
    prefill = Call(network(8, width=700, name="prefill"), graph=True, idle_us=60.0)
    steps = [Call(decoder_step(100), graph=True, idle_us=60.0)] * 20
    windows = [record([*steps, prefill, *steps], seed=seed) for seed in range(3)]
    (only,) = find_requests(windows[:2]).kinds
    assert len(only.signatures) == len(decoder_step(1))
    requests = find_requests(windows)
    assert [len(kind.signatures) for kind in requests.kinds] == [
        len(decoder_step(1)),
        len(network(8)),
    ]
    assert [[len(found.rows) for found in window] for window in requests.found] == [[40, 1]] * 3


def test_edges_and_warm_up_do_not_count() -> None:
    steps = network(10)
    warm_up = Call(tuple(Step(f"once{i}", wave_us=1.0) for i in range(30)), idle_us=300.0)
    whole = Recorder(132).play([warm_up, *closed_loop(steps, 25)]).window()
    window = replace(whole, operations=whole.operations[5:-7])
    requests = find_requests([window])
    (kind,) = requests.kinds
    assert len(kind.signatures) == len(steps)
    assert len(requests.found[0][0].rows) == 24


def test_lost_records_and_noise() -> None:
    steps = network(10)
    window = record(closed_loop(steps, 40))
    kept = np.ones(len(window.operations), dtype=bool)
    kept[[100, 333, 600]] = False
    noise = np.array(window.operations[[50, 700]])
    noise["grid"], noise["name"] = 77, 0
    noise["start_ns"] += 1
    rows = np.concatenate([window.operations[kept], noise])
    requests = find_requests([replace(window, operations=rows)])
    assert [len(kind.signatures) for kind in requests.kinds] == [len(steps)]
    assert len(requests.found[0][0].rows) >= 38


def test_operations_without_times_are_left_out() -> None:
    window = record(closed_loop(network(10), 20))
    rows = np.array(window.operations)
    rows["start_ns"][[40, 50]] = rows["end_ns"][[40, 50]] = 0
    requests = find_requests([replace(window, operations=rows)])
    found = requests.found[0][0]
    assert len(found.rows) in (19, 20), "the request without them may be left out"
    assert not np.isin([40, 50], found.rows).any()


def test_kinds_are_the_same_in_other_windows() -> None:
    shapes = [network(12, width=100), network(12, width=900)]
    source = random.Random(2)
    calls = [Call(source.choice(shapes), idle_us=60.0) for _ in range(60)]
    reference = record(calls)
    other = record([Call(shapes[1], idle_us=3.0), *calls[:30]], seed=9, sms=32)
    # Another window knows the names by other numbers.
    swapped = np.array(other.operations)
    swapped["name"] = len(other.names) - 1 - swapped["name"]
    other = Window(swapped, other.names[::-1], other.units)
    requests = find_requests([reference, other])
    for index, kind in enumerate(requests.kinds):
        rows = requests.found[1][index].rows
        assert len(rows) >= 5
        grids = other.operations["grid"][rows]
        assert (grids == reference.operations["grid"][kind.example]).all()


def test_a_program_that_never_repeats_is_refused() -> None:
    source = random.Random(5)
    steps = tuple(
        Step(f"k{source.randrange(40)}", blocks=source.randrange(1, 500)) for _ in range(3000)
    )
    with pytest.raises(NoRequestsError, match=r"repeat.*3000 operations.*; profile a program that"):
        find_requests([record([Call(steps)])])


def test_a_program_that_repeats_too_little_is_refused() -> None:
    source = random.Random(6)
    calls = []
    for _ in range(12):
        calls.append(Call(network(2), idle_us=50.0))
        own = tuple(Step("own", blocks=source.randrange(10**4), wave_us=1.0) for _ in range(40))
        calls.append(Call(own, idle_us=50.0))
    with pytest.raises(NoRequestsError, match=r"take \d+% of the GPU's time, and 80% are needed"):
        find_requests([record(calls)])


def test_nothing_is_refused() -> None:
    with pytest.raises(NoRequestsError, match="nothing on the GPU"):
        find_requests([Window(np.zeros(0, dtype=RAW), (), 16)])


STEPS = st.lists(
    st.builds(
        Step,
        name=st.sampled_from("abcdef"),
        blocks=st.sampled_from([8, 132, 500]),
        stream=st.sampled_from([0, 0, 0, 1]),
        wave_us=st.sampled_from([2.0, 5.0, 9.0]),
    ),
    min_size=1,
    max_size=30,
).map(lambda steps: (Step("begin", blocks=len(steps)), *steps))


@settings(max_examples=80, deadline=None)
@given(
    shapes=st.lists(STEPS, min_size=1, max_size=3),
    graph=st.booleans(),
    seed=st.integers(0, 1000),
    cut=st.integers(0, 20),
)
def test_any_program_with_idle_points(
    shapes: list[tuple[Step, ...]], graph: bool, seed: int, cut: int
) -> None:
    """Every request that is found is one that was made, and whole; nearly equal ones may be taken
    together."""
    source = random.Random(seed)
    calls = [Call(source.choice(shapes), graph, idle_us=100.0) for _ in range(40)]
    whole = Recorder(132, seed=seed).play(calls).window()
    window = replace(whole, operations=whole.operations[cut : len(whole.operations) - cut])
    try:
        requests = find_requests([window])
    except NoRequestsError:
        assert 2 * cut > len(whole.operations) / 5, "nearly all of it is whole requests"
        return
    assert requests.coverage >= 0.8
    rows = np.sort(window.operations, order="start_ns")
    starts = rows["start_ns"].astype(np.int64)
    latest = np.maximum.accumulate(rows["end_ns"].astype(np.int64))
    idle = starts[1:] - latest[:-1] > 90_000
    for found in requests.found[0]:
        for row, start, end in zip(found.rows, found.start_ns, found.end_ns, strict=True):
            used = row[row >= 0]
            assert len(np.unique(used)) == len(used)
            begin, stop = np.searchsorted(starts, [start, end])
            assert 0.75 * (stop - begin) <= len(used) <= stop - begin
            assert any(0.85 * len(steps) <= stop - begin <= len(steps) for steps in shapes)
            assert not idle[begin : stop - 1].any()


def random_network(source: random.Random) -> tuple[Step, ...]:
    """Stages of equal blocks, of code that other networks have as well."""
    codes = [*(f"conv{i}" for i in range(6)), "norm", "relu", "add", "gemm", "softmax", "cat"]
    scale = source.choice([1, 4, 8, 32])
    steps = [Step("first", blocks=50 * scale)]
    for _ in range(source.randint(1, 5)):
        block = [
            Step(
                source.choice(codes),
                blocks=source.randrange(1, 60) * scale,
                wave_us=source.choice([2.0, 5.0, 10.0]),
            )
            for _ in range(source.randint(2, 8))
        ]
        steps += block * source.randint(1, 30)
    if source.random() < 0.5:
        steps.append(Step("out", kind=COPY, size=4000, fixed_us=2.0))
    return tuple(steps)


@settings(max_examples=60, deadline=None)
@example(seed=236, kinds=3, graph=False, gap_us=1.0, idle_us=1.5, count=8)
@given(
    seed=st.integers(0, 10**6),
    kinds=st.integers(1, 3),
    graph=st.booleans(),
    gap_us=st.sampled_from([1.0, 5.0, 8.0]),
    idle_us=st.sampled_from([1.5, 8.0, 30.0, 200.0]),
    count=st.sampled_from([8, 20, 50]),
)
def test_networks_whose_launches_come_unevenly(
    seed: int, kinds: int, graph: bool, gap_us: float, idle_us: float, count: int
) -> None:
    """Every kind of request that came often enough is found, and every request of it but two."""
    source = random.Random(seed)
    shapes = [random_network(source) for _ in range(kinds)]
    idle_us = idle_us if kinds == 1 else max(idle_us, 5 * gap_us)
    served = [source.choice(shapes) for _ in range(count * kinds)]
    calls = []
    for shape in served:
        gaps = [1.0 if graph else gap_us * source.lognormvariate(0, 0.5) for _ in shape]
        steps = tuple(replace(step, gap_us=gap) for step, gap in zip(shape, gaps, strict=True))
        calls.append(Call(steps, graph, idle_us * source.lognormvariate(0, 0.3)))
    requests = find_requests([record(calls, seed)])
    # Two networks may have as many operations.
    found: Counter[int] = Counter()
    for kind, of_kind in zip(requests.kinds, requests.found[0], strict=True):
        found[len(kind.signatures)] += len(of_kind.rows)
    busy_us = [sum(step.alone_us(132) for step in shape) for shape in served]
    for length in {len(shape) for shape in shapes}:
        of_it = [us for us, shape in zip(busy_us, served, strict=True) if len(shape) == length]
        if len(of_it) >= 3 and sum(of_it) > 0.03 * sum(busy_us):
            assert len(of_it) - 2 <= found[length] <= len(of_it)


def busy_machine(source: random.Random, graph: bool, unsteady: float) -> list[Call]:
    """A prefill and four decodes, again and again, by a program that must wait for a CPU now and
    then: between requests, and within one after its copy."""
    prefill, decode = network(2, name="prefill"), network(1, width=40, name="decode")
    calls = []
    for _ in range(16):
        for steps in (prefill, decode, decode, decode, decode):
            idle_us = 40.0 + (source.random() < unsteady) * source.expovariate(1 / 400)
            if not graph and source.random() < unsteady / 10:
                calls.append(Call(steps[:1], idle_us=source.uniform(10, 40)))
                steps = steps[1:]
            calls.append(Call(steps, graph, idle_us))
    return calls


def test_a_boundary_that_idles_less_than_the_others_is_one() -> None:
    """Nothing idles within graphs, so what idles between two of them is between requests."""
    prefill = Call(network(2, name="prefill"), graph=True, idle_us=36.0)
    decode = Call(network(1, width=40, name="decode"), graph=True, idle_us=60.0)
    windows = [record([prefill, *[decode] * 4] * 16, seed=number) for number in range(4)]
    lengths = [len(kind.signatures) for kind in find_requests(windows).kinds]
    assert sorted(lengths) == [len(network(1)), len(network(2))]


@pytest.mark.parametrize("graph", [False, True])
@given(seed=st.integers(0, 999), unsteady=st.floats(0, 0.4))
@settings(max_examples=30, deadline=None)
def test_a_busy_machine_makes_no_other_requests(graph: bool, seed: int, unsteady: float) -> None:
    source = random.Random(seed)
    windows = [record(busy_machine(source, graph, unsteady), seed=number) for number in range(12)]
    lengths = [len(network(1)), len(network(2))]
    assert sorted(len(kind.signatures) for kind in find_requests(windows).kinds) == lengths
