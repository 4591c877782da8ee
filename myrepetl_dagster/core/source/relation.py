"""The relation that a snapshot reads: a source table or the result of an init query, and its key, if it has one.

Rows leave the server as bytes in the columns' own character sets; nothing is converted on the way. A part of the
relation is read by `WHERE key > last ORDER BY key LIMIT n`. The server compares and orders, so no collation has to be
understood here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pymysql.connections import Connection
from pymysql.constants import FLAG

from ..model.errors import PrerequisiteError, SchemaDrift
from ..model.tables import Column, TableName
from ..mysql.connect import query
from ..plan.resolution import not_null_keys
from ..plan.table_plan import TablePlan
from ..values.cells import LABEL_BYTES_MAX
from ..values.collations import charset_of
from ..values.column_types import FLOAT_TYPES, INTEGER_TYPES, TEMPORAL_TYPES, is_short_year
from ..values.sql import (
    keys_condition,
    keyset_condition,
    quote_name,
    short_year_sql,
    sql_name,
    sql_text,
    until_condition,
)
from ..values.text_rows import key_reader
from .init_query import table_read

_TYPES = {  # of a result's columns, by the protocol's number
    0: "decimal", 1: "tinyint", 2: "smallint", 3: "int", 4: "float", 5: "double", 7: "timestamp", 8: "bigint",
    9: "mediumint", 10: "date", 11: "time", 12: "datetime", 13: "year", 15: "varchar", 16: "bit",
    242: "vector", 245: "json", 246: "decimal", 247: "enum", 248: "set", 253: "varchar", 254: "char",
    255: "geometry",
}  # fmt: skip
# The server orders a key of these types as it compares it. ENUM and SET are ordered by number but compared as text, a
# FLOAT does not equal its own text, and a BLOB's index holds a prefix. So is a YEAR(2), ordered by the year it holds.
_KEYSET_TYPES = (INTEGER_TYPES | TEMPORAL_TYPES | {"decimal", "char", "varchar", "binary", "varbinary"}) - {"bit"}

_SHORT_YEAR_DIGITS = 2


@dataclass(frozen=True, slots=True)
class Relation:
    """The rows that a snapshot reads. SQL is in the form of literals (`values.sql.sql_text`).

    Args:
        layout: its columns, in the order in which they are read.
        from_sql: what stands behind FROM.
        key: names of the columns by whose order it can be read in parts; () if it is read in one go.
        until: the last key that belongs to it, as literals. None: the table's last one.
    """

    layout: tuple[Column, ...]
    from_sql: str
    key: tuple[str, ...]
    until: tuple[str, ...] | None = None

    @property
    def select_sql(self) -> str:
        """The SELECT of all columns, without a WHERE."""
        return f"SELECT {', '.join(whole_value(c) for c in self.layout)} FROM {self.from_sql}"

    @property
    def key_indexes(self) -> tuple[int, ...]:
        """Where the key's columns are in the layout."""
        names = [c.name for c in self.layout]
        return tuple(names.index(name) for name in self.key)

    def key_reader(self, places: Sequence[int], skip: int = 0) -> Callable[[bytes], tuple[str, ...]]:
        """A function that reads the key of a result row's packet, as literals.

        Args:
            places: where the key's columns are among the row's fields, not counting the first `skip`.
        """
        return key_reader([self.layout[i] for i in self.key_indexes], places, skip)

    def after_sql(self, after: tuple[str, ...] | None, rows_max: int) -> str:
        """The end of a SELECT: the next rows in key order after a key. None: the first rows."""
        order = ", ".join(sql_name(name) for name in self.key)
        conditions = [keyset_condition(self.key, after)] if after else []
        conditions += [until_condition(self.key, self.until)] if self.until else []
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"{where} ORDER BY {order} LIMIT {rows_max}"

    def dividing_sql(self, after: tuple[str, ...] | None, rows: int) -> str:
        """The SELECT of the key that lies so many rows after a key; None: after the table's beginning."""
        names = ", ".join(sql_name(name) for name in self.key)
        return f"SELECT {names} FROM {self.from_sql}{self.after_sql(after, 1)} OFFSET {rows - 1}"

    def keys_sql(self, key: Sequence[str], keys: Sequence[Sequence[str]]) -> str:
        """The WHERE of rows that have one of these keys; other rows may come with them.

        Args:
            keys: as literals.
        """
        short_years = {c.name for c in self.layout if is_short_year(c)}
        if short_years.intersection(key):  # four digits in quotes, by which the index finds the year 0000, too
            keys = [
                tuple(f"'{value:0>4}'" if name in short_years else value for name, value in zip(key, one, strict=True))
                for one in keys
            ]
        return f" WHERE {keys_condition(key, keys)}"


