"""Learn how a program's kernels behave, and look at what was learnt.

fico profile -o FILE -- CMD...   run the program and measure it
fico profile show FILE           a summary, the classes and the top kernels
fico profile diff A B            what two profiles have in common, and what not
fico profile plot FILE           figures as SVG and as one HTML page
fico profile analyse RAW -o FILE make the profile of a measurement that was kept with --raw

The program must serve requests, one after another or as they come, until it is stopped. It runs
unmodified, alone on its GPU, for some 20 seconds after its first requests.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fico.cli import options
from fico.cli.progress import progress_bar
from fico.cli.signals import ending_by_signal
from fico.runtime.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from fico.records.profile import Profile
    from fico.report.profile_summary import TraceDifference, TraceSummary

Side = Literal["left", "right"]

_AGREE_MEDIAN = 0.05
_AGREE_POINTS = 3.0
"""Two profiles of one program agree within these: durations, and class shares in points."""
_SHOWN_CHANGES = 10


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the profile to write")
    parser.add_argument(
        "--raw", type=Path, metavar="RAW", help="keep all that was measured in this file too"
    )
    parser.add_argument(
        "--start-within",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="how long the program may take to its first work on the GPU; default: 300",
    )
    options.add_gpu(parser)
    parser.set_defaults(program=[])
    actions = parser.add_subparsers(
        dest="action", metavar="show|diff|plot|analyse", title="actions"
    )
    analyse = actions.add_parser("analyse", help="make a profile anew", allow_abbrev=False)
    analyse.add_argument("measured", type=Path, metavar="RAW")
    # No default: argparse would put it over what was given before the action.
    analyse.add_argument(
        "-o", "--output", type=Path, metavar="FILE", default=argparse.SUPPRESS, required=True
    )
    show = actions.add_parser("show", help="print a summary", allow_abbrev=False)
    show.add_argument("file", type=Path, metavar="FILE")
    show.add_argument(
        "--top", type=int, default=15, metavar="N", help="kernels shown of a request; default: 15"
    )
    diff = actions.add_parser("diff", help="compare two profiles", allow_abbrev=False)
    diff.add_argument("first", type=Path, metavar="A")
    diff.add_argument("second", type=Path, metavar="B")
    plot = actions.add_parser("plot", help="draw figures", allow_abbrev=False)
    plot.add_argument("file", type=Path, metavar="FILE")
    plot.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PATH",
        help="a page (….html), or figures (….svg, numbered if there are several kinds of "
        "requests); default: both, named after FILE, in this folder",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure a program, or do one of the actions."""
    if arguments.action is not None and arguments.program:
        raise UsageError(f"fico profile {arguments.action} runs no program", "leave out '--'")
    match arguments.action:
        case None:
            return _measure(arguments)
        case "analyse":
            return _analyse(arguments.measured, arguments.output)
        case "show":
            return _show(arguments.file, arguments.top)
        case "diff":
            return _diff(arguments.first, arguments.second)
        case "plot":
            return _plot(arguments.file, arguments.output)
        case _:
            raise UsageError(f"there is no action {arguments.action!r}")


def _measure(arguments: argparse.Namespace) -> int:
    if not arguments.program:
        raise UsageError("no program is given", "fico profile -o FILE -- python serve.py")
    if arguments.output is None:
        raise UsageError("no file is given for the profile", "add -o FILE")
    if not arguments.start_within > 0:
        raise UsageError(
            f"--start-within {arguments.start_within:g} is no time", "give seconds above 0"
        )
    for path in (arguments.output, arguments.raw):
        if path is not None:
            _check_writable(path)
    from fico.profiling import raw_file
    from fico.profiling.analysis import analyse
    from fico.profiling.measure import measure
    from fico.runtime.gpus import selected_gpu
    from fico.runtime.profile_file import save

    with ending_by_signal(), progress_bar() as report:
        measurement = measure(
            arguments.program, selected_gpu(arguments.gpu), report, arguments.start_within
        )
    if arguments.raw is not None:
        raw_file.save(measurement, arguments.raw)
    profile = analyse(measurement)
    save(profile, arguments.output)
    return _show(arguments.output, 10)


