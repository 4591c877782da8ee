"""The checkpoint: one row for each mapping, in the target itself, written in the data's own transaction.

It says up to which position the target holds the source, and which run may go on writing (`run_id`, the fence).
`apply_connection.py` opens and commits the transactions in which these statements run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pymysql.connections import Connection

from ..model.checkpoint import Checkpoint, Checkpoints
from ..model.checkpoint_codec import STORED_COLUMNS, from_row, to_row
from ..model.errors import StaleRun, UnreadableCheckpoint
from ..mysql.connect import query
from ..values.sql import quote_name

TABLE = "_myrepetl_checkpoint"


SHORT_NAME_MAX = 190  # the longest mapping's name in a key of a server with pages of 4 KiB


def create_table_sql(database: str, name_max: int = 255) -> str:
    """The table's definition. InnoDB, since the rows and the checkpoint must commit together.

    Args:
        name_max: how long the mappings' names may be.
    """
    return f"""CREATE TABLE IF NOT EXISTS {quote_name(database)}.{TABLE} (
  mapping VARCHAR({name_max}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
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
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4"""


def name_length(connection: Connection[Any], database: str) -> int:
    """How long the mappings' names may be."""
    sql = (
        "SELECT character_maximum_length FROM information_schema.columns"
        " WHERE table_schema=%s AND table_name=%s AND column_name='mapping'"
    )
    return int(query(connection, sql, (database, TABLE))[0][0])


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


def read(connection: Connection[Any], database: str, mappings: Sequence[str]) -> Checkpoints:
    """The checkpoints that exist, by mapping."""
    if not mappings:
        return Checkpoints()
    columns = ", ".join(STORED_COLUMNS)
    marks = ", ".join(["%s"] * len(mappings))
    rows = query(
        connection,
        f"SELECT {columns} FROM {_table(database)} WHERE mapping IN ({marks})",
        list(mappings),
    )
    readable, unreadable = {}, {}
    for row in rows:
        values = dict(zip(STORED_COLUMNS, map(_text, row), strict=True))
        try:
            checkpoint = from_row(values)
        except UnreadableCheckpoint as error:
            unreadable[values["mapping"]] = error
        else:
            if checkpoint is not None:
                readable[checkpoint.mapping] = checkpoint
    return Checkpoints(readable, unreadable)


def holders(connection: Connection[Any], database: str, mappings: Sequence[str]) -> dict[str, str]:
    """The name of the run that may write each mapping; none for one that no run has claimed."""
    if not mappings:
        return {}
    marks = ", ".join(["%s"] * len(mappings))
    sql = f"SELECT mapping, run_id FROM {_table(database)} WHERE mapping IN ({marks})"
    return {_text(mapping): _text(run_id) for mapping, run_id in query(connection, sql, list(mappings))}


def fence(
    connection: Connection[Any], database: str, mappings: Iterable[str], run_id: str, *, exclusive: bool = True
) -> None:
    """Lock the mappings' rows and make sure that they are still this run's.

    Args:
        exclusive: other transactions of this run have to wait for the lock, too; otherwise they share it.

    Raises:
        StaleRun: another run has claimed one of them, the one that the error is of.
    """
    names = list(mappings)
    marks = ", ".join(["%s"] * len(names))
    rows = query(
        connection,
        f"SELECT mapping FROM {_table(database)} WHERE mapping IN ({marks}) AND run_id=%s"
        + (" FOR UPDATE" if exclusive else " LOCK IN SHARE MODE"),
        [*names, run_id],
    )
    ours = {_text(row[0]) for row in rows}
    for name in names:
        if name not in ours:
            raise StaleRun(name)


def claimed_by_others(
    connection: Connection[Any], database: str, mappings: Sequence[str], ours: Sequence[str]
) -> set[str]:
    """The mappings whose checkpoints bear another name than ours."""
    mapping_marks, run_marks = (", ".join(["%s"] * len(names)) for names in (mappings, ours))
    rows = query(
        connection,
        f"SELECT mapping FROM {_table(database)} WHERE mapping IN ({mapping_marks}) AND run_id NOT IN ({run_marks})",
        [*mappings, *ours],
    )
    return {_text(row[0]) for row in rows}


def write(connection: Connection[Any], database: str, checkpoints: Sequence[Checkpoint], run_id: str) -> None:
    """Store checkpoints (after `fence`, in the data's transaction)."""
    table = _table(database)
    marks = "(" + ", ".join(["%s"] * (1 + len(STORED_COLUMNS))) + ")"
    updates = ", ".join(f"{c}=VALUES({c})" for c in STORED_COLUMNS if c not in ("mapping", "sequence"))
    args: list[Any] = []
    for row in map(to_row, checkpoints):
        args += [run_id, *(row[column] for column in STORED_COLUMNS)]
    query(
        connection,
        f"INSERT INTO {table} (run_id, {', '.join(STORED_COLUMNS)})"
        f" VALUES {', '.join([marks] * len(checkpoints))}"
        f" ON DUPLICATE KEY UPDATE sequence=sequence+1, {updates}",
        args,
    )


def record_error(connection: Connection[Any], database: str, mapping: str, run_ids: Sequence[str], error: str) -> None:
    """Keep a mapping's last error for `status`, unless another run has taken over.

    Args:
        run_ids: the names under which this run has claimed the mapping. If there are none, it failed before that.
    """
    ours = f" AND run_id IN ({', '.join(['%s'] * len(run_ids))})" if run_ids else ""
    query(
        connection,
        f"UPDATE {_table(database)} SET last_error=%s WHERE mapping=%s{ours}",
        (error[:2000], mapping, *run_ids),
    )


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
