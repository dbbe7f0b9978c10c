"""How many GPUs models need: fico plan models.toml

From profiles, rates and latency limits: which models share a GPU, under which quotas, at what
latencies, compared with one model a GPU and with MPS. The file:

    gpu_memory = "141GB"            # may be left out, and then memory is not looked at

    [[model]]                       # one for each model
    profile = "vgg16-bs8-graph"     # one that ships, one of --profiles, or a .fico file
    name = "classifier"             # may be left out: after the profile
    rate = 120                      # requests per second
    p99_ms = 15                     # limits: one or more of mean_ms, p50_ms, p95_ms, p99_ms
    memory = "6GiB"                 # may be left out

The exit code is 1 if a model does not fit on any GPU.
"""

import argparse
from pathlib import Path

from fico.cli.tables import print_table, print_wrapped


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", type=Path, help="the models, in TOML")
    parser.add_argument(
        "--profiles",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="profiles that go before those that ship; may be repeated",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the arrivals")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan."""
    from rich.console import Console

    from fico.bench.plan import Planner
    from fico.bench.plan_file import read_demands
    from fico.bench.sim_device import SimDevice
    from fico.report.plan import explanations, gpu_table, plan_json, title

    demands = read_demands(arguments.file, arguments.profiles)
    device = SimDevice.of_files({demand.name: demand.profile for demand in demands.models})
    with Console(stderr=True).status("trying which models fit together"):
        plan = Planner(demands, device, device.unit_count, arguments.seed).plan()
    if arguments.json:
        import json

        print(json.dumps(plan_json(plan, device.gpu), indent=1))
        return 1 if plan.misfits else 0
    print_wrapped(title(plan, device.gpu))
    print()
    if plan.packing.gpus:
        print_table(gpu_table(plan))
        print()
    for line in explanations(plan):
        print_wrapped(line)
    return 1 if plan.misfits else 0
