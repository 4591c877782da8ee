"""Every column type that can be a primary key: a table for each, and changes that find rows by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from decode_log import MODE, kind_of
from pipelines import Pair
from servers import Flavour, Server
from type_matrix import ALONE, COMMON, GEOMETRIES, charset_columns, shown
from type_values import ANY, own_of

_NO_KEY = frozenset(
    {"json", "text", "tinytext", "mediumtext", "longtext", "blob", "tinyblob", "mediumblob", "longblob"}
)


@dataclass(frozen=True)
class Keyed:
    """A table whose primary key is one column of a type."""

    name: str
    definition: str
    values: Sequence[str]

    @property
    def statements(self) -> list[str]:
        """The table with its rows."""
        # Without a default of its own, MariaDB 10.5 changes a TIMESTAMP at each update.
        default = " DEFAULT '2001-01-01'" if kind_of(self.definition) == "timestamp" else ""
        columns = f"v {self.definition} NOT NULL{default}, n INT, PRIMARY KEY (v)"
        create = f"CREATE TABLE {self.name} ({columns}) CHARACTER SET utf8mb4"
        rows = enumerate(self.values)
        return [MODE, create, *(f"INSERT IGNORE INTO {self.name} VALUES ({value}, {n})" for n, value in rows)]

    @property
    def changes(self) -> list[str]:
        """Rows are updated, deleted, and moved to another key."""
        return [
            MODE,
            f"UPDATE {self.name} SET n = n + 100",
            f"DELETE FROM {self.name} WHERE n % 2 = 1 ORDER BY n LIMIT 2",
            f"SET @last = (SELECT MAX(n) FROM (SELECT n FROM {self.name}) q)",
            f"DELETE FROM {self.name} WHERE n = @last AND n > 100",
            f"UPDATE IGNORE {self.name} SET v = {self.values[-1]} WHERE n = 100",
        ]


def keyed_by_each_type(flavour: Flavour, server: Server, *, common: bool = False) -> list[Keyed]:
    """The types that can be a primary key: some definitions of each. `common`: what the other flavour can hold, too."""
    own = own_of(flavour, server.version)
    columns = [*ANY, *own, *(typed for typed in charset_columns(server) if typed[0].startswith("VARCHAR"))]
    columns += [typed for typed in COMMON if typed[0].startswith(("ENUM", "SET", "DECIMAL", "DOUBLE"))]
    unusable = ("CHAR(0)", "BINARY(0)", "LONGTEXT", "VARCHAR(5000)", "VARBINARY(5000)")
    usable = {
        definition.removesuffix(" NULL"): values
        for definition, values in columns
        if kind_of(definition) not in _NO_KEY | GEOMETRIES
        and not definition.startswith(unusable)
        and "COMPRESSED" not in definition
        and not (common and any(name in definition for name in ALONE))
    }
    few: dict[str, list[str]] = {}
    for definition in usable:
        few.setdefault(kind_of(definition), []).append(definition)
    kept = [d for of_kind in few.values() for d in dict.fromkeys([*of_kind[:2], *of_kind[2::9], of_kind[-1]])]
    return [Keyed(f"k{n}", definition, usable[definition]) for n, definition in enumerate(kept)]


def key_differences(world: Pair, keyed: Sequence[Keyed]) -> list[str]:
    """Each type whose rows the target does not hold as the source does."""
    found = []
    for table in keyed:
        columns = f"n, {shown('v', table.definition)}"
        held, expected = world.target_rows(table.name, columns), world.source_rows(table.name, columns)
        if repr(held) != repr(expected):
            found.append(f"{table.definition}: {held} != {expected}")
    return found
