"""`python -m fico.cli` is `fico`."""

from fico.cli import run

run()
