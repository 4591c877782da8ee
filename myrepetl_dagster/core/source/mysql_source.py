"""A source server as replication uses it: its tables, its rows and its log."""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

from pymysql.connections import Connection

from ..binlog.events import KnownTable, LogEvent
from ..binlog.reader import LogReader
from ..config.pipeline import Endpoint
from ..model.limits import Limits
from ..model.position import Position
from ..model.tables import Column, Table, TableName
from ..mysql.connect import close_quietly, query
from ..mysql.connections import Connections
from ..mysql.describe import columns_of
from ..mysql.protocol import row_packets
from ..mysql.session import Use
from ..plan.table_plan import TablePlan
from ..values.sql import quote_name
from .binlog_stream import LogStream
from .log_position import SourceLog
from .log_reader import log_events
from .relation import Relation, relation_of
from .side_effects import SideEffect, side_effect
from .snapshot_reader import CHUNK_BYTES_MAX, Chunk, RowLists, cells, read_all, read_chunk

_UNION = re.compile(r"\bUNION=\(([^)]*)\)")


class MySQLSource(SourceLog):
    """A MySQL or MariaDB server to read from. Connections are opened when they are first needed.

    Args:
        server_id: the number with which the log is read. None: each stream takes a random one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        server_id: int | None = None,
        connections: Connections | None = None,
    ) -> None:
        super().__init__(endpoint, limits, connections)
        self._server_id = server_id
        self._snapshot: Connection[Any] | None = None
        self._relations: dict[tuple[str, Table], Relation] = {}

    # ---- connections ----
    @property
    def snapshot_connection(self) -> Connection[Any]:
        """The connection that reads rows. Its results are the bytes that the server sent."""
        if self._snapshot is None or not self._snapshot.open:  # a chunk that was cut short closes it
            self._snapshot = self.connections.open(self.endpoint, Use.SNAPSHOT, self.limits, self.info)
        return self._snapshot

    def discard_snapshot_connection(self) -> None:
        """Drop the connection and the statement that is under way on it."""
        if self._snapshot is not None:
            self._snapshot._force_close()
        self._snapshot = None

    def close(self) -> None:
        super().close()
        close_quietly(self._snapshot)
        self._snapshot = None

    # ---- tables and rows ----
    def describe(self, name: TableName) -> Table | None:
        """A table as it is now, under its `log_name`. None: there is no such table."""
        return super().describe(self.log_name(name))

    def describe_all(self, names: Sequence[TableName]) -> dict[TableName, Table]:
        """The tables that exist, under their `log_name`, by the names that were given."""
        found = super().describe_all([self.log_name(name) for name in names])
        return {name: found[own] for name in names if (own := self.log_name(name)) in found}

    def table_kind(self, name: TableName) -> str:
        """Its kind as the server calls it: BASE TABLE, VIEW, … ('': there is none). MERGED: in a MERGE table."""
        sql = "SELECT table_type, engine FROM information_schema.tables WHERE table_schema=%s AND table_name=%s"
        with self.doing(f"describing {name}"):
            rows = query(self.control, sql, (name.schema, name.table))
        if rows and rows[0][1] == "MyISAM" and self._is_merged(name):
            return "MERGED"
        return str(rows[0][0]) if rows else ""

    def _is_merged(self, name: TableName) -> bool:
        """Whether a MERGE table, as far as the account sees them, writes into this table."""
        sql = "SELECT table_schema, table_name FROM information_schema.tables WHERE engine='MRG_MyISAM'"
        with self.doing(f"describing {name}"):
            merging = [TableName(*row) for row in query(self.control, sql)]
        for merge in merging:
            # Within its own schema a table is named without it.
            schema = "" if merge.schema == name.schema else f"{quote_name(name.schema)}."
            union = _UNION.search(self.definition(merge))
            if union is not None and f"{schema}{quote_name(name.table)}" in union[1].split(","):
                return True
        return False

    def definition(self, name: TableName) -> str:
        """The CREATE TABLE statement."""
        with self.doing(f"describing {name}"):
            sql = f"SHOW CREATE TABLE {quote_name(name.schema)}.{quote_name(name.table)}"
            return str(query(self.control, sql)[0][1])

    @cached_property
    def logs_foreign_key_actions(self) -> bool:
        """Whether the log has the effects of ON DELETE CASCADE and the like. Before MySQL 9.6 InnoDB logs none."""
        if self.info.is_mariadb or self.info.version < (9, 6, 0):
            return False
        with self.doing():
            rows = query(self.control, "SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'")
        return not rows or rows[0][1] == "OFF"

    @property
    def logs_generated_columns(self) -> bool:
        """Whether images of updates and deletes hold generated columns: in MariaDB 10.11 they do, in 11.8 not."""
        return not self.info.is_mariadb or self.info.version < (11, 0, 0)

    def columns(self, name: TableName) -> tuple[Column, ...]:
        """A table's columns now; () if there is no such table."""
        with self.doing(f"describing {name}"):
            return columns_of(self.control, name)

    def mean_row_bytes(self, name: TableName) -> int:
        """About how many bytes a row of the table has, as the server estimates it; at least 1."""
        sql = "SELECT avg_row_length FROM information_schema.tables WHERE table_schema=%s AND table_name=%s"
        with self.doing(f"describing {name}"):
            rows = query(self.control, sql, (name.schema, name.table))
        return max(1, int(rows[0][0] or 0)) if rows else 1

    def relation(self, plan: TablePlan) -> Relation:
        """The relation that a snapshot of the mapping reads. The server is asked once."""
        known_by = (plan.name, plan.source)  # an altered table is another relation
        if known_by not in self._relations:
            with self.doing(f"planning the snapshot of {plan.name}"):
                self._relations[known_by] = relation_of(self.snapshot_connection, plan)
        return self._relations[known_by]

    def layout(self, plan: TablePlan) -> tuple[Column, ...]:
        """The columns of the rows that a snapshot reads."""
        return self.relation(plan).layout

    def chunked(self, plan: TablePlan) -> bool:
        """Whether the snapshot can go by key. Otherwise it is one consistent read."""
        return bool(self.relation(plan).key)

    def read_chunk(self, plan: TablePlan, after: tuple[str, ...] | None, rows_max: int) -> Chunk:
        """The next rows in key order after a key. None: the first rows."""
        with self.doing(f"reading a chunk of {plan.source.name}"):
            return read_chunk(self.snapshot_connection, self.relation(plan), after, rows_max)

    def estimated_rows(self, plan: TablePlan) -> int | None:
        """About how many rows a snapshot reads, as the server estimates it; None: not known.

        Rows that the mapping's filter leaves out are read, too. Nobody estimates the result of an init query.
        """
        if plan.mapping.init_query is not None:
            return None
        with self.doing(f"estimating the rows of {plan.source.name}"):
            if not self.info.is_mariadb and self.info.version >= (8, 0, 0):
                query(self.control, "SET SESSION information_schema_stats_expiry=0")  # else up to a day old
            sql = "SELECT table_rows FROM information_schema.tables WHERE table_schema=%s AND table_name=%s"
            rows = query(self.control, sql, (plan.source.name.schema, plan.source.name.table))
        return None if not rows or rows[0][0] is None else int(rows[0][0])

    def read_all(self, plan: TablePlan, rows_max: int) -> Iterator[Chunk]:
        """All rows by one consistent read, in chunks of up to rows_max."""
        relation = self.relation(plan)
        # Its own: it streams.
        connection = self.connections.open(self.endpoint, Use.SNAPSHOT, self.limits, self.info)
        try:
            with self.doing(f"reading {plan.name}"):
                yield from read_all(connection, relation, rows_max)
        finally:
            connection._force_close()

    def read_keys(self, plan: TablePlan, key: Sequence[str], keys: Sequence[Sequence[str]]) -> RowLists:
        """The rows with one of these keys, in lists.

        Args:
            key: names of the source's columns.
            keys: their values as literals.
        """
        relation = self.relation(plan)
        sql = relation.select_sql + relation.keys_sql(key, keys)
        with closing(self.read_packets(f"looking for keys of {plan.source.name}", sql, CHUNK_BYTES_MAX)) as lists:
            for packets in lists:
                yield cells(relation, packets)

    def read_packets(self, operation: str, sql: str, bytes_max: int) -> Generator[list[bytes], None, None]:
        """The result rows of a SELECT as packets, in lists of about `bytes_max` bytes.

        Args:
            operation: named in the message of an error.
            sql: in the form of literals.
        """
        try:
            yield from row_packets(self.snapshot_connection, sql.encode("latin-1"), bytes_max)
        except BaseException:  # also if the caller stops early
            self.discard_snapshot_connection()
            with self.doing(operation):
                raise

    def side_effect(self, written: Collection[TableName], names: Collection[str]) -> SideEffect | None:
        """Why a statement that writes these tables may have changed others, too; None: it has not."""
        with self.doing("looking for triggers"):
            return side_effect(self.control, written, names)

    # ---- the log ----
    def read_log(
        self, start: Position, known: dict[TableName, KnownTable], *, follow: bool = False
    ) -> Generator[LogEvent, None, None]:
        """The events of the log from a position on, until the server has sent all that it has.

        Args:
            known: the tables whose rows are read.
            follow: do not end, but yield `Idle` when no more has come yet.
        """
        limits, number = self.limits, self._server_id
        with LogStream(self.endpoint, self.info, limits, start, number, follow, self.connections) as stream:
            offset_bytes = 0 if start.gtid_set is not None else start.offset_bytes
            reader = LogReader(known, start.file, offset_bytes, names_without_case=self.info.names_without_case)
            yield from log_events(stream, reader, self.limits.read_ahead_bytes_max, follow=follow)
