"""What a simulated world replicates: tables, mappings, and what each source row has to become.

`expected` is the judge. It is written down here a second time, without the core's shaper, so that both would have
to be wrong in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from myrepetl_dagster.core.binlog.map_columns import MapColumn, TableMap, Type
from myrepetl_dagster.core.config.pipeline import ColumnMapping, TableMapping
from myrepetl_dagster.core.model.tables import Column, Row, Table, TableName
from myrepetl_dagster.core.plan.resolution import plan_table
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.rows.literal_codegen import LiteralKey, LiteralRow
from myrepetl_dagster.core.transforms.filters import And, Compare, Expression, Not, columns
from myrepetl_dagster.core.transforms.functions import Transform

# A source row is (id, u, v, s): u may be unique, v and s are what filters look at.
ID, U, V, S = range(4)

_INT = {"type": "int", "column_type": "int"}
_TEXT = {"type": "varchar", "column_type": "varchar(9)", "charset": "utf8mb4", "collation": "utf8mb4_bin"}
SOURCE_COLUMNS = (
    Column("id", nullable=False, **_INT),  # type: ignore[arg-type]
    Column("u", **_INT),  # type: ignore[arg-type]
    Column("v", **_INT),  # type: ignore[arg-type]
    Column("s", **_TEXT),  # type: ignore[arg-type]
)
SOURCE_TABLES = (TableName("shop", "t0"), TableName("shop", "t1"))


def _table_map(name: TableName) -> TableMap:
    def number(column: str) -> MapColumn:
        return MapColumn(Type.LONG, 0, column != "id", unsigned=False, name=column)

    text = MapColumn(Type.VARCHAR, 36, True, name="s", charset="utf8mb4")
    return TableMap(name, (number("id"), number("u"), number("v"), text), str(name).encode())


TABLE_MAPS = {name: _table_map(name) for name in SOURCE_TABLES}
# Of events whose images lack columns.
PARTIAL_MAPS = {name: replace(one, raw=one.raw + b"|", whole=one, uneven=True) for name, one in TABLE_MAPS.items()}


def may_lack(specs: Iterable[Spec], table: TableName) -> list[int]:
    """The columns that partial images may lack: neither the key nor what a mapping's filter looks at."""
    needed = {"id"} | {name for spec in specs if spec.source == table for name in columns(FILTERS[spec.filter][0])}
    return [i for i, column in enumerate(SOURCE_COLUMNS) if column.name not in needed]


def _v(row: Row) -> int:
    value = row[V]
    return value if isinstance(value, int) else -1


FILTERS: dict[str, tuple[Expression | None, Callable[[Row], bool]]] = {
    "": (None, lambda row: True),
    "v >= 3": (Compare("v", "gte", 3), lambda row: _v(row) >= 3),
    "u is not null": (Not(Compare("u", "eq", None)), lambda row: row[U] is not None),
    "s = 'a' and v < 5": (
        And((Compare("s", "eq", "a"), Compare("v", "lt", 5))),
        lambda row: row[S] == b"a" and 0 <= _v(row) < 5,
    ),
}


def _shift(value: int) -> int:
    return value + SHIFTED_BY


SHIFTED_BY = 100
SHIFT = Transform("simulation.shift", _shift, 1)


@dataclass(frozen=True)
class Spec:
    """One mapping.

    `tag`: a fixed value in the key, by which mappings into one table are told apart. `shifted`: the key goes through
    a transform, so that the target's keys cannot be looked for in the source.
    """

    name: str
    table: int
    target: str
    tag: int | None = None
    filter: str = ""
    unique: bool = False
    every_column: bool = False
    shifted: bool = False
    pause: bool = False
    server: int = 0

    @property
    def source(self) -> TableName:
        return SOURCE_TABLES[self.table]


@lru_cache(maxsize=4096)
def plan_of(spec: Spec) -> TablePlan:
    """The mapping's plan, made by the core."""
    source = Table(spec.source, SOURCE_COLUMNS, ("id",), (("u",),) if spec.unique else ())
    fixed = [] if spec.tag is None else ["tag"]
    tag = () if spec.tag is None else (Column("tag", nullable=False, **_INT),)  # type: ignore[arg-type]
    target = Table(
        TableName("dwh", spec.target),
        (*tag, *SOURCE_COLUMNS),
        (*fixed, "id"),
        ((*fixed, "u"),) if spec.unique else (),
    )
    named = [ColumnMapping(c.name, c.name, SHIFT if c.name == "id" and spec.shifted else None) for c in SOURCE_COLUMNS]
    columns: tuple[ColumnMapping, ...] | None = tuple(named)
    if spec.tag is not None:
        columns = (ColumnMapping(None, "tag", value=spec.tag, has_value=True), *named)
    elif spec.every_column and not spec.shifted:
        columns = None
    mapping = _mapping(spec, columns, (*fixed, "id"))
    shared = [_mapping(spec, columns, (*fixed, "id"))] if spec.tag is not None else []
    return plan_table(mapping, source, target, shared)


def _mapping(spec: Spec, columns: tuple[ColumnMapping, ...] | None, key: tuple[str, ...]) -> TableMapping:
    return TableMapping(
        name=spec.name,
        path=spec.name,
        source="s",
        source_schema=spec.source.schema,
        source_table=spec.source.table,
        target=f"target{spec.server}",
        target_schema="dwh",
        target_table=spec.target,
        primary_key=key,
        columns=columns,
        filter=FILTERS[spec.filter][0],
        pause_replication_during_init=spec.pause,
    )


def expected(spec: Spec, rows: Iterable[Row]) -> dict[LiteralKey, LiteralRow]:
    """The target's rows of a mapping whose source table holds `rows`."""
    passes = FILTERS[spec.filter][1]
    tag = () if spec.tag is None else (str(spec.tag),)
    shift = SHIFTED_BY if spec.shifted else 0
    images = [written(row, shift) for row in rows if passes(row)]
    return {(*tag, image[0]): (*tag, *image) for image in images}


def written(row: Row, shift: int = 0) -> LiteralRow:
    """A row's literals, its key `shift` higher."""
    number, text = row[ID], row[S]
    assert isinstance(number, int)
    assert isinstance(text, bytes)
    return (
        str(number + shift),
        "NULL" if row[U] is None else str(row[U]),
        "NULL" if row[V] is None else str(row[V]),
        f"_utf8mb4'{text.decode()}'",
    )
