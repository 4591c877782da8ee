"""Finds the endpoint, the schema and the table that a mapping names.

A table is written as `endpoint.table` or `endpoint.schema.table`, or next to `source` or `target` as `table` or
`schema.table`; a name with a dot in it stands in backticks. If none of them is given, the mapping's key names the
source. A single endpoint need not be named. The default of the schema is the endpoint's `database`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..values.sql import name_parts
from .pipeline import Endpoint
from .section import Section, closest


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table on an endpoint."""

    endpoint: str
    schema: str
    table: str


def read_source(name: str, section: Section, sources: Mapping[str, Endpoint]) -> TableRef | None:
    """The source table, by `source_table` or else by the mapping's key."""
    tables = _Tables("source", section, sources)
    given, text = section.text("source"), section.text("source_table")
    if given is not None and not tables.knows(given):
        return None
    head, *rest = name_parts(name)
    if text is not None:
        if given is None and len(name_parts(text)) == 1 and head in sources:
            given = head  # the key names the source, source_table only the table
        return tables.read(text, given, section.at("source_table"))
    if given is None:
        return tables.read(name, None, section.path)
    if rest and head not in (given, sources[given].database):
        what = f"is {given}, but the mapping's key begins with {head}"
        section.problem("source", what, "write source_table, or correct one of them")
        return None
    return tables.ref(given, "", ".".join(rest) or head, section.at("source"))


def read_target(section: Section, targets: Mapping[str, Endpoint]) -> TableRef | None:
    """The target table, by `target_table`."""
    tables = _Tables("target", section, targets)
    given, text = section.text("target"), section.text("target_table")
    if given is not None and not tables.knows(given):
        return None
    if text is None:
        section.missing("target_table", "write it as target.table, or as table beside target")
        return None
    return tables.read(text, given, section.at("target_table"))


@dataclass(frozen=True, slots=True)
class _Tables:
    """Reads the tables of one role. `role` is also the key that may name the endpoint."""

    role: str
    section: Section
    endpoints: Mapping[str, Endpoint]

    def knows(self, name: str) -> bool:
        if name not in self.endpoints:
            self.section.problem(self.role, f"unknown {self.role} {name!r}", closest(name, self.endpoints))
        return name in self.endpoints

    def read(self, text: str, given: str | None, path: str) -> TableRef | None:
        """The table that `text` names. `given`: the endpoint, if the mapping names it by a key of its own."""
        *before, table = name_parts(text)
        if not table or not all(before) or len(before) > 2:
            hint = f"{self.role}.schema.table names another schema"
            return self._wrong(path, f"is not written as {self.role}.table", hint)
        endpoint = given or self._owner(before)
        if endpoint is None and before:
            hint = closest(before[0], self.endpoints, f"{self.role}s")
            return self._wrong(path, f"unknown {self.role} {before[0]!r}", hint)
        if endpoint is None:
            what = f"does not say which {self.role} table {table!r} is on"
            return self._wrong(path, what, f"write {self.role}.table")
        if before and before[0] == endpoint:
            before = before[1:]
        elif len(before) == 2 or (before and self._names_another(before[0], endpoint)):
            what = f"names {self.role} {before[0]!r}, but {self.role} is {endpoint!r}"
            return self._wrong(path, what, "leave out one of them")
        return self.ref(endpoint, before[0] if before else "", table, path)

    def ref(self, endpoint: str, schema: str, table: str, path: str) -> TableRef | None:
        schema = schema or self.endpoints[endpoint].database
        if not schema and self.role == "source":  # a target without a database is a problem of its own
            return self._wrong(path, "does not say in which schema", f"give source {endpoint} a database")
        return TableRef(endpoint, schema, table)

    def _owner(self, before: list[str]) -> str | None:
        """The endpoint that the first part names: by its own name, or by its database's if no other has that one."""
        if not before:
            return next(iter(self.endpoints)) if len(self.endpoints) == 1 else None
        if before[0] in self.endpoints:
            return before[0]
        owners = [name for name, endpoint in self.endpoints.items() if endpoint.database == before[0]]
        return owners[0] if len(owners) == 1 and len(before) == 1 else None

    def _names_another(self, name: str, endpoint: str) -> bool:
        return name in self.endpoints and name != self.endpoints[endpoint].database

    def _wrong(self, path: str, what: str, hint: str) -> TableRef | None:
        self.section.findings.problem(path, what, hint)
        return None
