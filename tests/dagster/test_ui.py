"""What a person sees in Dagster's UI, in a real browser, with the sensors on: what goes on, what is behind, what is broken."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import server_farm
from browser import HEIGHT, WIDTH, browser_page
from dagster_support import PASSWORD, ROOT, Pair, environment, write_with_variable
from dagster_ui import Ui, dagster_dev, free_port, wait_for
from playwright.sync_api import Page
from servers import Server

pytestmark = pytest.mark.long

ITEMS = 2**14  # to be looked through row by row; its copy takes some seconds then
GROUPS = "%2C".join(f"global%40global%3A{name}" for name in ("crm", "shop", "warehouse"))
GRAPH = (370, 110)  # where it begins on its page
SOON_S, LATER_S = 60, 120


@dataclass
class Shop:
    """A shop and a crm that are followed into a warehouse, in Dagster's UI. `pictures`: where the screenshots go."""

    ui: Ui
    page: Page
    source: Server
    crm: Server
    target: Server
    pictures: Path

    def open(self, path: str, *texts: str, height: int = HEIGHT) -> None:
        """Go to a page, and wait until it shows these texts."""
        self.page.set_viewport_size({"width": WIDTH, "height": height})
        self.page.goto(f"http://127.0.0.1:{self.ui.port}{path}")
        for text in texts:
            self.sees(text)

    def open_lineage(self) -> None:
        """On a page that is high enough for all tables, since the graph has no others."""
        self.open(f"/asset-groups?expanded={GROUPS}", "Global asset lineage", height=1600)

    def sees(self, text: str, timeout_s: float = SOON_S) -> None:
        self.page.get_by_text(text).first.wait_for(timeout=timeout_s * 1000)

    @property
    def text(self) -> str:
        return self.page.locator("body").inner_text()

    def picture(self, name: str, left: int = 0, top: int = 0) -> None:
        """Take a picture of the page, without what is left of a line or above another."""
        self.page.wait_for_timeout(700)  # icons come in, and menus go
        size = self.page.viewport_size
        assert size is not None
        part: Any = {"x": left, "y": top, "width": size["width"] - left, "height": size["height"] - top}
        self.page.screenshot(path=self.pictures / f"{name}.png", clip=part)

    def node(self, table: str, text: str, timeout_s: float = SOON_S) -> None:
        """Wait until the lineage shows a text at a target table."""
        nodes = self.page.locator("foreignObject").filter(has_text=f"{table}Latest event").filter(has_text=text)
        nodes.first.wait_for(timeout=timeout_s * 1000)


def prepare(source: Server, crm: Server, target: Server) -> None:
    for server, schema in ((source, "shop"), (crm, "crm"), (target, "dw")):
        server.execute(
            f"DROP DATABASE IF EXISTS {schema}",
            f"CREATE DATABASE {schema}",
            f"CREATE USER IF NOT EXISTS 'copier'@'%' IDENTIFIED BY '{PASSWORD}'",
            "GRANT ALL ON *.* TO 'copier'@'%'",
        )
    source.execute(
        "CREATE TABLE shop.customers (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50), country CHAR(2))",
        "CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, customer_id INT, total DECIMAL(10,2), status VARCHAR(10))",
        "CREATE TABLE shop.order_items (id INT PRIMARY KEY AUTO_INCREMENT, product VARCHAR(20) DEFAULT 'tea')",
        "CREATE TABLE shop.coupons (code VARCHAR(20) PRIMARY KEY, percent DECIMAL(5,2), valid_until DATETIME(6))",
        "INSERT INTO shop.customers (name, country) VALUES ('Ann', 'de'), ('Bob', 'fr'), ('Cem', 'tr')",
        "INSERT INTO shop.orders (customer_id, total, status) VALUES (1, 1.50, 'paid'), (2, 2.50, 'draft'), (3, 3.50, 'paid')",
        "INSERT INTO shop.order_items () VALUES ()",
        *["INSERT INTO shop.order_items (product) SELECT product FROM shop.order_items"] * (ITEMS.bit_length() - 1),
        "INSERT INTO shop.coupons VALUES ('SPRING', 10, '2027-04-01')",
    )
    crm.execute(
        "CREATE TABLE crm.contacts (id INT PRIMARY KEY, full_name VARCHAR(50), mail VARCHAR(80))",
        "INSERT INTO crm.contacts VALUES (1, 'Xaver', 'x@example.com')",
    )
    # A column too short for its source: the table is refused until somebody widens it.
    target.execute("CREATE TABLE dw.coupons (code VARCHAR(20) PRIMARY KEY, percent DECIMAL(5,2), valid_until DATETIME)")


