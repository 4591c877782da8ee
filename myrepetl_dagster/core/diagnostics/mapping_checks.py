"""Whether each mapping of a target can be planned: what a run would refuse, said before it runs. Reads only."""

from __future__ import annotations

from ..config.pipeline import Pipeline, TableMapping
from ..model.checkpoint import Checkpoint
from ..model.errors import PrerequisiteError, ReplicationError, SchemaDrift
from ..plan.exactness import require_exact
from ..plan.table_plan import TablePlan, plan_table
from ..source.mysql_source import MySQLSource
from ..target.control import TargetControl
from .report import ConnectionReport, State


def mapping_checks(report: ConnectionReport, pipeline: Pipeline, writer: TargetControl) -> None:
    """Add a line for each mapping that a run would refuse, or whose copy would delete rows."""
    mappings = pipeline.mappings_of_target(report.endpoint.name)
    held = writer.read_checkpoints([m.name for m in mappings])
    readers = {name: MySQLSource(pipeline.sources[name], pipeline.limits) for name in {m.source for m in mappings}}
    good = 0
    try:
        for mapping in mappings:
            try:
                plan = _plan(pipeline, mapping, readers[mapping.source], writer, held.get(mapping.name))
                if plan is not None and mapping.name not in held:
                    require_exact(plan)
                    _warn_of_deletion(report, mapping, plan, writer)
                good += 1
            except (PrerequisiteError, SchemaDrift) as error:
                report.add("mapping", State.FAILED, error.message, error.hint)
            except ReplicationError:
                report.add("mapping", State.SKIPPED, f"{mapping.name}: its source cannot be asked")
    finally:
        for reader in readers.values():
            reader.close()
    report.add("mappings", State.OK, f"{good} of {len(mappings)} can be planned")


def _plan(
    pipeline: Pipeline, mapping: TableMapping, reader: MySQLSource, writer: TargetControl, held: Checkpoint | None
) -> TablePlan | None:
    """The mapping's plan, or None where its target table is still to be created."""
    table = reader.describe(mapping.source_name)
    if table is None:
        raise SchemaDrift(
            f"mapping {mapping.name!r}: source {mapping.source!r} has no table {mapping.source_name}",
            hint="Correct source_table, or grant SELECT on it.",
        )
    target = writer.describe(mapping.target_name)
    if target is None:
        return None
    return plan_table(mapping, table, target, pipeline.sharing(mapping), held.key if held else ())


def _warn_of_deletion(report: ConnectionReport, mapping: TableMapping, plan: TablePlan, writer: TargetControl) -> None:
    if not mapping.init_if_table_empty and not writer.is_empty(plan):
        report.add(
            "mapping",
            State.WARNING,
            f"{mapping.name}: {plan.target.name} holds rows; the copy deletes those that the source does not have",
            "-- set init_if_table_empty: true to take the table as it is, or move those rows elsewhere",
        )
