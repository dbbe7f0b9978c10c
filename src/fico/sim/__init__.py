"""Virtual-time runs: the scheduler and its policies over the device model."""

from fico.sim.run import Result, Tenant, TenantResult, simulate

__all__ = ["Result", "Tenant", "TenantResult", "simulate"]
