"""What the tests of schema changes share: a pair whose target may be altered, and the comparison of all columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines import Pair, pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.replication.result import Progress

CREATE = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b VARCHAR(40))"


@dataclass
class Altering:
    """A pair with one mapped table `t` that gets altered."""

    pair: Pair
    mapping: dict[str, Any]

    def on_source(self, *statements: str) -> None:
        self.pair.on_source(*statements)

    def run(self, on_progress: Callable[[Progress], None] = lambda _: None, **more: Any) -> Any:
        return self.pair.run(self.pair.pipeline(self.mapping), on_progress, **more)["a.t"]

    def error(self, **more: Any) -> Any:
        return self.pair.error(self.pair.pipeline(self.mapping), **more)

    def copied(self, result: Any) -> bool:
        return bool(result.rows_snapshotted)

    def assert_equal(self, table: str = "t") -> None:
        """Every column that the source has, byte for byte as the servers hold it."""
        escaped = table.replace("'", "''")
        rows = self.pair.on_source(
            "SELECT column_name, character_set_name FROM information_schema.columns WHERE table_schema=DATABASE()"
            f" AND table_name='{escaped}' ORDER BY ordinal_position"
        )
        quoted = [("`" + name.replace("`", "``") + "`", charset) for name, charset in rows]
        texts = [f"CONVERT({name} USING utf8mb4)" if charset else name for name, charset in quoted]
        columns = ", ".join(f"HEX(CAST({text} AS BINARY))" for text in texts)
        self.pair.assert_same("`" + table.replace("`", "``") + "`", columns=columns)


def altering(
    servers: Servers, flavour: Flavour, create: str = CREATE, rows: Sequence[str] = (), **mapping: Any
) -> Altering:
    """A fresh source table with rows, not yet copied; `mapping` are settings of it."""
    options = mapping.pop("options", {})
    pair = pair_of(servers.get("source", flavour, **options), servers.get("target", flavour))
    pair.target.execute(f"GRANT ALTER ON `{pair.target_schema}`.* TO 'writer'@'%'")
    pair.on_source(create, *rows)
    return Altering(pair, {"a.t": {"target_table": "b.t", **mapping}})


def columns_of(pair: Pair, table: str = "t") -> dict[str, str]:
    """The target's columns and their types."""
    return {
        row[0]: row[1] if isinstance(row[1], str) else row[1].decode()
        for row in pair.on_target(
            "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema=DATABASE()"
            f" AND table_name='{table}' ORDER BY ordinal_position"
        )
    }
