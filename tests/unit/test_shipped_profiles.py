"""The profiles that ship: all there, readable, of one GPU, and of nobody's machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path, PurePath

import pytest

from fico.profiling.classes import Thresholds
from fico.profiling.prediction import alone_us
from fico.runtime import profile_file
from fico.runtime.profiles import SHIPPED, available_profiles

MODELS = ("resnet152", "resnet101", "densenet201", "vgg16", "mobilenet_v2")
NAMES = {
    *(f"{model}-bs{batch}-graph" for model in MODELS for batch in (1, 8, 32)),
    *(f"{model}-bs8-eager" for model in MODELS),
    "decoder-bs1-graph",
}


def test_all_are_there_and_they_are_small() -> None:
    files = available_profiles()
    assert set(files) == NAMES
    assert sum(path.stat().st_size for path in files.values()) < 10e6
    assert all(path.parent == SHIPPED for path in files.values())


@pytest.mark.parametrize("name", sorted(NAMES))
def test_profile(name: str) -> None:
    profile = profile_file.load(available_profiles()[name])
    assert (profile.gpu.name, profile.gpu.emulated) == ("NVIDIA H200", False)
    assert not any(PurePath(word).is_absolute() for word in (profile.program, *profile.arguments))
    assert str(Path.home()) not in " ".join((profile.program, *profile.arguments))
    assert profile.thresholds == asdict(Thresholds())
    assert len(profile.traces) == (2 if name.startswith("decoder") else 1)
    for index, trace in enumerate(profile.traces):
        assert trace.from_graph == name.endswith("graph")
        if trace.from_graph:
            assert alone_us(profile, index, 16) == pytest.approx(trace.latency_us[-1], rel=0.05)
