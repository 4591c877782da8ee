"""Tables as a server describes them: columns, keys, character sets. Reads information_schema, writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pymysql.connections import Connection

from ..model.tables import Column, Table, TableName
from ..values.column_types import BYTE_TYPES, LABEL_TYPES, PRINTED_TYPES, TEXT_TYPES, labels
from .connect import query

# Character sets whose bytes for ASCII characters are not those of ASCII.
_NOT_ASCII = frozenset({"ucs2", "utf16", "utf16le", "utf32", "swe7"})


def describe(connection: Connection[Any], name: TableName, *, hidden: bool = False) -> Table | None:
    """A table's columns and keys as they are now; None if there is no such table, or no right to see it.

    Args:
        hidden: with the columns of a system-versioned table that no list of columns has. The log has them.
    """
    return _described(connection, name.schema, [name.table], hidden=hidden).get(name)


def describe_all(
    connection: Connection[Any], names: Iterable[TableName], *, hidden: bool = False
) -> dict[TableName, Table]:
    """Those of the tables that there are. The number of questions does not grow with the number of tables."""
    # MariaDB's list of tables takes names that differ only in case for one, so each of them gets a round of its own.
    rounds: dict[tuple[str, int], dict[str, str]] = {}
    for name in dict.fromkeys(names):
        number = 0
        while name.table.casefold() in rounds.setdefault((name.schema, number), {}):
            number += 1
        rounds[name.schema, number][name.table.casefold()] = name.table
    return {
        name: table
        for (schema, _), tables in rounds.items()
        for name, table in _described(connection, schema, list(tables.values()), hidden=hidden).items()
    }


def columns_of(connection: Connection[Any], name: TableName) -> tuple[Column, ...]:
    """A table's columns, the hidden ones among them; () if there is no such table."""
    rows = _column_rows(connection, name.schema, [name.table], hidden=True)
    return tuple(_column(connection, row) for row in rows.get(name.table, ()))


def _described(
    connection: Connection[Any], schema: str, tables: Sequence[str], *, hidden: bool
) -> dict[TableName, Table]:
    rows = _column_rows(connection, schema, tables, hidden=hidden)
    if not rows:
        return {}
    keys = _keys(connection, schema, tables)
    charsets = _default_charsets(connection, schema, tables)
    mariadb = "MariaDB" in connection.get_server_info()
    found = {}
    for table, columns in rows.items():
        name = TableName(schema, table)
        described = tuple(_column(connection, row) for row in columns)
        own = _of_current_rows(keys.get(table, {}), described)
        primary = own.pop("PRIMARY", ())
        found[name] = Table(name, described, primary, tuple(own.values()), charsets.get(table), mariadb)
    return found


def _by_table(
    connection: Connection[Any], sql: str, schema: str, tables: Sequence[str]
) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of a statement about tables, by the names that were asked for.

    Args:
        sql: has `{where}` in it, and its first column is the table's name.
    """
    where = f"table_schema=%s AND table_name IN ({', '.join(['%s'] * len(tables))})"
    as_spelled: dict[str, list[tuple[Any, ...]]] = {}
    for table, *row in query(connection, sql.format(where=where), (schema, *tables)):
        as_spelled.setdefault(table, []).append(tuple(row))
    # A server may spell a name with other letter cases. Or it has two names that differ only in case, and gives both.
    any_case = {table.casefold(): rows for table, rows in as_spelled.items()}
    found = {name: as_spelled.get(name) or any_case.get(name.casefold(), []) for name in tables}
    return {name: rows for name, rows in found.items() if rows}


def _default_charsets(connection: Connection[Any], schema: str, tables: Sequence[str]) -> dict[str, str | None]:
    sql = "SELECT table_name, table_collation FROM information_schema.tables WHERE {where}"
    charsets = {}
    for table, [(collation,)] in _by_table(connection, sql, schema, tables).items():
        charset = str(collation).split("_")[0] if collation else None
        charsets[table] = "utf8mb3" if charset == "utf8" else charset
    return charsets


def _of_current_rows(keys: dict[str, tuple[str, ...]], columns: Sequence[Column]) -> dict[str, tuple[str, ...]]:
    """The keys without the end of a row, by which those of a system-versioned table tell history apart."""
    ends = {c.name for c in columns if c.is_row_end}
    return {index: tuple(part for part in key if part not in ends) for index, key in keys.items()} if ends else keys


def _column_rows(
    connection: Connection[Any], schema: str, tables: Sequence[str], *, hidden: bool
) -> dict[str, list[tuple[Any, ...]]]:
    srid = "srs_id" if _tells_srid(connection) else "NULL"
    # CAST: some of these are LONGTEXT or BLOB on MySQL, which arrive as bytes.
    sql = (
        "SELECT table_name, column_name, LOWER(data_type), CAST(column_type AS CHAR), character_set_name,"
        f" collation_name, is_nullable, extra, CAST(generation_expression AS CHAR), {srid}"
        " FROM information_schema.columns WHERE {where} ORDER BY table_name, ordinal_position"
    )
    found = _by_table(connection, sql, schema, tables)
    if hidden and found and "MariaDB" in connection.get_server_info():
        sql = "SELECT table_name FROM information_schema.tables WHERE {where} AND table_type='SYSTEM VERSIONED'"
        for table in _by_table(connection, sql, schema, tables):
            if table in found and not any(expression == "ROW END" for *_, expression, _ in found[table]):
                found[table] += _HIDDEN
    return found


# Of a system-versioned table that does not define them, always in this order behind all others.
_HIDDEN = [
    (name, "timestamp", "timestamp(6)", None, None, "NO", "GENERATED, INVISIBLE", expression, None)
    for name, expression in (("row_start", "ROW START"), ("row_end", "ROW END"))
]
_TELLS_SRID: dict[tuple[Any, ...], bool] = {}


def _tells_srid(connection: Connection[Any]) -> bool:
    """Whether the server's list of columns has SRS_ID. It is asked once for each address and version."""
    server = (connection.host, connection.port, connection.unix_socket, connection.get_server_info())
    if server not in _TELLS_SRID:
        sql = (
            "SELECT COUNT(*) FROM information_schema.columns"
            " WHERE table_schema='information_schema' AND table_name='COLUMNS' AND column_name='SRS_ID'"
        )
        _TELLS_SRID[server] = bool(query(connection, sql)[0][0])
    return _TELLS_SRID[server]


