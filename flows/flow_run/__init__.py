"""What a run is to Prefect: the stage as a task, states, attempts, the runs of a batch, and which work is ours."""
