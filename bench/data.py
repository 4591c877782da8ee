"""Tables and logs to measure with: made by the server itself, the same for everybody in a run."""

from __future__ import annotations

import random
from collections.abc import Mapping

from tools import Server

_SERIES = 50_000  # rows of one INSERT … SELECT

# name: (columns, expressions of i)
TABLES = {
    "users": (
        "id BIGINT UNSIGNED PRIMARY KEY AUTO_INCREMENT, name VARCHAR(80) NOT NULL, email VARCHAR(120),"
        " country CHAR(2), balance DECIMAL(12,2), score DOUBLE, created DATETIME NOT NULL, updated TIMESTAMP(3) NULL,"
        " active TINYINT, notes VARCHAR(255)",
        "i, CONCAT('Name of ', i), CONCAT('user', i, '@example.com'), 'DE', i * 1.37, i / 7,"
        " DATE_ADD('2020-01-01', INTERVAL i SECOND), DATE_ADD('2021-01-01', INTERVAL i SECOND), i % 2,"
        " REPEAT(CONCAT('note ', i, ' '), 8)",
    ),
    "narrow": ("id BIGINT PRIMARY KEY AUTO_INCREMENT, a INT, b SMALLINT, c DATE", "i, i * 7, i % 1000, '2024-02-29'"),
    "wide": (
        "id BIGINT PRIMARY KEY AUTO_INCREMENT, " + ", ".join(f"a{n} INT, v{n} VARCHAR(20)" for n in range(29)),
        "i, " + ", ".join(f"i + {n}, CONCAT('v', i + {n})" for n in range(29)),
    ),
    "texts": (
        "id BIGINT PRIMARY KEY AUTO_INCREMENT, title VARCHAR(200), body TEXT",
        "i, CONCAT('A title of some length, number ', i), REPEAT(CONCAT('Words, ''quotes'' and more ', i, '. '), 40)",
    ),
    "documents": (
        "id BIGINT PRIMARY KEY AUTO_INCREMENT, j JSON",
        "i, JSON_OBJECT('id', i, 'tags', JSON_ARRAY('a', 'b', i), 'name', CONCAT('n', i), 'price', i * 1.5,"
        " 'nested', JSON_OBJECT('x', i, 'y', TRUE))",
    ),
}

# What an update of the mixed log sets.
UPDATES = {
    "users": "balance = balance + 1, notes = CONCAT('u', LEFT(notes, 200))",
    "narrow": "a = a + 1",
    "wide": "a3 = a3 + 1, v7 = CONCAT('u', LEFT(v7, 18))",
    "texts": "title = CONCAT('u', LEFT(title, 100)), body = CONCAT('Changed. ', LEFT(body, 1500))",
    "documents": "j = JSON_SET(j, '$.price', id, '$.changed', TRUE)",
}


def create(server: Server, table: str, rows: int, like: str = "") -> None:
    """Make and fill `shop.table` as the table of `TABLES` of that name, or of the name `like`."""
    columns, expressions = TABLES[like or table]
    depth = "cte_max_recursion_depth" if server.flavour == "mysql" else "max_recursive_iterations"
    statements = ["CREATE DATABASE IF NOT EXISTS shop", f"CREATE TABLE shop.{table} ({columns})"]
    statements.append(f"SET SESSION {depth} = 1000000000")
    for start in range(0, rows, _SERIES):
        end = min(start + _SERIES, rows)
        series = f"WITH RECURSIVE s AS (SELECT {start + 1} i UNION ALL SELECT i + 1 FROM s WHERE i < {end})"
        statements.append(f"INSERT INTO shop.{table} {series} SELECT {expressions} FROM s")
    server.execute(*statements)


def create_fifty(server: Server, rows: int) -> dict[str, int]:
    """Fifty tables like `users`, one with half of the rows, the others small: their rows by their names."""
    sizes = {f"t{n:02}": rows // 98 if n else rows // 2 for n in range(50)}
    for name, size in sizes.items():
        create(server, name, size, "users")
    return sizes


def write_log(server: Server, changes: int, sizes: Mapping[str, int], seed: int, update_rows: int = 50) -> int:
    """A mixed log on these tables of `shop`, of so many rows, each transaction on one of them, the larger the more
    often: of all changes 60 % inserts in transactions of 100 (one statement), 30 % updates in transactions of
    `update_rows`, 10 % deletes in transactions of 50 (a statement for each row, keys at random). Returns the changes
    made.
    """
    rng = random.Random(seed)
    odds = [60 / 100, 30 / update_rows, 10 / 50]  # of transactions
    # More tables than these are like `users` (`create_fifty`).
    likes = {table: table if table in TABLES else "users" for table in sizes}
    made = 0
    with server.connect(database="shop", autocommit=False) as connection, connection.cursor() as cursor:
        while made < changes:
            (table,) = rng.choices(list(sizes), list(sizes.values()))
            (kind,) = rng.choices(("insert", "update", "delete"), odds)
            if kind == "insert":
                made += cursor.execute(_insert(table, likes[table], made, seed))
            elif kind == "update":
                ids = _keys(rng, sizes[table], update_rows)
                made += cursor.executemany(f"UPDATE {table} SET {UPDATES[likes[table]]} WHERE id = %s", ids) or 0
            else:
                ids = _keys(rng, sizes[table], 50)
                made += cursor.executemany(f"DELETE FROM {table} WHERE id = %s", ids) or 0
            connection.commit()
    return made


def _keys(rng: random.Random, rows: int, number: int) -> list[int]:
    return rng.sample(range(1, rows + 1), min(rows, number))


def _insert(table: str, like: str, made: int, seed: int) -> str:
    """100 rows more."""
    if like == "users":
        values = ", ".join(
            f"('N{made + n}', 'n{seed}-{made + n}@b.example', 'FR', {n}.25, {n}.5, NOW(), NOW(3), 1, 'new {n}')"
            for n in range(100)
        )
        names = "name, email, country, balance, score, created, updated, active, notes"
        return f"INSERT INTO {table} ({names}) VALUES {values}"
    series = f"WITH RECURSIVE s AS (SELECT {made + 1} i UNION ALL SELECT i + 1 FROM s WHERE i < {made + 100})"
    return f"INSERT INTO {table} {series} SELECT NULL, {TABLES[like][1].removeprefix('i, ')} FROM s"


def write_hot_log(server: Server, changes: int, transaction_rows: int, seed: int) -> int:
    """Updates of the same 1,000 rows at random, a statement for each; returns how many."""
    server.execute(
        "DROP PROCEDURE IF EXISTS shop.heat",
        f"""CREATE PROCEDURE shop.heat() BEGIN
          DECLARE n INT DEFAULT 0;
          SET @r = {seed + 1};
          WHILE n < {changes} DO
            IF n MOD {transaction_rows} = 0 THEN START TRANSACTION; END IF;
            SET @r = (@r * 1103515245 + 12345) & 2147483647;
            UPDATE shop.users SET balance = balance + 1 WHERE id = 1 + (@r >> 8) MOD 1000;
            SET n = n + 1;
            IF n MOD {transaction_rows} = 0 THEN COMMIT; END IF;
          END WHILE;
          COMMIT; END""",
        "CALL shop.heat()",
    )
    return changes