def pipeline(shop: Pair, crm: Server) -> dict[str, Any]:
    return {
        "sources": {
            "shop": shop.endpoint(shop.source, "shop"),
            "crm": shop.endpoint(crm, "crm") | {"flavour": "mariadb"},
        },
        "targets": {"warehouse": shop.endpoint(shop.target, "dw")},
        "mapping": {
            "shop.customers": {
                "target_table": "warehouse.customers",
                "primary_key": "id",
                "column_mapping": {
                    "id": "id",
                    "name": "full_name",
                    "country": "country",
                    "origin": {"value": "shop"},
                },
            },
            "shop.orders": {"target_table": "warehouse.orders", "filter": {"status": {"not": "draft"}}},
            "shop.order_items": {"target_table": "warehouse.order_items"},
            "shop.coupons": {"target_table": "warehouse.coupons"},
            "crm.contacts": {"target_table": "warehouse.contacts"},
        },
        "replication": {"follow_s": 3600},
        "monitoring": {"interval": 2},
        "limits": {"connect_timeout_s": 3, "chunk_rows_max": 5, "copy_window_rows": 500},
    }


@contextlib.contextmanager
def shop_in_dagster(servers: Any, directory: Path) -> Iterator[Shop]:
    source = server_farm.private("mysql", directory / "source")
    with ThreadPoolExecutor() as pool:
        crm, target = pool.map(lambda asked: servers.get(*asked), [("source", "mariadb"), ("target", "mysql")])
        source.start()
    prepare(source, crm, target)
    pair = Pair(source, target, directory)
    ui = Ui(pair, free_port(), directory / "home", directory / "dev.log")
    env = environment(ui.home, write_with_variable(directory, pipeline(pair, crm)))
    pictures = Path(os.environ.get("MYREPETL_PICTURES") or directory)
    try:
        with dagster_dev(ui, ROOT, env), browser_page(directory / "browser") as page:
            ui.switch("catch_up_shop", True)
            ui.switch("catch_up_crm", True)
            yield Shop(ui, page, source, crm, target, pictures)
    finally:
        source.kill()


