"""Options that several commands have, written the same way everywhere."""

import argparse
from pathlib import Path

QUOTA_HELP = "a share of the SMs (40%%, 37.5%%) or a number of units (6u)"
PRIORITY_HELP = "lower goes first, as in CUDA"


def add_gpu(parser: argparse.ArgumentParser) -> None:
    """--gpu."""
    parser.add_argument(
        "--gpu",
        metavar="IDX|UUID|emulated",
        help="the GPU; default: $FICO_GPU, else the first of $CUDA_VISIBLE_DEVICES, else 0",
    )


def add_policy(parser: argparse.ArgumentParser) -> None:
    """--policy."""
    parser.add_argument(
        "--policy",
        metavar="NAME",
        help="how the session shares: static, each tenant on its own units (default of a new "
        "session); mps, everything with all; fico, by kernel; reef, krisp, orion, lithos, as their "
        "papers say; shuffle, for tests, another partition every launch",
    )


def add_timeline(parser: argparse.ArgumentParser) -> None:
    """--timeline."""
    parser.add_argument(
        "--timeline",
        type=Path,
        metavar="DIR",
        help="record there what the policy decides and when, up to 64 MiB a process, for "
        "'fico timeline DIR'",
    )
