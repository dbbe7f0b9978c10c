"""Fico shares one GPU among unmodified inference programs, kernel by kernel, under quotas."""