def _check_writable(path: Path) -> None:
    """UsageError if a file can't be written there: known before anything is measured."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", "name a file")
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} of {path.name} does not exist", "make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{path} can't be written", "name a file in a folder of your own")


def _analyse(measured: Path, output: Path) -> int:
    from fico.profiling import raw_file
    from fico.profiling.analysis import analyse
    from fico.runtime.profile_file import save

    save(analyse(raw_file.load(measured)), output)
    return _show(output, 10)


def _show(path: Path, top: int) -> int:
    from fico.report.profile_summary import summary
    from fico.runtime.profile_file import load

    if top < 0:
        raise UsageError(f"--top {top} is less than none", "give a number from 0 on")
    profile = load(path)
    print(" ".join([profile.program, *profile.arguments]))
    print(_origin(profile))
    for trace in summary(profile):
        print()
        _show_trace(profile, trace, top)
    return 0


def _origin(profile: Profile) -> str:
    gpu = profile.gpu
    parts = [
        gpu.name + (" (emulated: no real GPU)" if gpu.emulated else ""),
        f"driver {gpu.driver_version}",
        f"CUDA {profile.cuda}",
        f"{len(gpu.sms_per_unit)} units, {gpu.sms} SMs",
        profile.created,
    ]
    return ", ".join(parts)


def _show_trace(profile: Profile, trace: TraceSummary, top: int) -> None:
    kind = " of CUDA graphs" if trace.from_graph else ""
    print(f"request {trace.index}: {trace.launches} launches{kind}, seen {trace.requests} times")
    pairs = zip(profile.measured_units, trace.latency_us, strict=True)
    print("  ms alone, by units: " + ", ".join(f"{units}: {us / 1e3:.2f}" for units, us in pairs))
    print(
        f"  GPU busy {trace.busy_us / 1e3:.2f} ms; pressure on neighbours: "
        + ", ".join(f"{resource} {part:.0%}" for resource, part in trace.pressure.items())
        + f"; curves off by {_percent(trace.fit_error)}"
    )
    table = _table(("class", "left"), ("of time", "right"), ("of launches", "right"))
    for name in ("dominant", "neutral", "insensitive"):
        by_time, by_count = getattr(trace.by_time, name), getattr(trace.by_count, name)
        table.add_row(name, f"{by_time:.1%}", f"{by_count:.1%}")
    _print(table)
    if not top:
        return
    table = _table(
        ("kernel", "left"),
        ("launches", "right"),
        ("share", "right"),
        ("us each", "right"),
        ("blocks", "right"),
        ("on half", "right"),
        ("right size", "right"),
        ("class", "left"),
        ("bound", "left"),
        ("beside memory", "right"),
        ("fit", "right"),
    )
    for row in trace.kernels[:top]:
        table.add_row(
            row.name,
            str(row.count),
            f"{row.share:.1%}",
            f"{row.duration_us:.1f}",
            str(row.blocks or "-"),
            _times(row.half_slowdown),
            f"{row.right_units}u",
            str(row.kernel_class),
            str(row.bound),
            _times(row.memory_slowdown),
            _percent(row.fit_error),
        )
    _print(table)
    left = len(trace.kernels) - top
    if left > 0:
        print(f"  and {left} more")


def _diff(first_path: Path, second_path: Path) -> int:
    from fico.report.profile_summary import difference, summary
    from fico.runtime.profile_file import load

    first, second = load(first_path), load(second_path)
    for label, profile, path in (("A", first, first_path), ("B", second, second_path)):
        print(f"{label} {path}: {' '.join([profile.program, *profile.arguments])}")
        print(f"  {_origin(profile)}")
    summaries = summary(first), summary(second)
    for found in difference(first, second):
        print()
        if found.first is None or found.second is None:
            which, index = ("B", found.second) if found.first is None else ("A", found.first)
            print(f"request {index} of {which} is in {which} only")
            continue
        _show_difference(found, summaries[0][found.first], summaries[1][found.second])
    return 0


def _show_difference(found: TraceDifference, mine: TraceSummary, theirs: TraceSummary) -> None:
    print(
        f"request {found.first} of A and {found.second} of B: {found.common} launches in common, "
        f"{len(found.only_first)} in A only, {len(found.only_second)} in B only"
    )
    table = _table(("", "left"), ("A", "right"), ("B", "right"), ("change", "right"))
    latencies = mine.latency_us[-1], theirs.latency_us[-1]
    table.add_row(
        "latency alone, ms",
        *(f"{us / 1e3:.3f}" for us in latencies),
        f"{latencies[1] / latencies[0] - 1:+.1%}",
    )
    points = []
    for name in ("dominant", "neutral", "insensitive"):
        shares = getattr(mine.by_time, name), getattr(theirs.by_time, name)
        points.append(100 * (shares[1] - shares[0]))
        table.add_row(
            f"{name}, of time", *(f"{share:.1%}" for share in shares), f"{points[-1]:+.1f} points"
        )
    _print(table)
    changes = found.ratios[:_SHOWN_CHANGES]
    if changes:
        print(
            f"  {len(found.ratios)} launches of over 5 us: median change "
            f"{_percent(found.median_change)}; the largest:"
        )
        table = _table(
            ("kernel", "left"),
            ("place", "right"),
            ("A us", "right"),
            ("B us", "right"),
            ("change", "right"),
        )
        from fico.report.kernel_names import short_name

        for ratio, one, other in changes:
            table.add_row(
                short_name(one.name) or one.kind,
                str(one.position),
                f"{one.duration_us:.1f}",
                f"{other.duration_us:.1f}",
                f"{ratio - 1:+.1%}",
            )
        _print(table)
    if found.class_changes:
        print(f"  {len(found.class_changes)} launches are of another class in B")
    same = not found.only_first and not found.only_second
    close = not found.median_change > _AGREE_MEDIAN and max(map(abs, points)) <= _AGREE_POINTS
    verdict = "agree" if same and close else "do not agree"
    print(
        f"  they {verdict} (same launches, median change up to {_AGREE_MEDIAN:.0%}, classes within "
        f"{_AGREE_POINTS:g} points)"
    )


def _plot(path: Path, output: Path | None) -> int:
    from fico.runtime.profile_file import load

    profile = load(path)
    stem = Path(path.name).with_suffix("")
    outputs = (
        [output] if output is not None else [stem.with_suffix(".html"), stem.with_suffix(".svg")]
    )
    for target in outputs:
        match target.suffix.lower():
            case ".html" | ".htm":
                written = _write_page(profile, target)
            case ".svg":
                written = _write_figures(profile, target)
            case _:
                raise UsageError(
                    f"{target} is neither .html nor .svg", "name it by what it shall be"
                )
        for name in written:
            print(name)
    return 0


def _write_page(profile: Profile, target: Path) -> list[Path]:
    from fico.report.profile_page import profile_page

    target.write_text(profile_page(profile), encoding="utf-8")
    return [target]


def _write_figures(profile: Profile, target: Path) -> list[Path]:
    from fico.report.profile_figures import trace_svg
    from fico.report.profile_summary import summary

    traces = summary(profile)
    written = []
    for trace in traces:
        place = target if len(traces) == 1 else target.with_stem(f"{target.stem}-{trace.index}")
        place.write_text(trace_svg(profile, trace) + "\n", encoding="utf-8")
        written.append(place)
    return written


def _percent(value: float) -> str:
    return f"{value:.1%}" if value == value else "-"


def _times(value: float) -> str:
    return f"{value:.2f}x" if value == value else "-"


def _table(*columns: tuple[str, Side]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title, side in columns:
        table.add_column(title, justify=side, no_wrap=True)
    return table


def _print(table: Table) -> None:
    from rich.console import Console
    from rich.padding import Padding

    # A pipe has no width: nothing is cut there.
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=400)
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
