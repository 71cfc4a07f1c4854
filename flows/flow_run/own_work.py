"""What a worker of ours executes: the flows of this project and nothing else, whoever has written into the server.

Prefect lets a deployment, a work pool and each single run name the command, the environment, the folder and the code of its process. Who
reaches the API would so have a shell on every worker. Here the worker makes the command itself, and of what the server says only the
choice among our flows and their parameters counts. Anything more is refused with a reason, not left out unseen.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.utilities.processutils import command_to_string

POOL, BATCH_POOL = "twin", "twin-batch"
"""a batch waits for its captures: in the same pool it would hold a place that they need"""
ENTRYPOINTS = (
    "flows.deployments.reconstruct_capture",
    "flows.deployments.evaluate_twin",
    "flows.batch.reconstruct_batch",
)
DEPLOYMENTS = ("reconstruct-capture/one-capture", "evaluate-twin/score-a-twin", "reconstruct-batch/all-ready-captures")
"""flow and name of each of ours, in the order of ENTRYPOINTS"""
FORMER_NAME = "twin"
"""of all of them, in versions before these names; one that is there is left to the runs that were started by it"""
FLOW_ENVIRONMENT = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
"""A run outlives its worker. It must not print then: rich ends the process when its pipe to the worker is broken. Log lines reach the
server and the run's own log all the same."""
HARMLESS_STEPS = ("prefect.deployments.steps.set_working_directory",)
"""pull steps that `prefect deploy` writes by itself; they have no effect here"""


def entrypoint_of(written: str | None) -> str | None:
    """Our flow that a deployment names as module.function or as path/of/module.py:function; None for any other code."""
    path, colon, function = (written or "").partition(":")
    name = f"{path.removesuffix('.py').replace('/', '.')}.{function}" if colon else path
    return name if name in ENTRYPOINTS else None


def command_of(entrypoint: str) -> str:
    """Command line of a process that runs one of our flows, without a look at the folder it is started in."""
    return command_to_string([sys.executable, "-P", "-m", "prefect.flow_engine", entrypoint])


def why_foreign(run: FlowRun, deployment: DeploymentResponse | None) -> str:
    """Why a worker refuses this run, for whoever started it; empty if the run is ours."""
    if deployment is None:
        return "Not executed: it belongs to no deployment. Workers of stereotwin run the flows of its own deployments only."
    if entrypoint_of(deployment.entrypoint) is None:
        return (
            f"Not executed: its deployment names the code {deployment.entrypoint!r}. Workers of stereotwin run these only: "
            f"{', '.join(ENTRYPOINTS)}."
        )
    steps = [name for step in deployment.pull_steps or [] for name in step if name not in HARMLESS_STEPS]
    if steps:
        return f"Not executed: its deployment has the pull steps {', '.join(steps)}. {_AGAIN}"
    if more := _beyond_ours(deployment.job_variables):
        return f"Not executed: its deployment sets the job variables {more}. {_AGAIN}"
    if more := _beyond_ours(run.job_variables):
        return f"Not executed: it sets the job variables {more}, which no run may. Start it again without them."
    return ""


_AGAIN = "`twin serve`, or python -m flows.deployments, puts our deployments back as they were."


def _beyond_ours(variables: Mapping[str, Any] | None) -> str:
    """Names of the job variables that are not those which our deployments carry."""
    given = dict(variables or {})
    environment = given.pop("env", None) or {}
    foreign = (
        [f"env.{k}" for k, v in environment.items() if FLOW_ENVIRONMENT.get(k) != v]
        if isinstance(environment, Mapping)
        else ["env"]
    )
    return ", ".join(sorted([*given, *foreign]))
