"""Every type's cells, decoded from a real server's log, beside what that server prints for the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from decode_log import MODE, Log, cell_of, kind_of, printed, same
from server_farm import Servers
from servers import Flavour
from type_values import ANY, offered, own_of

from myrepetl_dagster.core.binlog.table_map import TableMap, overlay
from myrepetl_dagster.core.model.tables import Column
from myrepetl_dagster.core.values.sql import short_year_sql

pytestmark = pytest.mark.versions

PARAMETERS = [
    pytest.param(flavour, definition, values, id=f"{flavour}-{definition[:40]}")
    for flavour, more in (("mysql", own_of("mysql")), ("mariadb", own_of("mariadb", "11.8")))
    for definition, values in [*ANY, *more]
]


def described(definition: str) -> Callable[[TableMap], TableMap]:
    """Lays the type's name over the table map, as a run does with the columns that it read from the server."""
    columns = [Column("id", "int"), Column("v", kind_of(definition))]
    return lambda table: overlay(table, columns)


@pytest.mark.parametrize(("flavour", "definition", "values"), PARAMETERS)
def test_cells_are_what_the_server_prints(
    servers: Servers, flavour: Flavour, definition: str, values: Sequence[str]
) -> None:
    """Insert event, before image, after image and delete event all hold the printed value."""
    if flavour == "mariadb" and not offered(definition, servers.mariadb_version):
        pytest.skip("a later version of MariaDB has this type")
    server = servers.get("source", flavour)
    kind = kind_of(definition)
    create = f"CREATE TABLE types.t (id INT PRIMARY KEY, v {definition}) CHARACTER SET utf8mb4"
    server.execute("CREATE DATABASE IF NOT EXISTS types", "DROP TABLE IF EXISTS types.t", MODE, create)
    log = Log(server, described(definition))
    rows = [f"INSERT IGNORE INTO types.t VALUES ({n}, {value})" for n, value in enumerate([*values, "NULL"])]
    server.execute(MODE, *rows)
    # FLOAT prints 6 digits only, DOUBLE(M,D) rounds to D of them: the log has the stored value.
    rounded = kind == "float" or definition.startswith("DOUBLE(")
    column = "CAST(v AS DOUBLE)" if rounded else "v"
    if kind == "enum":  # number 0 prints like an empty label; the cell is the number
        column = "IF(v + 0 = 0, REPEAT('0', 1021), v)"
    if definition == "YEAR(2)":  # prints two digits
        column = short_year_sql("v")
    shown = printed(server, f"SELECT id, {column} FROM types.t ORDER BY id")
    server.execute(MODE, "UPDATE types.t SET id = id + 1000 ORDER BY id", "DELETE FROM types.t ORDER BY id")

    changes = log.changes()

    count = len(values) + 1
    assert len(shown) == count
    images = [
        *(after for _, after in changes[:count]),
        *(before for before, _ in changes[count : 2 * count]),
        *(after for _, after in changes[count : 2 * count]),
        *(before for before, _ in changes[2 * count :]),
    ]
    assert len(images) == 4 * count
    for n, image in enumerate(images):
        assert image is not None
        expected = cell_of(kind, shown[n % count][1])
        assert same(image[1], expected), f"{definition} {([*values, 'NULL'])[n % count]}: {image[1]!r} != {expected!r}"
