"""Which servers are given rows in bulk."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.mysql.bulk_connection import _is_sound


@pytest.mark.parametrize(
    ("version", "sound"),
    [
        (b"5.5.5-10.5.23-MariaDB-0+deb11u1-log", False),
        (b"5.5.5-10.5.26-MariaDB", True),
        (b"5.5.5-10.6.18-MariaDB-log", False),
        (b"5.5.5-10.6.19-mariadb", True),
        (b"5.5.5-10.11.8-MariaDB", False),
        (b"5.5.5-10.11.19-MariaDB-0+deb12u1", True),
        (b"11.3.2-MariaDB", False),
        (b"11.4.3-MariaDB", True),
        (b"11.8.9-MariaDB-0+deb13u1 from Debian-log", True),
        (b"12.3.1-MariaDB", True),
        (b"10.3.39-MariaDB", False),
        (b"9.7.4", False),
        (b"8.0.36-proxy", False),
    ],
)
def test_servers_that_lose_rows_get_none_in_bulk(version: bytes, sound: bool) -> None:
    """By the version of the greeting: those whose bulk execution goes wrong where a trigger writes, and unknown ones."""
    assert _is_sound(b"\x0a" + version + b"\0" + b"rest of 10.11.19-MariaDB") == sound
