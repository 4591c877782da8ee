"""A target's control connection: its tables, their sizes, and which run may write their checkpoints.

Nothing here is part of a transaction that writes rows: `apply_connection.py` has those.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace

import pymysql

from ..config.pipeline import Endpoint
from ..model.checkpoint import Checkpoints
from ..model.errors import PrerequisiteError, RowRejected
from ..model.limits import Limits
from ..model.tables import Column, Table, TableName
from ..mysql.connect import query
from ..mysql.connections import Connections
from ..mysql.describe import known_collations
from ..mysql.session import lock_wait_s
from ..plan.table_plan import TablePlan
from ..values.sql import quote_name
from . import checkpoint_table as checkpoints
from . import prepared_table, turns
from .event_replay import EventSupport
from .sized_server import SizedServer
from .statements import table_sql, where_sql

_NO_SUCH_TABLE = 1146
_ROW_TOO_LONG = 1118
_KEY_TOO_LONG = 1071

Claims = dict[str, set[str]]  # by mapping: the names on the fence under which one run has claimed it


class TargetControl(SizedServer):
    """A MySQL or MariaDB server that holds target tables and the checkpoints, for one attempt of a run.

    Args:
        claims: what this run's earlier attempts have claimed. An attempt takes a mapping over from these, never from
            another run.
        event_support: what this run knows of whether the server takes rows as events.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        claims: Claims | None = None,
        event_support: EventSupport | None = None,
        connections: Connections | None = None,
    ) -> None:
        super().__init__(endpoint, limits, connections)
        self.run_id = uuid.uuid4().hex  # the name on the fence
        self.claims: Claims = {} if claims is None else claims
        self.event_support = EventSupport() if event_support is None else event_support
        self._collations: frozenset[str] | None = None
        self._has_prepared_table = False

    # ---- tables ----
    def collations(self) -> frozenset[str]:
        """The names of the collations that the server has."""
        if self._collations is None:
            with self.doing():
                self._collations = known_collations(self.control)
        return self._collations

    def define(self, sql: str, what: str) -> None:
        """Run a statement that defines or alters a target table. It commits by itself.

        Args:
            what: what it does, for an error's message.
        """
        self._define(sql, what)
        self.event_support.definitions.clear()

    def create_table(self, sql: str, table: Table) -> None:
        """Create a target table.

        Args:
            table: the table that the statement makes, as far as a plan looks at it.
        """
        what = f"creating {table.name}"
        try:
            self.define(sql, what)
        except RowRejected as error:
            if error.code != _ROW_TOO_LONG:
                raise
            self._create_for_shorter_rows(sql, what, error)

    def _create_for_shorter_rows(self, sql: str, what: str, refusal: RowRejected) -> None:
        """Create a table whose longest rows no page holds. The source has such a table, and shorter rows may be all.

        A row that is too long is refused when it is written.
        """
        try:
            with self.doing(what):
                query(self.control, "SET SESSION innodb_strict_mode=0")
            self.define(sql, what)
            with self.doing(what):
                query(self.control, "SET SESSION innodb_strict_mode=DEFAULT")
        except (PrerequisiteError, RowRejected):
            raise PrerequisiteError(
                f"{refusal.message}: the table's longest rows would not fit a page of the target",
                hint="Grant the target's account SESSION_VARIABLES_ADMIN (MySQL), or create the table by hand, with"
                " innodb_strict_mode=0 or with TEXT or BLOB for some columns.",
                code=refusal.code,
            ) from None

    def alter_column(self, table: TableName, change: str, column: Column, former: str = "") -> None:
        """Alter a target table by one clause.

        Args:
            change: the clause, which follows ALTER TABLE and the name.
            column: the added or altered column as it will be.
            former: the column's name before, if it is renamed.
        """
        self.define(f"ALTER TABLE {quote_name(table.schema)}.{quote_name(table.table)} {change}", f"altering {table}")

    def _define(self, sql: str, what: str) -> None:
        with self.doing(what):
            query(self.control, sql)

    def create_checkpoint_table(self) -> None:
        """Create the table of checkpoints unless it is there."""
        database = self.endpoint.database
        try:
            self.create_unless_there(checkpoints.TABLE, checkpoints.create_table_sql(database))
        except PrerequisiteError as error:
            if error.code != _KEY_TOO_LONG:
                raise
            self.create_unless_there(
                checkpoints.TABLE, checkpoints.create_table_sql(database, checkpoints.SHORT_NAME_MAX)
            )

    def create_prepared_table(self) -> None:
        """Create the table for rows of prepared XA transactions unless it is there."""
        if not self._has_prepared_table:
            self.create_unless_there(prepared_table.TABLE, prepared_table.create_table_sql(self.endpoint.database))
            self._has_prepared_table = True

    def create_unless_there(self, table: str, sql: str) -> None:
        """Create a table of ours unless it is there: the account may lack the right to create one that is."""
        if self.describe(TableName(self.endpoint.database, table)) is None:
            self._define(sql, f"creating {self.endpoint.database}.{table}")

    # ---- checkpoints ----
    def claim(self, mappings: Sequence[str]) -> Checkpoints:
        """Fence off every other run from these mappings, then read their checkpoints.

        Raises:
            StaleRun: another run has claimed one of them since this run did.
            PrerequisiteError: a mapping's name is too long for this server.
        """
        database = self.endpoint.database
        self._check_names(mappings)
        again = [name for name in mappings if name in self.claims]
        first = [name for name in mappings if name not in self.claims]
        for name in again:  # noted before it is sent, since the answer may get lost
            self.claims[name].add(self.run_id)
        ours = sorted({run_id for name in again for run_id in self.claims[name]})
        with self.doing("claiming the checkpoint"):
            wait_s = lock_wait_s(self.endpoint, self.limits)
            query(self.control, f"SET SESSION innodb_lock_wait_timeout={wait_s}")
            if again:
                checkpoints.claim_again(self.control, database, again, self.run_id, ours)
            if first:
                checkpoints.claim(self.control, database, first, self.run_id)
            for name in mappings:
                self.claims.setdefault(name, set()).add(self.run_id)
            checkpoints.fence(self.control, database, mappings, self.run_id)
            return checkpoints.read(self.control, database, mappings)

    def _check_names(self, mappings: Sequence[str]) -> None:
        longest = max(mappings, key=len, default="")
        if len(longest) <= checkpoints.SHORT_NAME_MAX:
            return
        with self.doing("claiming the checkpoint"):
            room = checkpoints.name_length(self.control, self.endpoint.database)
        if len(longest) > room:
            raise PrerequisiteError(
                f"{self.endpoint.label}: the name of mapping {longest!r} has {len(longest)} characters, and"
                f" {checkpoints.TABLE} has room for {room}",
                hint="Give the mapping a shorter key in the pipeline file, and source_table.",
            )

    def claimed_by_others(self, mappings: Sequence[str]) -> list[str]:
        """Those of these mappings, claimed by this run before, that another run has claimed since."""
        ours = sorted({run_id for name in mappings for run_id in self.claims.get(name, ())})
        if not ours:
            return []
        self.wake()
        with self.doing("reading the checkpoint"):
            found = checkpoints.claimed_by_others(self.control, self.endpoint.database, mappings, ours)
        return [name for name in mappings if name in found]

    def read_checkpoints(self, mappings: Sequence[str]) -> Checkpoints:
        """The checkpoints as they are, without claiming them; none if there has been no run yet."""
        with self.doing("reading the checkpoint"):
            try:
                return checkpoints.read(self.control, self.endpoint.database, mappings)
            except pymysql.ProgrammingError as error:
                if error.args[0] != _NO_SUCH_TABLE:
                    raise
                return Checkpoints()

    def holders(self, mappings: Sequence[str]) -> dict[str, str]:
        """The name on the fence of each mapping that some run has claimed."""
        with self.doing("reading the checkpoint"):
            return checkpoints.holders(self.control, self.endpoint.database, mappings)

    def accept_code(self, mapping: str, code: dict[str, str], mended: str) -> None:
        """Store that a mapping's rows are those that its transforms make now. Any other run is fenced off.

        Args:
            mended: what an error says that is settled by that.
        """
        checkpoint = self.claim([mapping])[mapping]
        with self.doing("storing the checkpoint"):
            query(self.control, "BEGIN")
            checkpoints.fence(self.control, self.endpoint.database, [mapping], self.run_id)
            error = "" if mended in checkpoint.last_error else checkpoint.last_error
            accepted = replace(checkpoint, code=code, last_error=error)
            checkpoints.write(self.control, self.endpoint.database, [accepted], self.run_id)
            query(self.control, "COMMIT")

    def record_error(self, mapping: str, error: str) -> None:
        """Keep a mapping's last error, which `status` shows, unless another run has taken the mapping over."""
        self.wake()
        with self.doing():
            run_ids = sorted(self.claims.get(mapping, ()))
            checkpoints.record_error(self.control, self.endpoint.database, mapping, run_ids, error)

    # ---- turns ----
    def take_turns(self, mappings: Sequence[str], *, all_or_none: bool) -> list[str]:
        """Say that this run works on these mappings, for as long as the control connection lasts; see `turns.take`."""
        with self.doing("taking turns"):
            return turns.take(self.control, self.endpoint.database, mappings, all_or_none=all_or_none)

    def turns_taken(self, mappings: Sequence[str]) -> set[str]:
        """The mappings on which some run works."""
        with self.doing("asking for turns"):
            return turns.taken(self.control, self.endpoint.database, mappings)

    # ---- rows ----
    def is_empty(self, plan: TablePlan) -> bool:
        """Whether the target holds no row of this mapping."""
        sql = f"SELECT 1 FROM {table_sql(plan)}{where_sql(plan)} LIMIT 1"
        with self.doing(f"looking into {plan.target.name}"):
            return not query(self.control, sql.encode("latin-1").decode("utf-8", "surrogateescape"))

    def takes_changes(self, plan: TablePlan, rows: int) -> bool:
        """Whether so many rows of this plan are to be written as events."""
        if rows < self.limits.event_rows_min:
            return False
        if plan.target.name not in self.event_support.definitions:
            self.wake()
        with self.doing(f"looking at {plan.target.name}"):
            return self.event_support.takes(self.control, plan, mariadb=self.info.is_mariadb)
