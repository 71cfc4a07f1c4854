"""One run of one capture on this machine, without Prefect: the walk through the stages, their processes, leases, memory and figures."""
