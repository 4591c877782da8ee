"""The definitions that `workspace.yaml` and `-m myrepetl_dagster.definitions` load, for the file in MYREPETL_CONFIG.

Nothing connects here. A file with mistakes fails to load, with a list of them. Without MYREPETL_CONFIG the jobs fail
with a message that says so. MYREPETL_EXECUTOR names the executor of the jobs.
"""

import logging
import os

import click
import dagster as dg

from myrepetl_dagster.core.model.errors import ConfigError
from myrepetl_dagster.executors import executor_named
from myrepetl_dagster.factory import build_replication_defs

VARIABLE = "MYREPETL_CONFIG"
EXECUTOR = "MYREPETL_EXECUTOR"  # in_process (the default), multiprocess, celery or k8s
UNSET = f"no pipeline: set {VARIABLE} to the path of the pipeline file (JSON or YAML), then load again"


def _nothing_to_replicate() -> dg.Definitions:
    logging.getLogger("myrepetl").warning(UNSET)

    @dg.op(name="pipeline_file", description=UNSET)
    def refuse() -> None:
        raise dg.Failure(UNSET, allow_retries=False)

    @dg.job(name="replicate", description=UNSET, executor_def=dg.in_process_executor)
    def replicate() -> None:
        refuse()

    @dg.job(name="snapshot", description=UNSET, executor_def=dg.in_process_executor)
    def snapshot() -> None:
        refuse()

    return dg.Definitions(jobs=[replicate, snapshot])


def _definitions() -> dg.Definitions:
    path = os.environ.get(VARIABLE)
    if not path:
        return _nothing_to_replicate()
    try:
        return build_replication_defs(path, executor_def=executor_named(os.environ.get(EXECUTOR) or "in_process"))
    except ConfigError as error:
        # Dagster's commands print an error of click's as its text, and any other one with a hundred lines of its stack.
        raise click.ClickException(str(error)) from None


defs = _definitions()
