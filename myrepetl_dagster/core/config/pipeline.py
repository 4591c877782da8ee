"""A pipeline as checked values: `config.load` makes them, and the rest of the core works from them. Pure.

Names are resolved, and defaults are filled in. No text made of these values shows a secret.
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
Flavour = Literal["mysql", "mariadb"]
StaticValue = str | int | float | None

FOLLOW_S = 3600.0  # 24 runs a day and source


class Secret:
    """Text that shows in no log, traceback or repr. Only `reveal()` gives it."""

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
    """A server to read from or to write to. Times are in seconds; None means that the limit of that name applies.

    `batch_rows_max` and `batch_interval_s` are the target's `batch_size` and `batch_flush_interval` in the file.
    `flavour` is what the file says, for the eye only: a run asks the server.
    `sql_mode` and `session` (variables, their values as SQL) are set in addition to the settings that each use of a
    connection needs.
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
    flavour: Flavour = "mysql"

    @property
    def label(self) -> str:
        return f"{self.role} {self.name!r}"

    @property
    def address(self) -> str:
        """The place where the server listens. Two endpoints with the same address are one server."""
        if self.unix_socket:
            return self.unix_socket
        host = self.host.lower()
        return f"{'localhost' if host in ('127.0.0.1', '::1') else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Replication:
    """How a source's log is read.

    `log_file` and `log_pos` are the place at which the first run of a mapping without a snapshot begins; later runs
    begin at the checkpoint. `follow_s`: after so many seconds a sensor replaces the run that follows a source. 0: no
    run follows; the sensor asks for a run that catches up and ends.
    """

    server_id: int | None = None
    log_file: str | None = None
    log_pos: int = 4
    pause_replication_during_init: bool = False
    follow_s: float = FOLLOW_S


@dataclass(frozen=True, slots=True)
class Monitoring:
    enabled: bool = True
    interval_s: float = 30.0
    log_level: str = "INFO"


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The origin of one target column: a source column, transformed if `transform` is given, or a static value.

    With `has_value`, `source` is None and every row gets `value`.
    """

    source: str | None
    target: str
    transform: Transform | None = None
    value: StaticValue = None
    has_value: bool = False
    primary_key: bool = False


@dataclass(frozen=True, slots=True)
class TableMapping:
    """The replication of one source table into one target table.

    `name` is the mapping's key in the file, `path` its place there, for messages. `columns` None: every source column
    under its own name. `primary_key` holds target column names; if it is empty, which it may be without `columns` only,
    the source table's own key counts.
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
        """The key columns with a static value: by them the rows of this mapping differ from those of others."""
        return {c.target: c.value for c in self.columns or () if c.has_value and c.target in self.primary_key}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A whole pipeline file. `warnings` name settings that are not followed, and what happens instead."""

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
