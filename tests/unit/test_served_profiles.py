"""What Fico is told of the models that a server of the bench serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fico import _native
from fico.bench.emulated_program import program_of
from fico.bench.served_profiles import emulated_profiles, usable_profiles
from fico.runtime import profile_file
from fico.runtime.gpus import EMULATED, find_gpu
from fico.runtime.kernel_table import write_kernel_table
from helpers.profiles import H200, synthetic_profile

MODELS = ("vgg16-bs8-graph", "mobilenet_v2-bs1-eager")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {model: tmp_path / f"{model}.fico" for model in MODELS}
    for model, path in paths.items():
        profile_file.save(synthetic_profile(model), path)
    return paths


def test_models_without_a_usable_profile_go_without(files: dict[str, Path], tmp_path: Path) -> None:
    found, reasons = usable_profiles((*MODELS, "none-bs1-graph"), [tmp_path], H200)
    assert found == list(files.values())
    assert list(reasons) == ["none-bs1-graph"]
    assert "there is no profile of none-bs1-graph" in reasons["none-bs1-graph"]
    found, reasons = usable_profiles(MODELS, [tmp_path], replace(H200, name="another"))
    assert found == []
    assert all("here it is another" in reasons[model] for model in MODELS)


def test_the_emulated_gpu_runs_what_its_profiles_say(
    files: dict[str, Path], tmp_path: Path
) -> None:
    """The launches of a server are known, each to its own model."""
    gpu = find_gpu(EMULATED)
    folder = tmp_path / "emulated"
    folder.mkdir()
    write_kernel_table(emulated_profiles(files, gpu, folder), gpu, tmp_path / "table")
    tracker = _native.Tracker(str(tmp_path / "table"))
    for trace, model in enumerate(MODELS):
        profile = synthetic_profile(model)
        program = program_of(model, profile)
        first, last, from_graph = tracker.trace(trace)
        assert from_graph == program["graph"] == model.endswith("graph")
        (launches,) = program["requests"]
        steps = [
            tracker.launched(_native.launch_signature(name, (blocks, 1, 1), (256, 1, 1)))
            for name, blocks in launches
        ]
        assert [step[0] for step in steps] == list(range(first, last))
        _, remaining_us = tracker.launch(first)
        whole_us = sum(launch.gap_us + launch.scaling_us[-1] for launch in profile.launches)
        assert remaining_us == pytest.approx(whole_us, rel=1e-4)
