"""Which table an init query reads: told from its text, and in doubt not told, which only costs the chunks."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.source.init_query import table_read


@pytest.mark.parametrize(
    ("query", "table"),
    [
        ("SELECT * FROM users", (None, "users")),
        ("select id, name from `users` where age > 3", (None, "users")),
        ("SELECT u.* FROM shop.users AS u WHERE u.a = 'it''s FROM x JOIN y' ORDER BY u.id", ("shop", "users")),
        ("SELECT *\nFROM\n`my db` . `users` u\nWHERE u.x IN (1, 2)", ("my db", "users")),
        ("SELECT UPPER(name) AS name, id FROM users", (None, "users")),
        ("SELECT * FROM archive.users", ("archive", "users")),
        ("SELECT * FROM `archive.users`", (None, "archive.users")),
        ("SELECT * FROM `a``b`.`c.d`", ("a`b", "c.d")),
        ('SELECT "id" FROM "users"', (None, "users")),
        ("SELECT * FROM users -- and\n", (None, "users")),
        ("SELECT * # all\nFROM /* UNION SELECT */ users", (None, "users")),
        ("SELECT 5--3 AS x, id FROM users", (None, "users")),
        ("SELECT TRIM(BOTH 'x' FROM name) AS name, EXTRACT(YEAR FROM d) AS y, id FROM users", (None, "users")),
        ("SELECT `limit`, `a'` FROM users WHERE `b'` = 1", (None, "users")),
        ("SELECT * FROM users WHERE a = 'it\\'s, \" LIMIT 5'", (None, "users")),
        ("SELECT id, a / 2 AS a FROM users", (None, "users")),
    ],
)
def test_queries_of_one_table(query: str, table: tuple[str | None, str]) -> None:
    """A plain SELECT over one table, with the names as they are written, whatever stands in quotes and comments."""
    assert table_read(query) == table


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM users JOIN orders USING (id)", "SELECT * FROM users, orders", "SELECT * FROM users u, orders",
        "SELECT * FROM users STRAIGHT_JOIN orders", "SELECT * FROM users NATURAL JOIN orders",
        "SELECT COUNT(*) FROM users", "SELECT id FROM users GROUP BY id", "SELECT DISTINCT id FROM users",
        "SELECT DISTINCTROW id FROM users", "SELECT * FROM users LIMIT 5", "SELECT * FROM users WHERE a > 1. LIMIT 5",
        "SELECT * FROM users ORDER BY id FETCH FIRST 5 ROWS ONLY", "SELECT * FROM users WHERE ROWNUM() < 5",
        "SELECT * FROM users UNION SELECT * FROM users", "SELECT * FROM users EXCEPT SELECT * FROM users",
        "SELECT * FROM (SELECT * FROM users) users", "SELECT * FROM (TABLE users) users", "SELECT * FROM (users)",
        "WITH users AS (SELECT 1 AS id) SELECT * FROM users", "SELECT *, (SELECT 1) FROM users",
        "(SELECT * FROM users)", "SELECT * FROM users -- and\n, orders", "SELECT * FROM users # and\n, orders",
        "SELECT * FROM users /* and */ , orders", "SELECT * FROM users /*! , orders */",
        "SELECT * FROM users /*M! , orders */", "SELECT /*+ SET_VAR(sql_select_limit=5) */ * FROM users",
        "SELECT * FROM users WHERE id IN (SELECT id FROM orders)", "SELECT ROW_NUMBER() OVER () FROM users",
        "TABLE users", "VALUES ROW(1)", "SELECT 1", "SELECT * FROM", "SELECT * FROM users.", "",
        "SELECT * FROM users PARTITION (p0)", "SELECT * FROM users FOR UPDATE", "SELECT * FROM users LOCK IN SHARE MODE",
        "SELECT * FROM users FOR SYSTEM_TIME ALL", "SELECT * FROM JSON_TABLE('[]', '$') AS users",
        "SELECT * FROM users WHERE a = \"'\" UNION SELECT * FROM orders WHERE a = \"'\"",
        "SELECT * FROM users WHERE `a'` = 1 UNION SELECT * FROM orders WHERE `a'` = 1",
        "SELECT * FROM users WHERE a = \"\\\" UNION SELECT * FROM orders WHERE a = \"\"",
        "SELECT * FROM users WHERE a = 'x", "SELECT * FROM users; SELECT 1",
    ],
)  # fmt: skip
def test_other_queries(query: str) -> None:
    """Whatever may join, group, limit or hide something is not taken for one table."""
    assert table_read(query) is None
