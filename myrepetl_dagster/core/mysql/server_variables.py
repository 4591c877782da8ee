"""Server variables: their values, and the statement that sets one for good."""

from __future__ import annotations

from typing import Any

from pymysql.connections import Connection

from .connect import query
from .server_info import ServerInfo


def variables(control: Connection[Any], *names: str) -> dict[str, str]:
    """The values of global server variables, by name. A variable that the server does not have is left out."""
    listed = ", ".join(f"'{name}'" for name in names)
    rows = query(control, f"SHOW GLOBAL VARIABLES WHERE variable_name IN ({listed})")
    return {str(name).lower(): str(value) for name, value in rows}


def set_variable(info: ServerInfo, name: str, value: str) -> str:
    """The statement that sets a variable now and after a restart; `value` is SQL."""
    if info.is_mariadb:
        return f"SET GLOBAL {name} = {value};  -- and {name} = {value} in my.cnf"
    return f"SET PERSIST {name} = {value};"
