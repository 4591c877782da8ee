"""Rows of XA transactions in doubt, as earlier versions kept them in the target."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from simulation.specs import Spec, plan_of

from myrepetl_dagster.core.plan.table_plan import PlannedColumn
from myrepetl_dagster.core.replication.catchup.in_doubt import InDoubt, payloads, unpacked

DATA = Path(__file__).parents[2] / "data" / "checkpoints"


def kept(build: str) -> list[tuple[str, bytes]]:
    """The names and the payloads in a target of that version."""
    found: list[tuple[str, bytes]] = []
    for entry in json.loads((DATA / f"{build}.json").read_text()):
        found += [(token, bytes.fromhex(payload)) for _, token, payload in entry.get("prepared", [])]
    return found


@pytest.mark.parametrize("build", ["d7c1b5d", "859892e", "bf3523e"])
def test_kept_rows_of_an_earlier_version_are_read(build: str) -> None:
    """The rows, their columns, and how many there were of each kind."""
    plan = plan_of(Spec("m", 0, "t0"))
    found = [unpacked(plan, payload) for _, payload in kept(build)]

    assert found
    for read, rows in found:
        assert read.columns == tuple(PlannedColumn(name, name) for name in ("a", "b", "v", "extra"))
        assert (rows.rows_read, rows.rows_upserted, rows.rows_deleted, rows.rows_filtered) == (2, 2, 0, 0)
        assert rows.to_mutations() == [(("_latin1'xa'", n), ("_latin1'xa'", n, n, n)) for n in ("6", "7")]


@pytest.mark.parametrize(("build", "whole"), [("d7c1b5d", False), ("859892e", False), ("bf3523e", True)])
def test_no_name_of_kept_rows_means_that_there_are_none(build: str, whole: bool) -> None:
    """A name without the character that says how the rows are kept is one of rows in parts: any number of rows fits."""
    for token, _ in kept(build):
        transactions = InDoubt({"xid": token})
        assert transactions.is_in_parts("xid") is not whole
        assert transactions.decided("xid") == ("" if whole else token)
    assert InDoubt({"xid": ""}).is_in_parts("xid") is False
    assert InDoubt({"xid": ""}).decided("xid") == ""


def test_the_form_of_kept_rows_is_the_one_that_was_stored() -> None:
    """To the byte, before compression: a version that does not know today's code reads them, too."""
    plan = plan_of(Spec("m", 0, "t0"))
    for _, payload in kept("bf3523e"):
        read, rows = unpacked(plan, payload)
        assert [zlib.decompress(one) for one in payloads(read, rows)] == [zlib.decompress(payload)]
