"""The command line: one module per command, and the one place that turns errors into exit codes."""

import contextlib
import os
import sys
from typing import NoReturn

from fico.runtime.errors import FicoError, UsageError

_FAILURE = 1
_USAGE = 2
_INTERRUPTED = 130


def run() -> NoReturn:
    """`fico` as a program. Python's own end is not waited for: what commands had to take away is
    gone by now, and libraries have threads on which it once hung, and once aborted."""
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


def main(arguments: list[str] | None = None) -> int:
    """Run `fico`; gives the exit code: 0, 1 for a failure, 2 for wrong usage, 130 for Ctrl-C."""
    from fico.cli.app import dispatch

    try:
        code = dispatch(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _fail(str(error), _USAGE)
    except FicoError as error:
        return _fail(str(error), _FAILURE)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Who read our output has gone; Python would complain once more while it flushes.
        sys.stdout = None
        return _FAILURE
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _fail(f"{error.strerror or error}{where}", _FAILURE)


def _fail(line: str, code: int) -> int:
    from fico.cli.lines import report

    report(line)
    return code
