"""An account's privileges, from the lines of SHOW GRANTS, which include the grants of its active roles. Pure.

On MariaDB the lines may hold a password's hash. Only privileges and names are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..model.tables import TableName

_NAME = r"(?:\*|`(?:[^`]|``)*`)"
_LINE = re.compile(rf"(GRANT|REVOKE) (.+?) ON (?:TABLE )?({_NAME})\.({_NAME}) (?:TO|FROM) ", re.IGNORECASE)
_ALL = "ALL PRIVILEGES"


@dataclass(frozen=True, slots=True)
class Grant:
    """Privileges on a schema (None: all schemas) and a table of it (None: all tables).

    Attributes:
        revoked: the line takes the privileges away (MySQL's partial revokes).
    """

    privileges: frozenset[str]
    schema: str | None
    table: str | None
    revoked: bool = False

    def covers(self, privilege: str, name: TableName) -> bool:
        """Whether the grant is about this privilege on this table."""
        if not self.privileges & {privilege, _ALL}:
            return False
        if self.table is not None:
            return (self.schema, self.table) == (name.schema, name.table)
        return self.schema is None or _fits(self.schema, name.schema)


def parse(lines: Iterable[str]) -> list[Grant]:
    """The grants on schemas and tables. Lines about roles, proxies and routines are left out."""
    grants = []
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        verb, privileges, schema, table = match.groups()
        # A grant on columns ("SELECT (`a`, `b`)") counts as one on the table.
        names = re.sub(r"\([^)]*\)", "", privileges).upper().split(",")
        grants.append(
            Grant(frozenset(name.strip() for name in names), _name(schema), _name(table), verb.upper() == "REVOKE")
        )
    return grants


def missing(grants: Sequence[Grant], privileges: Iterable[str], name: TableName) -> list[str]:
    """Those of the privileges that the grants do not give on a table."""
    lacking = []
    for privilege in privileges:
        covering = [grant for grant in grants if grant.covers(privilege, name)]
        given = [g for g in covering if not g.revoked]
        # MySQL's partial revokes take a schema out of global grants, not out of grants on the schema.
        taken = any(g.revoked for g in covering) and all(g.schema is None for g in given)
        if not given or taken:
            lacking.append(privilege)
    return lacking


def _name(quoted: str) -> str | None:
    return None if quoted == "*" else quoted[1:-1].replace("``", "`")


def _fits(pattern: str, schema: str) -> bool:
    """Whether a schema fits a grant's pattern, in which `_` and `%` are wildcards unless escaped."""
    parts = re.findall(r"\\.|.", pattern)
    regex = "".join({"_": ".", "%": ".*"}.get(part, re.escape(part[-1])) for part in parts)
    return re.fullmatch(regex, schema, re.DOTALL) is not None
