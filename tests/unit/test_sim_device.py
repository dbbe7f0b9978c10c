"""The simulator as a device: what it takes from profiles, and how runs begin and end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fico import _native
from fico.bench.device import Job, Load
from fico.bench.policy import POLICIES, Policy, parse_policy
from fico.bench.sim_device import SimDevice
from fico.records.profile import Profile
from fico.runtime import profile_file
from fico.runtime.errors import FicoError, UsageError
from fico.runtime.profiles import available_profiles, find_profile
from helpers.profiles import NAMES, SHAPES, synthetic_profile

LIGHT, HEAVY = "mobilenet_v2-bs1-graph", "vgg16-bs8-graph"
ARRIVALS = np.arange(0.0, 100e3, 2000.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (LIGHT, HEAVY):
        profile_file.save(synthetic_profile(name), tmp_path / f"{name}.fico")
    return tmp_path


@pytest.fixture
def device(folder: Path) -> SimDevice:
    return SimDevice.of((LIGHT, HEAVY), [folder])


def two_kinds() -> Profile:
    """A program with two kinds of request, one seen three times as often."""
    often, rare = synthetic_profile(LIGHT), synthetic_profile(HEAVY)
    return replace(
        often,
        traces=(replace(often.traces[0], requests=75), replace(rare.traces[0], requests=25)),
        launches=(*often.launches, *(replace(launch, trace=1) for launch in rare.launches)),
    )


@pytest.mark.parametrize("name", NAMES)
def test_synthetic_profiles_are_as_long_as_the_models(name: str) -> None:
    profile = synthetic_profile(name)
    shape = SHAPES[name.rpartition("-")[0]]
    assert len(profile.launches) == shape.kernels
    assert sum(launch.duration_us for launch in profile.launches) == pytest.approx(shape.gpu_us)
    latency_us = shape.graph_us if name.endswith("graph") else shape.eager_us
    assert profile.traces[0].latency_us[-1] == pytest.approx(latency_us, rel=0.05)
    for launch in profile.launches:
        assert all(np.diff(launch.scaling_us) <= 1e-9)
        assert launch.scaling_us[launch.right_units - 1] <= 1.05 * launch.duration_us
    assert profile == synthetic_profile(name)


def test_alone_a_request_takes_what_was_profiled(device: SimDevice) -> None:
    job = Job((Load(HEAVY, 100, ARRIVALS * 5),), Policy("mps"), 1e6, 1)
    (served,) = device.run(job).tenants
    latency_us = np.mean(served.end_us - served.arrival_us)
    assert latency_us == pytest.approx(device.alone_us(HEAVY), rel=0.02)
    assert served.sm_us is not None
    assert 0 < served.sm_us <= 132 * float(served.end_us[-1])


def test_closed_loops_go_on_beside_open_ones_until_those_have_ended(device: SimDevice) -> None:
    loads = (Load(LIGHT, 50, ARRIVALS), Load(HEAVY, 50, None))
    open_loop, closed = device.run(Job(loads, Policy("static"), 100e3, 1)).tenants
    assert list(open_loop.arrival_us) == list(ARRIVALS)
    assert closed.end_us[-1] > ARRIVALS[-1] - 2 * device.alone_us(HEAVY)
    # One is issued when the last has ended.
    assert list(closed.arrival_us[1:]) == list(closed.end_us[:-1])


def test_closed_loops_end_with_the_window_and_begin_apart(device: SimDevice) -> None:
    loads = (Load(LIGHT, 50, None), Load(LIGHT, 50, None))
    first, second = device.run(Job(loads, Policy("mps"), 50e3, 3)).tenants
    assert max(first.end_us[-1], second.end_us[-1]) <= 50e3
    assert first.arrival_us[0] != second.arrival_us[0]


def test_a_starved_tenant_does_not_run_for_ever(device: SimDevice) -> None:
    # Five times as much as it can do, in a short window.
    arrivals = np.linspace(0.0, 1e3, 300)
    outcome = device.run(Job((Load(HEAVY, 100, arrivals),), Policy("mps"), 2e3, 1))
    (served,) = outcome.tenants
    assert 0 < len(served.end_us) < 300
    assert outcome.problems == (
        f"tenant 1 ({HEAVY}) ended {len(served.end_us)} of 300 requests within 20 windows",
    )


def test_the_simulator_has_all_policies_under_the_same_names(device: SimDevice) -> None:
    for name in POLICIES:
        device.check(Policy(name))
    assert {row["name"] for row in _native.policies()} == set(POLICIES)


def test_quotas_in_thirds_fit(device: SimDevice) -> None:
    for count in (3, 6, 7):
        loads = tuple(Load(LIGHT, 100 / count, ARRIVALS[:2]) for _ in range(count))
        assert len(device.run(Job(loads, Policy("static"), 10e3, 1)).tenants) == count
    with pytest.raises(FicoError, match="the simulator refuses static: quotas of 200%"):
        device.run(Job((Load(LIGHT, 100, None),) * 2, Policy("static"), 10e3, 1))


def test_kinds_of_requests_come_as_often_as_they_were_seen(tmp_path: Path) -> None:
    path = tmp_path / "two.fico"
    profile_file.save(two_kinds(), path)
    device = SimDevice.of_files({"two": path})
    (served,) = device.run(
        Job((Load("two", 100, np.arange(0.0, 640e3, 10e3)),), Policy("mps"), 1e6, 1)
    ).tenants
    long = served.end_us - served.arrival_us > 1000
    assert long.sum() == 16
    assert all(long[start : start + 8].sum() == 2 for start in range(0, 64, 8))


def test_profiles_of_two_gpus_are_not_mixed(folder: Path) -> None:
    profile = synthetic_profile(HEAVY)
    other = folder / "other.fico"
    launches = tuple(
        replace(launch, scaling_us=launch.scaling_us[:8], right_units=1)
        for launch in profile.launches
    )
    gpu = replace(profile.gpu, name="Half", sms_per_unit=(8,) * 8)
    half = replace(profile, gpu=gpu, launches=launches, measured_units=(1, 2, 4, 6, 7, 8))
    profile_file.save(half, other)
    with pytest.raises(UsageError, match=r"other\.fico is of another GPU \(Half\) than "):
        SimDevice.of_files({"a": folder / f"{LIGHT}.fico", "b": other})


def test_policies_and_settings_are_checked(device: SimDevice) -> None:
    device.check(parse_policy("mps-quota[percent_of_quota=200]"))
    for text, complaint in (
        ("mps[x=1]", "policy mps has no setting 'x'; it has none"),
        ("mps-quota[x=1]", "policy mps-quota has no setting 'x'; choose from percent_of_quota"),
        ("mps-quota[percent_of_quota=0]", "setting percent_of_quota=0 of policy mps-quota is out"),
    ):
        with pytest.raises(UsageError) as refusal:
            device.check(parse_policy(text))
        assert str(refusal.value).startswith(complaint)


def test_profiles_are_found_by_name_and_by_path(folder: Path, tmp_path: Path) -> None:
    assert find_profile(LIGHT, [folder]) == folder / f"{LIGHT}.fico"
    assert find_profile(str(folder / f"{HEAVY}.fico")) == folder / f"{HEAVY}.fico"
    assert {LIGHT, HEAVY} <= available_profiles([folder]).keys()
    with pytest.raises(UsageError) as refusal:
        find_profile("vgg99-bs8-graph", [folder])
    line = str(refusal.value)
    assert f"there is no profile of vgg99-bs8-graph in {folder} or those that ship" in line
    assert all(name in line for name in (LIGHT, HEAVY))
    assert line.endswith("make it with: fico profile -o vgg99-bs8-graph.fico -- CMD")
    with pytest.raises(UsageError, match=r"there is no file .*nothing\.fico"):
        find_profile(str(tmp_path / "nothing.fico"))
