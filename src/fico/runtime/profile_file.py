"""Profiles as files: Parquet, a row for each launch, the rest as JSON in the file's metadata.

docs/profile-format.md is the description of the format.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fico.records.gpu import Gpu
from fico.records.profile import (
    NEIGHBOURS,
    VERSION,
    Bound,
    KernelClass,
    Launch,
    Profile,
    Resource,
    Trace,
)
from fico.runtime.errors import FicoError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_METADATA = b"fico"
_CHECKSUM = b"fico_crc32"
_ANEW = "profile the program again with 'fico profile'"


class ProfileFileError(FicoError):
    """A file that is no profile, or one that this version cannot read."""


class ForeignProfileError(FicoError):
    """A profile of another GPU or driver."""


def save(profile: Profile, path: Path) -> None:
    """Replace the file in one step."""
    import pyarrow.parquet as pq

    draft = path.with_name(path.name + ".new")
    try:
        pq.write_table(
            _table(profile),
            draft,
            compression="zstd",
            compression_level=9,
            use_dictionary=[name for name, kind in _text_columns()],
            use_byte_stream_split=_float_columns(profile),
            write_statistics=False,
            write_page_checksum=True,
        )
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def load(path: Path) -> Profile:
    """Read a profile. UsageError: the file cannot be opened; ProfileFileError: it is no profile, is
    damaged, or is of a newer version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
            metadata = _metadata(path, parquet.schema_arrow.metadata or {})
            columns = parquet.read().to_pydict()
        return _profile(metadata, columns)
    except pa.ArrowException as error:
        raise _damaged(path, _first_line(error)) from None
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else _first_line(error)
        raise _damaged(path, reason) from None
    except OSError as error:
        if error.errno is None:  # Arrow's own, about what is in the file
            raise _damaged(path, _first_line(error)) from None
        raise UsageError(
            f"profile {path} cannot be read: {error.strerror}", "give a file of 'fico profile'"
        ) from None


def check_gpu(profile: Profile, gpu: Gpu, *, force: bool = False) -> None:
    """ForeignProfileError if the profile is of another GPU or driver, unless forced."""
    was, now = profile.gpu, gpu
    different = [
        f"{what} {a}, here it is {b}"
        for what, a, b in (
            ("GPU", was.name, now.name),
            ("driver", was.driver_version, now.driver_version),
            ("units of SMs", _sizes(was), _sizes(now)),
        )
        if a != b
    ]
    if different and not force:
        raise ForeignProfileError(
            f"the profile of {profile.program} was measured on {'; '.join(different)}",
            f"{_ANEW}, or use it with --force-profile",
        )


def _sizes(gpu: Gpu) -> str:
    return "+".join(str(sms) for sms in gpu.sms_per_unit)


def _damaged(path: Path, reason: str) -> ProfileFileError:
    return ProfileFileError(f"{path} is damaged, or no profile: {reason}", _ANEW)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


# The columns: what a launch has under which names. A vector is a column for each element.

_INTEGERS = {
    "trace": "uint16",
    "position": "uint32",
    "registers": "uint16",
    "shared_bytes": "uint32",
    "blocks_per_sm": "uint8",
    "stream": "uint16",
    "right_units": "uint8",
}
_LATER = ("slowdown_copy_50", "slowdown_copy_100")
"""Columns that came without a new version: files without them are whole."""
_FLOATS = ("gap_us", "duration_us", "spread_us", "fit_error")
_TEXTS: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("kind", "kind", str),
    ("name", "name", str),
    ("mangled", "mangled", str),
    ("bound", "bound", Bound),
    ("class", "kernel_class", KernelClass),
)


def _text_columns() -> list[tuple[str, str]]:
    return [(column, field) for column, field, _ in _TEXTS]


def _shape_columns(field: str) -> list[str]:
    return [f"{field}_{axis}" for axis in "xyz"]


def _vector_columns(measured_units: Sequence[int], units: int) -> dict[str, list[str]]:
    return {
        "measured_us": [f"measured_us_{count}" for count in measured_units],
        "scaling_us": [f"scaling_us_{count}" for count in range(1, units + 1)],
        "slowdowns": [f"slowdown_{n.work}_{round(100 * n.strength)}" for n in NEIGHBOURS],
        "sensitivity": [f"sensitivity_{resource}" for resource in Resource],
        "pressure": [f"pressure_{resource}" for resource in Resource],
    }


def _float_columns(profile: Profile) -> list[str]:
    vectors = _vector_columns(profile.measured_units, len(profile.gpu.sms_per_unit))
    return [*_FLOATS, *(column for columns in vectors.values() for column in columns)]


def _table(profile: Profile) -> pa.Table:
    import pyarrow as pa

    launches = profile.launches
    columns: dict[str, pa.Array] = {}

    def add(column: str, values: list[Any], kind: Any) -> None:
        columns[column] = pa.array(values, kind)

    for name in ("trace", "position"):
        add(name, [getattr(launch, name) for launch in launches], _INTEGERS[name])
    for column, field, _ in _TEXTS:
        values = [str(getattr(launch, field)) for launch in launches]
        columns[column] = pa.array(values, pa.string()).dictionary_encode()
    for field in ("grid", "block", "cluster"):
        for axis, column in enumerate(_shape_columns(field)):
            add(column, [getattr(launch, field)[axis] for launch in launches], "uint32")
    for name, kind in _INTEGERS.items():
        if name not in columns:
            add(name, [getattr(launch, name) for launch in launches], kind)
    add("from_graph", [launch.from_graph for launch in launches], "bool")
    for name in _FLOATS:
        add(name, [getattr(launch, name) for launch in launches], "float32")
    vectors = _vector_columns(profile.measured_units, len(profile.gpu.sms_per_unit))
    for field, names in vectors.items():
        for index, column in enumerate(names):
            add(column, [getattr(launch, field)[index] for launch in launches], "float32")
    text = json.dumps(_metadata_fields(profile), separators=(",", ":"), allow_nan=False).encode()
    table = pa.table(columns)
    return table.replace_schema_metadata(
        {_METADATA: text, _CHECKSUM: str(zlib.crc32(text)).encode()}
    )