def whole_value(column: Column) -> str:
    """The SQL of a column with which the server prints the value without a loss."""
    name = sql_name(column.name)
    if is_short_year(column):
        return short_year_sql(name)
    if column.type in FLOAT_TYPES:
        # A FLOAT is printed with six digits, a DOUBLE(M,D) rounded. Times 1 and not plus 0, so that -0 stays -0.
        return f"{name} * 1e0"
    if column.type == "decimal" and "zerofill" in column.column_type.lower():
        return f"{name} + 0"
    if column.type == "enum":  # its error value would be printed like an empty label
        # Written out: where max_allowed_packet is small, a function would give NULL for a text of this length.
        return f"IF({name} + 0 = 0, '{'0' * (LABEL_BYTES_MAX + 1)}', {name})"
    return name


def relation_of(connection: Connection[Any], plan: TablePlan) -> Relation:
    """The relation of a mapping, asked for over a snapshot connection.

    Raises:
        SchemaDrift: the init query's result lacks a column that the mapping needs.
        PrerequisiteError: it has one that the server may not tell exactly.
    """
    init_query = plan.mapping.init_query
    keys = [plan.source.primary_key] if plan.source.primary_key else not_null_keys(plan.source)
    if init_query is None:
        table = f"{sql_name(plan.source.name.schema)}.{sql_name(plan.source.name.table)}"
        return Relation(plan.source.columns, table, _usable_key(keys, plan.source.columns))
    derived = sql_text(f"({init_query}\n) AS q")  # the line break ends a comment at the query's end
    fields = _result_fields(connection, f"SELECT * FROM {derived} LIMIT 0")
    layout = tuple(map(result_column, fields))
    missing = sorted(plan.needed_source_columns - {c.name for c in layout})
    if missing:
        raise SchemaDrift(
            f"mapping {plan.name!r}: init_query returns no column {', '.join(missing)}",
            hint="Select every column that column_mapping and filter name, under that name.",
        )
    for column, field in zip(layout, fields, strict=True):
        if is_short_year(column) and not field.db and column.name in plan.needed_source_columns:
            year = short_year_sql(quote_name(column.name))
            raise PrerequisiteError(
                f"mapping {plan.name!r}: init_query computes or holds {column.name}, a YEAR(2): the server may"
                " lose its century",
                hint=f"Select {year} AS {quote_name(column.name)} in its place.",
            )
    # Only a query of the mapped table alone has the table's key and index. Any other is read in one go.
    mapped = _reads_table(connection, init_query, plan.source.name)
    own = _own_columns(connection, init_query) if mapped else frozenset()
    return Relation(layout, derived, _usable_key(keys, [column for column in layout if column.name in own]))


def _reads_table(connection: Connection[Any], init_query: str, name: TableName) -> bool:
    """Whether a query reads this table and no other. Names are compared as the server compares them."""
    found = table_read(init_query)
    if found is None:
        return False
    default_schema, without_case = query(connection, "SELECT DATABASE(), @@lower_case_table_names <> 0")[0]
    schema, table = found[0] or (default_schema or b"").decode(), found[1]
    if int(without_case):
        return (schema.lower(), table.lower()) == (name.schema.lower(), name.table.lower())
    return (schema, table) == (name.schema, name.table)


def _own_columns(connection: Connection[Any], init_query: str) -> frozenset[str]:
    """Names of those columns of a plain query's result that are the table's columns, and not expressions named so."""
    fields = _result_fields(connection, sql_text(f"{init_query}\nLIMIT 0"))
    return frozenset(_text(field.name) for field in fields if field.org_table and field.org_name == field.name)


def _usable_key(keys: Sequence[tuple[str, ...]], layout: Sequence[Column]) -> tuple[str, ...]:
    """The first of the keys by whose order the relation can be read; () if there is none."""
    types = {c.name: c.type for c in layout if not is_short_year(c)}
    for key in keys:
        if all(types.get(name) in _KEYSET_TYPES for name in key):
            return key
    return ()


def _result_fields(connection: Connection[Any], sql: str) -> Sequence[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql.encode("latin-1"))
        return tuple(cursor._result.fields)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def result_column(field: Any) -> Column:
    """The column of a result, from PyMySQL's description of the field."""
    charset = charset_of(field.charsetnr)
    kind = _TYPES.get(field.type_code, "blob" if charset == "binary" else "text")
    if field.flags & FLAG.ENUM:
        kind = "enum"
    elif field.flags & FLAG.SET:
        kind = "set"
    textual = kind in ("char", "varchar", "text", "blob", "enum", "set", "json", "vector", "geometry")
    if kind == "json":
        charset = "utf8mb4"
    definition = "year(2)" if kind == "year" and field.length == _SHORT_YEAR_DIGITS else ""
    return Column(
        _text(field.name), kind, definition, bool(field.flags & FLAG.UNSIGNED), charset=charset if textual else None
    )
