"""The checks of a source, for `diagnose`: its settings, its log, the account's privileges, and other readers."""

from __future__ import annotations

from ..config.pipeline import Pipeline
from ..model.errors import ReplicationError
from ..mysql.connect import query
from ..mysql.errors import translated
from ..mysql.grants import missing, parse
from ..mysql.server_variables import set_variable, variables
from ..source.binlog_stream import LogStream
from ..source.mysql_source import MySQLSource
from ..source.source_settings import Found, Need, source_role, source_settings
from ..values.sql import quote_name
from .common_checks import account, common_checks, reach
from .report import ConnectionReport, State

RETENTION_S_MIN = 24 * 3600.0


def source_report(pipeline: Pipeline, name: str) -> ConnectionReport:
    endpoint = pipeline.sources[name]
    report = ConnectionReport(endpoint)
    reader = MySQLSource(endpoint, pipeline.limits)
    try:
        if not reach(report, lambda: reader.control):
            return report
        report.attempt("server", lambda: common_checks(report, reader.control, reader.info))
        report.attempt("role", lambda: _role(report, reader))
        report.attempt("log settings", lambda: _log_settings(report, reader))
        report.attempt("retention", lambda: _retention(report, reader))
        if not report.failed("log_bin"):
            report.attempt("grants", lambda: _log_access(report, pipeline, reader))
        report.attempt("tables", lambda: _tables(report, pipeline, reader))
        report.attempt("server_id", lambda: _server_id(report, pipeline, reader))
    finally:
        reader.close()
    return report


def _role(report: ConnectionReport, reader: MySQLSource) -> None:
    _add(report, source_role(reader))


def _log_settings(report: ConnectionReport, reader: MySQLSource) -> None:
    for found in source_settings(reader):
        _add(report, found)
    if reader.info.is_mariadb:
        report.add("gtid", State.OK, "MariaDB GTIDs")
    else:
        mode = variables(reader.control, "gtid_mode").get("gtid_mode", "OFF")
        how = "" if mode == "ON" else ": by file and position, and not across a failover"
        report.add("gtid", State.OK, f"gtid_mode {mode}{how}")


def _add(report: ConnectionReport, found: Found) -> None:
    bad = State.FAILED if found.need is Need.ALWAYS else State.WARNING
    report.add(found.name, bad if found.problem else State.OK, found.problem or found.value or "not set", found.remedy)


def _retention(report: ConnectionReport, reader: MySQLSource) -> None:
    found = variables(reader.control, "binlog_expire_logs_seconds", "expire_logs_days", "binlog_expire_logs_auto_purge")
    seconds = float(found.get("binlog_expire_logs_seconds", 0)) or float(found.get("expire_logs_days", 0)) * 86400
    if not seconds or found.get("binlog_expire_logs_auto_purge") == "OFF":
        report.add("retention", State.OK, "logs are kept for ever: mind the disk")
        return
    state = State.OK if seconds >= RETENTION_S_MIN else State.WARNING
    mend = set_variable(reader.info, "binlog_expire_logs_seconds", str(7 * 24 * 3600))
    report.add("retention", state, f"logs are kept for {seconds / 3600:,.1f} h: no pause may be longer", mend)


def _log_access(report: ConnectionReport, pipeline: Pipeline, reader: MySQLSource) -> None:
    """Check the privileges to find the log's end and to read the log, and the schemas that are kept out of it."""
    monitor = "BINLOG MONITOR" if reader.info.is_mariadb else "REPLICATION CLIENT"
    user = account(reader.control)

    def look() -> None:
        head = reader.head()
        report.add("grant " + monitor, State.OK, f"the log ends at {head.file}:{head.offset_bytes}")

    def read() -> None:
        with LogStream(reader.endpoint, reader.info, reader.limits, reader.head()) as stream:
            next(stream.events(), None)
        report.add("grant REPLICATION SLAVE", State.OK, "the log can be read")

    if report.attempt("grant " + monitor, look, f"GRANT {monitor} ON *.* TO {user};"):
        report.attempt("grant REPLICATION SLAVE", read, f"GRANT REPLICATION SLAVE ON *.* TO {user};")
        _log_filter(report, pipeline, reader)


def _log_filter(report: ConnectionReport, pipeline: Pipeline, reader: MySQLSource) -> None:
    for schema in sorted({m.source_schema for m in pipeline.mappings_of_source(report.endpoint.name)}):
        if not reader.logs(schema):
            mend = f"Remove binlog_do_db and binlog_ignore_db for {schema} from my.cnf and restart the server."
            report.add("log filter", State.FAILED, f"changes in {schema} are kept out of the log", mend)


def _tables(report: ConnectionReport, pipeline: Pipeline, reader: MySQLSource) -> None:
    mappings = pipeline.mappings_of_source(report.endpoint.name)
    names = sorted({mapping.source_name for mapping in mappings})
    user = account(reader.control)
    good = 0
    for name in names:
        table = f"{quote_name(name.schema)}.{quote_name(name.table)}"
        try:
            with translated(reader.endpoint, f"reading {name}"):
                query(reader.control, f"SELECT * FROM {table} LIMIT 0")
            good += 1
        except ReplicationError as error:
            mend = f"GRANT SELECT ON {quote_name(name.schema)}.* TO {user};"
            missing_table = error.code in (1049, 1146)
            report.add("tables", State.FAILED, error.message, "Correct source_table." if missing_table else mend)
    if good:
        report.add("tables", State.OK, f"{good} can be read")
    if not reader.info.is_mariadb and not reader.info.gtid_mode:
        grants = parse(str(row[0]) for row in query(reader.control, "SHOW GRANTS"))
        for schema in sorted({n.schema for n in names if missing(grants, ["LOCK TABLES"], n)}):
            mend = f"GRANT LOCK TABLES ON {quote_name(schema)}.* TO {user};  -- or set gtid_mode = ON"
            report.add("grant LOCK TABLES", State.FAILED, f"missing on {schema}, and there are no GTIDs", mend)


def _server_id(report: ConnectionReport, pipeline: Pipeline, reader: MySQLSource) -> None:
    """Check that no replica has our server_id: the server drops the older of two readers with the same one.

    Our own runs never clash with each other, see `LogStream`.
    """
    own = pipeline.sources[report.endpoint.name].server_id or pipeline.replication.server_id
    if own is None:
        report.add("server_id", State.OK, "a random one for each run")
        return
    mend = f"Set sources.{report.endpoint.name}.server_id to a number that nobody else uses, or leave it out."
    clashes = [f"the source itself is {own}"] if reader.info.server_id == own else []
    newer = not reader.info.is_mariadb and reader.info.version >= (8, 0, 22)
    unseen = ""
    try:
        with translated(reader.endpoint):
            for row in query(reader.control, "SHOW REPLICAS" if newer else "SHOW SLAVE HOSTS"):
                if int(row[0]) == own:
                    clashes.append(f"a replica at {row[1] or 'an unnamed host'}:{row[2]} reads as {own}")
    except ReplicationError:
        privilege = "REPLICATION MASTER ADMIN" if reader.info.is_mariadb else "REPLICATION SLAVE"
        unseen = f", replicas not shown without {privilege}"
    if clashes:
        report.add("server_id", State.FAILED, "; ".join(clashes), mend)
    else:
        report.add("server_id", State.SKIPPED if unseen else State.OK, f"{own}{unseen or ', no replica has it'}")
