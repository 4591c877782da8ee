"""Help for tests of the `myrepetl` command: it runs as a program of its own, on accounts with the least grants."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from servers import Server

from myrepetl_dagster.core.config.load import load
from myrepetl_dagster.core.diagnostics.connection_test import diagnose

PASSWORD = "s3cret-Pa55word"
ROOT = Path(__file__).resolve().parents[2]
_numbers = itertools.count(1)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "myrepetl_dagster.cli", *map(str, arguments)]


def myrepetl(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; no output may ever hold the password."""
    environment = {name: value for name, value in os.environ.items() if name != "MYREPETL_CONFIG"}
    environment |= {"PYTHONPATH": str(ROOT), **environ}
    done = subprocess.run(command(*arguments), capture_output=True, text=True, env=environment, timeout=120)
    assert PASSWORD not in done.stdout + done.stderr
    return done


class Rig:
    """A source with a table `t`, a target, an account of its own on each, and a pipeline file."""

    def __init__(self, source: Server, target: Server, directory: Path) -> None:
        number = next(_numbers)
        self.source, self.target, self.directory = source, target, directory
        self.schema = f"cli{number}"
        self.reader, self.writer = f"reader{number}", f"writer{number}"
        monitor = "BINLOG MONITOR" if source.flavour == "mariadb" else "REPLICATION CLIENT"
        lock = ", LOCK TABLES" if source.flavour == "mysql" and not source.gtid else ""
        source.execute(
            f"CREATE DATABASE {self.schema}",
            f"CREATE TABLE {self.schema}.t (id INT PRIMARY KEY, name VARCHAR(20))",
            f"INSERT INTO {self.schema}.t VALUES (1, 'one'), (2, 'two'), (3, 'three')",
            f"CREATE USER {self.reader}@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT SELECT{lock} ON {self.schema}.* TO {self.reader}@'%'",
            f"GRANT REPLICATION SLAVE, {monitor} ON *.* TO {self.reader}@'%'",
        )
        target.execute(
            f"CREATE DATABASE {self.schema}_dw",
            f"CREATE USER {self.writer}@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER ON {self.schema}_dw.* TO {self.writer}@'%'",
        )
        self.config: dict[str, Any] = {
            "sources": {"shop": self._endpoint(source, self.reader, self.schema)},
            "targets": {"dw": self._endpoint(target, self.writer, f"{self.schema}_dw")},
            "mapping": {"shop.t": {"target_table": "dw.t"}},
        }

    @staticmethod
    def _endpoint(server: Server, user: str, database: str) -> dict[str, Any]:
        return {"host": server.host, "port": server.port, "user": user, "password": PASSWORD, "database": database}

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """The command, on the pipeline as `config` has it now."""
        return myrepetl(*arguments, "--config", self.file())

    def file(self) -> Path:
        file = self.directory / f"{self.schema}.json"
        file.write_text(json.dumps(self.config))
        return file

    def checks(self, connection: str) -> dict[str, dict[str, Any]]:
        """The checks of one connection by name (of several with one name, the worst), as `test-connection` has them."""
        reports = [report.as_json() for report in diagnose(load(self.file()))]
        assert PASSWORD not in json.dumps(reports)
        order = ["ok", "skipped", "warning", "failed"]
        worst: dict[str, dict[str, Any]] = {}
        for check in next(one for one in reports if one["name"] == connection)["checks"]:
            held = worst.get(check["check"])
            if held is None or order.index(check["state"]) > order.index(held["state"]):
                worst[check["check"]] = check
        return worst
