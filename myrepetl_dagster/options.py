"""What a user decides about a pipeline's definitions, apart from the pipeline file: names, pool, hooks, retries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from .core.model.errors import ConfigError

RETRY_POLICY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
SENSOR_INTERVAL_S = 5


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

    def pool_of(self, group_name: str) -> str | None:
        """The pool of a source group's ops."""
        return None if self.pool is None else self.pool.replace("{source}", group_name)


def named(pipeline_name: str, text: str) -> str:
    return f"{pipeline_name}_{text}" if pipeline_name else text
