"""Run a program as a tenant: fico run --quota 40% -- python serve.py

The session of the GPU, and MPS, are started if there is none. The process becomes the program:
its process id, its signals and its exit code are the program's own.
"""

import argparse
from pathlib import Path

from fico.cli import options
from fico.cli.lines import report


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--quota",
        help=f"{options.QUOTA_HELP}; default: an equal part of what others did not reserve",
    )
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="most GPU memory: 20GiB or 20G (2^30 bytes each), 20GB (10^9), 512MiB, bytes",
    )
    parser.add_argument("--priority", type=int, default=0, metavar="N", help=options.PRIORITY_HELP)
    options.add_gpu(parser)
    parser.add_argument("--name", help="the tenant's name; default: after the program")
    options.add_policy(parser)
    parser.add_argument(
        "--profile",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="of the program, as 'fico profile' wrote it; again for each further model that it "
        "serves; default: NAME.fico in a folder of $FICO_PROFILE_PATH",
    )
    parser.add_argument(
        "--force-profile",
        action="store_true",
        help="use profiles also if they are of another GPU or driver",
    )
    options.add_timeline(parser)
    parser.add_argument(
        "program", nargs=argparse.REMAINDER, metavar="-- CMD...", help="program and arguments"
    )


def run(arguments: argparse.Namespace) -> int:
    """Become the program; comes back by FicoError only."""
    from fico.runtime.gpus import selected_gpu
    from fico.runtime.policies import check_policy
    from fico.runtime.quota import NO_QUOTA, parse_quota, parse_size
    from fico.runtime.tenant import TenantSpec, become_tenant

    spec = TenantSpec(
        command=tuple(arguments.program),
        name=arguments.name,
        quota=parse_quota(arguments.quota) if arguments.quota is not None else NO_QUOTA,
        memory_bytes=parse_size(arguments.memory) if arguments.memory is not None else 0,
        priority=arguments.priority,
        profiles=tuple(arguments.profile),
        force_profile=arguments.force_profile,
        timeline=arguments.timeline,
    )
    if arguments.policy is not None:
        check_policy(arguments.policy)
    become_tenant(spec, selected_gpu(arguments.gpu), arguments.policy, report)
