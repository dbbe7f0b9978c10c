"""Change a tenant while it runs (fico set resnet --quota 30%), or its session's policy
(fico set --policy mps; fico set --policy fico --setting span_us=100).
"""

import argparse

from fico.cli import options


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("tenant", nargs="?", metavar="NAME", help="the tenant")
    parser.add_argument("--quota", help=f"{options.QUOTA_HELP}; none takes it away")
    parser.add_argument("--priority", type=int, metavar="N", help=options.PRIORITY_HELP)
    parser.add_argument("--name", metavar="NEW", help="a new name")
    options.add_gpu(parser)
    options.add_policy(parser)
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="of the policy; again for each further one; see 'fico bench list --settings'",
    )


def run(arguments: argparse.Namespace) -> int:
    """Change one tenant, or one session."""
    from fico.runtime.control import change_policy, change_tenant
    from fico.runtime.policies import parse_settings
    from fico.runtime.quota import NO_QUOTA, parse_quota

    _check(arguments)
    if arguments.tenant is None:
        settings = parse_settings(arguments.setting, arguments.policy)
        change_policy(arguments.gpu, arguments.policy, settings)
        return 0
    quota = None
    if arguments.quota is not None:
        quota = NO_QUOTA if arguments.quota == "none" else parse_quota(arguments.quota)
    change_tenant(arguments.gpu, arguments.tenant, quota, arguments.priority, arguments.name)
    return 0


def _check(arguments: argparse.Namespace) -> None:
    from fico.runtime.errors import UsageError
    from fico.runtime.tenant import check_name

    example = "write: fico set NAME --quota 30%, or: fico set --policy mps"
    changes = (arguments.quota, arguments.priority, arguments.name)
    for_tenant = any(change is not None for change in changes)
    if arguments.tenant is None and for_tenant:
        raise UsageError("the name of the tenant to change is missing", example)
    if arguments.tenant is not None and arguments.policy is not None:
        raise UsageError("a policy is for all tenants of a session", "give --policy without a name")
    if arguments.setting and arguments.policy is None:
        raise UsageError("a setting belongs to a policy", "give --policy too")
    if not for_tenant and arguments.policy is None:
        raise UsageError("there is nothing to change", example)
    if arguments.name is not None:
        check_name(arguments.name)
