"""What operating through Prefect costs and survives: the measurements behind `make bench-operations`."""
