"""A profile comes back as it was saved, and nothing else passes for one."""

from __future__ import annotations

import json
import math
import random
import zlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fico.profiling.analysis import analyse
from fico.records.profile import Profile
from fico.runtime.errors import FicoError, UsageError
from fico.runtime.profile_file import (
    ForeignProfileError,
    ProfileFileError,
    check_gpu,
    load,
    save,
)
from helpers.raw_records import closed_loop, measurement, network


@pytest.fixture(scope="module")
def profile() -> Profile:
    return analyse(measurement(closed_loop(network(20), 8, graph=True)))


@pytest.fixture
def path(tmp_path: Path, profile: Profile) -> Path:
    save(profile, tmp_path / "net.fico")
    return tmp_path / "net.fico"


def same(one: Any, other: Any) -> bool:
    """Equal up to the precision of the file."""
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or math.isclose(
            one, other, rel_tol=1e-6, abs_tol=1e-3
        )
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dataclass_fields__"):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return bool(one == other) and type(one) is type(other)


def test_it_comes_back(path: Path, profile: Profile) -> None:
    assert same(load(path), profile)
    assert [entry.name for entry in path.parent.iterdir()] == ["net.fico"]
    assert not same(replace(profile, cuda="12.0"), profile)


def test_pandas_opens_it_as_it_is(path: Path, profile: Profile) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(path)
    assert len(frame) == len(profile.launches)
    assert frame["scaling_us_16"].iloc[1] == pytest.approx(profile.launches[1].scaling_us[15])
    assert set(frame["class"]) == {str(launch.kernel_class) for launch in profile.launches}
    assert frame["slowdown_memory_100"].dtype == "float32"


def test_it_is_small(tmp_path: Path) -> None:
    big = analyse(measurement(closed_loop(network(233), 5, graph=True), units=(4, 8, 16)))
    assert len(big.launches) > 700
    save(big, tmp_path / "big.fico")
    assert (tmp_path / "big.fico").stat().st_size < 150_000


def with_metadata(path: Path, **changes: Any) -> None:
    table = pq.read_table(path)
    text = json.loads(table.schema.metadata[b"fico"]) | changes
    raw = json.dumps(text).encode()
    found = {b"fico": raw, b"fico_crc32": str(zlib.crc32(raw)).encode()}
    pq.write_table(table.replace_schema_metadata(found), path)


def complaint(path: Path) -> str:
    with pytest.raises(ProfileFileError) as refusal:
        load(path)
    line = str(refusal.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    return line


def test_a_newer_version_is_named(path: Path) -> None:
    with_metadata(path, version=7)
    assert "is of version 7 of the format, this Fico reads up to 1; update Fico" in complaint(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"measured_units": [1, 2]}, "measured_us_1|units it was measured on"),
        ({"shared_units": 99}, "units it was measured on"),
        ({"traces": []}, "no requests"),
        ({"gpu": 3}, "damaged"),
        ({"epsilon": "much"}, "could not convert"),
    ],
)
def test_contradictions_are_damage(path: Path, changes: dict[str, Any], reason: str) -> None:
    with_metadata(path, **changes)
    line = complaint(path)
    assert "is damaged, or no profile" in line
    assert any(part in line for part in reason.split("|"))


def test_rows_that_are_missing_are_damage(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(3), path)
    assert "do not make up its requests" in complaint(path)


def test_columns_that_are_missing_are_named(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["fit_error"]), path)
    assert "'fit_error' is missing" in complaint(path)


def test_a_file_of_before_a_column_is_whole(path: Path, profile: Profile) -> None:
    """As the profiles that ship are, which were measured without neighbours that write."""
    later = ["slowdown_copy_50", "slowdown_copy_100"]
    pq.write_table(pq.read_table(path).drop_columns(later), path)
    found = load(path)
    wanted = tuple(
        replace(launch, slowdowns=(*launch.slowdowns[:-2], math.nan, math.nan))
        for launch in profile.launches
    )
    assert same(found, replace(profile, launches=wanted))
    save(found, path)
    assert same(load(path), found)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"{}", b"x" * 5000])
def test_other_files_are_no_profiles(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)
    assert "is damaged, or no profile" in complaint(tmp_path / "other")


def test_other_tables_are_no_profiles(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "table")
    assert "is a Parquet file, but no profile" in complaint(tmp_path / "table")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load(tmp_path / "absent")
    with pytest.raises(UsageError, match="Is a directory"):
        load(tmp_path)


def test_no_truncation_or_flipped_bit_passes(path: Path, profile: Profile) -> None:
    whole = path.read_bytes()
    source = random.Random(1)
    for _ in range(150):
        damaged = bytearray(whole)
        if source.random() < 0.3:
            del damaged[source.randrange(len(whole)) :]
        else:
            damaged[source.randrange(len(whole))] ^= 1 << source.randrange(8)
        path.write_bytes(damaged)
        try:
            found = load(path)
        except FicoError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
        else:
            assert same(found, profile), "a flip that says nothing may pass, a wrong profile not"


def test_another_gpu_is_refused_with_the_reason(profile: Profile) -> None:
    gpu = profile.gpu
    check_gpu(profile, replace(gpu, uuid="GPU-other", index=3))
    other = replace(gpu, name="NVIDIA H100", driver_version="550.1")
    with pytest.raises(ForeignProfileError) as refusal:
        check_gpu(profile, other)
    assert "GPU NVIDIA H200, here it is NVIDIA H100; driver 580.1, here it is 550.1" in str(
        refusal.value
    )
    check_gpu(profile, other, force=True)
    with pytest.raises(ForeignProfileError, match="units of SMs"):
        check_gpu(profile, replace(gpu, sms_per_unit=(66, 66)))
