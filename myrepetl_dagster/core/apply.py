"""A target server: one transaction for the rows and the checkpoint, fenced. The second seam of the core.

`begin` locks the checkpoint and makes sure that it is this run's; `write` may be called many times; `commit`
stores the checkpoint and commits. Whatever breaks in between is rolled back, by us or by the server.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, groupby
from typing import Any, Protocol, cast

import pymysql
from pymysql.connections import Connection

from . import checkpoint as checkpoints
from . import prepared
from .behind import Behind, Waiting, finished
from .bulk_connection import BULK_HEAD_BYTES, BulkConnection
from .bulk_rows import BulkRows
from .checkpoint import Checkpoint
from .connect import Use, close_quietly, connect, query
from .errors import ReplicationError, RowRejected, SchemaDrift, TargetLost
from .literal_code import LiteralRow
from .model import Limits, Table, TableName
from .pipeline import Endpoint
from .plan import TablePlan, UniqueKeys
from .prepared import PreparedRows
from .replay import Replay, describe_events
from .row_events import RowChanges
from .schema import describe, describe_all, known_collations
from .server import PING_AFTER_IDLE_S, Server
from .session import lax_apply_mode, lock_wait_s, sql_mode
from .shaped import LiteralKey, Mutation, Rendered
from .snapshot import keys_condition, keyset_condition
from .target_sql import (
    BULK_BYTES_MAX,
    COLLISIONS,
    STATEMENT_BYTES_MAX,
    bulk_upsert_sql,
    fixed_where_sql,
    in_statements,
    key_literals,
    refused,
    runs,
    table_sql,
    upsert_sql,
    where_sql,
)
from .values import ENUM_ERROR, sql_name
from .wire import LONG_BYTES, send_statement

DELETE_KEYS_MAX = 500
_NO_SUCH_TABLE = 1146
# ER_WARN_DATA_TRUNCATED; what is old in a statement, and an introducer's character that is not of Unicode.
_TRUNCATED = 1265
_HARMLESS = frozenset({1287, 1300})
_KILL_TIMEOUT_S = 3.0
# For how long a transaction that was begun ahead waits for its predecessor, which may be waiting for its locks.
PATIENCE_S = 1.0


class Target(Protocol):
    """What the loop needs of a target; the simulator is the second implementation."""

    def claim(self, mappings: Sequence[str]) -> dict[str, Checkpoint]: ...
    def is_empty(self, plan: TablePlan) -> bool: ...
    def keys_after(self, plan: TablePlan, after: LiteralKey | None, rows_max: int) -> list[LiteralKey]: ...
    def begin(self, mappings: Iterable[str]) -> None: ...
    def begin_ahead(self) -> None: ...
    def fence(self, mappings: Iterable[str]) -> None: ...
    def write(self, plan: TablePlan, mutations: Sequence[Mutation], *, exact: bool) -> None: ...
    def write_rendered(self, plan: TablePlan, rendered: Rendered) -> None: ...
    def takes_changes(self, plan: TablePlan, rows: int, *, begun: bool) -> bool: ...
    def write_changes(self, plan: TablePlan, changes: RowChanges) -> None: ...
    def clear(self, plan: TablePlan) -> None: ...
    def commit(self, checkpoints: Sequence[Checkpoint]) -> None: ...
    def lanes(self, number: int) -> Sequence[Target]: ...
    def start(self, work: Callable[[], Waiting]) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...
    def rollback(self) -> None: ...
    def prepared(self) -> PreparedRows: ...
    @property
    def takes_bulk(self) -> bool: ...
    @property
    def steps(self) -> int: ...
    def record_error(self, mapping: str, error: str) -> None: ...
    def close(self) -> None: ...


Claims = dict[str, set[str]]


class MySQLTarget(Server):
    """A MySQL or MariaDB server to write to.

    Args:
        run_id: this attempt's name on the fence.
        claims: of the whole run: for each mapping that an attempt of it has claimed, the attempts' names.
            A later attempt takes the mapping over from those, never from another run.
        replay: of the whole run: whether the server takes rows as events.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        run_id: str | None = None,
        claims: Claims | None = None,
        replay: Replay | None = None,
    ) -> None:
        super().__init__(endpoint, limits)
        self.run_id = run_id or uuid.uuid4().hex
        self.claims: Claims = {} if claims is None else claims
        self.replay = Replay() if replay is None else replay
        self._apply: Connection[Any] | None = None
        self._apply_used_at_s = 0.0
        self._packet_bytes_max = 0
        self._has_prepared_table = False
        self._collations: frozenset[str] | None = None
        self._behind = Behind()
        self._others: list[MySQLTarget] = []
        self._under_way = 0  # operations
        self.steps = 0  # operations done: whether it gets any further
        self._described: Connection[Any] | None = None  # the connection that knows the events' format
        self._begun: Connection[Any] | None = None  # the connection that the transaction was begun on
        self._as_known: set[TableName] = set()  # tables of the open transaction that were looked at

    # ---- connections ----
    @property
    def connection(self) -> Connection[Any]:
        """The connection that writes."""
        if self._apply is None:
            self._apply = connect(self.endpoint, Use.APPLY, self.limits, self.info)
            with self.doing():
                self._packet_bytes_max = int(query(self._apply, "SELECT @@session.max_allowed_packet")[0][0])
        self._apply_used_at_s = time.monotonic()
        return self._apply

    @property
    def takes_bulk(self) -> bool:
        """Whether rows may come as the parameters of MariaDB's bulk execution."""
        if self._apply is None and not self._behind.busy and self.info.is_mariadb:
            _ = self.connection
        return isinstance(self._apply, BulkConnection) and self._apply.takes_bulk

    @contextmanager
    def doing(self, what: str = "") -> Iterator[None]:
        """As of any server; what a signal has interrupted counts as under way."""
        self._under_way += 1
        try:
            with super().doing(what):
                yield
        except Exception:
            self._under_way -= 1
            raise
        self._under_way -= 1
        self.steps += 1

    def close(self) -> None:
        """Close every connection; what was not committed is rolled back by the server."""
        self.cut_off()
        self.abandon()
        for one in self._others:
            one.close()
        super().close()
        self.discard_transaction()

    def cut_off(self) -> None:
        """End what is under way on the apply connection, from any thread; nothing where nothing is.

        Of a closed socket the server would take no notice before the statement ends; it may wait for a lock.
        """
        for one in self._others:
            one.cut_off()
        connection = self._apply
        if not (self._under_way or self._behind.busy) or connection is None or connection._sock is None:
            return
        with suppress(OSError):
            connection._sock.shutdown(socket.SHUT_RDWR)
        with suppress(ReplicationError, pymysql.MySQLError, OSError, AttributeError):
            quick = replace(self.limits, connect_timeout_s=min(_KILL_TIMEOUT_S, self.limits.connect_timeout_s))
            killer = connect(self.endpoint, Use.CONTROL, quick, self._info)
            try:
                query(killer, f"KILL {connection.thread_id()}")
            finally:
                close_quietly(killer)

    # ---- tables ----
    def describe(self, name: TableName) -> Table | None:
        with self.doing(f"describing {name}"):
            return describe(self.control, name)

    def describe_all(self, names: Sequence[TableName]) -> dict[TableName, Table]:
        with self.doing("describing the tables"):
            return describe_all(self.control, names)

    def collations(self) -> frozenset[str]:
        if self._collations is None:
            with self.doing():
                self._collations = known_collations(self.control)
        return self._collations

    def define(self, sql: str) -> None:
        """Run a definition (it commits by itself)."""
        self._define(sql)
        self.replay.definitions.clear()

    def _define(self, sql: str) -> None:
        with self.doing("creating a table"):
            query(self.control, sql)

    def create_checkpoint_table(self) -> None:
        if self.describe(TableName(self.endpoint.database, checkpoints.TABLE)) is None:
            self._define(checkpoints.create_table_sql(self.endpoint.database))

    def prepared(self) -> PreparedRows:
        """The rows of XA transactions in doubt, in the open transaction."""
        if not self._has_prepared_table:
            if self.describe(TableName(self.endpoint.database, prepared.TABLE)) is None:
                self._define(prepared.create_table_sql(self.endpoint.database))
            self._has_prepared_table = True
        return prepared.PreparedTable(self.endpoint, self.connection)

    # ---- checkpoints ----
    def discard_transaction(self) -> None:
        """Drop the connections of open transactions; the server rolls them back."""
        for one in self._others:
            one.discard_transaction()
        self._drop_apply()

    def _drop_apply(self) -> None:
        close_quietly(self._apply)
        self._apply = None

    def claim(self, mappings: Sequence[str]) -> dict[str, Checkpoint]:
        """Fence off every other run from these mappings, then read their checkpoints.

        Raises:
            StaleRun: another run has claimed one of them since this run did.
        """
        database = self.endpoint.database
        again = [name for name in mappings if name in self.claims]
        for name in again:  # before it is sent: the answer may get lost
            self.claims[name].add(self.run_id)
        ours = sorted({run_id for name in again for run_id in self.claims[name]})
        with self.doing("claiming the checkpoint"):
            wait_s = lock_wait_s(self.endpoint, self.limits)
            query(self.control, f"SET SESSION innodb_lock_wait_timeout={wait_s}")
            if again:
                checkpoints.claim_again(self.control, database, again, self.run_id, ours)
            if first := [name for name in mappings if name not in self.claims]:
                checkpoints.claim(self.control, database, first, self.run_id)
            checkpoints.fence(self.control, database, mappings, self.run_id)
            for name in mappings:
                self.claims.setdefault(name, set()).add(self.run_id)
            return checkpoints.read(self.control, database, mappings)

    def read_checkpoints(self, mappings: Sequence[str]) -> dict[str, Checkpoint]:
        """The checkpoints as they are, without claiming them; {} where no run has been yet."""
        with self.doing("reading the checkpoint"):
            try:
                return checkpoints.read(self.control, self.endpoint.database, mappings)
            except pymysql.ProgrammingError as error:
                if error.args[0] != _NO_SUCH_TABLE:
                    raise
                return {}

    def reset(self, mappings: Sequence[str]) -> None:
        """Make the next run copy these mappings again."""
        with self.doing("resetting the checkpoint"):
            checkpoints.reset(self.control, self.endpoint.database, mappings)

    def record_error(self, mapping: str, error: str) -> None:
        self.wake()
        with self.doing():
            checkpoints.record_error(self.control, self.endpoint.database, mapping, self.run_id, error)

    # ---- what the table holds ----
    def is_empty(self, plan: TablePlan) -> bool:
        """Whether the target holds no row of this mapping."""
        sql = f"SELECT 1 FROM {table_sql(plan)}{where_sql(plan)} LIMIT 1"
        with self.doing(f"looking into {plan.target.name}"):
            return not query(self.control, sql.encode("latin-1").decode("utf-8", "surrogateescape"))

    def count(self, name: TableName, fixed: Mapping[str, Any]) -> int:
        """Rows of a table in which these columns have these values."""
        table = f"{sql_name(name.schema)}.{sql_name(name.table)}"
        sql = f"SELECT COUNT(*) FROM {table}{fixed_where_sql(fixed)}"
        with self.doing(f"counting {name}"):
            return int(query(self.control, sql.encode("latin-1").decode("utf-8", "surrogateescape"))[0][0])

    def keys_after(self, plan: TablePlan, after: LiteralKey | None, rows_max: int) -> list[LiteralKey]:
        """The next keys that the target holds, in its own order, as literals."""
        names = ", ".join(sql_name(name) for name in plan.key)
        past = keyset_condition(plan.key, after) if after else ""
        sql = f"SELECT {names} FROM {table_sql(plan)}{where_sql(plan, past)} ORDER BY {names} LIMIT {rows_max}"
        columns = [plan.target.column(name) for name in plan.key]
        known = [column for column in columns if column is not None]
        with self.doing(f"reading the keys of {plan.target.name}"):
            rows = self._run(sql)
        return [key_literals(known, row) for row in rows]

    # ---- the transaction ----
    def sibling(self) -> MySQLTarget:
        """The same run on connections of its own."""
        made = MySQLTarget(self.endpoint, self.limits, self.run_id, self.claims, self.replay)
        made._info = self.info
        return made

    def begin(self, mappings: Iterable[str], *, alone: bool = True) -> None:
        """Open the transaction, behind the fence.

        Args:
            alone: no other connection of this run writes at the same time.

        Raises:
            StaleRun: another run has claimed one of the mappings.
        """
        with self.doing("opening a transaction"):
            self._begin()
            checkpoints.fence(self.connection, self.endpoint.database, mappings, self.run_id, alone=alone)

    def begin_ahead(self) -> None:
        """Open the transaction, to take the `fence` later."""
        with self.doing("opening a transaction"):
            self._begin()

    def fence(self, mappings: Iterable[str]) -> None:
        """Lock the checkpoint in the open transaction.

        Raises:
            StaleRun: another run has claimed one of the mappings.
        """
        with self.doing("opening a transaction"):
            checkpoints.fence(self.connection, self.endpoint.database, mappings, self.run_id)

    def _begin(self) -> None:
        self._wake_apply()
        connection = self.connection
        if self.replay.able and not self.replay.refused and self._described is not connection:
            try:
                with self.doing():
                    connection.rollback()  # of what has only been read, if anything
                    describe_events(connection, mariadb=self.info.is_mariadb)
            except ReplicationError as error:
                raise self.replay.refusal(self.endpoint.label, error) from None
            self._described = connection
        connection.begin()
        self._begun = connection
        self._as_known.clear()

    def _wake_apply(self) -> None:
        """Replace the connection where it has died of idleness: there is no transaction yet that could be lost."""
        if self._apply is None or time.monotonic() - self._apply_used_at_s <= PING_AFTER_IDLE_S:
            return
        try:
            self._apply.ping(reconnect=False)
        except (pymysql.MySQLError, OSError, AttributeError):
            self._drop_apply()

    def write(self, plan: TablePlan, mutations: Sequence[Mutation], *, exact: bool) -> None:
        """Apply mutations in the open transaction.

        Args:
            exact: the target is the source at an earlier position. False while a copy settles: then a row
                may for a while hold a unique value that already belongs to another.

        Raises:
            RowRejected: the target refused a row; names the table and the key.
        """
        with self.doing(f"writing {plan.target.name}"):
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
        with self.doing(f"writing {plan.target.name}"):
            if rendered.bulk is not None and not self.takes_bulk:  # another connection than before
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

    def takes_changes(self, plan: TablePlan, rows: int, *, begun: bool) -> bool:
        """Whether so many rows of this plan are to be written as images.

        Args:
            begun: in the transaction that is open.
        """
        if rows < self.limits.event_rows_min:
            return False
        if begun and (self._described is None or self._described is not self._apply):
            return False
        if plan.target.name not in self.replay.definitions:
            self.wake()
        with super().doing(f"looking at {plan.target.name}"):  # while the apply connection may be at work
            return self.replay.takes(self.control, plan, mariadb=self.info.is_mariadb)

    def write_changes(self, plan: TablePlan, changes: RowChanges) -> None:
        """Apply images of rows, in the open transaction.

        Raises:
            TargetBusy: the target did not take them. From now on it gets statements, which tell what it refuses.
        """
        name = plan.target.name
        try:
            with self.doing(f"writing {name}"):
                if name not in self._as_known:
                    if not self.replay.is_as_known(self.connection, name):
                        raise SchemaDrift(f"{name} is not what it was")
                    self._as_known.add(name)
                for statement in changes.statements(name, self._packet_bytes_max, mariadb=self.info.is_mariadb):
                    self._execute(statement)
        except ReplicationError as error:
            raise self.replay.refusal(str(name), error) from None

    def _write_bulk(self, plan: TablePlan, bulk: BulkRows) -> None:
        sql = bulk_upsert_sql(plan, bulk.values)
        head = BULK_HEAD_BYTES + len(bulk.types)
        room = min(BULK_BYTES_MAX, self._packet_bytes_max - head - 1)
        connection = cast(BulkConnection, self.connection)
        start = size = 0
        with self.doing():
            for end, row in enumerate(bulk.rows):
                if end > start and size + len(row) > room:
                    connection.bulk(sql, bulk, start, end)
                    start, size = end, 0
                self._check_size(len(row) + head)
                size += len(row)
            if size:
                connection.bulk(sql, bulk, start, len(bulk.rows))

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
            self._run(f"DELETE FROM {table_sql(plan)} WHERE {held} AND NOT ({same})")
        try:
            self._upsert(plan, [row], guarded=True)
        except RowRejected as error:
            raise refused(plan, error, row) from None

    def _delete(self, plan: TablePlan, keys: Sequence[LiteralKey]) -> None:
        head = f"DELETE FROM {table_sql(plan)} WHERE "
        for start in range(0, len(keys), DELETE_KEYS_MAX):
            self._run(head + keys_condition(plan.key, keys[start : start + DELETE_KEYS_MAX]))

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
        self._run(f"SET SESSION sql_mode='{lax_apply_mode(self.endpoint)}'")
        try:
            self._run(f"{head}({','.join(row)}){tail}")
            warnings = self._run("SHOW WARNINGS")
        finally:
            with suppress(ReplicationError):  # if it fails, so has the connection
                self._run(f"SET SESSION sql_mode='{sql_mode(self.endpoint, Use.APPLY)}'")
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

    def write_tuples(self, plan: TablePlan, tuples: Sequence[bytes | memoryview]) -> None:
        """Upsert rows that the source has rendered as SQL tuples, by statements of about `STATEMENT_BYTES_MAX`.

        Raises:
            RowRejected: the target refused a row; which one, only the tuples know.
        """
        head, tail = (text.encode("latin-1") for text in upsert_sql(plan, guarded=False))
        rows_max = max(1, len(tuples) * STATEMENT_BYTES_MAX // (sum(map(len, tuples)) + 1))
        with self.doing(f"writing {plan.target.name}"):
            for start in range(0, len(tuples), rows_max):
                self._write_statement(head, tuples[start : start + rows_max], tail)

    def write_parameters(self, plan: TablePlan, rows: BulkRows) -> None:
        """Upsert rows whose parameters the source has rendered; only where the target takes them in bulk.

        Raises:
            RowRejected: the target refused a row; which one, only the parameters know.
        """
        with self.doing(f"writing {plan.target.name}"):
            self._write_bulk(plan, rows)

    def _write_statement(self, head: bytes, tuples: Sequence[bytes | memoryview], tail: bytes) -> None:
        if any(len(one) >= LONG_BYTES for one in tuples):
            between = (piece for one in tuples for piece in (b",", one))
            next(between)
            size = len(head) + sum(map(len, tuples)) + len(tuples) - 1 + len(tail)
            self._send(chain((head,), between, (tail,)), size)
        else:
            self._execute(head + b",".join(tuples) + tail)

    def _find_refused_row(
        self, plan: TablePlan, rows: Sequence[LiteralRow], head: str, tail: str, error: RowRejected
    ) -> None:
        """Find out which row the target refused; the transaction is lost anyway."""
        for row in rows:
            if ENUM_ERROR in row:
                continue
            try:
                self._run(f"{head}({','.join(row)}){tail}")
            except RowRejected as one:
                raise refused(plan, one, row) from None
        raise refused(plan, error) from None

    def clear(self, plan: TablePlan) -> None:
        """Delete every row of the mapping (in the open transaction: not TRUNCATE, which would commit)."""
        with self.doing(f"clearing {plan.target.name}"):
            self._run(f"DELETE FROM {table_sql(plan)}{where_sql(plan)}")

    def commit(self, stored: Sequence[Checkpoint]) -> None:
        """Store the checkpoints and commit, rows and all.

        Raises:
            TargetLost: the connection broke; whether the commit took effect, the checkpoint will tell.
        """
        with self.doing("committing"):
            connection = self._apply
            if connection is not self._begun or connection is None:
                raise TargetLost("the connection that the transaction was begun on is gone")
            if stored:
                checkpoints.write(connection, self.endpoint.database, stored, self.run_id)
            connection.commit()

    # ---- in the background ----
    def lanes(self, number: int) -> list[MySQLTarget]:
        """This and the same run on other connections, which are closed with this one."""
        while len(self._others) < number - 1:
            self._others.append(self.sibling())
        return [self, *self._others]

    def start(self, work: Callable[[], Waiting]) -> None:
        """Do this with the apply connection while the caller goes on; until `finish` it is nobody else's."""
        patience_s = min(PATIENCE_S, float(lock_wait_s(self.endpoint, self.limits)) / 3)
        self._behind.start(lambda: finished(work, patience_s))

    def finish(self) -> None:
        """Wait for what was started; raises what it raised."""
        self._behind.wait()

    def abandon(self) -> None:
        """Let what was started end, well or not."""
        with suppress(Exception):
            self._behind.wait()

    def rollback(self) -> None:
        """Undo the open transaction, if there is a connection to undo it on."""
        if self._apply is not None:
            with self.doing("rolling back"):
                self._apply.rollback()

    def _run(self, sql: str) -> list[Any]:
        return self._execute(sql.encode("latin-1"))

    def _run_with(self, head: str, tuples: Sequence[str], tail: str) -> None:
        if len(tuples) == 1 and len(tuples[0]) >= LONG_BYTES:
            self._send(_encoded(head, tuples[0], tail), len(head) + len(tuples[0]) + len(tail))
        else:
            self._run(head + ",".join(tuples) + tail)

    def _send(self, pieces: Iterable[bytes | memoryview], size: int) -> None:
        """Run a long statement without ever having it whole."""
        self._check_size(size)
        with self.doing():
            send_statement(self.connection, pieces, size)

    def _check_size(self, size: int) -> None:
        if size + 1 > self._packet_bytes_max > 0:
            raise RowRejected(
                f"a row of {size} bytes is longer than the target's max_allowed_packet ({self._packet_bytes_max})",
                hint="Raise max_allowed_packet on the target.",
                code=1153,
            )

    def _execute(self, data: bytes) -> list[Any]:
        self._check_size(len(data))
        with self.doing(), self.connection.cursor() as cursor:
            cursor.execute(data)
            return list(cursor.fetchall())


def _encoded(*texts: str) -> Iterator[bytes]:
    """Literals' text as bytes, in pieces."""
    for text in texts:
        for start in range(0, len(text), LONG_BYTES):
            yield text[start : start + LONG_BYTES].encode("latin-1")