def _column(connection: Connection[Any], row: tuple[Any, ...]) -> Column:
    name, kind, column_type, charset, collation, nullable, extra, expression, srid = row
    extra = str(extra or "").upper()
    charset = "utf8mb3" if charset == "utf8" else charset
    if kind in BYTE_TYPES:
        charset = "binary"
    elif kind in LABEL_TYPES and charset is None:  # MySQL names none for labels that are bytes
        charset = collation = "binary"
    elif kind == "json" or kind in PRINTED_TYPES:
        charset = "utf8mb4"
    return Column(
        name=name,
        type=kind,
        column_type=column_type,
        unsigned="unsigned" in column_type.lower() if kind not in TEXT_TYPES else False,
        charset=charset,
        collation=collation,
        nullable=nullable == "YES",
        members=tuple(_members(connection, column_type, charset)) if kind in LABEL_TYPES else (),
        generated="GENERATED" in extra.replace("DEFAULT_GENERATED", "") and bool(expression),
        invisible="INVISIBLE" in extra,
        auto_increment="AUTO_INCREMENT" in extra,
        generation_expression=expression or "",
        srid=srid,
    )


def _members(connection: Connection[Any], column_type: str, charset: str | None) -> list[bytes]:
    """The labels of an ENUM or SET, as bytes of the column's character set."""
    found = labels(column_type)
    if charset in ("utf8mb4", "utf8mb3", "binary"):
        return [label.encode("utf-8", "surrogateescape") for label in found]
    if charset not in _NOT_ASCII and all(label.isascii() for label in found):
        return [label.encode("ascii") for label in found]
    converted = ", ".join(f"HEX(CONVERT(%s USING {charset}))" for _ in found)
    return [bytes.fromhex(text) for text in query(connection, f"SELECT {converted}", found)[0]]


def _keys(connection: Connection[Any], schema: str, tables: Sequence[str]) -> dict[str, dict[str, tuple[str, ...]]]:
    """The unique keys of each table, with the primary key. A prefix or an expression gets a name that no column has."""
    sql = (
        "SELECT table_name, index_name, column_name, sub_part FROM information_schema.statistics"
        " WHERE {where} AND non_unique=0 ORDER BY table_name, index_name, seq_in_index"
    )
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for table, rows in _by_table(connection, sql, schema, tables).items():
        keys = found.setdefault(table, {})
        for index, column, prefix in rows:
            part = "(expression)" if column is None else column if prefix is None else f"{column}({prefix})"
            keys[index] = (*keys.get(index, ()), part)
    return found


def known_collations(connection: Connection[Any]) -> frozenset[str]:
    """The full names of the collations that a server has."""
    names = {row[0] for row in query(connection, "SHOW COLLATION")}
    # MariaDB lists its newest collations without their character set. They are used by their full names.
    return frozenset(full for name in names for full in (name, f"utf8mb4_{name}") if isinstance(full, str))
