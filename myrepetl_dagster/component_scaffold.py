"""What `dg scaffold defs myrepetl_dagster.ReplicationComponent NAME` writes: a pipeline that loads as it is."""

from __future__ import annotations

import re
from typing import Any

import dagster as dg

PIPELINE_FILE = "pipeline.yaml"

PIPELINE = """\
# The pipeline: which tables of which servers go where. All keys: see the README of myrepetl_dagster.
# Try it with `myrepetl validate THIS_FILE` (no connection), then `myrepetl test-connection THIS_FILE`.

sources:
  shop: # a name of yours; mappings and Dagster use it
    host: 127.0.0.1
    port: 3306
    user: repl
    # Better ${SHOP_PASSWORD}: then it is read from the environment, and loading fails where it is not set.
    password: change-me
    database: shop

targets:
  warehouse:
    host: 127.0.0.1
    port: 3306
    user: etl
    password: change-me # better ${WAREHOUSE_PASSWORD}
    database: dw

mapping:
  # Every column, under its own name. The target table is created if it does not exist.
  shop.orders:
    target_table: warehouse.orders

  # Some columns, renamed or transformed, of some rows.
  shop.customers:
    target_table: warehouse.customers
    primary_key: id
    column_mapping:
      id: id
      name: {column: full_name, transform: transform.trim}
      country: country
    filter:
      country: {not: null}
"""

PYTHON = """\
import dagster as dg

from myrepetl_dagster import ReplicationComponent


@dg.component_instance
def load(context: dg.ComponentLoadContext) -> ReplicationComponent:
    return ReplicationComponent(path="{file}", name="{name}")
"""


class ReplicationScaffolder(dg.Scaffolder[Any]):
    """Writes the component's file, and a commented pipeline beside it."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        name = re.sub(r"[^A-Za-z0-9_]", "_", request.target_path.name)
        if request.scaffold_format == "python":
            text = PYTHON.format(file=PIPELINE_FILE, name=name)
            (request.target_path / "component.py").write_text(text, encoding="utf-8")
        else:
            dg.scaffold_component(request, {"path": PIPELINE_FILE, "name": name})
        pipeline = request.target_path / PIPELINE_FILE
        if not pipeline.exists():
            pipeline.write_text(PIPELINE, encoding="utf-8")
