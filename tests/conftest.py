"""What holds for all tests."""

from __future__ import annotations

import signal

# A test run in the background of a shell ignores these, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
