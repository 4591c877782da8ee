"""A source and a target of one flavour, a pipeline file for them, and the commands that run it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data import TABLES, create, write_log
from tools import ROOT, Flavour, Server

CRASH_SAFE = {"sync_binlog": "1", "innodb_flush_log_at_trx_commit": "1"}


def start(servers: Sequence[Server]) -> None:
    """Start them all, each with a user `u`; if one cannot be started, none is left."""
    try:
        for server in servers:
            server.start()
            server.execute("CREATE USER IF NOT EXISTS 'u'@'%' IDENTIFIED BY 'pw'", "GRANT ALL ON *.* TO 'u'@'%'")
    except BaseException:
        for server in servers:
            server.kill()
        raise


class Rig:
    """Schema `shop` on the source, `dw` on the target; both servers as crash-safe as they are by default."""

    def __init__(self, flavour: Flavour, folder: Path, sources: int = 1, **options: str) -> None:
        self.flavour = flavour
        self.folder = folder
        settings = {"innodb_buffer_pool_size": "512M", "max_allowed_packet": "64M", **CRASH_SAFE, **options}
        if flavour == "mysql":
            settings["innodb_redo_log_capacity"] = "512M"
        if sources > 1:  # the kernel's requests of asynchronous I/O (fs.aio-max-nr) are for some 28 of MySQL's at once
            settings["innodb_use_native_aio"] = "OFF"
        self.sources = [Server(flavour, folder / f"source{n}", settings) for n in range(sources)]
        self.source = self.sources[0]
        self.target = Server(flavour, folder / "target", settings)
        start([*self.sources, self.target])
        for server in self.sources:
            server.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
        self.target.execute("CREATE DATABASE dw CHARACTER SET utf8mb4")
        self.tables: list[str] = []
        self.limits: dict[str, int] = {}

    def close(self) -> None:
        for server in (*self.sources, self.target):
            server.kill()

    # ---- data ----
    def create(self, table: str, rows: int) -> None:
        create(self.source, table, rows)

    def fill(self, table: str, after: int, rows: int) -> None:
        """More rows, in one transaction."""
        depth = "cte_max_recursion_depth" if self.flavour == "mysql" else "max_recursive_iterations"
        series = f"WITH RECURSIVE s AS (SELECT {after + 1} i UNION ALL SELECT i + 1 FROM s WHERE i < {after + rows})"
        self.source.execute(
            f"SET SESSION {depth} = 1000000000", f"INSERT INTO shop.{table} {series} SELECT {TABLES[table][1]} FROM s"
        )

    def write_log(self, changes: int, table: str = "users") -> int:
        return write_log(self.source, changes, {table: 20_000}, seed=1)

    # ---- runs ----
    def map(self, *tables: str, shared: bool = False, **options: Any) -> None:
        """Map these tables, from every source into a table of its own, or (`shared`) all into one."""
        self.tables = list(tables)
        connection = {"host": "127.0.0.1", "user": "u", "password": "pw", "ssl_disabled": True}
        names = [f"a{n}" if n else "a" for n in range(len(self.sources))]
        if "column_mapping" in options:
            options["primary_key"] = "id"
        self.pipeline.write_text(
            json.dumps({
                "sources": {
                    name: {**connection, "port": s.port, "database": "shop"}
                    for name, s in zip(names, self.sources, strict=True)
                },
                "targets": {"b": {**connection, "port": self.target.port, "database": "dw"}},
                "mapping": {
                    f"{name}.{table}": _mapping(name, table, shared) | options for name in names for table in tables
                },
                "limits": self.limits,
            })
        )  # fmt: skip

    @property
    def pipeline(self) -> Path:
        return self.folder / "pipeline.json"

    def command(self, by: str) -> tuple[list[str], dict[str, str]]:
        """What `run` (of `myrepetl`) and `job` (of Dagster) are, and their environment."""
        env = {"PYTHONPATH": str(ROOT), "MYREPETL_CONFIG": str(self.pipeline)}
        if by == "run":
            return [sys.executable, "-m", "myrepetl_dagster.cli", "run"], env
        return dagster_job("myrepetl_dagster.definitions"), env | _home(self.folder)

    def check(self) -> None:
        """Source and target are equal, as far as a checksum of each row tells."""
        for table in self.tables:
            names = [row[0] for row in self.source.execute(f"SHOW COLUMNS FROM shop.{table}")]
            texts = ", ".join(f"IFNULL(SHA2({name}, 256), 0)" for name in names)
            asked = f"COUNT(*), SUM(CRC32(CONCAT_WS('-', {texts})))"
            held = [s.execute(f"SELECT {asked} FROM {d}.{table}")[0] for s, d in self._ends()]
            assert held[0] == held[1], f"{table}: {held[0]} in the source, {held[1]} in the target"

    def _ends(self) -> tuple[tuple[Server, str], tuple[Server, str]]:
        return (self.source, "shop"), (self.target, "dw")


def _mapping(source: str, table: str, shared: bool) -> dict[str, Any]:
    if not shared:
        return {"target_table": f"b.{table}{'' if source == 'a' else f'_{source}'}"}
    columns = {"id": "id", "origin": {"column": "origin", "value": source}}
    return {"target_table": f"b.{table}_all", "primary_key": ["id", "origin"], "column_mapping": columns}


def _home(folder: Path) -> dict[str, str]:
    home = folder / "dagster_home"
    home.mkdir(exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home)
    return {"DAGSTER_HOME": str(home)}


def dagster_job(module: str, job: str = "replicate") -> list[str]:
    """The command `dagster job execute`."""
    return [str(Path(sys.executable).with_name("dagster")), "job", "execute", "-m", module, "-j", job]


_TRIVIAL = """
import dagster as dg


@dg.multi_asset(specs=[dg.AssetSpec(f"t{{n}}") for n in range({assets})], can_subset=True)
def nothing(context):
    for key in context.selected_asset_keys:
        yield dg.MaterializeResult(asset_key=key)


job = dg.define_asset_job("replicate", selection="*", executor_def=dg.in_process_executor)
defs = dg.Definitions(assets=[nothing], jobs=[job])
"""


def trivial_job(folder: Path, assets: int = 1) -> tuple[list[str], dict[str, str]]:
    """A job of Dagster's own, with so many assets of one op."""
    (folder / "trivial.py").write_text(_TRIVIAL.format(assets=assets))
    return dagster_job("trivial"), {"PYTHONPATH": str(folder), **_home(folder)}