@pytest.fixture(scope="module")
def shop(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Everything is followed but `coupons`, which cannot be."""
    with shop_in_dagster(servers, tmp_path_factory.mktemp("ui")) as found:
        found.open_lineage()
        found.page.get_by_text("Hide navigation").click()
        for table in ("customers", "orders", "contacts"):
            found.node(table, "2 / 2 Passed", LATER_S)
        yield found


def test_the_lineage_shows_what_is_well_and_what_is_broken(shop: Shop) -> None:
    """Each target table downstream of its source table, with its server's kind, its checks and its state."""
    shop.open_lineage()
    shop.node("coupons", "0 / 2 Passed")
    shop.node("customers", "2 / 2 Passed")
    shop.node("customers", "Materialized")

    shop.picture("lineage", *GRAPH)
    assert "MySQL" in shop.text


def test_the_catalog_is_read_without_markdown(shop: Shop) -> None:
    """A description begins with where the table comes from, and no sign of markdown is in it."""
    shop.open("/assets", "From crm.contacts on crm", "From shop.order_items on shop", "Materialized", "Failed")

    shop.picture("catalog")
    assert "**" not in shop.text
    assert "`" not in shop.text


def test_a_tables_page_tells_all_of_it(shop: Shop) -> None:
    """While its source is followed: one sensor, the columns with their types and origins, checks that pass, numbers to
    plot.
    """
    for name in ("Dan", "Eva", "Fay"):
        shop.source.execute(f"INSERT INTO shop.customers (name, country) VALUES ('{name}', 'it')")
        wait_for(partial(shop.target.execute, f"SELECT 1 FROM dw.customers WHERE full_name = '{name}'"), SOON_S)
        shop.page.wait_for_timeout(2_500)  # each is a materialization of its own
    shop.open("/assets/warehouse/customers", "Latest check results", "varchar(50)", "from name")
    shop.sees("From shop.customers on shop, into dw.customers on warehouse.")

    shop.picture("table")
    links = shop.page.locator("a[href*='/sensors/']").all()
    assert {link.get_attribute("href") for link in links} == {"/locations/myrepetl/sensors/catch_up_shop"}
    plots = shop.page.get_by_role("button", name="Plots")
    plots.click()
    lag = shop.page.get_by_text("lag_s", exact=True).first
    lag.wait_for()
    shop.page.get_by_text("rows_upserted", exact=True).first.wait_for()
    lag.scroll_into_view_if_needed()
    shop.picture("plots")


def test_a_copy_shows_how_far_it_is(shop: Shop) -> None:
    """In the run's log: its pass, rows done of rows estimated, percent, rows a second, the time that is left."""
    run_id = shop.ui.launch("snapshot", "warehouse/order_items")
    try:
        shop.open(f"/runs/{run_id}")
        line = re.compile(r"shop\.order_items: .*[\d,]+ of about [\d,]+ rows \([\d.]+%\), [\d,]+/s, about \d+ s left")
        shop.page.get_by_text(line).first.wait_for(timeout=LATER_S * 1000)

        shop.picture("copy")
    finally:
        shop.ui.terminate(run_id)
        shop.ui.ended(run_id)


def test_a_failed_run_begins_with_the_reason(shop: Shop) -> None:
    """The first red line names the mapping, what is wrong, and what mends it."""
    run_id = shop.ui.launch("__ASSET_JOB", "warehouse/coupons")
    assert shop.ui.ended(run_id, LATER_S) == "FAILURE"
    shop.open(f"/runs/{run_id}", "RUN_FAILURE")

    shop.sees("mapping 'shop.coupons': column valid_until is datetime in the target and datetime(6) in the source")
    shop.sees("Hint: Give the target's column the type datetime(6)")
    shop.picture("failed")


def test_a_check_says_what_is_wrong(shop: Shop) -> None:
    """Of a table that cannot be replicated: why, and what mends it, on the page of its check."""
    shop.open("/assets/warehouse/coupons?view=checks&checkDetail=schema_in_step", "Evaluation result", "Failed")
    shop.sees("column valid_until is datetime in the target and datetime(6) in the source")

    shop.picture("check")
    assert "Hint: Give the target's column the type datetime(6)" in shop.text


def test_an_outage_is_seen_and_its_end(shop: Shop) -> None:
    """While a source is down, its tables are red in the lineage, their check says why, and so do the sensor and the run.
    The tables of another source stay green, and all of them are once the server is back.
    """
    wait_for(lambda: shop.ui.active("follow_shop") and shop.ui.follows(), LATER_S, shop.ui.log)
    run_id = shop.ui.active("follow_shop")[0]
    shop.source.kill()
    try:
        shop.open_lineage()
        for table in ("customers", "orders"):
            shop.node(table, "1 / 2 Passed")
        shop.node("contacts", "2 / 2 Passed")
        shop.picture("outage", *GRAPH)
        shop.open("/assets/warehouse/customers?view=checks&checkDetail=lag", "Can't connect to MySQL server")
        shop.sees("The next attempt is in")
        shop.open(f"/runs/{run_id}", "source shop out of reach for")
        shop.open("/locations/myrepetl/sensors/catch_up_shop", "0 runs requested")
        shop.page.get_by_role("table").get_by_text("0 runs requested").last.wait_for()
        shop.page.locator("a, button").filter(has_text="0 runs requested").first.click()
        shop.sees("Can't connect to MySQL server")
        shop.picture("sensor")
    finally:
        shop.source.start()
    shop.open_lineage()
    for table in ("customers", "orders"):
        shop.node(table, "2 / 2 Passed", LATER_S)
