"""Executors with what a run needs of them checked first: one that loses steps is refused, a lonely one does not wait.

dagster-celery hands steps to whoever listens, and waits for ever where nobody does. dagster-dask drops the mapped steps
of a run and reports success.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import dagster as dg

from .core.model.errors import ConfigError

LOSES_STEPS = {"dask": "dagster-dask leaves out the mapped steps of a run, and reports it as a success"}
_INSTEAD = "use the in-process, the multiprocess, the Celery or the Kubernetes executor"
_OWN = {"in_process": dg.in_process_executor, "multiprocess": dg.multi_or_in_process_executor}
_OF_PACKAGES = {"celery": ("dagster_celery", "celery_executor"), "k8s": ("dagster_k8s", "k8s_job_executor")}
_NAMES = (*_OWN, *_OF_PACKAGES)
_ANSWER_S = 3.0
_BROKER_S = 5.0


def checked(executor_def: dg.ExecutorDefinition | None) -> dg.ExecutorDefinition | None:
    """The same executor. With Celery, a run first makes sure that its broker and a worker are there.

    Raises:
        ConfigError: the executor loses steps.
    """
    if executor_def is None:
        return None
    refuse_lossy(executor_def)
    return _with_workers(executor_def) if executor_def.name == "celery" else executor_def


def executor_named(name: str) -> dg.ExecutorDefinition:
    """The executor of this name: in_process, multiprocess, celery or k8s.

    Raises:
        ConfigError: there is no such one, or its package is not installed.
    """
    if name in _OWN:
        return _OWN[name]
    if name in LOSES_STEPS:
        raise ConfigError([("executor", LOSES_STEPS[name], _INSTEAD)])
    if name not in _OF_PACKAGES:
        raise ConfigError([("executor", f"there is no executor {name!r}", f"use one of {', '.join(_NAMES)}")])
    package, attribute = _OF_PACKAGES[name]
    try:
        found: dg.ExecutorDefinition = getattr(import_module(package), attribute)
    except ImportError:
        extra = f"pip install 'myrepetl-dagster[{name}]'"
        raise ConfigError([("executor", f"{name!r} needs the package {package}", extra)]) from None
    return found


def refuse_lossy(executor_def: dg.ExecutorDefinition) -> None:
    """Raise ConfigError for an executor that loses steps."""
    reason = LOSES_STEPS.get(executor_def.name)
    if reason is not None:
        raise ConfigError([("executor_def", reason, _INSTEAD)])


def _with_workers(executor_def: dg.ExecutorDefinition) -> dg.ExecutorDefinition:
    create = executor_def.executor_creation_fn
    schema: Any = executor_def.config_schema
    assert create is not None, "an executor definition makes an executor"

    def create_checked(context: dg.InitExecutorContext) -> dg.Executor:
        executor = create(context)
        require_workers(executor)
        return executor

    return dg.ExecutorDefinition(
        name=executor_def.name,
        config_schema=schema,
        requirements=executor_def.get_requirements,
        executor_creation_fn=create_checked,
        description=executor_def.description,
    )


def require_workers(executor: dg.Executor) -> None:
    """Make sure that Celery's broker, its result backend and a worker of the queue are there.

    Raises:
        Failure: one of them is not.
    """
    settings: Any = executor
    make_app = import_module("dagster_celery.make_app").make_app  # of the extra `celery`, which may be missing
    app = make_app(settings.app_args())
    place = settings.broker if "@" not in settings.broker else app.connection_for_write().as_uri()  # no password
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=_BROKER_S)
    except Exception as error:
        raise dg.Failure(
            f"Celery's broker {place} is out of reach ({_line(error)}). Start it, or correct `broker` in the run's"
            " execution config.",
            allow_retries=False,
        ) from None
    queue = app.conf.task_default_queue
    answers = app.control.inspect(timeout=_ANSWER_S).active_queues() or {}
    if not any(one["name"] == queue for queues in answers.values() for one in queues):
        raise dg.Failure(
            f"no Celery worker takes steps from the queue {queue!r} of {place}. Start one, with the same code and the"
            " same broker: dagster-celery worker start -A dagster_celery.app -y FILE",
            allow_retries=False,
        )


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
