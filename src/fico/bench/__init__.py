"""Policies measured against each other: workloads, suites, runs, metrics; and capacity planning."""
