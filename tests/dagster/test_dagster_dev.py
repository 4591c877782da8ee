"""`dagster dev` in processes of its own: the web server, the daemon, the sensor, on real servers."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dagster_support import PASSWORD, ROOT, Pair, environment, write_with_variable
from dagster_ui import Ui, dagster_dev, free_port, wait_for

pytestmark = pytest.mark.long

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


def people(source: str) -> dict[str, Any]:
    return {
        "target_table": "warehouse.people",
        "primary_key": ["origin", "id"],
        "column_mapping": {"id": "id", "name": "name", "origin": {"value": source}},
    }


def prepare(pair: Pair) -> dict[str, Any]:
    """A shop with a long table, and a crm whose people go into one table with those of the shop."""
    pair.prepare()
    pair.source.execute(
        "DROP DATABASE IF EXISTS crm",
        "CREATE DATABASE crm",
        "CREATE TABLE crm.users (id INT PRIMARY KEY, name VARCHAR(50))",
        "INSERT INTO crm.users VALUES (1, 'Xaver')",
        "CREATE TABLE shop.long_table (id INT PRIMARY KEY AUTO_INCREMENT, text VARCHAR(20) DEFAULT 'x')",
    )
    pair.target.execute(
        "CREATE TABLE dw.people (origin VARCHAR(5), id INT, name VARCHAR(50), PRIMARY KEY (origin, id))"
    )
    mapping = pair.mapping | {
        "shop.people": people("shop") | {"source_table": "shop.users"},
        "crm.people": people("crm") | {"source_table": "crm.users"},
        "shop.long_table": {"target_table": "warehouse.long_table"},
    }
    sources = {name: pair.endpoint(pair.source, name) for name in ("shop", "crm")}
    return pair.data | {
        "sources": sources,
        "mapping": mapping,
        "limits": {"chunk_rows_max": 5, "copy_window_rows": 500},
    }


@pytest.fixture(scope="module")
def ui(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`dagster dev` in the repository's folder, until the module's tests are through."""
    directory = tmp_path_factory.mktemp("ui")
    pair = Pair(servers.get("source", "mysql"), servers.get("target", "mysql"), directory)
    found = Ui(pair, free_port(), directory / "home", directory / "dev.log")
    env = environment(found.home, write_with_variable(directory, prepare(pair)))
    settings = found.home / "dagster.yaml"
    assert "poll_interval_seconds: 30" in settings.read_text()
    settings.write_text(settings.read_text().replace("poll_interval_seconds: 30", "poll_interval_seconds: 2"))
    with dagster_dev(found, ROOT, env):
        yield found


def test_a_table_is_materialized_in_the_ui(ui: Ui) -> None:
    """What the button `Materialize` does, for one table: it is copied, no other is, and no password is stored."""
    ui.pair.source.execute("INSERT INTO crm.users VALUES (2, 'Yvo')", "INSERT INTO shop.users (name) VALUES ('Zoe')")

    run_id = ui.launch("__ASSET_JOB", "warehouse/people")

    assert ui.ended(run_id) == "SUCCESS"
    assert ui.pair.target.execute("SELECT name FROM dw.people WHERE origin = 'crm'") == (("Xaver",), ("Yvo",))
    assert ui.pair.target.execute("SELECT 1 FROM dw.people WHERE origin = 'shop' AND name = 'Zoe'")
    assert not ui.pair.target.execute("SHOW TABLES FROM dw LIKE 'users'") or "Zoe" not in ui.pair.users()
    metadata = ui.ask(
        """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
        assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue } } } } } }""",
        key={"path": ["warehouse", "people"]},
    )["assetOrError"]["assetMaterializations"][0]["metadataEntries"]
    numbers = {entry["label"]: entry.get("intValue") for entry in metadata}
    assert numbers["dagster/row_count"] >= 4
    files = [path for path in (*ui.home.rglob("*"), ui.log) if path.is_file()]
    assert len(files) > 5
    assert not [path for path in files if PASSWORD.encode() in path.read_bytes()]


