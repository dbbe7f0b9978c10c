"""`python -m fico.cli` is `fico`."""

import sys

from fico.cli import main

sys.exit(main())
