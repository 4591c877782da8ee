"""A pipeline as checked values: what `config.load` returns and the rest of the core works from.

Names are resolved, defaults filled in, and everything is frozen. Nothing in this file reads a file,
and no secret shows in any text made of these values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..model.limits import Limits
from ..model.tables import TableName
from ..transforms.filters import Expression
from ..transforms.functions import Transform

SchemaPolicy = Literal["evolve", "ignore", "fail"]
OnPositionLost = Literal["fail", "resnapshot"]
StaticValue = str | int | float | None


class Secret:
    """Text that shows in no log, traceback or repr; `reveal()` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')" if self._text else "Secret('')"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server to read from or write to. Times in seconds; None: the limit of that name applies.

    `batch_rows_max` and `batch_interval_s` are the target's `batch_size` and `batch_flush_interval`.
    `sql_mode` and `session` (variables, with their values as SQL) are what the file asks for beside what each
    use of a connection sets by itself.
    """

    name: str
    role: Literal["source", "target"]
    host: str = "localhost"
    port: int = 3306
    unix_socket: str | None = None
    user: str = ""
    password: Secret = field(default_factory=Secret)
    database: str = ""
    connect_timeout_s: float | None = None
    read_timeout_s: float | None = None
    write_timeout_s: float | None = None
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_verify_identity: bool = False
    ssl_disabled: bool = False
    batch_rows_max: int | None = None
    batch_interval_s: float | None = None
    server_id: int | None = None
    sql_mode: tuple[str, ...] = ()
    session: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.role} {self.name!r}"

    @property
    def address(self) -> str:
        """Where the server listens; two endpoints with one address are one server."""
        if self.unix_socket:
            return self.unix_socket
        host = self.host.lower()
        return f"{'localhost' if host in ('127.0.0.1', '::1') else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Replication:
    """How the source's log is read.

    `log_file` and `log_pos` are where the very first run begins for a mapping that takes no snapshot;
    afterwards the checkpoint in the target decides. `follow_s`: how many seconds a run that a sensor asked
    for goes on applying what the source writes.
    """

    server_id: int | None = None
    log_file: str | None = None
    log_pos: int = 4
    pause_replication_during_init: bool = False
    follow_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Monitoring:
    enabled: bool = True
    interval_s: float = 30.0
    log_level: str = "INFO"


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """Where one target column comes from: a source column, perhaps transformed, or a static value.

    `source` is None where `has_value`; `value` then is what every row gets.
    """

    source: str | None
    target: str
    transform: Transform | None = None
    value: StaticValue = None
    has_value: bool = False
    primary_key: bool = False


@dataclass(frozen=True, slots=True)
class TableMapping:
    """One source table into one target table.

    `name` is the mapping's key in the file and `path` its place there, for messages. `primary_key` holds
    target column names; empty (only where `columns` is None): the source table's own key. `columns` None:
    every source column under its own name.
    """

    name: str
    path: str
    source: str
    source_schema: str
    source_table: str
    target: str
    target_schema: str
    target_table: str
    primary_key: tuple[str, ...] = ()
    columns: tuple[ColumnMapping, ...] | None = None
    filter: Expression | None = None
    init_query: str | None = None
    init_if_table_empty: bool = False
    pause_replication_during_init: bool = False
    schema_policy: SchemaPolicy = "evolve"
    on_position_lost: OnPositionLost = "fail"

    @property
    def source_name(self) -> TableName:
        return TableName(self.source_schema, self.source_table)

    @property
    def target_name(self) -> TableName:
        return TableName(self.target_schema, self.target_table)

    @property
    def fixed_key(self) -> dict[str, StaticValue]:
        """The key columns that are the same in all of this mapping's rows, and so tell them from others'."""
        return {c.target: c.value for c in self.columns or () if c.has_value and c.target in self.primary_key}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A whole pipeline file. `warnings` say where a setting is not followed, and what is done instead."""

    sources: dict[str, Endpoint]
    targets: dict[str, Endpoint]
    replication: Replication
    mappings: tuple[TableMapping, ...]
    monitoring: Monitoring
    metrics_port: int | None
    limits: Limits
    base_dir: Path
    warnings: tuple[str, ...] = ()

    def mappings_of_source(self, name: str) -> tuple[TableMapping, ...]:
        return tuple(mapping for mapping in self.mappings if mapping.source == name)

    def mappings_of_target(self, name: str) -> tuple[TableMapping, ...]:
        return tuple(mapping for mapping in self.mappings if mapping.target == name)

    def sharing(self, mapping: TableMapping) -> tuple[TableMapping, ...]:
        """The other mappings that write the same target table."""
        table = (mapping.target, mapping.target_name)
        return tuple(m for m in self.mappings if m is not mapping and (m.target, m.target_name) == table)
