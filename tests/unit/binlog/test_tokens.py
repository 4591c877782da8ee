"""A statement's bytes as tokens: by sql_mode, by character set, by flavour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.binlog.ddl.alter_table import REWRITE
from myrepetl_dagster.core.binlog.ddl.statement import Action, table_changes
from myrepetl_dagster.core.binlog.ddl.tokens import (
    ANSI_QUOTES,
    MSSQL,
    NO_BACKSLASH_ESCAPES,
    UNREADABLE,
    Sql,
    is_broken,
    tokens_of,
)
from myrepetl_dagster.core.binlog.query_event import statement_of


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (Sql(rb"'a\'b' 'it''s'"), ["'a''bit''s'"]),
        (Sql(rb"'C:\', 'D:\'", sql_mode=NO_BACKSLASH_ESCAPES), [r"'C:\'", ",", r"'D:\'"]),
        (Sql(rb"""'a\n\%\q' , "x\"y""z" """), ["'a\n\\%q'", ",", "'x\"y\"z'"]),
        (Sql(rb'"a""b\" , "c"', sql_mode=ANSI_QUOTES), ['`a"b\\`', ",", "`c`"]),
        (Sql(b"`a``b`.`c d`"), ["`a``b`", ".", "`c d`"]),
        (Sql(b"[a]]b]", sql_mode=MSSQL, mariadb=True), ["`a]b`"]),
        (Sql(b"[a]", sql_mode=MSSQL), ["[", "a", "]"]),
        (Sql("'表', `ソ`, 能".encode("shift_jis"), "sjis"), ["'表'", ",", "`ソ`", ",", "能"]),
        (Sql("'表', '".encode("shift_jis")[:4] + b" x", "latin1"), ["'", "•", "\\", "'", "x"]),
        (Sql("'誠\\'', '誠'".encode("gbk"), "gbk"), ["'誠'''", ",", "'誠'"]),
        (Sql(b"a\xa0b", "latin1"), ["a", "b"]),
        (Sql(b"a\xffb", "cp866"), ["a", "b"]),
        (Sql("a\u3000b".encode()), ["a\u3000b"]),
        (Sql(b"`[` [\\", "swe7"), ["`Ä`", "[\\"]),
        (Sql(b"`\x81\x20`", "sjis"), [f"`{UNREADABLE}`"]),
        (Sql(b"a--b --\x01c\n-- d\n#e\nf --"), ["a", "-", "-", "b", "f"]),
        (Sql(b"/* a */ /*+ b */ /*!50000 c */ /*!d*/ /*!080000 e*/ /*!5*/"), ["c", "d", "e", "5"]),
        (Sql(b"/*M! a */ /*m! b */ /*M!100000 c */", mariadb=True), ["a", "c"]),
        (Sql(b"/*M! a */ b"), ["b"]),
        (Sql(b"/*! a /* b */ c */ d*/*e*/f"), ["a", "c", "d", "*", "f"]),
        (Sql(b"1.5 1e3 .5 t.1a"), ["1", ".", "5", "1e3", ".", "5", "t", ".", "1a"]),
    ],
)
def test_tokens(sql: Sql, expected: list[str]) -> None:
    """Names come in backquotes, strings in single quotes with no escape, and what is commented out not at all."""
    assert tokens_of(sql) == expected


@pytest.mark.parametrize("text", [b"ALTER TABLE t COMMENT 'x", b"ALTER TABLE `t", b"RENAME TABLE t", b"DROP TABLE 'x'",
                                  b"TRUNCATE", b"SET STATEMENT sql_mode='x' FOR TRUNCATE `t` /* \" */"])  # fmt: skip
def test_what_cannot_be_read(text: bytes) -> None:
    """A statement about tables that does not say which is told from one that is about none."""
    assert [change.action for change in table_changes(Sql(text), "s")] == [Action.UNREAD]


def test_columns_that_cannot_be_read() -> None:
    """A change of a column whose name is no text of the character set may be one of any row."""
    (change,) = table_changes(Sql(b"ALTER TABLE t DROP `\x81\x20`", "sjis"), "s")
    assert change.clauses[-1] == REWRITE
    (change,) = table_changes(Sql(b"ALTER TABLE t DROP a, COMMENT '\x81\x20'", "sjis"), "s")
    assert change.clauses[-1] != REWRITE


def test_strings_without_an_end() -> None:
    """They show that the text was not read as its server read it."""
    assert is_broken(tokens_of(Sql(b"'a")))
    assert not is_broken(tokens_of(Sql(b"'a' `b`")))


def test_session_of_an_event() -> None:
    """sql_mode, character set and schema are those of the event; a position that is not known gives none of them."""
    status = (
        b"\x00" + bytes(4) + b"\x01" + (0x100004).to_bytes(8, "little") + b"\x06\x03std\x04\x08\x00\x08\x00\x21\x00"
    )
    body = bytes(8) + b"\x01" + bytes(2) + len(status).to_bytes(2, "little") + status + b"s\0" + b"TRUNCATE t\xe9"
    statement = statement_of(body, compressed=False, mariadb=True)
    assert statement.sql == Sql(b"TRUNCATE t\xe9", "latin1", 0x100004, mariadb=True)
    assert [str(change.table) for change in table_changes(statement.sql, statement.schema)] == ["s.té"]
    nothing = bytes(8) + b"\x01" + bytes(4) + b"s\0" + b"TRUNCATE t"
    assert statement_of(nothing, compressed=False, mariadb=False).sql == Sql(b"TRUNCATE t")


@pytest.mark.parametrize(
    ("text", "mariadb", "inside", "emptied"),
    [
        (b"DELETE FROM `s`.`a``b`", True, False, True),
        (b"DELETE FROM `s`.`a``b`", True, True, False),
        (b"DELETE FROM `s`.`a``b`", False, False, False),
        (b"DELETE FROM `s`.`t` WHERE 1", True, False, False),
        (b"DELETE FROM `s`.`t` USING `s`.`t`, `s`.`u`", True, False, False),
        (b"DELETE FROM `t`", True, False, False),
        (b"DELETE FROM s.t", True, False, False),
    ],
)
def test_table_that_was_found_empty(text: bytes, mariadb: bool, inside: bool, emptied: bool) -> None:
    """MariaDB 10.5's DELETE for it, a whole transaction, is an emptying. Every other one is a change of rows."""
    body = bytes(8) + b"\x01" + bytes(4) + b"s\0" + text
    statement = statement_of(body, compressed=False, mariadb=mariadb, inside=inside)
    actions = {change.action for change in table_changes(statement.sql, statement.schema)}
    assert actions == {Action.TRUNCATE if emptied else Action.DML}


@given(
    st.binary(max_size=60), st.sampled_from(["utf8mb4", "sjis", "swe7", "latin1"]), st.integers(0, 2**33), st.booleans()
)
def test_any_bytes(text: bytes, charset: str, sql_mode: int, mariadb: bool) -> None:
    """No text makes it fail."""
    for verb in (b"", b"ALTER TABLE t ", b"CREATE OR REPLACE "):
        table_changes(Sql(verb + text, charset, sql_mode, mariadb), "db")
