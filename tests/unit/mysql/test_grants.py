"""What SHOW GRANTS says, read as the servers mean it."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.model.tables import TableName
from myrepetl_dagster.core.mysql.grants import missing, parse

WANTED = ("SELECT", "INSERT")


@pytest.mark.parametrize(
    ("lines", "table", "lacking"),
    [
        (["GRANT SELECT, INSERT ON *.* TO `u`@`%`"], "dw.t", []),
        (["GRANT ALL PRIVILEGES ON `dw`.* TO `u`@`%` WITH GRANT OPTION"], "dw.t", []),
        (["GRANT SELECT ON *.* TO `u`@`%`", "GRANT INSERT ON `dw`.`t` TO `u`@`%`"], "dw.t", []),
        (["GRANT SELECT ON *.* TO `u`@`%`", "GRANT INSERT ON `dw`.`t` TO `u`@`%`"], "dw.u", ["INSERT"]),
        (["GRANT USAGE ON *.* TO `u`@`%`"], "dw.t", ["SELECT", "INSERT"]),
        (["GRANT SELECT (`a`, `b`), INSERT (`a`) ON `dw`.`t` TO `u`@`%`"], "dw.t", []),
        # A schema's name is a pattern, unless its wildcards are escaped.
        (["GRANT ALL PRIVILEGES ON `d_`.* TO `u`@`%`"], "dw.t", []),
        ([r"GRANT ALL PRIVILEGES ON `d\_`.* TO `u`@`%`"], "dw.t", ["SELECT", "INSERT"]),
        ([r"GRANT ALL PRIVILEGES ON `d\_`.* TO `u`@`%`"], "d_.t", []),
        (["GRANT ALL PRIVILEGES ON `d%`.* TO `u`@`%`"], "d.t", []),
        # A table's is not.
        (["GRANT ALL PRIVILEGES ON `d_`.`t` TO `u`@`%`"], "dw.t", ["SELECT", "INSERT"]),
        # Partial revokes (MySQL) take from a global grant, not from one on the schema.
        (["GRANT SELECT, INSERT ON *.* TO `u`@`%`", "REVOKE INSERT ON `dw`.* FROM `u`@`%`"], "dw.t", ["INSERT"]),
        (["GRANT SELECT, INSERT ON *.* TO `u`@`%`", "REVOKE INSERT ON `other`.* FROM `u`@`%`"], "dw.t", []),
        # MariaDB's lines hold more; roles and proxies are other lines.
        (["GRANT SELECT, INSERT ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*ABC'"], "dw.t", []),
        (["GRANT `r1` TO `u`@`%`", "SET DEFAULT ROLE `r1` FOR `u`@`%`"], "dw.t", ["SELECT", "INSERT"]),
        (["GRANT SELECT, INSERT ON `a``b`.* TO `u`@`%`"], "a`b.t", []),
    ],
)
def test_a_privilege_is_held_where_the_server_would_grant_it(lines: list[str], table: str, lacking: list[str]) -> None:
    """Global, schema, table and column grants count; wildcards, escapes and partial revokes are followed."""
    schema, _, name = table.partition(".")

    assert missing(parse(lines), WANTED, TableName(schema, name)) == lacking
