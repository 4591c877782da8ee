"""Tables and logs to measure with: made by the server itself, the same for everybody in a run."""

from __future__ import annotations

import random

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


def create_fifty(server: Server, rows: int) -> list[str]:
    """Fifty tables like `users`, one with half of the rows, the others small."""
    names = [f"t{n:02}" for n in range(50)]
    for name in names:
        create(server, name, rows // 2 if name == names[0] else rows // 98, "users")
    return names


def write_log(server: Server, changes: int, rows: int, seed: int, update_rows: int = 50) -> int:
    """A mixed log on `shop.users`: of all changes 60 % inserts in transactions of 100 (one statement), 30 % updates
    in transactions of `update_rows`, 10 % deletes in transactions of 50 (a statement for each row, keys at random).
    Returns the changes made.
    """
    rng = random.Random(seed)
    odds = [60 / 100, 30 / update_rows, 10 / 50]  # of transactions
    update = "UPDATE users SET balance = balance + 1, notes = CONCAT('u', LEFT(notes, 200)) WHERE id = %s"
    made = 0
    with server.connect(database="shop", autocommit=False) as connection, connection.cursor() as cursor:
        while made < changes:
            (kind,) = rng.choices(("insert", "update", "delete"), odds)
            if kind == "insert":
                values = ", ".join(
                    f"('N{made + n}', 'n{seed}-{made + n}@b.example', 'FR', {n}.25, {n}.5, NOW(), NOW(3), 1, 'new {n}')"
                    for n in range(100)
                )
                made += cursor.execute(
                    "INSERT INTO users (name, email, country, balance, score, created, updated, active, notes)"
                    f" VALUES {values}"
                )
            elif kind == "update":
                made += cursor.executemany(update, rng.sample(range(1, rows + 1), update_rows)) or 0
            else:
                ids = rng.sample(range(1, rows + 1), 50)
                made += cursor.executemany("DELETE FROM users WHERE id = %s", ids) or 0
            connection.commit()
    return made


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
