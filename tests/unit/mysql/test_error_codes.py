"""The table of error numbers: complete where it matters, and no text decides where a number can."""

from __future__ import annotations

import pytest

from myrepetl_dagster.core.mysql.error_codes import ERROR_CODES, ErrorClass, classify


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([1205, 1213, 1317, 1020, 3024, 1969, 3, 20, 1021, 1026, 1114, 3675], ErrorClass.TRANSIENT),
        ([2006, 2013, 1053, 1158, 1159, 1160, 1161, 1927, 4031], ErrorClass.AMBIGUOUS_COMMIT),
        ([2002, 2003, 1040, 1203, 1226], ErrorClass.NEW_CONNECTION),
        ([1836, 1792], ErrorClass.FAILOVER),
        ([1373, 1789], ErrorClass.POSITION_LOST),
        ([1062, 1048, 3673, 1264, 1265, 1366, 1406, 1292, 3140, 3819, 4025, 1452, 1153], ErrorClass.DATA),
        ([1146, 1054, 1136], ErrorClass.SCHEMA),
        ([1044, 1045, 1142, 1143, 1227, 1698, 1064, 1193, 1381], ErrorClass.CONFIGURATION),
    ],
)
def test_numbers(codes: list[int], expected: ErrorClass) -> None:
    """Each number has the class that decides between retry, new position, row and person."""
    assert {code: classify(code).error_class for code in codes} == dict.fromkeys(codes, expected)


def test_an_unknown_number_is_not_retried() -> None:
    """What is not in the table needs a person; a hint says so."""
    unknown = classify(9999)
    assert unknown.error_class is ErrorClass.CONFIGURATION
    assert unknown.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Could not find first log file name in binary log index file", ErrorClass.POSITION_LOST),
        ("Cannot replicate because the source purged required binary logs", ErrorClass.POSITION_LOST),
        ("A replica with the same server_uuid/server_id as this replica has connected", ErrorClass.CONFIGURATION),
        ("log event entry exceeded max_allowed_packet", ErrorClass.CONFIGURATION),
        ("Could not open log file", ErrorClass.NEW_CONNECTION),
    ],
)
def test_1236_by_its_text(text: str, expected: ErrorClass) -> None:
    """1236 has several meanings; where its text is not known, the position counts as lost."""
    assert classify(1236, text).error_class is expected
    assert classify(1236, "in words of another language").error_class is ErrorClass.POSITION_LOST


def test_1290_by_its_text() -> None:
    """1290 is a failover only where it speaks of read-only."""
    assert classify(1290, "running with the --read-only option").error_class is ErrorClass.FAILOVER
    assert classify(1290, "running with the --secure-file-priv option").error_class is ErrorClass.CONFIGURATION
    substituted = classify(1290, "running with the NO_ENGINE_SUBSTITUTION option")
    assert substituted.error_class is ErrorClass.CONFIGURATION
    assert "enforce_storage_engine" in substituted.hint


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1, "Can't create/write to file '/tmp/x' (OS errno 28 - No space left on device)"),
        (1004, "Can't create file './d/t.frm' (errno: 28 \"No space left on device\")"),
        (1005, 'Can\'t create table `d`.`t` (errno: 28 "No space left on device")'),
        (1030, "Got error 28 - 'No space left on device' from storage engine"),
    ],
)
def test_no_space_by_the_systems_errno(code: int, text: str) -> None:
    """Numbers that say only that a file failed: with errno 28 there is no space, which passes."""
    assert classify(code, text).error_class is ErrorClass.TRANSIENT
    assert "space" in classify(code, text).hint
    assert "space" not in classify(code, text.replace("28", "13")).hint


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1005, 'Can\'t create table `d`.`t` (errno: 165 "Table is read only")'),
        (1015, "Can't lock file (errno: 165 - Table is read only)"),
    ],
)
def test_a_read_only_engine_by_its_errno(code: int, text: str) -> None:
    """innodb_read_only shows in numbers that mean much else: with errno 165 another server may be the primary."""
    assert classify(code, text).error_class is ErrorClass.FAILOVER
    assert classify(code, text.replace("165", "13")).error_class is ErrorClass.CONFIGURATION


def test_table() -> None:
    """Every entry stands under its own number, with a symbol."""
    assert all(code == entry.code and entry.symbol for code, entry in ERROR_CODES.items())


def test_1005_of_too_many_columns() -> None:
    """MariaDB says so by the engine's number; the hint is that of the error that MySQL gives."""
    text = 'Can\'t create table `d`.`t` (errno: 185 "Too many columns")'
    assert classify(1005, text).hint == classify(1117).hint
    assert classify(1005, text).error_class is ErrorClass.CONFIGURATION