def _metadata_fields(profile: Profile) -> dict[str, Any]:
    gpu = profile.gpu
    return {
        "version": profile.version,
        "gpu": {
            "index": gpu.index,
            "uuid": gpu.uuid,
            "name": gpu.name,
            "driver_version": gpu.driver_version,
            "sms_per_unit": gpu.sms_per_unit,
            "emulated": gpu.emulated,
        },
        "cuda": profile.cuda,
        "program": profile.program,
        "arguments": profile.arguments,
        "created": profile.created,
        "epsilon": profile.epsilon,
        "measured_units": profile.measured_units,
        "shared_units": profile.shared_units,
        "thresholds": profile.thresholds,
        "traces": [
            {
                "launches": trace.launches,
                "requests": trace.requests,
                "from_graph": trace.from_graph,
                "latency_us": _with_nulls(trace.latency_us),
                "period_us": _with_nulls(trace.period_us),
                "pressure": trace.pressure,
            }
            for trace in profile.traces
        ],
    }


def _with_nulls(values: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(value) else round(value, 3) for value in values]


def _without_nulls(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)


def _metadata(path: Path, found: dict[bytes, bytes]) -> dict[str, Any]:
    if _METADATA not in found:
        raise ProfileFileError(f"{path} is a Parquet file, but no profile of Fico", _ANEW)
    text = found[_METADATA]
    if str(zlib.crc32(text)).encode() != found.get(_CHECKSUM):
        raise _damaged(path, "the checksum of its metadata is wrong")
    fields: dict[str, Any] = json.loads(text)
    version = int(fields["version"])
    if version > VERSION:
        raise ProfileFileError(
            f"{path} is of version {version} of the format, this Fico reads up to {VERSION}",
            f"update Fico, or {_ANEW}",
        )
    return fields


def _profile(fields: dict[str, Any], columns: dict[str, list[Any]]) -> Profile:
    measured_units = tuple(int(units) for units in fields["measured_units"])
    gpu = Gpu.from_json(fields["gpu"])
    traces = tuple(
        Trace(
            launches=int(trace["launches"]),
            requests=int(trace["requests"]),
            from_graph=bool(trace["from_graph"]),
            latency_us=_without_nulls(trace["latency_us"]),
            period_us=_without_nulls(trace["period_us"]),
            pressure=_three(trace["pressure"]),
        )
        for trace in fields["traces"]
    )
    profile = Profile(
        gpu=gpu,
        cuda=str(fields["cuda"]),
        program=str(fields["program"]),
        arguments=tuple(str(argument) for argument in fields["arguments"]),
        created=str(fields["created"]),
        epsilon=float(fields["epsilon"]),
        measured_units=measured_units,
        shared_units=int(fields["shared_units"]),
        traces=traces,
        launches=_launches(columns, _vector_columns(measured_units, len(gpu.sms_per_unit))),
        thresholds={str(name): float(value) for name, value in fields["thresholds"].items()},
    )
    _check(profile)
    return profile


def _launches(columns: dict[str, list[Any]], vectors: dict[str, list[str]]) -> tuple[Launch, ...]:
    fields: dict[str, list[Any]] = {
        name: columns[name] for name in (*_INTEGERS, *_FLOATS, "from_graph")
    }
    for column, field, kind in _TEXTS:
        fields[field] = [kind(text) for text in columns[column]]
    for field in ("grid", "block", "cluster"):
        vectors = {**vectors, field: _shape_columns(field)}
    for field, names in vectors.items():
        fields[field] = list(zip(*(_column(columns, name) for name in names), strict=True))
    return tuple(
        Launch(**dict(zip(fields, values, strict=True)))
        for values in zip(*fields.values(), strict=True)
    )


def _column(columns: dict[str, list[Any]], name: str) -> list[Any]:
    """NaN where the file is older than the column."""
    if name in _LATER and name not in columns:
        return [math.nan] * len(columns["trace"])
    return columns[name]


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _check(profile: Profile) -> None:
    """ValueError for what no profile has."""
    units = len(profile.gpu.sms_per_unit)
    if not units or not profile.traces:
        raise ValueError("it has no units or no requests")
    expected = [
        (index, position)
        for index, trace in enumerate(profile.traces)
        for position in range(trace.launches)
    ]
    if [(launch.trace, launch.position) for launch in profile.launches] != expected:
        raise ValueError("its launches do not make up its requests")
    if profile.measured_units[-1:] != (units,) or not 1 <= profile.shared_units <= units:
        raise ValueError("the units it was measured on are not those of its GPU")
    for launch in profile.launches:
        if not all(math.isfinite(value) and value >= 0 for value in launch.scaling_us):
            raise ValueError(f"the curve of launch {launch.position} is no duration")
        if not 1 <= launch.right_units <= units:
            raise ValueError(f"launch {launch.position} has a right size of {launch.right_units}")
