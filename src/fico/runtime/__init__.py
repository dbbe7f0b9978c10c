"""Sessions, tenants, MPS: everything that happens around the programs that share a GPU."""
