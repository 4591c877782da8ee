"""Positions: GTID sets against Python's sets of numbers, and where a place lies in a source's log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.model.gtid import GtidSet, with_mariadb_gtid
from myrepetl_dagster.core.model.position import Position, Transaction, earliest

UUIDS = ("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222")
NAMES = (*UUIDS, f"{UUIDS[0]}:blue")
Plain = dict[str, set[int]]

plain_sets = st.dictionaries(st.sampled_from(NAMES), st.sets(st.integers(1, 12), min_size=1))


def gtid_set(plain: Plain) -> GtidSet:
    """Built through text, one number at a time."""
    return GtidSet.parse(",".join(f"{name}:{number}" for name, numbers in plain.items() for number in numbers))


def plain_set(gtids: GtidSet) -> Plain:
    return {
        name: {number for first, end in intervals for number in range(first, end)}
        for name, intervals in gtids.members.items()
    }


@given(plain_sets)
def test_a_set_survives_its_text(plain: Plain) -> None:
    """What the server would be sent reads back as the same set, in the server's shortest form."""
    gtids = gtid_set(plain)

    assert plain_set(gtids) == plain
    assert GtidSet.parse(str(gtids)) == gtids
    assert hash(GtidSet.parse(str(gtids))) == hash(gtids)
    assert gtids.tagged == any(":" in name for name in plain)


@given(plain_sets, plain_sets)
def test_set_operations_are_those_of_sets(a: Plain, b: Plain) -> None:
    """Subset, intersection and union are what they are for sets of numbers."""
    both = {name: a[name] & b[name] for name in a.keys() & b.keys() if a[name] & b[name]}
    either = {name: a.get(name, set()) | b.get(name, set()) for name in a.keys() | b.keys()}

    assert gtid_set(a).issubset(gtid_set(b)) == all(numbers <= b.get(name, set()) for name, numbers in a.items())
    assert plain_set(gtid_set(a).intersection(gtid_set(b))) == both
    assert plain_set(gtid_set(a).union(gtid_set(b))) == either


@given(plain_sets, st.sampled_from(NAMES), st.integers(1, 13))
def test_one_more_gtid(plain: Plain, name: str, number: int) -> None:
    """A GTID that is added is contained, wherever in the set it falls, and nothing else is."""
    gtids = gtid_set(plain)
    grown = gtids.with_gtid(name, number)

    assert gtids.contains(name, number) == (number in plain.get(name, set()))
    assert plain_set(grown) == {**plain, name: plain.get(name, set()) | {number}}


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", ""),
        (f"{UUIDS[0]}:1", f"{UUIDS[0]}:1"),
        (f"{UUIDS[0].upper()}:1-3:5,\n{UUIDS[1]}:7", f"{UUIDS[0]}:1-3:5,{UUIDS[1]}:7"),
        (f"{UUIDS[0]}:3:1-2", f"{UUIDS[0]}:1-3"),
        (f"{UUIDS[0]}:1-5:8:blue:1-3:6", f"{UUIDS[0]}:1-5:8:blue:1-3:6"),
        (f"{UUIDS[0]}:blue:1:red:2", f"{UUIDS[0]}:blue:1:red:2"),
    ],
)
def test_the_servers_own_text(text: str, printed: str) -> None:
    """Upper case, line breaks, several intervals and tags are read, and written in the server's order."""
    assert str(GtidSet.parse(text)) == printed


@pytest.mark.parametrize("text", ["0-1-42", "not-a-uuid:1", f"{UUIDS[0]}:x-y", f"{UUIDS[0]}:1-2-3"])
def test_what_is_no_gtid_set(text: str) -> None:
    """A MariaDB GTID, or anything else that is not a MySQL set, is refused, not read as something."""
    with pytest.raises(ValueError, match=r"not a GTID set|invalid literal"):
        GtidSet.parse(text)


# ---- places in a log ----------------------------------------------------------------------------------
places = st.tuples(st.integers(999_998, 1_000_001), st.integers(4, 40))


def at(place: tuple[int, int], gtids: Plain | None = None) -> Position:
    return Position(f"binlog.{place[0]:06}", place[1], None if gtids is None else gtid_set(gtids))


@given(places, places)
def test_files_are_ordered_by_number(a: tuple[int, int], b: tuple[int, int]) -> None:
    """binlog.1000000 comes after binlog.999999, although its name does not."""
    transaction = Transaction(f"binlog.{b[0]:06}", b[1])

    assert at(a).covers(at(b)) == (a >= b)
    assert at(a).includes(transaction) == (b <= a)
    assert at(a).after(transaction).order == max(a, b)


@given(places, plain_sets, places, st.sampled_from(NAMES), st.integers(1, 12))
def test_gtids_decide_alone(a: tuple[int, int], held: Plain, b: tuple[int, int], name: str, number: int) -> None:
    """With GTIDs a transaction is read if its GTID is in the set, wherever in the files it lies."""
    position = at(a, held)
    transaction = Transaction(f"binlog.{b[0]:06}", b[1], gtid=(name, number))
    later = position.after(transaction)

    assert position.includes(transaction) == (number in held.get(name, set()))
    assert later.includes(transaction)
    assert later.covers(position)
    assert later.order == max(a, b)


@given(st.lists(st.tuples(places, plain_sets), min_size=1, max_size=4))
def test_the_earliest_start_misses_nothing_with_gtids(positions: list[tuple[tuple[int, int], Plain]]) -> None:
    """What a stream from there does not send, every one of the positions holds."""
    all_of_them = [at(place, held) for place, held in positions]
    start = earliest(all_of_them)

    assert all(position.covers(start) for position in all_of_them)
    assert start.order == min(place for place, _ in positions)
    for name in NAMES:
        for number in range(1, 13):
            transaction = Transaction("binlog.000001", 4, gtid=(name, number))
            assert start.includes(transaction) == all(p.includes(transaction) for p in all_of_them)


@given(st.lists(places, min_size=1, max_size=4))
def test_the_earliest_start_misses_nothing_by_place(found: list[tuple[int, int]]) -> None:
    """Without GTIDs it is the first of the places."""
    assert earliest([at(place) for place in found]).order == min(found)


def test_a_mariadb_position_keeps_the_last_gtid_of_each_domain() -> None:
    """A domain's new GTID takes the place of its old one, in the order of the domains' numbers."""
    assert with_mariadb_gtid("", "1-7-3") == "1-7-3"
    assert with_mariadb_gtid("1-7-3", "0-1-9") == "0-1-9,1-7-3"
    assert with_mariadb_gtid("0-1-9,1-7-3,10-1-1", "1-2-4") == "0-1-9,1-2-4,10-1-1"
    assert with_mariadb_gtid("0-1-9", "") == "0-1-9"
