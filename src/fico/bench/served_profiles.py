"""What Fico is told of the models that a server serves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fico.bench.emulated_program import profile_of
from fico.records.gpu import Gpu
from fico.runtime import profile_file
from fico.runtime.errors import FicoError
from fico.runtime.profiles import SUFFIX, find_profile


def usable_profiles(
    models: Iterable[str], folders: Sequence[Path], gpu: Gpu
) -> tuple[list[Path], dict[str, str]]:
    """The profiles of these models on a GPU; for a model without one, the reason."""
    files: list[Path] = []
    reasons: dict[str, str] = {}
    for model in models:
        try:
            file = find_profile(model, folders)
            profile_file.check_gpu(profile_file.load(file), gpu)
        except FicoError as error:
            reasons[model] = error.message
        else:
            files.append(file)
    return files, reasons


def emulated_profiles(profiles: Mapping[str, Path], gpu: Gpu, folder: Path) -> list[Path]:
    """Write profiles of what the emulated GPU runs for models that have these."""
    files: list[Path] = []
    for model, path in profiles.items():
        file = folder / f"{model}{SUFFIX}"
        profile_file.save(profile_of(model, profile_file.load(path), gpu), file)
        files.append(file)
    return files
