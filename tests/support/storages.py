"""Servers for Dagster's own storage: a Postgres of Debian's, and a schema on one of the tests' MySQL servers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from debian_programs import free_port
from server_binaries import fetched_tool
from servers import Server

PASSWORD = "Lager-0815-abc"


@contextmanager
def postgres() -> Iterator[dict[str, Any]]:
    """A running Postgres; yields the `storage` of a dagster.yaml."""
    folder = fetched_tool("postgresql", ["postgresql"], None)
    (programs,) = folder.glob("usr/lib/postgresql/*/bin")
    libraries = ":".join(str(path) for path in folder.glob("usr/lib/*-linux-gnu*"))
    env = os.environ | {"LD_LIBRARY_PATH": libraries, "LC_ALL": "C.UTF-8"}
    # Neither root nor a folder that only root may enter will do.
    directory, port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()
    other = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
    if other:
        os.chown(directory, 65534, 65534)
    data = directory / "data"
    try:
        made = subprocess.run(
            [*other, programs / "initdb", "-D", data, "-A", "trust", "-U", "dagster", "-N"],
            env=env, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*other, programs / "postgres", "-D", data, "-p", str(port), *options],
                env=env, cwd=directory, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            _wait_for_postgres(port, directory / "log")
            yield {"postgres": {"postgres_url": f"postgresql+psycopg2://dagster@127.0.0.1:{port}/postgres"}}
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_for_postgres(port: int, log: Path) -> None:
    import psycopg2  # type: ignore[import-untyped]

    until_s = time.monotonic() + 30
    while True:
        try:
            psycopg2.connect(host="127.0.0.1", port=port, user="dagster", dbname="postgres").close()
            return
        except psycopg2.OperationalError:
            if time.monotonic() > until_s:
                raise AssertionError(log.read_text()) from None
            time.sleep(0.1)


@contextmanager
def mysql(server: Server) -> Iterator[dict[str, Any]]:
    """A schema on a MySQL server; yields the `storage` of a dagster.yaml."""
    server.execute(
        "DROP DATABASE IF EXISTS dagster_storage",
        "CREATE DATABASE dagster_storage",
        f"CREATE USER IF NOT EXISTS 'dagster'@'%' IDENTIFIED BY '{PASSWORD}'",
        "GRANT ALL ON dagster_storage.* TO 'dagster'@'%'",
    )
    place = f"dagster:{PASSWORD}@{server.host}:{server.port}/dagster_storage"
    yield {"mysql": {"mysql_url": f"mysql+mysqlconnector://{place}"}}
    server.execute("DROP DATABASE dagster_storage")
