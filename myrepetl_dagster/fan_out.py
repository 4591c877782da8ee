"""The job that copies large tables again by many steps, which an executor can run in several processes or machines.

For each source: a step begins the copies and divides the tables, a step for each range copies it, and a last step ends
the copies, copies what was not divided, and applies the log. The steps hand each other names and numbers, never rows.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from . import metadata
from .assets import GroupRun
from .core.config.pipeline import Pipeline, TableMapping
from .core.model.errors import ReplicationError
from .executors import refuse_lossy
from .handed_on import HandedOn
from .jobs import MAPPINGS
from .lineage import SourceGroup, identifier, mappings_named
from .options import Options
from .progress import ProgressReport
from .run_log import core_log
from .stopping import run_stoppable

if TYPE_CHECKING:
    from .core.replication.run import SourceRun

JOB = "snapshot_parallel"
STEP_ROWS = "About how many rows one step copies; left out: so many that it takes half a minute or more."
_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class BeginConfig(dg.Config):
    """Run configuration of a first step. None: the default."""

    mappings: list[str]
    step_rows: int | None = None


class EndConfig(dg.Config):
    """Run configuration of a last step."""

    mappings: list[str]


def build_fan_out_job(
    groups: Sequence[SourceGroup],
    pipeline: Pipeline,
    keys: Mapping[str, dg.AssetKey],
    target_keys: Mapping[str, str],
    options: Options,
) -> dg.JobDefinition:
    """The job over all sources.

    Args:
        keys: each mapping's asset.
        target_keys: each target's resource key.

    Raises:
        ConfigError: the executor loses steps.
    """
    executor_def = options.executor_def
    if executor_def is None or options.in_process:  # one process would copy the ranges one after another
        executor_def = dg.multi_or_in_process_executor
    refuse_lossy(executor_def)
    chains = [
        _chain(group, source, pipeline, keys, target_keys, options) for group in groups for source in group.sources
    ]

    @dg.job(
        name=options.named(JOB),
        config=_config(groups, options),
        executor_def=executor_def,
        hooks=set(options.hooks) or None,
        description="Copies tables again, whatever state they are in, the large ones by many steps side by side; then"
        " applies the log up to its end.",
    )
    def snapshot_parallel() -> None:
        for begin, copy, end in chains:
            parts, ranges = begin()
            end(parts, ranges.map(copy).collect())

    return snapshot_parallel


def fan_out_resources(options: Options) -> dict[str, HandedOn]:
    """The resources that the job needs beside the targets."""
    return {_io_key(options): HandedOn()}


def _io_key(options: Options) -> str:
    return options.named("handed_on")


def copied_now(instance: dg.DagsterInstance, job_name: str, mappings: Sequence[TableMapping]) -> set[str]:
    """The names of those mappings that a run of the job copies at present, for a sensor that must not start another.

    Args:
        job_name: `options.named(JOB)`.
    """
    names: set[str] = set()
    for record in instance.get_run_records(dg.RunsFilter(job_name=job_name, statuses=_UNDER_WAY)):
        asked: Any = record.dagster_run.run_config.get("mappings")
        names |= {m.name for m in mappings if asked is None or {m.name, f"{m.target}.{m.target_table}"} & set(asked)}
    return names


def _config(groups: Sequence[SourceGroup], options: Options) -> dg.ConfigMapping:
    def run_config(config: Mapping[str, Any]) -> dict[str, Any]:
        chosen = mappings_named(groups, config.get("mappings"))
        ops: dict[str, Any] = {}
        for group in groups:
            for source in group.sources:
                own = [m.name for m in group.mappings if m.source == source and (chosen is None or m.name in chosen)]
                begin = {"mappings": own, "step_rows": config.get("step_rows")}
                ops[_op_name(options, "begin_copies", source)] = {"config": begin}
                ops[_op_name(options, "end_copies", source)] = {"config": {"mappings": own}}
        execution = config.get("execution")
        return {"ops": ops} | ({"execution": execution} if execution else {})

    schema = {
        "mappings": dg.Field([str], is_required=False, description=MAPPINGS),
        "step_rows": dg.Field(int, is_required=False, description=STEP_ROWS),
        "execution": dg.Field(dict, is_required=False, description="The executor's configuration, as in any job."),
    }
    return dg.ConfigMapping(config_fn=run_config, config_schema=schema)


def _op_name(options: Options, what: str, source: str) -> str:
    return options.named(identifier(f"{what}_{source}"))


def _chain(
    group: SourceGroup,
    source: str,
    pipeline: Pipeline,
    keys: Mapping[str, dg.AssetKey],
    target_keys: Mapping[str, str],
    options: Options,
) -> tuple[dg.OpDefinition, dg.OpDefinition, dg.OpDefinition]:
    """The three ops of a source."""
    common: dict[str, Any] = {
        "pool": options.pool_of(group.name),
        "tags": dict(options.op_tags) or None,
        "retry_policy": options.retry_policy,
    }

    @dg.op(
        name=_op_name(options, "begin_copies", source),
        out={
            "parts": dg.Out(list, io_manager_key=_io_key(options)),
            "ranges": dg.DynamicOut(dict, io_manager_key=_io_key(options)),
        },
        description=f"Begins new copies of tables of {source}, and divides the large ones into ranges.",
        **common,
    )
    def begin_copies(context: dg.OpExecutionContext, config: BeginConfig) -> Iterator[Any]:
        from .core.replication.fan_out import STEP_ROWS, BeginCopies

        refuse_lossy(context.job_def.executor_def)
        for warning in pipeline.warnings:
            context.log.warning(warning)
        parts: list[dict[str, Any]] = []
        if config.mappings:
            run = BeginCopies(
                pipeline,
                _mappings(pipeline, config.mappings),
                _report(context, keys, pipeline),
                step_rows=config.step_rows or STEP_ROWS,
            )
            run_stoppable(context, run)
            # An error of a mapping is raised by the last step, which copies the mapping or finds the error again.
            parts = [asdict(part) for part in run.parts]
        divided = {part["mapping"]: part["of"] for part in parts}
        for name in config.mappings:
            context.log.info(
                f"{name}: {divided[name]} ranges" if name in divided else f"{name}: copied whole, at the end"
            )
        yield dg.Output(parts, "parts")
        for part in parts:
            yield dg.DynamicOutput(part, identifier(f"{part['mapping']}_{part['number']}"), "ranges")

    @dg.op(
        name=_op_name(options, "copy_range", source),
        ins={"part": dg.In(dict)},
        out=dg.Out(dict, io_manager_key=_io_key(options)),
        description=f"Copies one range of a table of {source}.",
        **common,
    )
    def copy_range(context: dg.OpExecutionContext, part: dict[str, Any]) -> dict[str, Any]:
        from .core.replication.fan_out import CopyOneRange, Part

        started_s = time.monotonic()
        run = CopyOneRange(pipeline, Part(**part), _report(context, keys, pipeline))
        run_stoppable(context, run)
        _raise_errors(run)
        took_s = time.monotonic() - started_s
        name = f"{part['mapping']}: range {part['number']} of {part['of']}"
        context.log.info(f"{name}: {run.rows:,} rows in {took_s:.1f} s")
        context.add_output_metadata({"rows": run.rows, "elapsed_s": round(took_s, 3)})
        return {"mapping": part["mapping"], "number": part["number"], "rows": run.rows}

    @dg.op(
        name=_op_name(options, "end_copies", source),
        ins={"parts": dg.In(list), "copied": dg.In(list)},
        out=dg.Out(dg.Nothing),
        required_resource_keys=set(target_keys.values()),
        description=f"Ends the copies of tables of {source}, copies those that were not divided, and applies the log.",
        **common,
    )
    def end_copies(
        context: dg.OpExecutionContext, config: EndConfig, parts: list[dict[str, Any]], copied: list[dict[str, Any]]
    ) -> None:
        from .core.replication.fan_out import EndCopies, Part

        if not config.mappings:
            return
        own = _mappings(pipeline, config.mappings)
        by_table = {keys[m.name]: tuple(one for one in own if keys[one.name] == keys[m.name]) for m in own}
        tables = {keys[table.mappings[0].name]: table for table in group.tables}
        group_run = GroupRun(context, pipeline, by_table, options.checks, keys=keys)
        again = set(group_run._to_copy_again({m.name: keys[m.name] for m in own}))
        run = EndCopies(
            pipeline,
            own,
            [Part(**part) for part in parts],
            _report(context, keys, pipeline),
            copied=[m.name for m in own if m.name not in again],
        )
        try:
            with core_log(context, pipeline.monitoring.log_level):
                run_stoppable(context, run)
            group_run.results |= run.results
            group_run.errors |= {name: r.error for name, r in run.results.items() if r.error is not None}
            for result in run.results.values():
                if result.error is None:
                    context.log.info(metadata.result_text(result))
            for made in group_run.finished(tables, lambda name: getattr(context.resources, target_keys[name])):
                assert made.asset_key is not None
                context.log_event(dg.AssetMaterialization(made.asset_key, metadata=made.metadata, tags=made.tags))
            group_run.evaluate(tables)
        finally:
            group_run.close()
        _raise_errors(run)

    return begin_copies, copy_range, end_copies


def _report(context: dg.OpExecutionContext, keys: Mapping[str, dg.AssetKey], pipeline: Pipeline) -> ProgressReport:
    return ProgressReport(context, keys, pipeline.monitoring)


def _mappings(pipeline: Pipeline, names: Sequence[str]) -> list[TableMapping]:
    return [m for m in pipeline.mappings if m.name in names]


def _raise_errors(run: "SourceRun") -> None:
    errors: dict[str, ReplicationError] = {n: r.error for n, r in run.results.items() if r.error is not None}
    if errors:
        first = next(iter(errors.values()))
        raise metadata.failure(errors, {r.mapping: r.position for r in run.results.values()}) from first
