"""Writing rows in a target's open transaction, as statements or by MariaDB's bulk execution.

What the target refuses is told by table and key. Nothing here begins, fences or commits: that is `mysql_target.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import chain, groupby
from typing import Any, Protocol, cast

from pymysql.connections import Connection

from ..config.pipeline import Endpoint
from ..model.errors import ReplicationError, RowRejected
from ..model.limits import LONG_BYTES
from ..mysql.bulk_connection import BULK_HEAD_BYTES, EXECUTE_HEAD_BYTES, BulkConnection
from ..mysql.connect import Use
from ..mysql.protocol import send_statement
from ..mysql.session import lax_apply_mode, sql_mode
from ..plan.table_plan import TablePlan, UniqueKeys
from ..rows.event_encoder import binlog_sql
from ..rows.literal_codegen import LiteralRow
from ..rows.pending_rows import LiteralKey, Mutation, Rendered
from ..values.bulk_parameters import BulkRows
from ..values.literals import ENUM_ERROR
from ..values.sql import keys_condition, sql_name
from .statements import (
    BULK_BYTES_MAX,
    COLLISIONS,
    STATEMENT_BYTES_MAX,
    bulk_upsert_sql,
    in_statements,
    refused,
    runs,
    table_sql,
    upsert_sql,
    where_sql,
)

DELETE_KEYS_MAX = 500
_SET_EVENTS = b"SET @_myrepetl_events = ?, @_myrepetl_no_more = ?"
_BINLOG_OF_EVENTS = b"BINLOG @_myrepetl_events, @_myrepetl_no_more"
# ER_WARN_DATA_TRUNCATED; what is old in a statement, and an introducer's character that is not of Unicode.
_TRUNCATED = 1265
_HARMLESS = frozenset({1287, 1300})


class WritingTarget(Protocol):
    """What the writer needs of its target (`apply.MySQLTarget`): the connection that writes, what is known of it."""

    @property
    def connection(self) -> Connection[Any]: ...
    @property
    def packet_bytes_max(self) -> int: ...  # 0: not known
    @property
    def takes_bulk(self) -> bool: ...
    def doing(self, what: str = "") -> AbstractContextManager[None]: ...


class RowWriter:
    """Writes the rows of all tables of one target. A step of it that ends well is a step of the target (`doing`)."""

    def __init__(self, endpoint: Endpoint, target: WritingTarget) -> None:
        self._endpoint = endpoint
        self._target = target

    def write(self, plan: TablePlan, mutations: Sequence[Mutation], *, exact: bool) -> None:
        """Apply mutations in the open transaction.

        Args:
            exact: the target is the source at an earlier position. False while a copy settles: then a row
                may for a while hold a unique value that already belongs to another.

        Raises:
            RowRejected: the target refused a row; names the table and the key.
        """
        with self._target.doing(f"writing {plan.target.name}"):
            if plan.unique_keys is UniqueKeys.NONE:
                self._write_by_key(plan, dict(mutations))
            else:
                evict = not exact and plan.unique_keys is UniqueKeys.MIRRORED
                for rows, is_upsert in runs(mutations):
                    self._write_in_order(plan, rows, is_upsert, evict)

    def write_rendered(self, plan: TablePlan, rendered: Rendered) -> None:
        """Apply rows of which no two can collide, in the open transaction.

        Raises:
            RowRejected: the target refused a row; names the table and the key.
        """
        with self._target.doing(f"writing {plan.target.name}"):
            if rendered.bulk is not None and not self._target.takes_bulk:  # another connection than before
                self._write_by_key(plan, dict(rendered.mutations()))
                return
            self._delete(plan, rendered.gone)
            head, tail = upsert_sql(plan, guarded=False)
            try:
                if rendered.bulk is not None:
                    self._write_bulk(plan, rendered.bulk)
                for batch in in_statements(rendered.tuples):
                    self._run_with(head, batch, tail)
            except RowRejected as error:
                rows = [row for _, row in rendered.mutations() if row is not None]
                self._find_refused_row(plan, rows, head, tail, error)

    def write_tuples(self, plan: TablePlan, tuples: Sequence[bytes | memoryview]) -> None:
        """Upsert rows that the source has rendered as SQL tuples, by statements of about `STATEMENT_BYTES_MAX`.

        Raises:
            RowRejected: the target refused a row; which one, only the tuples know.
        """
        head, tail = (text.encode("latin-1") for text in upsert_sql(plan, guarded=False))
        rows_max = max(1, len(tuples) * STATEMENT_BYTES_MAX // (sum(map(len, tuples)) + 1))
        with self._target.doing(f"writing {plan.target.name}"):
            for start in range(0, len(tuples), rows_max):
                self._write_statement(head, tuples[start : start + rows_max], tail)

    def write_parameters(self, plan: TablePlan, rows: BulkRows) -> None:
        """Upsert rows whose parameters the source has rendered; only where the target takes them in bulk.

        Raises:
            RowRejected: the target refused a row; which one, only the parameters know.
        """
        with self._target.doing(f"writing {plan.target.name}"):
            self._write_bulk(plan, rows)

    def apply_events(self, events: bytes) -> None:
        """Apply rows events (`event_encoder.py`) in the open transaction.

        MariaDB's BINLOG also takes what two variables hold (it empties them). A parameter is not parsed, which takes
        that server longer than anything else it does with an event of long rows.
        """
        if not self._target.takes_bulk:
            statement = binlog_sql(events)
            self._send(statement, sum(map(len, statement)))
            return
        self._check_size(len(events) + EXECUTE_HEAD_BYTES)
        with self._target.doing():
            cast(BulkConnection, self._target.connection).execute(_SET_EVENTS, (events, b""))
        self.execute(_BINLOG_OF_EVENTS)

    def clear(self, plan: TablePlan) -> None:
        """Delete every row of the mapping (in the open transaction: not TRUNCATE, which would commit)."""
        with self._target.doing(f"clearing {plan.target.name}"):
            self.run(f"DELETE FROM {table_sql(plan)}{where_sql(plan)}")

    # ---- by mutations ----
    def _write_by_key(self, plan: TablePlan, last: dict[LiteralKey, LiteralRow | None]) -> None:
        # Only the last image of a key counts, and no row can collide with another's: deletes first, so that a
        # key that changed in letter case only (one key to a ci collation) is not deleted after it was written.
        self._delete(plan, [key for key, row in last.items() if row is None])
        self._upsert(plan, [row for row in last.values() if row is not None], guarded=False)

    def _write_in_order(self, plan: TablePlan, mutations: list[Mutation], is_upsert: bool, evict: bool) -> None:
        if not is_upsert:
            self._delete(plan, [key for key, _ in mutations])
            return
        rows = [row for _, row in mutations if row is not None]
        try:
            self._upsert(plan, rows, guarded=True)
        except RowRejected as error:
            if error.code not in COLLISIONS:
                raise
            if not evict:
                self._find_refused_row(plan, rows, *upsert_sql(plan, guarded=True), error)
            for row in rows:
                self._upsert_evicting(plan, row)

    def _upsert_evicting(self, plan: TablePlan, row: LiteralRow) -> None:
        """Upsert one row; where a unique value of it is held by another row, that one goes first.

        Only while a copy settles: the other row's image is from an earlier or a later moment than this one's,
        and the source's own unique key proves that the log has an event for it before the high
        watermark, which writes it again.
        """
        names = [c.target for c in plan.columns]
        at = {name: row[i] for i, name in enumerate(names)}
        same = " AND ".join(f"{sql_name(name)} <=> {at[name]}" for name in plan.key)
        for unique in plan.other_unique_keys:
            held = " AND ".join(f"{sql_name(name)} = {at[name]}" for name in unique)
            self.run(f"DELETE FROM {table_sql(plan)} WHERE {held} AND NOT ({same})")
        try:
            self._upsert(plan, [row], guarded=True)
        except RowRejected as error:
            raise refused(plan, error, row) from None

    def _delete(self, plan: TablePlan, keys: Sequence[LiteralKey]) -> None:
        head = f"DELETE FROM {table_sql(plan)} WHERE "
        for start in range(0, len(keys), DELETE_KEYS_MAX):
            self.run(head + keys_condition(plan.key, keys[start : start + DELETE_KEYS_MAX]))

    def _upsert(self, plan: TablePlan, rows: Sequence[LiteralRow], *, guarded: bool) -> None:
        head, tail = upsert_sql(plan, guarded)
        enums = plan.enum_indexes
        if not any(row[i] == ENUM_ERROR for i in enums for row in rows):
            self._upsert_strictly(plan, rows, head, tail, guarded)
            return
        for with_error, group in groupby(rows, lambda row: any(row[i] == ENUM_ERROR for i in enums)):
            if with_error:
                for row in group:
                    self._upsert_enum_error(plan, row, head, tail)
            else:
                self._upsert_strictly(plan, list(group), head, tail, guarded)

    def _upsert_enum_error(self, plan: TablePlan, row: LiteralRow, head: str, tail: str) -> None:
        """Upsert a row with an ENUM's error value, which strict mode refuses; any other warning is an error."""
        names = [plan.columns[i].target for i in plan.enum_indexes if row[i] == ENUM_ERROR]
        self.run(f"SET SESSION sql_mode='{lax_apply_mode(self._endpoint)}'")
        try:
            self.run(f"{head}({','.join(row)}){tail}")
            warnings = self.run("SHOW WARNINGS")
        finally:
            with suppress(ReplicationError):  # if it fails, so has the connection
                self.run(f"SET SESSION sql_mode='{sql_mode(self._endpoint, Use.APPLY)}'")
        for _, number, said in warnings:
            code, text = int(number), said.decode("utf-8", "replace")
            expected = code == _TRUNCATED and any(f"'{name}'" in text for name in names)
            if code not in _HARMLESS and not expected:
                raise RowRejected(f"a row with an ENUM's error value: warning {code}", code=code)

    def _upsert_strictly(
        self, plan: TablePlan, rows: Sequence[LiteralRow], head: str, tail: str, guarded: bool
    ) -> None:
        for batch in in_statements([f"({','.join(row)})" for row in rows]):
            try:
                self._run_with(head, batch, tail)
            except ReplicationError as error:
                if not isinstance(error, RowRejected) or (guarded and error.code in COLLISIONS):
                    raise
                self._find_refused_row(plan, rows, head, tail, error)

    def _write_bulk(self, plan: TablePlan, bulk: BulkRows) -> None:
        sql = bulk_upsert_sql(plan, bulk.values)
        head = BULK_HEAD_BYTES + len(bulk.types)
        room = min(BULK_BYTES_MAX, self._target.packet_bytes_max - head - 1)
        connection = cast(BulkConnection, self._target.connection)
        start = size = 0
        with self._target.doing():
            for end, row in enumerate(bulk.rows):
                if end > start and size + len(row) > room:
                    connection.bulk(sql, bulk, start, end)
                    start, size = end, 0
                self._check_size(len(row) + head)
                size += len(row)
            if size:
                connection.bulk(sql, bulk, start, len(bulk.rows))

    def _write_statement(self, head: bytes, tuples: Sequence[bytes | memoryview], tail: bytes) -> None:
        if any(len(one) >= LONG_BYTES for one in tuples):
            between = (piece for one in tuples for piece in (b",", one))
            next(between)
            size = len(head) + sum(map(len, tuples)) + len(tuples) - 1 + len(tail)
            self._send(chain((head,), between, (tail,)), size)
        else:
            self.execute(head + b",".join(tuples) + tail)

    def _find_refused_row(
        self, plan: TablePlan, rows: Sequence[LiteralRow], head: str, tail: str, error: RowRejected
    ) -> None:
        """Find out which row the target refused; the transaction is lost anyway."""
        for row in rows:
            if ENUM_ERROR in row:
                continue
            try:
                self.run(f"{head}({','.join(row)}){tail}")
            except RowRejected as one:
                raise refused(plan, one, row) from None
        raise refused(plan, error) from None

    # ---- statements ----
    def run(self, sql: str) -> list[Any]:
        """Run a statement; gives the rows that it gives."""
        return self.execute(sql.encode("latin-1"))

    def execute(self, data: bytes) -> list[Any]:
        """Run a statement that is bytes already; gives the rows that it gives."""
        self._check_size(len(data))
        with self._target.doing(), self._target.connection.cursor() as cursor:
            cursor.execute(data)
            return list(cursor.fetchall())

    def _run_with(self, head: str, tuples: Sequence[str], tail: str) -> None:
        if len(tuples) == 1 and len(tuples[0]) >= LONG_BYTES:
            self._send(_encoded(head, tuples[0], tail), len(head) + len(tuples[0]) + len(tail))
        else:
            self.run(head + ",".join(tuples) + tail)

    def _send(self, pieces: Iterable[bytes | memoryview], size: int) -> None:
        """Run a long statement without ever having it whole."""
        self._check_size(size)
        with self._target.doing():
            send_statement(self._target.connection, pieces, size)

    def _check_size(self, size: int) -> None:
        bytes_max = self._target.packet_bytes_max
        if size + 1 > bytes_max > 0:
            raise RowRejected(
                f"a row of {size} bytes is longer than the target's max_allowed_packet ({bytes_max})",
                hint="Raise max_allowed_packet on the target.",
                code=1153,
            )


def _encoded(*texts: str) -> Iterator[bytes]:
    """Literals' text as bytes, in pieces."""
    for text in texts:
        for start in range(0, len(text), LONG_BYTES):
            yield text[start : start + LONG_BYTES].encode("latin-1")
