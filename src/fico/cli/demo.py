"""Show two tenants on an emulated GPU: each alone, sharing freely, and under quotas.

Takes half a minute and needs no GPU. The figures are those of a model, not of a real GPU.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fico.runtime.demo import DemoTenant, Scene

_LONGEST_S = 10.0


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        metavar="S",
        help=f"how long each of the four scenes is measured, 0.5 to {_LONGEST_S:g}; default: 5",
    )


def run(arguments: argparse.Namespace) -> int:
    """Play the scenes and print a table."""
    from fico.runtime.demo import SCENES, play, private_sessions
    from fico.runtime.errors import UsageError

    if not 0.5 <= arguments.seconds <= _LONGEST_S:
        raise UsageError(
            f"--seconds {arguments.seconds:g} is out of range", f"give 0.5 to {_LONGEST_S:g}"
        )
    print("This GPU is emulated: no real one is used, and the figures are not of a real one.\n")
    results: list[tuple[Scene, DemoTenant, list[float]]] = []
    with private_sessions() as environment:
        for scene in SCENES:
            _announce(scene)
            answers = play(scene, arguments.seconds, environment)
            results += zip([scene] * len(answers), scene.tenants, answers, strict=True)
    _print_table(results)
    return 0


def _announce(scene: Scene) -> None:
    from fico.runtime.demo import options_of

    print(f"{scene.title}:")
    for tenant in scene.tenants:
        print(f"  fico run {' '.join(options_of(scene, tenant))} -- python {tenant.name}.py")


def _print_table(results: list[tuple[Scene, DemoTenant, list[float]]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from fico.runtime.demo import DILATION

    title = "Latency of a request on the emulated GPU, and how many times that alone"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("", "tenant", "quota"):
        table.add_column(column, no_wrap=True)
    for column in ("requests", "mean ms", "", "p99 ms", ""):
        table.add_column(column, justify="right", no_wrap=True)
    alone: dict[str, tuple[float, float]] = {}
    last = ""
    for scene, tenant, latencies in results:
        mean_ms = sum(latencies) / len(latencies) * 1e3
        p99_ms = sorted(latencies)[int(len(latencies) * 0.99)] * 1e3
        first = alone.setdefault(tenant.name, (mean_ms, p99_ms))
        table.add_row(
            scene.title if scene.title != last else "",
            tenant.name,
            tenant.quota if scene.with_quotas else "-",
            str(len(latencies)),
            f"{mean_ms:.2f}",
            f"{mean_ms / first[0]:.2f}x",
            f"{p99_ms:.2f}",
            f"{p99_ms / first[1]:.2f}x",
        )
        last = scene.title
    print()
    Console().print(table)
    print()
    print("chat launches on one stream, batch on three: sharing freely, batch takes three quarters")
    print("of the GPU; under quotas chat has its 60%, whatever batch does. The times are those of")
    print(f"the emulated GPU, which runs {DILATION:g} times slower than they say.")
