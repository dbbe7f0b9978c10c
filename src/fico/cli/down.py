"""End a session: its MPS and its shared memory. Refused while tenants live, unless --force."""

import argparse

from fico.cli import options


def prepare_parser(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_gpu(parser)
    parser.add_argument(
        "--force", action="store_true", help="end its tenants too, and remove a damaged session"
    )


def run(arguments: argparse.Namespace) -> int:
    """End the session of a GPU, or the only one there is."""
    from fico.runtime.control import chosen_session
    from fico.runtime.session import end_session

    session = chosen_session(arguments.gpu, remnants=True)
    ended = end_session(session, arguments.force)
    tenants = f", and with it {', '.join(ended)}" if ended else ""
    print(f"the session on {session.gpu.name} has ended{tenants}")
    return 0
