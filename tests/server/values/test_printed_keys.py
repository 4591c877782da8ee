"""Keys that MariaDB prints as text (UUID, INET4, INET6), and what each flavour's tables have in their place."""

from __future__ import annotations

import pytest
from pipelines import pair_of
from server_farm import Servers
from servers import Flavour

from myrepetl_dagster.core.model.errors import PrerequisiteError, RowRejected

VALUES = {
    "UUID": ["00000000-0000-0000-0000-000000000000", "12334567-8888-9999-aaaa-00000000000a"],
    "INET4": ["0.0.0.0", "1.2.3.4", "12.3.4.0", "255.255.255.255"],
    "INET6": ["::", "::1", "1::", "::1.2.3.4", "2001:db8::ff00:42:8329"],
}
BYTES = ["BINARY(4)", "BINARY(16)", "BINARY(36)", "BINARY(64)", "VARBINARY(64)"]
TEXTS = [
    "CHAR(36)",
    "VARCHAR(64)",
    "CHAR(64) COLLATE utf8mb4_bin",
    "VARCHAR(64) CHARACTER SET latin1",
    "VARCHAR(39) CHARACTER SET ascii COLLATE ascii_bin",
]
TWO_SPELLINGS = {  # of what is one value to MariaDB
    "UUID": ["12334567-8888-9999-aaaa-00000000000a", "12334567-8888-9999-AAAA-00000000000A"],
    "INET4": ["1.2.3.4"],
    "INET6": ["::1", "0::1", "::ffff:1.2.3.4"],
}


def equal_or_refused(
    servers: Servers, flavours: tuple[Flavour, Flavour], source: str, target: str, values: list[str], same: str = "k"
) -> bool:
    """Copies and follows a table with such a key. Whether it could be: else it is refused before the first row."""
    ends = zip(("source", "target"), flavours, strict=True)
    world = pair_of(*(servers.get(role, flavour) for role, flavour in ends))
    world.on_source(f"CREATE TABLE t (k {source} PRIMARY KEY, v INT)", f"INSERT INTO t VALUES ('{values[0]}', 1)")
    world.on_target(f"CREATE TABLE t (k {target} PRIMARY KEY, v INT)")
    result = world.try_run("t")["a.t"]
    if result.error is not None:
        assert isinstance(result.error, (PrerequisiteError, RowRejected)), result.error
        assert world.target_rows("t") == []
        return False
    world.on_source(*(f"INSERT INTO t VALUES ('{value}', 1)" for value in values[1:]))
    world.run("t")
    world.on_source("UPDATE t SET v=2", f"DELETE FROM t WHERE k='{values[0]}'")
    world.run("t")
    assert world.target_rows("t", f"{same}, v") == world.source_rows("t", f"{same}, v")
    world.on_source(*(f"INSERT INTO t VALUES ('{values[0]}', 3)", "DELETE FROM t WHERE v=2"))
    world.run("t", copy_again=True)
    assert world.target_rows("t", f"{same}, v") == world.source_rows("t", f"{same}, v")
    return True


@pytest.mark.parametrize("target", ["mysql", "mariadb"], ids="mariadb-to-{}".format)
@pytest.mark.parametrize("theirs", [*TEXTS, *BYTES])
@pytest.mark.parametrize("kind", VALUES)
def test_into_text_and_bytes(servers: Servers, kind: str, theirs: str, target: Flavour) -> None:
    """The text is the key in the target, too, if there is room for it. BINARY, which pads, is refused."""
    done = equal_or_refused(servers, ("mariadb", target), kind, theirs, VALUES[kind], "CAST(k AS CHAR(64))")
    assert done == (not theirs.startswith("BINARY"))


@pytest.mark.parametrize("source", ["mysql", "mariadb"], ids="{}-to-mariadb".format)
@pytest.mark.parametrize("theirs", [*TEXTS, *BYTES[3:]])
@pytest.mark.parametrize("kind", VALUES)
def test_from_text_and_bytes(servers: Servers, kind: str, theirs: str, source: Flavour) -> None:
    """Two texts may be one such value: the key is refused before the first row."""
    assert not equal_or_refused(servers, (source, "mariadb"), theirs, kind, TWO_SPELLINGS[kind])


@pytest.mark.parametrize("ours", VALUES)
@pytest.mark.parametrize("theirs", VALUES)
def test_among_each_other(servers: Servers, theirs: str, ours: str) -> None:
    """Each of the types takes its own keys (mariadb to mariadb)."""
    done = equal_or_refused(servers, ("mariadb", "mariadb"), theirs, ours, VALUES[theirs])
    assert done == (theirs == ours)


@pytest.mark.parametrize(
    ("theirs", "ours", "values", "equal"),
    [
        ("DECIMAL(5,1)", "BINARY(16)", ["2.5", "-3.5"], False),
        ("DATE", "BINARY(16)", ["2020-01-01", "2021-01-01"], False),
        ("INT", "BINARY(16)", ["1", "2"], False),
        ("BINARY(2)", "BINARY(4)", ["ab", "cd"], False),
        ("BINARY(4)", "BINARY(4)", ["abcd", "efgh"], True),
        ("BINARY(4)", "VARBINARY(4)", ["abcd", "efgh"], True),
        ("DECIMAL(5,1)", "VARBINARY(16)", ["2.5", "-3.5"], True),
    ],
)
def test_binary_pads(servers: Servers, theirs: str, ours: str, values: list[str], equal: bool) -> None:
    """A key that BINARY would pad would not be found again by an UPDATE or DELETE: it is refused (mysql, mariadb)."""
    for flavours in (("mysql", "mysql"), ("mariadb", "mariadb")):
        assert equal_or_refused(servers, flavours, theirs, ours, values, "CAST(k AS CHAR(64))") == equal
