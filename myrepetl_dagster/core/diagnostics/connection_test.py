"""The checks of `myrepetl test-connection`: each need of a connection, and how to mend one that is not met.

Reads only. Privileges are tried where that writes nothing (reading a table, asking for the log), since grants come in
many forms. The others are read from SHOW GRANTS.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..config.pipeline import Pipeline
from ..model.errors import ReplicationError
from ..model.tables import TableName
from ..mysql.connect import query
from ..mysql.errors import translated
from ..mysql.grants import missing, parse
from ..mysql.server_variables import set_variable, variables
from ..target import checkpoint_table
from ..target.control import TargetControl
from ..values.sql import quote_name
from .common_checks import account, common_checks, reach
from .dry_run import DryRunTarget
from .mapping_checks import mapping_checks
from .report import ConnectionReport, State
from .source_checks import source_report

_READ_ONLY = 1290
PACKET_BYTES_MIN = 4 * 2**20  # twice what one of our statements aims at


def diagnose(pipeline: Pipeline, source: str | None = None, target: str | None = None) -> Iterator[ConnectionReport]:
    """The reports of all connections, or of one source or target, each as soon as it is ready."""
    everything = source is None and target is None
    for name in pipeline.sources:
        if everything or name == source:
            yield source_report(pipeline, name)
    for name in pipeline.targets:
        if everything or name == target:
            yield _target_report(pipeline, name)


def _target_report(pipeline: Pipeline, name: str) -> ConnectionReport:
    endpoint = pipeline.targets[name]
    report = ConnectionReport(endpoint)
    target = DryRunTarget(endpoint, pipeline.limits)
    writer = target.control
    try:
        if reach(report, lambda: writer.control):
            report.attempt("server", lambda: common_checks(report, writer.control, writer.info))
            report.attempt("role", lambda: _writable(report, writer))
            report.attempt("grants", lambda: _target_grants(report, pipeline, writer))
            report.attempt("tables", lambda: _engines(report, pipeline, writer))
            report.attempt("mappings", lambda: mapping_checks(report, pipeline, target))
    finally:
        target.close()
    return report


def _writable(report: ConnectionReport, writer: TargetControl) -> None:
    names = ("innodb_read_only", "transaction_read_only", "tx_read_only", "max_allowed_packet")
    found = variables(writer.control, *names)
    default = next((name for name in names[1:3] if found.get(name) == "ON"), None)
    if found.get("innodb_read_only") == "ON":
        mend = "Restart the server without innodb_read_only, or name the primary as host."
        report.add("role", State.FAILED, "innodb_read_only is ON: the server takes no writes", mend)
    elif default is not None:
        mend = f"SET GLOBAL {default} = OFF;  -- and in my.cnf"
        report.add("role", State.FAILED, f"{default} is ON: sessions take no writes unless they ask", mend)
    elif _may_write(report, writer):
        report.add("role", State.OK, "target, takes writes")
    packet_bytes = int(found["max_allowed_packet"])
    mend = set_variable(writer.info, "max_allowed_packet", str(64 * 2**20))
    enough = State.OK if packet_bytes >= PACKET_BYTES_MIN else State.WARNING
    report.add("max_allowed_packet", enough, f"{packet_bytes:,} bytes: no row may be larger", mend)


def _may_write(report: ConnectionReport, writer: TargetControl) -> bool:
    """Whether the account may open a writing transaction. Under read_only, that depends on its privileges."""
    try:
        with translated(writer.endpoint, "opening a transaction"):
            query(writer.control, "START TRANSACTION READ WRITE")
            writer.control.rollback()
    except ReplicationError as error:
        if error.code != _READ_ONLY:
            raise
        mend = "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF;  -- or name the primary as host"
        mend = mend.partition("; ")[2] if writer.info.is_mariadb else mend
        report.add("role", State.FAILED, error.message, mend)
        return False
    return True


def _target_grants(report: ConnectionReport, pipeline: Pipeline, writer: TargetControl) -> None:
    grants = parse(str(row[0]) for row in query(writer.control, "SHOW GRANTS"))
    wanted = {TableName(writer.endpoint.database, checkpoint_table.TABLE): False}
    for mapping in pipeline.mappings_of_target(report.endpoint.name):
        evolves = mapping.schema_policy == "evolve" and mapping.columns is None
        wanted[mapping.target_name] = wanted.get(mapping.target_name, False) or evolves
    lacking: dict[str, set[str]] = {}
    for name, evolves in wanted.items():
        needed = ["SELECT", "INSERT", "UPDATE", "DELETE", *(["ALTER"] if evolves else [])]
        if writer.describe(name) is None:
            needed.append("CREATE")
        lacking.setdefault(name.schema, set()).update(missing(grants, needed, name))
    for schema, privileges in lacking.items():
        if not privileges:
            report.add("grants", State.OK, f"read and write in {schema}")
            continue
        listed = ", ".join(sorted(privileges))
        mend = f"GRANT {listed} ON {quote_name(schema)}.* TO {account(writer.control)};"
        if privileges == {"ALTER"}:
            found = f"ALTER on {schema} missing: replication stops when a source table changes"
            report.add("grants", State.WARNING, found, mend)
        else:
            report.add("grants", State.FAILED, f"{listed} on {schema} missing", mend)


def _engines(report: ConnectionReport, pipeline: Pipeline, writer: TargetControl) -> None:
    names = sorted({m.target_name for m in pipeline.mappings_of_target(report.endpoint.name)})
    sql = "SELECT engine FROM information_schema.tables WHERE table_schema=%s AND table_name=%s"
    absent = []
    for name in names:
        with translated(writer.endpoint, f"looking at {name}"):
            rows = query(writer.control, sql, (name.schema, name.table))
        if not rows:
            absent.append(str(name))
        elif str(rows[0][0]).upper() != "INNODB":
            mend = f"ALTER TABLE {quote_name(name.schema)}.{quote_name(name.table)} ENGINE=InnoDB;"
            report.add("tables", State.WARNING, f"{name} is {rows[0][0]}: a killed run can leave half a batch", mend)
    there = len(names) - len(absent)
    report.add("tables", State.OK, f"{there} there" + (f", to be created: {', '.join(absent)}" if absent else ""))