def test_the_sensor_brings_new_rows(ui: Ui) -> None:
    """With the sensor on, new tables are copied, and then one run follows: what is written at the source is in the target
    at once. A new copy of a table that a person asks for succeeds beside it. Terminated, it leaves no session behind.
    """

    def names() -> list[str]:
        return ui.pair.users() if ui.pair.target.execute("SHOW TABLES FROM dw LIKE 'users'") else []

    ui.pair.source.execute("INSERT INTO shop.users (name) VALUES ('Sensed')")
    ui.switch("catch_up_shop__crm", True)
    try:
        wait_for(lambda: "Sensed" in names(), 60, ui.log)
        wait_for(lambda: ui.active("follow_shop__crm"), 60, ui.log)
        wait_for(lambda: ui.follows(), 60, ui.log)
        ui.pair.source.execute("INSERT INTO shop.users (name) VALUES ('Sensed again')")
        took_s = wait_for(lambda: "Sensed again" in names(), 45, ui.log)
        assert ui.ended(ui.launch("snapshot", mappings=["shop.users"]), 60) == "SUCCESS"
        ui.pair.source.execute("INSERT INTO shop.users (name) VALUES ('After the copy')")
        wait_for(lambda: "After the copy" in names(), 45, ui.log)
        assert len(ui.active("follow_shop__crm")) == 1
    finally:
        ui.switch("catch_up_shop__crm", False)
        for run_id in ui.active("follow_shop__crm"):
            ui.terminate(run_id)
    wait_for(lambda: not ui.active(), 30, ui.log)
    wait_for(lambda: no_connections(ui), 30, ui.log)
    print(f"source to target through the run that follows: {took_s:.1f} s")


def test_a_run_that_is_terminated_is_canceled(ui: Ui) -> None:
    """Terminated in the middle of a long copy a run ends soon, is not tried again, and keeps what it has copied."""
    ui.pair.source.execute(
        "INSERT INTO shop.long_table () VALUES ()",
        *["INSERT INTO shop.long_table (text) SELECT text FROM shop.long_table"] * 16,
    )
    copied = "SELECT COUNT(*) FROM dw.long_table"
    run_id = ui.launch("snapshot", mappings=["shop.long_table"])
    wait_for(lambda: ui.pair.target.execute("SHOW TABLES FROM dw LIKE 'long_table'"), 30, ui.log)
    wait_for(lambda: ui.pair.target.execute(copied)[0][0] > 50, 30, ui.log)

    ui.terminate(run_id)
    started_s = time.monotonic()
    status = ui.ended(run_id)
    print(f"terminated after {time.monotonic() - started_s:.1f} s, {ui.pair.target.execute(copied)[0][0]} rows copied")

    ui.pair.source.execute("DELETE FROM shop.long_table WHERE id > 100")
    assert status == "CANCELED"
    assert 0 < ui.pair.target.execute(copied)[0][0] < 2**16
    assert no_connections(ui)


def no_connections(ui: Ui) -> bool:
    """Whether neither server has a connection of a run; the UI's own questions are over in a moment."""
    left = "SELECT id FROM information_schema.processlist WHERE user = 'copier'"
    return not (ui.pair.source.execute(left) or ui.pair.target.execute(left))


def test_a_run_that_takes_too_long_is_ended_by_dagster(ui: Ui) -> None:
    """A run over its time (`dagster/max_runtime`), in the middle of a statement that waits for a lock, is ended by the
    daemon: rolled back, no connection left on either server, and the next run goes on from the checkpoint.
    """
    shop, dw = ("SELECT id, name FROM shop.users ORDER BY id", "SELECT id, name FROM dw.users ORDER BY id")
    assert ui.ended(ui.launch("replicate"), 90) == "SUCCESS"
    with contextlib.closing(ui.pair.target.connect(autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute("SELECT id FROM dw.users WHERE id = 2 FOR UPDATE")
        before = ui.pair.target.execute(dw)
        ui.pair.source.execute("UPDATE shop.users SET name = CONCAT(name, ' too long')")
        started_s = time.monotonic()
        run_id = ui.launch("replicate", tags={"dagster/max_runtime": "6"})

        status = ui.ended(run_id, 90)
        print(f"ended by the daemon after {time.monotonic() - started_s:.1f} s")
        assert status == "FAILURE"
        wait_for(lambda: no_connections(ui), 20, ui.log)
        assert ui.pair.target.execute(dw) == before

    assert ui.ended(ui.launch("replicate"), 90) == "SUCCESS"
    assert ui.pair.target.execute(dw) == ui.pair.source.execute(shop)


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt-get install chromium")
def test_the_lineage_can_be_seen(ui: Ui) -> None:
    """In a browser, the page of a table shows it with its source tables upstream."""
    page = f"http://127.0.0.1:{ui.port}/assets/warehouse/people?view=lineage&lineageScope=upstream&lineageDepth=5"
    picture = Path(os.environ.get("MYREPETL_PICTURES", ui.home.parent)) / "lineage.png"

    text = browse(ui.home.parent / "profile", page, "--dump-dom", f"--screenshot={picture}")

    for shown in ("warehouse", "people", "shop", "crm", "users"):
        assert shown in text
    assert picture.stat().st_size > 20_000


def browse(profile: Path, page: str, *what: str) -> str:
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            "--window-size=1500,850", "--virtual-time-budget=25000", f"--user-data-dir={profile}", *what, page,
        ],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
