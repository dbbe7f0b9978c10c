"""How long tests wait."""

PATIENCE_S = 120.0
"""For what must come: only a hang takes as long, not a machine that is busy with other things.
What has to come within some time has that time in its test."""
