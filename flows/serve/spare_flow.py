"""A process with a flow run's imports behind it, which waits for one: `python -P -m flows.serve.spare_flow`, of a worker
(spare_process.py).

One line of JSON on stdin tells which flow and the run's environment; then it is what `python -m prefect.flow_engine FLOW` would be. The end
of stdin, when the worker has gone, ends it.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> int:
    """Wait, then run the flow; its exit code."""
    from prefect import flow_engine

    import flows.deployments  # noqa: F401 - all flows, and what they import
    from flows.run.stage_child import load_stages

    load_stages()
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    job = json.loads(line)
    os.environ.clear()
    os.environ.update(job["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return flow_engine._main([job["flow"]])


if __name__ == "__main__":
    sys.exit(main())
