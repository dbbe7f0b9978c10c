"""Profiles as the preloaded library reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fico import _native
from fico.records.gpu import Gpu
from fico.records.profile import Launch, Profile
from fico.runtime import profile_file
from fico.runtime.errors import FicoError
from fico.runtime.kernel_table import write_kernel_table
from fico.runtime.profile_file import ForeignProfileError
from fico.runtime.traces import CLASSES, trace_of
from helpers.profiles import H200, synthetic_profile


def saved(folder: Path, name: str, profile: Profile) -> Path:
    path = folder / f"{name}.fico"
    profile_file.save(profile, path)
    return path


def table_of(folder: Path, *profiles: Path, gpu: Gpu = H200, force: bool = False) -> Path:
    path = folder / "table"
    write_kernel_table(profiles, gpu, path, force=force)
    return path


def signature(launch: Launch) -> int:
    return _native.launch_signature(launch.mangled, launch.grid, launch.block)


def test_each_launch_has_all_that_is_known_of_it(tmp_path: Path) -> None:
    profile = synthetic_profile("vgg16-bs8-graph")
    table = _native.Tracker(str(table_of(tmp_path, saved(tmp_path, "vgg", profile))))
    launches = profile.launches
    assert table.trace(0) == (0, len(launches), True)
    left_us = 0.0
    for place in reversed(range(len(launches))):
        launch = launches[place]
        kernel, remaining_us = table.launch(place)
        left_us += launch.gap_us + launch.scaling_us[-1]
        assert remaining_us == pytest.approx(left_us, rel=1e-5)
        curve = [kernel.duration_us(units) for units in range(1, len(launch.scaling_us) + 1)]
        assert curve == pytest.approx(launch.scaling_us, rel=1e-6)
        assert kernel.right_units == launch.right_units
        assert kernel.kernel_class == CLASSES[launch.kernel_class]
    with pytest.raises(IndexError):
        table.launch(len(launches))
    with pytest.raises(IndexError):
        table.trace(1)


def test_several_profiles_lie_one_after_another(tmp_path: Path) -> None:
    graph, eager = synthetic_profile("vgg16-bs8-graph"), synthetic_profile("mobilenet_v2-bs1-eager")
    files = [saved(tmp_path, "graph", graph), saved(tmp_path, "eager", eager)]
    table = _native.Tracker(str(table_of(tmp_path, *files)))
    first = len(graph.launches)
    assert table.trace(0) == (0, first, True)
    assert table.trace(1) == (first, first + len(eager.launches), False)
    for place, launch in enumerate(eager.launches, first):
        assert table.launched(signature(launch)) == (place, False, place == first + 156)


def test_only_kernels_count_and_the_others_are_gaps(tmp_path: Path) -> None:
    profile = synthetic_profile("vgg16-bs8-graph")
    a, b, c, d = (replace(launch, gap_us=2.0) for launch in profile.launches[:4])
    mixed = (a, replace(b, kind="copy", duration_us=7.0), replace(c, kind="fill"), d)
    traces = (replace(profile.traces[0], launches=4),)
    path = saved(tmp_path, "mixed", replace(profile, launches=mixed, traces=traces))
    table = _native.Tracker(str(table_of(tmp_path, path)))
    assert table.trace(0) == (0, 2, True)
    _, whole_us = table.launch(0)
    _, last_us = table.launch(1)
    assert last_us == pytest.approx(2 + 7 + 2 + c.duration_us + 2 + d.scaling_us[-1], rel=1e-5)
    assert whole_us == pytest.approx(last_us + 2 + a.scaling_us[-1], rel=1e-5)


def test_a_profile_without_kernels_has_no_requests(tmp_path: Path) -> None:
    profile = synthetic_profile("vgg16-bs8-graph")
    copies = tuple(replace(launch, kind="copy") for launch in profile.launches)
    path = saved(tmp_path, "copies", replace(profile, launches=copies))
    with pytest.raises(IndexError):
        _native.Tracker(str(table_of(tmp_path, path))).trace(0)


@pytest.mark.parametrize("sms_per_unit", [(8,) * 4, (8,) * 20], ids=["smaller", "larger"])
def test_a_profile_of_another_gpu_fits_if_it_is_forced(
    tmp_path: Path, sms_per_unit: tuple[int, ...]
) -> None:
    profile = synthetic_profile("vgg16-bs8-graph")
    path = saved(tmp_path, "foreign", profile)
    gpu = replace(H200, sms_per_unit=sms_per_unit)
    with pytest.raises(ForeignProfileError):
        table_of(tmp_path, path, gpu=gpu)
    table = _native.Tracker(str(table_of(tmp_path, path, gpu=gpu, force=True)))
    units = len(sms_per_unit)
    for place, launch in enumerate(profile.launches):
        kernel, _ = table.launch(place)
        assert kernel.right_units <= units
        assert kernel.duration_us(units) == pytest.approx(
            launch.scaling_us[min(units, 16) - 1], rel=1e-6
        )


def test_what_can_not_be_used_is_one_line(tmp_path: Path) -> None:
    profile = synthetic_profile("vgg16-bs8-graph")
    first, *others = profile.launches
    wrong = replace(first, scaling_us=(0.0,) * 16)
    path = saved(tmp_path, "zero", replace(profile, launches=(wrong, *others)))
    with pytest.raises(FicoError, match=r"zero\.fico cannot be used: durations are positive"):
        table_of(tmp_path, path)
    good = saved(tmp_path, "good", profile)
    with pytest.raises(FicoError, match="cannot be written"):
        write_kernel_table([good], H200, tmp_path / "none" / "table")


def test_rows_and_traces_belong_together(tmp_path: Path) -> None:
    launches = synthetic_profile("vgg16-bs8-graph").launches[:2]
    rows: list[_native.TableRow] = [("a", (1, 1, 1), (1, 1, 1))]
    with pytest.raises(ValueError, match="a row a launch"):
        _native.write_kernel_table(str(tmp_path / "t"), [(rows, trace_of(launches, True))])
