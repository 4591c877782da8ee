"""The connections of one attempt: its source, and the targets of its mappings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..config.pipeline import TableMapping
from ..model.tables import Table, TableName
from ..source.mysql_source import MySQLSource
from ..target.mysql_target import MySQLTarget


@dataclass(slots=True)
class Servers:
    """The connections of one attempt."""

    source: MySQLSource
    targets: dict[str, MySQLTarget] = field(default_factory=dict)

    def close(self) -> None:
        self.source.close()
        for target in self.targets.values():
            target.close()

    def target_tables(self, mappings: Sequence[TableMapping]) -> dict[tuple[str, TableName], Table]:
        """The target tables of these mappings, by target and name; a table that does not exist is left out."""
        found: dict[tuple[str, TableName], Table] = {}
        for name, target in self.targets.items():
            tables = target.control.describe_all([m.target_name for m in mappings if m.target == name])
            found |= {(name, table): described for table, described in tables.items()}
        return found
