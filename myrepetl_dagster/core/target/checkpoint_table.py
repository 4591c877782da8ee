"""The checkpoint: one row for each mapping, in the target itself, written in the data's own transaction.

It says up to which position the target holds the source, and which run may go on writing (`run_id`, the fence).
`apply_connection.py` opens and commits the transactions in which these statements run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from pymysql.connections import Connection

from ..model.checkpoint import Checkpoint, CopyState, Phase
from ..model.errors import StaleRun
from ..model.gtid import GtidSet
from ..model.position import LogMark, Position
from ..mysql.connect import query
from ..values.sql import quote_name

TABLE = "_myrepetl_checkpoint"


_COLUMNS = (
    "mapping", "run_id", "sequence", "phase", "source_server", "log_file", "log_offset_bytes", "gtid_set",
    "mariadb_gtid", "rows_snapshotted", "changes_applied", "rows_filtered", "source_time_unix_s", "fingerprint",
    "details", "source_columns", "last_error",
)  # fmt: skip


def create_table_sql(database: str) -> str:
    """The table's definition. InnoDB, since the rows and the checkpoint must commit together."""
    return f"""CREATE TABLE IF NOT EXISTS {quote_name(database)}.{TABLE} (
  mapping VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
  run_id CHAR(32) CHARACTER SET ascii NOT NULL,
  sequence BIGINT UNSIGNED NOT NULL DEFAULT 0,
  phase VARCHAR(16) CHARACTER SET ascii NOT NULL DEFAULT '',
  source_server VARCHAR(64) NOT NULL DEFAULT '',
  log_file VARCHAR(512) NOT NULL DEFAULT '',
  log_offset_bytes BIGINT UNSIGNED NOT NULL DEFAULT 0,
  gtid_set LONGTEXT NULL,
  mariadb_gtid TEXT NULL,
  rows_snapshotted BIGINT UNSIGNED NOT NULL DEFAULT 0,
  changes_applied BIGINT UNSIGNED NOT NULL DEFAULT 0,
  rows_filtered BIGINT UNSIGNED NOT NULL DEFAULT 0,
  source_time_unix_s DOUBLE NULL,
  fingerprint CHAR(16) CHARACTER SET ascii NOT NULL DEFAULT '',
  details LONGTEXT NULL,
  source_columns LONGTEXT NULL,
  last_error TEXT NULL,
  updated_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4"""


def _table(database: str) -> str:
    """The table's name for a statement with arguments. PyMySQL formats such a statement, so a % is doubled."""
    return f"{quote_name(database)}.{TABLE}".replace("%", "%%")


def claim(connection: Connection[Any], database: str, mappings: Sequence[str], run_id: str) -> None:
    """Make `run_id` the only run that may write these mappings.

    This waits until an earlier run's transaction has ended. So a COMMIT whose answer was lost is decided now: what
    `read` finds afterwards is final.
    """
    rows = ", ".join(["(%s, %s)"] * len(mappings))
    args = [value for name in mappings for value in (name, run_id)]
    query(
        connection,
        f"INSERT INTO {_table(database)} (mapping, run_id) VALUES {rows}"
        " ON DUPLICATE KEY UPDATE run_id=VALUES(run_id), sequence=sequence+1",
        args,
    )


def claim_again(
    connection: Connection[Any], database: str, mappings: Sequence[str], run_id: str, ours: Sequence[str]
) -> None:
    """Take mappings over from earlier attempts of the same run. A mapping that another run has claimed stays with it.

    Args:
        ours: the names of the earlier attempts.
    """
    mapping_marks, run_marks = (", ".join(["%s"] * len(names)) for names in (mappings, ours))
    query(
        connection,
        f"UPDATE {_table(database)} SET run_id=%s, sequence=sequence+1 WHERE mapping IN ({mapping_marks})"
        f" AND run_id IN ({run_marks})",
        [run_id, *mappings, *ours],
    )


def read(connection: Connection[Any], database: str, mappings: Sequence[str]) -> dict[str, Checkpoint]:
    """The checkpoints that exist, by mapping."""
    if not mappings:
        return {}
    marks = ", ".join(["%s"] * len(mappings))
    rows = query(
        connection,
        f"SELECT {', '.join(_COLUMNS)}, CAST(updated_at AS CHAR) FROM {_table(database)} WHERE mapping IN ({marks})",
        list(mappings),
    )
    found = (_from_row(row) for row in rows)
    return {checkpoint.mapping: checkpoint for checkpoint in found if checkpoint is not None}


def fence(
    connection: Connection[Any], database: str, mappings: Iterable[str], run_id: str, *, alone: bool = True
) -> None:
    """Lock the mappings' rows and make sure that they are still this run's.

    Args:
        alone: other transactions of this run have to wait for the lock, too; otherwise they share it.

    Raises:
        StaleRun: another run has claimed one of them, the one that the error is of.
    """
    names = list(mappings)
    marks = ", ".join(["%s"] * len(names))
    rows = query(
        connection,
        f"SELECT mapping FROM {_table(database)} WHERE mapping IN ({marks}) AND run_id=%s"
        + (" FOR UPDATE" if alone else " LOCK IN SHARE MODE"),
        [*names, run_id],
    )
    ours = {_text(row[0]) for row in rows}
    for name in names:
        if name not in ours:
            error = StaleRun(
                f"another run has taken over {name}; this run committed nothing of it since",
                hint="Nothing to do: the other run goes on from the same checkpoint.",
            )
            error.mapping = name
            raise error


