"""From the raw records of a program's GPU operations to its profile."""
