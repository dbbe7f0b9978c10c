"""Make the profiles that ship with the package from raw measurements.

    python benchmarks/ship_profiles.py RAW_FOLDER [MODEL:BATCH:MODE...]

RAW_FOLDER has the files that `benchmarks/profiles.py` left (NAME.npz). The profiles go to
src/fico/profiles: all that ship, or those that are named, as after measuring one program again.
Those of held-out programs do not ship.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import common
from fico.profiling import raw_file
from fico.profiling.analysis import analyse
from fico.records.profile import Profile
from fico.runtime import profile_file
from fico.runtime.profiles import SHIPPED as FOLDER
from fico.runtime.profiles import SUFFIX
from profiles import SHIPPED, name_of

MOST_BYTES = 10_000_000


def program_problem(profile: Profile) -> str | None:
    """What a profile that others get must not say of the machine that it was measured on."""
    words = [profile.program, *profile.arguments]
    found = [word for word in words if Path(word).is_absolute() or ".." in Path(word).parts]
    return f"it names {found[0]}" if found else None


def ship(raw: Path) -> tuple[str, Profile]:
    profile = analyse(raw_file.load(raw))
    problem = program_problem(profile)
    if problem is not None:
        raise SystemExit(f"{raw} cannot ship: {problem}")
    profile_file.save(profile, FOLDER / f"{raw.stem}{SUFFIX}")
    return raw.stem, profile


def make_all(raws: Sequence[Path]) -> list[common.Row]:
    """Make them, side by side; a row for each."""
    FOLDER.mkdir(exist_ok=True)
    rows: list[common.Row] = []
    with ProcessPoolExecutor() as pool:
        for name, profile in pool.map(ship, raws):
            rows.append(
                {
                    "profile": name,
                    "requests": len(profile.traces),
                    "launches": len(profile.launches),
                    "kb": (FOLDER / f"{name}{SUFFIX}").stat().st_size / 1e3,
                }
            )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("raw", type=Path, metavar="RAW_FOLDER")
    parser.add_argument("programs", nargs="*", default=SHIPPED, metavar="MODEL:BATCH:MODE")
    options = parser.parse_args()
    unknown = set(options.programs) - set(SHIPPED)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))} does not ship; see SHIPPED in profiles.py")
    raws = [options.raw / f"{name_of(program)}.npz" for program in options.programs]
    missing = [raw.name for raw in raws if not raw.exists()]
    if missing:
        parser.error(f"{options.raw} lacks {', '.join(missing)}")
    rows = make_all(raws)
    common.show(rows, ["profile", "requests", "launches", "kb"])
    whole = sum(path.stat().st_size for path in FOLDER.glob(f"*{SUFFIX}"))
    print(f"{whole / 1e6:.2f} MB ship")
    return 0 if whole <= MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