def write(connection: Connection[Any], database: str, checkpoints: Sequence[Checkpoint], run_id: str) -> None:
    """Store checkpoints (after `fence`, in the data's transaction)."""
    marks = "(" + ", ".join(["%s"] * len(_COLUMNS)) + ")"
    updates = ", ".join(f"{c}=VALUES({c})" for c in _COLUMNS if c not in ("mapping", "run_id", "sequence"))
    args = [value for checkpoint in checkpoints for value in _to_row(checkpoint, run_id)]
    query(
        connection,
        f"INSERT INTO {_table(database)} ({', '.join(_COLUMNS)})"
        f" VALUES {', '.join([marks] * len(checkpoints))}"
        f" ON DUPLICATE KEY UPDATE sequence=sequence+1, {updates}",
        args,
    )


def record_error(connection: Connection[Any], database: str, mapping: str, run_id: str, error: str) -> None:
    """Keep a mapping's last error for `status`, unless another run has taken over."""
    query(
        connection,
        f"UPDATE {_table(database)} SET last_error=%s WHERE mapping=%s AND run_id=%s",
        (error[:2000], mapping, run_id),
    )


def _to_row(checkpoint: Checkpoint, run_id: str) -> tuple[Any, ...]:
    position = checkpoint.position
    details = {
        "copy": asdict(checkpoint.copy) if checkpoint.copy else None,
        "high_watermark": _position_json(checkpoint.high_watermark) if checkpoint.high_watermark else None,
        "altered": checkpoint.altered,
        "birth_unix_s": position.birth_unix_s,
        "mark": asdict(position.mark) if position.mark else None,
        "key": checkpoint.key,
        "in_doubt": checkpoint.in_doubt,
    }
    return (
        checkpoint.mapping,
        run_id,
        checkpoint.sequence,
        checkpoint.phase.value,
        position.server,
        position.file,
        position.offset_bytes,
        None if position.gtid_set is None else str(position.gtid_set),
        position.mariadb_gtid or None,
        checkpoint.rows_snapshotted,
        checkpoint.changes_applied,
        checkpoint.rows_filtered,
        checkpoint.source_time_unix_s,
        checkpoint.fingerprint,
        json.dumps(details),
        checkpoint.source_columns_json,
        checkpoint.last_error or None,
    )


def _from_row(row: tuple[Any, ...]) -> Checkpoint | None:
    values = dict(zip((*_COLUMNS, "updated_at"), map(_text, row), strict=True))
    if not values["phase"]:
        return None  # claimed, but nothing is stored yet
    details = json.loads(values["details"] or "{}")
    copy = details.get("copy")
    high = details.get("high_watermark")
    return Checkpoint(
        mapping=values["mapping"],
        phase=Phase(values["phase"]),
        position=Position(
            file=values["log_file"],
            offset_bytes=int(values["log_offset_bytes"]),
            gtid_set=None if values["gtid_set"] is None else GtidSet.parse(values["gtid_set"]),
            mariadb_gtid=values["mariadb_gtid"] or "",
            server=values["source_server"],
            birth_unix_s=int(details.get("birth_unix_s") or 0),
            mark=_mark(details.get("mark")),
        ),
        copy=_copy_state(copy) if copy else None,
        high_watermark=_position(high) if high else None,
        rows_snapshotted=int(values["rows_snapshotted"]),
        changes_applied=int(values["changes_applied"]),
        rows_filtered=int(values["rows_filtered"]),
        source_time_unix_s=None if values["source_time_unix_s"] is None else float(values["source_time_unix_s"]),
        source_columns_json=values["source_columns"] or "[]",
        altered=bool(details.get("altered")),
        key=tuple(details.get("key") or ()),
        in_doubt=details.get("in_doubt") or {},
        fingerprint=values["fingerprint"],
        sequence=int(values["sequence"]),
        updated_at=values["updated_at"] or "",
        last_error=values["last_error"] or "",
    )


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _copy_state(data: dict[str, Any]) -> CopyState:
    keys = {name: tuple(data[name]) if data[name] else None for name in ("after_key", "sweep_after")}
    return CopyState(sweep=data["sweep"], sweeping=data["sweeping"], **keys)


def _position_json(position: Position) -> dict[str, Any]:
    gtid_set = None if position.gtid_set is None else str(position.gtid_set)
    return {**asdict(replace(position, mark=None)), "gtid_set": gtid_set}


def _mark(data: dict[str, Any] | None) -> LogMark | None:
    if not data:  # of a checkpoint from before there were marks, or where no transaction was read yet
        return None
    return LogMark(**{**data, "gtid": tuple(data["gtid"]) if data["gtid"] else None})


def _position(data: dict[str, Any]) -> Position:
    gtid_set = data["gtid_set"]
    return Position(**{**data, "gtid_set": None if gtid_set is None else GtidSet.parse(gtid_set)})
