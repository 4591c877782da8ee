"""What a user decides about a pipeline's definitions, apart from the pipeline file: names, pool, hooks, retries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import dagster as dg

from . import supported_dagster  # noqa: F401  (first: it refuses a Dagster that lacks what follows)
from .core.config.pipeline import Pipeline
from .core.model.errors import ConfigError
from .pipeline_file import PipelineFile

RETRY_POLICY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
SENSOR_INTERVAL_S = 5


@dataclass(frozen=True, slots=True)
class Checks:
    """What Dagster watches of each target table. All of it is on by default.

    Without `monitoring.enabled` in the pipeline file there are no checks.

    Args:
        lag_s_max: the check `lag` fails if the table is further behind, in seconds; None: no such check.
        schema_in_step: whether there is the check `schema_in_step`.
        fresh_within: the window of the table's freshness policy, at least a minute; None: no policy. A quiet table that
            is in step with its source is materialized again each time that half of it has passed.
        refresh_s: after so many seconds an evaluation is stored again that says what the one before has said.

    Raises:
        ConfigError: a bound is too small.
    """

    lag_s_max: float | None = 60.0
    schema_in_step: bool = True
    fresh_within: timedelta | None = timedelta(days=1)
    refresh_s: float = 600.0

    def __post_init__(self) -> None:
        if self.lag_s_max is not None and self.lag_s_max <= 0:
            raise ConfigError([("checks.lag_s_max", f"{self.lag_s_max:g} is not above 0", "None leaves the check out")])
        if self.fresh_within is not None and self.fresh_within < timedelta(minutes=1):
            problem = f"{self.fresh_within.total_seconds():g} s is less than a minute"
            raise ConfigError([("checks.fresh_within", problem, "None leaves the freshness policy out")])


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `build_replication_defs`, handed on to whatever makes a definition.

    Args:
        name: the pipeline's name. It begins the names of jobs, ops, sensors, resources and groups, so that several
            pipelines fit into one code location. Empty: names without it.
        pool: the pool of the ops. `{source}` in it stands for the op's sources. None: no pool.
        op_tags: tags of the ops, such as `dagster-k8s/config`.
        hooks: hooks of the jobs, such as one that tells a channel of a failure.
        executor_def: executes the ops of the jobs. None: the jobs run in process.
        retry_policy: how Dagster retries an op, once the core's own retries have given up.
        sensor_interval_s: the least time between two looks of a sensor. Dagster's own loop takes 5 s.
        checks: the asset checks and the freshness policy of the target tables.
        pipeline_file: the file that was loaded; None: the pipeline was made in code.

    Raises:
        ConfigError: the name or the pool is not what Dagster accepts.
    """

    name: str = ""
    pool: str | None = None
    op_tags: Mapping[str, Any] = field(default_factory=dict)
    hooks: Set[dg.HookDefinition] = frozenset()
    executor_def: dg.ExecutorDefinition | None = None
    retry_policy: dg.RetryPolicy | None = RETRY_POLICY
    sensor_interval_s: int = SENSOR_INTERVAL_S
    checks: Checks = field(default_factory=Checks)
    pipeline_file: PipelineFile | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_]*", self.name):
            raise ConfigError([("name", f"{self.name!r} is no name for Dagster", "use letters, digits and _")])

    @property
    def in_process(self) -> bool:
        """Whether the ops of the jobs share one process."""
        return self.executor_def in (None, dg.in_process_executor)

    def named(self, text: str) -> str:
        """The name of a job, op, sensor, resource or group of this pipeline."""
        return named(self.name, text)

    def file_problem(self, loaded: Pipeline) -> str | None:
        """Why a run of tables would fail: it reads the pipeline file anew. See `PipelineFile.problem`."""
        return self.pipeline_file.problem(loaded) if self.pipeline_file else None

    def file_fault(self) -> str | None:
        """Why any run would fail. See `PipelineFile.fault`."""
        return self.pipeline_file.fault() if self.pipeline_file else None

    def pool_of(self, group_name: str) -> str | None:
        """The pool of a source group's ops."""
        return None if self.pool is None else self.pool.replace("{source}", group_name)


def named(pipeline_name: str, text: str) -> str:
    return f"{pipeline_name}_{text}" if pipeline_name else text
