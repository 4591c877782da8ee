"""Writing rows in a target's open transaction, as statements or by MariaDB's bulk execution.

An error about a refused row names its table and key. Nothing here begins, fences or commits: `apply_connection.py`
does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, groupby

from ..model.errors import ReplicationError, RowRejected
from ..model.limits import LONG_BYTES
from ..mysql.bulk_connection import BULK_HEAD_BYTES
from ..plan.table_plan import TablePlan, UniqueKeys
from ..rows.literal_codegen import LiteralKey, LiteralRow
from ..rows.writable_rows import KEPT, Mutations, Rendered, SqlTuples
from ..values.bulk_parameters import BulkRows
from ..values.column_types import is_short_year
from ..values.literals import ENUM_ERROR
from ..values.sql import keys_condition, short_year_sql, sql_name
from .apply_session import ApplySession
from .enum_errors import has_enum_error, run_with_enum_error
from .row_updates import write_updates
from .statements import (
    BULK_BYTES_MAX,
    COLLISIONS,
    STATEMENT_BYTES_MAX,
    Kind,
    bulk_upsert_sql,
    in_statements,
    kind_of,
    named_refusal,
    table_sql,
    upsert_sql,
    where_sql,
)

DELETE_KEYS_MAX = 500


class RowWriter:
    """Writes rows of any table of the target, over one connection."""

    def __init__(self, session: ApplySession) -> None:
        self._session = session

    def write(self, plan: TablePlan, rows: Mutations | Rendered | SqlTuples | BulkRows) -> None:
        """Write rows in the open transaction.

        Raises:
            RowRejected: the target refused a row. The error names the table, and also the key unless the source has
                rendered the rows: of those, only their bytes are known here.
        """
        with self._session.doing(f"writing {plan.target.name}"):
            match rows:
                case Mutations():
                    self._write_mutations(plan, rows)
                case Rendered():
                    self._write_rendered(plan, rows)
                case SqlTuples(tuples):
                    self._write_tuples(plan, tuples)
                case BulkRows():  # only where the connection takes them
                    self._write_bulk(plan, rows)

    def clear(self, plan: TablePlan) -> None:
        """Delete every row of the mapping. Not by TRUNCATE, which would commit the open transaction."""
        with self._session.doing(f"clearing {plan.target.name}"):
            self._session.run(f"DELETE FROM {table_sql(plan)}{where_sql(plan)}")

    # ---- rendered rows ----
    def _write_rendered(self, plan: TablePlan, rendered: Rendered) -> None:
        if rendered.bulk is not None and not self._session.takes_bulk:  # the connection was replaced
            self._write_by_key(plan, dict(rendered.mutations()))
            return
        self._delete(plan, rendered.gone)
        try:
            if rendered.bulk is not None:
                self._write_bulk(plan, rendered.bulk)
            if rendered.tuples:
                head, tail = upsert_sql(plan, guarded=False)
                for batch in in_statements(rendered.tuples):
                    self._run_with(head, batch, tail)
        except RowRejected as error:
            rows = [row for _, row in rendered.mutations() if row is not None]
            self._find_refused_row(plan, rows, *upsert_sql(plan, guarded=False), error)

    def _write_tuples(self, plan: TablePlan, tuples: Sequence[bytes | memoryview]) -> None:
        head, tail = (text.encode("latin-1") for text in upsert_sql(plan, guarded=False))
        rows_max = max(1, len(tuples) * STATEMENT_BYTES_MAX // (sum(map(len, tuples)) + 1))
        for start in range(0, len(tuples), rows_max):
            self._write_statement(head, tuples[start : start + rows_max], tail)

    # ---- mutations ----
    def _write_mutations(self, plan: TablePlan, mutations: Mutations) -> None:
        kinds = groupby(mutations.rows, kind_of)
        if plan.unique_keys is UniqueKeys.NONE and not any(KEPT in row for _, row in mutations.rows if row is not None):
            self._write_by_key(plan, dict(mutations.rows))
            return
        evict = mutations.settling and plan.unique_keys is UniqueKeys.MIRRORED
        for kind, run in kinds:
            match kind:
                case Kind.DELETE:
                    self._delete(plan, [key for key, _ in run])
                case Kind.UPSERT:
                    self._upsert_in_order(plan, [row for _, row in run if row is not None], evict)
                case Kind.UPDATE:
                    write_updates(self._session, plan, list(run), settling=mutations.settling)

    def _write_by_key(self, plan: TablePlan, last: dict[LiteralKey, LiteralRow | None]) -> None:
        # No two rows can collide, so the order of the keys does not matter. Deletes come first: a ci collation takes
        # keys that differ in letter case for one, and such a key must not be deleted after it was written.
        self._delete(plan, [key for key, row in last.items() if row is None])
        self._upsert(plan, [row for row in last.values() if row is not None], guarded=False)

    def _upsert_in_order(self, plan: TablePlan, rows: Sequence[LiteralRow], evict: bool) -> None:
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
        """Upsert one row, after deleting other rows that hold one of its unique values.

        Only until a copy has settled. The source has the same unique key, so the two rows were read at different
        moments. Between these moments the source has changed the other row, and the log has an event for that before
        the high watermark. That event writes the deleted row again.
        """
        literals = {column.target: literal for column, literal in zip(plan.columns, row, strict=True)}
        same_key = " AND ".join(f"{sql_name(name)} <=> {literals[name]}" for name in plan.key)
        for unique in plan.other_unique_keys:
            same_value = " AND ".join(_same_part(plan, part, literals) for part in unique)
            self._session.run(f"DELETE FROM {table_sql(plan)} WHERE {same_value} AND NOT ({same_key})")
        try:
            self._upsert(plan, [row], guarded=True)
        except RowRejected as error:
            raise named_refusal(plan, error, _key_of(plan, row)) from None

    def _delete(self, plan: TablePlan, keys: Sequence[LiteralKey]) -> None:
        if not keys:
            return
        head = f"DELETE FROM {table_sql(plan)} WHERE "
        for start in range(0, len(keys), DELETE_KEYS_MAX):
            self._session.run(head + keys_condition(plan.key, keys[start : start + DELETE_KEYS_MAX]))

    def _upsert(self, plan: TablePlan, rows: Sequence[LiteralRow], *, guarded: bool) -> None:
        head, tail = upsert_sql(plan, guarded)
        enums = plan.enum_indexes
        if not any(row[i] == ENUM_ERROR for i in enums for row in rows):
            self._upsert_strictly(plan, rows, head, tail, guarded)
            return
        for with_error, group in groupby(rows, lambda row: has_enum_error(plan, row)):
            if with_error:
                for row in group:
                    run_with_enum_error(self._session, plan, row, f"{head}({','.join(row)}){tail}")
            else:
                self._upsert_strictly(plan, list(group), head, tail, guarded)

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
        bytes_max = self._session.packet_bytes_max - head - 1
        room = min(BULK_BYTES_MAX, bytes_max)
        start = size = 0
        with self._session.doing():
            for end, row in enumerate(bulk.rows):
                if end > start and size + len(row) > room:
                    self._session.execute_bulk(sql, bulk, start, end)
                    start, size = end, 0
                if len(row) > bytes_max:
                    self._session.check_size(len(row) + head)
                size += len(row)
            if size:
                self._session.execute_bulk(sql, bulk, start, len(bulk.rows))

    def _write_statement(self, head: bytes, tuples: Sequence[bytes | memoryview], tail: bytes) -> None:
        if any(len(one) >= LONG_BYTES for one in tuples):
            between = (piece for one in tuples for piece in (b",", one))
            next(between)
            size = len(head) + sum(map(len, tuples)) + len(tuples) - 1 + len(tail)
            self._session.send(chain((head,), between, (tail,)), size)
        else:
            self._session.execute(head + b",".join(tuples) + tail)

    def _find_refused_row(
        self, plan: TablePlan, rows: Sequence[LiteralRow], head: str, tail: str, error: RowRejected
    ) -> None:
        """Write row by row to find out which one the target refused. The transaction is lost anyway.

        Raises:
            RowRejected: always; it names the key if a row is refused again.
        """
        for row in rows:
            if ENUM_ERROR in row:
                continue
            try:
                self._session.run(f"{head}({','.join(row)}){tail}")
            except RowRejected as row_error:
                raise named_refusal(plan, row_error, _key_of(plan, row)) from None
        raise named_refusal(plan, error) from None

    def _run_with(self, head: str, tuples: Sequence[str], tail: str) -> None:
        if len(tuples) == 1 and len(tuples[0]) >= LONG_BYTES:
            self._session.send(_encoded(head, tuples[0], tail), len(head) + len(tuples[0]) + len(tail))
        else:
            self._session.run(head + ",".join(tuples) + tail)


def _key_of(plan: TablePlan, row: LiteralRow) -> LiteralKey:
    return tuple(row[i] for i in plan.key_indexes)


def _same_part(plan: TablePlan, part: str, literals: dict[str, str]) -> str:
    """The condition for rows that hold a row's value in a part of a unique key."""
    column, length = plan.target.key_part(part)
    described = plan.target.column(column)
    if described is not None and is_short_year(described):
        return f"{short_year_sql(sql_name(column))} = {literals[column]}"
    if length is None:
        return f"{sql_name(column)} = {literals[column]}"
    return f"LEFT({sql_name(column)}, {length}) = LEFT({literals[column]}, {length})"


def _encoded(*texts: str) -> Iterator[bytes]:
    """The texts as bytes, in pieces of a bounded size."""
    for text in texts:
        for start in range(0, len(text), LONG_BYTES):
            yield text[start : start + LONG_BYTES].encode("latin-1")
