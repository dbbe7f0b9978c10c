"""Runs a CUDA C++ program of native/ and gives the digest of its output: cuda_program.py BINARY

This process itself uses no CUDA. The program is its child, and so part of the same tenant.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from outputs import Outputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--deterministic", action="store_true", help="it always is")
    options = parser.parse_args()
    done = subprocess.run([options.binary, str(options.seed)], stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"{options.binary} ended with {done.returncode}")
    outputs = Outputs()
    outputs.add(done.stdout)
    outputs.report()


if __name__ == "__main__":
    main()
