"""The demo's data: rows to begin with, a writer that never rests, and a comparison that knows nothing of our core."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from pymysql.connections import Connection

Row = tuple[Any, ...]
Step = Callable[[Any], None]

CUSTOMERS, CONTACTS, PRODUCTS, ORDERS = 2_000, 1_500, 400, 3_000
_FIRST_DAY = datetime(2025, 1, 1)
_COUNTRIES = ("DE", "FR", "PL", "KZ", "US", None)
_STATUSES = ("draft", "placed", "paid", "shipped", "cancelled")
_NAMES = ("Ann", "Björn", "Chloé", "Дмитрий", "Eleni", "福田", "Grace", "O'Hara", 'Ivan "the first"', "Zoë")


class Maker:
    """Makes rows; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def name(self) -> str:
        name = f"{self.random.choice(_NAMES)} {self.random.choice(_NAMES)}"
        return f"  {name} " if self.random.random() < 0.2 else name

    def address(self) -> str:
        return f"{self.random.choice(('Ann', 'bob', 'CHRIS'))}.{self.random.randrange(10**6)}@Example.COM"

    def country(self) -> str | None:
        return self.random.choice(_COUNTRIES)

    def customer(self) -> Row:
        created = _FIRST_DAY + timedelta(minutes=self.random.randrange(400_000))
        return self.name(), self.address(), self.country(), created, f"{self.random.getrandbits(256):064x}"

    def contact(self) -> Row:
        mail = self.address() if self.random.random() < 0.9 else None
        return self.name(), mail, self.country(), (_FIRST_DAY + timedelta(days=self.random.randrange(300))).date()

    def product(self) -> Row:
        number = self.random.randrange(10**6)
        attributes = (
            f'{{"colour": "{self.random.choice(("red", "grün"))}", "weight": {number / 1000}, "tags": [1, null]}}'
        )
        photo = self.random.randbytes(16) if self.random.random() < 0.8 else None
        return f"SKU-{number:06}", f"Thing no. {number}", self.price(), attributes, photo

    def price(self) -> str:
        return f"{self.random.randrange(100, 100_000) / 100:.2f}"

    def order(self) -> Row:
        status = self.random.choice(_STATUSES)
        placed = None if status == "draft" else _FIRST_DAY + timedelta(seconds=self.random.randrange(2 * 10**7))
        return self.random.randint(1, CUSTOMERS), status, placed, self.random.choice((None, "", "leave it at the door"))

    def item(self, order_id: int, line: int) -> Row:
        return order_id, line, self.random.randint(1, PRODUCTS), self.random.randrange(5), self.price()


_CUSTOMER = "INSERT INTO customers (name, email, country, created_at, password_hash) VALUES (%s, %s, %s, %s, %s)"
_CONTACT = "INSERT INTO contacts (full_name, mail, country, since) VALUES (%s, %s, %s, %s)"
_PRODUCT = "INSERT INTO products (sku, name, price, attributes, photo) VALUES (%s, %s, %s, %s, %s)"
_ORDER = "INSERT INTO orders (customer_id, status, placed_at, note) VALUES (%s, %s, %s, %s)"
_ITEM = "INSERT INTO order_items (order_id, line, product_id, quantity, price) VALUES (%s, %s, %s, %s, %s)"


def fill(shop: Connection[Any], crm: Connection[Any]) -> None:
    """The rows to begin with."""
    make = Maker(1)
    items = [make.item(order, line) for order in range(1, ORDERS + 1) for line in range(1, make.random.randint(2, 5))]
    with shop.cursor() as cursor:
        cursor.executemany(_CUSTOMER, [make.customer() for _ in range(CUSTOMERS)])
        cursor.executemany(_PRODUCT, [make.product() for _ in range(PRODUCTS)])
        cursor.executemany(_ORDER, [make.order() for _ in range(ORDERS)])
        cursor.executemany(_ITEM, items)
    shop.commit()
    with crm.cursor() as cursor:
        cursor.executemany(_CONTACT, [make.contact() for _ in range(CONTACTS)])
    crm.commit()


class Writer:
    """Keeps writing to both sources, a transaction every few milliseconds, until `stop`."""

    def __init__(self, shop: Connection[Any], crm: Connection[Any], pause_s: float = 0.01) -> None:
        self.transactions = 0
        self._shop, self._crm = shop, crm
        self._make = Maker(2)
        self._pause_s = pause_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write, name="demo-writer", daemon=True)
        self._error: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the transaction under way; its error, if it died of one, is raised here."""
        self._ended.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        steps: tuple[Step, ...] = (
            *(self._new_order, self._new_order, self._status, self._status, self._quantity, self._price),
            *(self._new_customer, self._rename, self._delete_order, self._delete_customer),
        )
        contacts: tuple[Step, ...] = (
            self._new_contact,
            self._mail,
            self._renumber,
            self._delete_contact,
        )
        try:
            while not self._ended.wait(self._pause_s):
                shop = self._make.random.random() < 0.7
                connection = self._shop if shop else self._crm
                with connection.cursor() as cursor:
                    self._make.random.choice(steps if shop else contacts)(cursor)
                if self._make.random.random() < 0.05:
                    connection.rollback()  # nothing of it may arrive
                else:
                    connection.commit()
                self.transactions += 1
        except Exception as error:
            self._error = error

    def _any_order(self) -> int:
        return self._make.random.randint(1, ORDERS)

    def _new_order(self, cursor: Any) -> None:
        cursor.execute(_ORDER, self._make.order())
        order_id = cursor.lastrowid
        cursor.executemany(_ITEM, [self._make.item(order_id, line) for line in range(1, 4)])

    def _status(self, cursor: Any) -> None:
        """Orders become drafts again, and drafts orders: they leave the filter and enter it."""
        status = self._make.random.choice(_STATUSES)
        cursor.execute("UPDATE orders SET status=%s, placed_at=NOW(3) WHERE id=%s", (status, self._any_order()))

    def _quantity(self, cursor: Any) -> None:
        quantity = self._make.random.randrange(3)
        cursor.execute("UPDATE order_items SET quantity=%s WHERE order_id=%s", (quantity, self._any_order()))

    def _price(self, cursor: Any) -> None:
        product = self._make.random.randint(1, PRODUCTS)
        cursor.execute(
            "UPDATE products SET price=%s, attributes=JSON_SET(attributes, '$.seen', %s) WHERE id=%s",
            (self._make.price(), product, product),
        )

    def _new_customer(self, cursor: Any) -> None:
        cursor.execute(_CUSTOMER, self._make.customer())

    def _rename(self, cursor: Any) -> None:
        new = self._make.name(), self._make.address(), self._make.country(), self._make.random.randint(1, CUSTOMERS)
        cursor.execute("UPDATE customers SET name=%s, email=%s, country=%s WHERE id=%s", new)

    def _delete_order(self, cursor: Any) -> None:
        order = self._any_order()
        cursor.execute("DELETE FROM order_items WHERE order_id=%s", (order,))
        cursor.execute("DELETE FROM orders WHERE id=%s", (order,))

    def _delete_customer(self, cursor: Any) -> None:
        cursor.execute("DELETE FROM customers WHERE id=%s", (self._make.random.randint(1, CUSTOMERS),))

    def _new_contact(self, cursor: Any) -> None:
        cursor.execute(_CONTACT, self._make.contact())

    def _mail(self, cursor: Any) -> None:
        new = self._make.address(), self._make.country(), self._make.random.randint(1, CONTACTS)
        cursor.execute("UPDATE contacts SET mail=%s, country=%s WHERE id=%s", new)

    def _renumber(self, cursor: Any) -> None:
        """The key itself changes: the old row has to go from the target."""
        contact = self._make.random.randint(1, CONTACTS)
        cursor.execute("UPDATE IGNORE contacts SET id=%s WHERE id=%s", (contact + 1_000_000, contact))

    def _delete_contact(self, cursor: Any) -> None:
        cursor.execute("DELETE FROM contacts WHERE id=%s", (self._make.random.randint(1, CONTACTS),))


# What each mapping of pipeline.json means, in plain SQL: (source, what it should be, what the target holds).
EXPECTED: dict[str, tuple[str, str, str]] = {
    "shop.customers": (
        "shop",
        "SELECT 'shop', id, TRIM(name), LOWER(TRIM(email)), country FROM customers",
        "SELECT source, customer_id, name, email, country FROM customers WHERE source='shop'",
    ),
    "crm.contacts": (
        "crm",
        "SELECT 'crm', id, TRIM(full_name), LOWER(TRIM(mail)), country FROM contacts",
        "SELECT source, customer_id, name, email, country FROM customers WHERE source='crm'",
    ),
    "shop.products": (
        "shop",
        "SELECT id, sku, name, price, CAST(attributes AS CHAR), HEX(photo) FROM products",
        "SELECT id, sku, name, price, CAST(attributes AS CHAR), HEX(photo) FROM products",
    ),
    "shop.orders": (
        "shop",
        "SELECT id, customer_id, status, placed_at, note FROM orders WHERE status <> 'draft'",
        "SELECT id, customer_id, status, placed_at, note FROM orders",
    ),
    "shop.order_items": (
        "shop",
        "SELECT order_id, line, product_id, quantity, price * quantity FROM order_items WHERE quantity > 0",
        "SELECT order_id, line, product_id, quantity, total FROM order_items",
    ),
}


def compare(mapping: str, sources: dict[str, Connection[Any]], target: Connection[Any]) -> tuple[int, int]:
    """How many rows of a mapping there are, and how many differ: missing, superfluous or changed."""
    source, expected_sql, held_sql = EXPECTED[mapping]
    expected, held = _rows(sources[source], expected_sql), _rows(target, held_sql)
    return len(held), len(expected ^ held)


def _rows(connection: Connection[Any], sql: str) -> set[Row]:
    connection.rollback()  # a new view of the data
    with connection.cursor() as cursor:
        cursor.execute("SET time_zone='+00:00'")
        cursor.execute(sql)
        return set(cursor.fetchall())
