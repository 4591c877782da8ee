"""Pipeline files: every spelling of the original loads, every mistake is named by its path."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myrepetl_dagster.core.config.load import ColumnMapping, Endpoint, Pipeline, Secret, from_dict, load
from myrepetl_dagster.core.model.errors import ConfigError
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.model.tables import TableName
from myrepetl_dagster.core.transforms.filters import And, Compare

yaml = pytest.importorskip("yaml")

Data = dict[str, Any]
PASSWORD = "hunter2-very-secret"


def server(database: str = "shop", **more: Any) -> Data:
    return {"host": "db.example", "user": "repl", "password": PASSWORD, "database": database, **more}


def pipeline(mapping: Data | None = None, **more: Any) -> Data:
    """A small pipeline: two sources and a target; `mapping` is one mapping's content, or left as it is."""
    return {
        "sources": {"north": server("shop_north"), "south": server("shop_south", host="south.example")},
        "targets": {"lake": server("lake_db", host="lake.example")},
        "mapping": {"north.clients": mapping if mapping is not None else clients()},
        **more,
    }


def clients(**more: Any) -> Data:
    columns = {"id": {"column": "id", "primary_key": True}, "name": {"column": "full_name"}}
    return {"target_table": "lake.clients", "primary_key": "id", "column_mapping": columns, **more}


def read(data: Data, base_dir: Path = Path("/nonexistent"), **environ: str) -> Pipeline:
    return from_dict(data, base_dir, environ)


def problems(data: Data, base_dir: Path = Path("/nonexistent"), **environ: str) -> dict[str, str]:
    """The problems of a pipeline, path -> what and hint."""
    with pytest.raises(ConfigError) as caught:
        read(data, base_dir, **environ)
    assert PASSWORD not in str(caught.value)
    return {path: f"{what} ({hint})" for path, what, hint in caught.value.problems}


# ---- spellings ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "tables", "expected"),
    [
        ("north.clients", {"target_table": "lake.people"}, ("north", "shop_north", "clients")),
        (
            "any",
            {"source_table": "north.clients", "target_table": "lake.people"},
            ("north", "shop_north", "clients"),
        ),
        (
            "south.x",
            {"source_table": "north.clients", "target_table": "lake.people"},
            ("north", "shop_north", "clients"),
        ),
        (
            "any",
            {"source": "north", "target": "lake", "source_table": "clients", "target_table": "people"},
            ("north", "shop_north", "clients"),
        ),
        (
            "north.clients",
            {"source": "north", "target": "lake", "target_table": "people"},
            ("north", "shop_north", "clients"),
        ),
        ("clients", {"source": "north", "target_table": "people"}, ("north", "shop_north", "clients")),
        (
            "shop_north.clients",
            {"source": "north", "target_table": "people"},
            ("north", "shop_north", "clients"),
        ),
        ("north.clients", {"target": "lake", "target_table": "people"}, ("north", "shop_north", "clients")),
        ("north.clients", {"target_table": "people"}, ("north", "shop_north", "clients")),
        (
            "north.clients",
            {"target": "lake", "target_table": "lake.people"},
            ("north", "shop_north", "clients"),
        ),
        ("north.clients", {"target_table": "lake.lake_db.people"}, ("north", "shop_north", "clients")),
        ("north.clients", {"target_table": "lake_db.people"}, ("north", "shop_north", "clients")),
        (
            "any",
            {"source_table": "north.archive.clients", "target_table": "people"},
            ("north", "archive", "clients"),
        ),
        (
            "any",
            {"source": "north", "source_table": "archive.clients", "target_table": "people"},
            ("north", "archive", "clients"),
        ),
        (
            "any",
            {"source": "north", "source_table": "north.archive.clients", "target_table": "people"},
            ("north", "archive", "clients"),
        ),
        (
            "north.x",
            {"source_table": "clients", "target_table": "people"},
            ("north", "shop_north", "clients"),
        ),
        (
            "any",
            {"source_table": "shop_south.clients", "target_table": "people"},
            ("south", "shop_south", "clients"),
        ),
        (
            "any",
            {"source_table": "north.`my.clients`", "target_table": "people"},
            ("north", "shop_north", "my.clients"),
        ),
        (
            "any",
            {"source": "north", "source_table": "`my.clients`", "target_table": "lake.`people`"},
            ("north", "shop_north", "my.clients"),
        ),
        ("north.`a``.b`", {"target_table": "people"}, ("north", "shop_north", "a`.b")),
        ("north.x", {"source_table": "`c.d`", "target_table": "people"}, ("north", "shop_north", "c.d")),
        ("any", {"source_table": "north.`v.1`.a`b", "target_table": "people"}, ("north", "v.1", "a`b")),
    ],
)
def test_tables(key: str, tables: Data, expected: tuple[str, str, str]) -> None:
    """Source and target table are found from each place in which they can be written."""
    data = pipeline()
    data["mapping"] = {key: {"primary_key": "id", "column_mapping": {"id": "id"}, **tables}}

    (mapping,) = read(data).mappings

    assert (mapping.source, mapping.source_schema, mapping.source_table) == expected
    assert (mapping.target, mapping.target_name) == ("lake", TableName("lake_db", "people"))
    assert mapping.name == key


@pytest.mark.parametrize(
    ("key", "tables", "path", "said"),
    [
        ("nort.clients", {"target_table": "lake.t"}, "mapping.nort.clients", "did you mean 'north'?"),
        ("clients", {"target_table": "lake.t"}, "mapping.clients", "which source"),
        (
            "k",
            {"source": "nort", "source_table": "t", "target_table": "lake.t"},
            "mapping.k.source",
            "'north'",
        ),
        ("north.t", {"target": "lak", "target_table": "t"}, "mapping.north.t.target", "did you mean 'lake'?"),
        ("north.t", {"target_table": "lak.t"}, "mapping.north.t.target_table", "unknown target 'lak'"),
        ("north.t", {}, "mapping.north.t.target_table", "is missing"),
        ("north.t", {"source": "south", "target_table": "t"}, "mapping.north.t.source", "begins with north"),
        (
            "k",
            {"source": "north", "source_table": "south.t", "target_table": "t"},
            "mapping.k.source_table",
            "names source 'south'",
        ),
        ("k", {"source_table": "a.b.c.d", "target_table": "t"}, "mapping.k.source_table", "source.table"),
        ("k", {"source_table": "north.", "target_table": "t"}, "mapping.k.source_table", "source.table"),
    ],
)
def test_unknown_tables(key: str, tables: Data, path: str, said: str) -> None:
    """A table whose server is unknown or contradictory is named."""
    data = pipeline()
    data["mapping"] = {key: {"primary_key": "id", "column_mapping": {"id": "id"}, **tables}}
    assert said in problems(data)[path]


def test_single_source_and_target() -> None:
    """The original's first versions had one `source` and one `target`, named by their databases."""
    data = {
        "source": server("shop"),
        "target": server("lake_db", host="other"),
        "replication": {"server_id": 100},
        "mapping": {"shop.clients": {**clients(), "target_table": "lake_db.clients"}},
    }
    (mapping,) = read(data).mappings
    assert (mapping.source, mapping.target) == ("source", "target")
    assert mapping.source_name == TableName("shop", "clients")


def test_init_batch_example() -> None:
    """`columns` for column_mapping, `init_queries` at the top and a source's own server_id."""
    data = {
        "sources": {"a": server("src", server_id=7)},
        "targets": {"b": server("dst", host="other", batch_size=50, batch_flush_interval=3.0)},
        "mapping": {
            "a.t": {
                "target": "b",
                "target_table": "t",
                "primary_key": "id",
                "columns": {"id": "id", "x": "y"},
            }
        },
        "init_queries": {"a.t": "SELECT id, x FROM t WHERE x > 1;"},
    }
    read_pipeline = read(data)
    (mapping,) = read_pipeline.mappings
    assert read_pipeline.sources["a"].server_id == 7
    assert (read_pipeline.targets["b"].batch_rows_max, read_pipeline.targets["b"].batch_interval_s) == (
        50,
        3.0,
    )
    assert mapping.columns == (ColumnMapping("id", "id"), ColumnMapping("x", "y"))
    assert mapping.init_query == "SELECT id, x FROM t WHERE x > 1"


def test_metrics_example() -> None:
    """metrics_port and the batch settings at the top of the file."""
    top: Data = {"metrics_port": 8080, "batch_size": 1000, "batch_timeout": 5}
    top |= {"init_batch_size": 500, "init_batch_timeout": 9}
    found = read(pipeline(**top))
    assert found.metrics_port == 8080
    assert found.targets["lake"].batch_rows_max == 1000
    assert found.targets["lake"].batch_interval_s == 5.0
    assert found.limits.chunk_rows_max == 500
    assert any("init_batch_timeout" in warning for warning in found.warnings)


def test_everything_of_the_original_at_once() -> None:
    """The settings of the original's README, demo and examples load as they are."""
    data = pipeline(
        clients(
            init_query="SELECT * FROM clients WHERE state = 'on' AND id > 2",
            filter={"state": {"eq": "on"}, "id": {"gt": 2}},
            init_if_table_empty=False,
        ),
        replication={
            "server_id": 100,
            "log_file": None,
            "log_pos": 4,
            "resume_stream": True,
            "blocking": True,
            "only_events": ["WriteRowsEvent", "UpdateRowsEvent", "DeleteRowsEvent"],
            "pause_replication_during_init": True,
        },
        monitoring={"enabled": False, "interval": 10, "log_level": "warning"},
        database={"connect_timeout": 10, "read_timeout": 30, "write_timeout": 31, "charset": "utf8mb4"},
    )
    found = read(data)
    mapping = found.mappings[0]
    assert found.replication.server_id == 100
    assert (found.monitoring.enabled, found.monitoring.interval_s, found.monitoring.log_level) == (
        False,
        10,
        "WARNING",
    )
    source = found.sources["north"]
    assert (source.connect_timeout_s, source.read_timeout_s, source.write_timeout_s) == (10.0, 30.0, 31.0)
    assert mapping.filter == And((Compare("state", "eq", "on"), Compare("id", "gt", 2)))
    assert not mapping.init_if_table_empty
    assert mapping.pause_replication_during_init
    assert found.warnings == ()


def test_defaults() -> None:
    """What is not written has the documented default."""
    found = read(pipeline())
    mapping = found.mappings[0]
    assert (found.replication.server_id, found.replication.log_file, found.metrics_port) == (None, None, None)
    assert found.limits == Limits()
    assert not mapping.init_if_table_empty
    assert (mapping.init_query, mapping.filter, mapping.on_position_lost) == (None, None, "fail")
    assert not mapping.pause_replication_during_init
    assert found.sources["north"].port == 3306
    assert found.sources["north"].connect_timeout_s is None
    assert found.mappings_of_source("north") == found.mappings_of_target("lake") == (mapping,)
    assert found.mappings_of_source("south") == ()


def test_yaml_and_json_mean_the_same(tmp_path: Path) -> None:
    """The same keys as JSON, as YAML and without a telling name give the same pipeline."""
    data = pipeline()
    names = ["a.json", "a.yaml", "a.yml", "a.conf", "b.conf"]
    for name in names:
        text = json.dumps(data) if name in ("a.json", "a.conf") else yaml.safe_dump(data)
        (tmp_path / name).write_text(text)

    first, *others = [load(tmp_path / name, {}) for name in names]

    assert all(other == first for other in others)
    assert first.base_dir == tmp_path.resolve()


# ---- columns and keys --------------------------------------------------------------------------------
def test_column_spellings() -> None:
    """A column may be an object, a name, nothing, or without `column`."""
    columns = {
        "id": {"column": "client_id", "primary_key": True},
        "name": "full_name",
        "email": None,
        "phone": {},
        "city": {"transform": "transform.uppercase"},
        "origin": {"column": "origin", "value": "north"},
        "state": {"column": "state", "value": None},
        "since": {"value": 0},
    }
    mapping = read(pipeline({"target_table": "lake.c", "column_mapping": columns})).mappings[0]
    assert mapping.columns is not None
    by_target = {column.target: column for column in mapping.columns}
    assert list(by_target) == ["client_id", "full_name", "email", "phone", "city", "origin", "state", "since"]
    assert by_target["client_id"].source == "id"
    assert by_target["origin"] == ColumnMapping(None, "origin", value="north", has_value=True)
    assert by_target["state"] == ColumnMapping("state", "state")
    assert by_target["since"] == ColumnMapping(None, "since", value=0, has_value=True)
    assert by_target["city"].transform is not None
    assert by_target["city"].transform.builtin == "uppercase"
    assert mapping.primary_key == ("client_id",)
    assert mapping.schema_policy == "ignore"


@pytest.mark.parametrize(
    ("primary_key", "flags", "expected"),
    [
        ("id", [], ("client_id",)),
        ("client_id", [], ("client_id",)),
        ("id", ["id"], ("client_id",)),
        (["id"], ["id"], ("client_id",)),
        (["shop", "id"], [], ("shop", "client_id")),
        (["client_id", "shop"], ["shop"], ("client_id", "shop")),
        ("id", ["shop"], ("client_id", "shop")),
        (None, ["id", "shop"], ("client_id", "shop")),
        ({"env": "KEY"}, [], ("client_id",)),
    ],
)
def test_primary_key(primary_key: object, flags: list[str], expected: tuple[str, ...]) -> None:
    """The key is what is named, as source or target column, with what is flagged; in target names."""
    columns: Data = {"id": {"column": "client_id"}, "shop": {"value": 1}, "name": {}}
    for name in flags:
        columns[name]["primary_key"] = True
    data = pipeline({"target_table": "lake.c", "primary_key": primary_key, "column_mapping": columns})
    assert read(data, KEY="id").mappings[0].primary_key == expected


def test_key_names_the_target_column_first() -> None:
    """A name that is one column's source and another's target means the target."""
    columns = {"id": "old_id", "uid": "id"}
    data = pipeline({"target_table": "lake.c", "primary_key": "id", "column_mapping": columns})
    assert read(data).mappings[0].primary_key == ("id",)


def test_every_column() -> None:
    """Without a column list every column goes under its own name, and the key is the source's."""
    mapping = read(pipeline({"target_table": "lake.c"})).mappings[0]
    assert (mapping.columns, mapping.primary_key, mapping.schema_policy) == (None, (), "evolve")


# ---- two mappings into one table ---------------------------------------------------------------------
def both(first: Data, second: Data, **more: Any) -> Data:
    data = pipeline(**more)
    columns = {"id": {"column": "id"}, "name": {"column": "name"}}
    data["mapping"] = {
        "north.clients": {
            "target_table": "lake.c",
            "primary_key": "id",
            "column_mapping": {**columns, **first},
        },
        "south.clients": {
            "target_table": "lake.c",
            "primary_key": "id",
            "column_mapping": {**columns, **second},
        },
    }
    return data


def test_static_value_becomes_part_of_the_key() -> None:
    """Two sources in one table are told apart by their static values, which join the key."""
    found = read(both({"source_id": {"value": "1"}}, {"source_id": {"value": "2"}}))
    assert [mapping.primary_key for mapping in found.mappings] == [("id", "source_id")] * 2
    assert len(found.warnings) == 2
    assert "mapping.north.clients.primary_key" in found.warnings[0]


def test_static_value_in_the_key_already() -> None:
    """Nothing is added where the key tells the rows apart already, even if another column could."""
    one = {"a": {"value": "x"}, "z": {"value": 1, "primary_key": True}}
    two = {"a": {"value": "y"}, "z": {"value": 2, "primary_key": True}}
    found = read(both(one, two))
    assert [mapping.primary_key for mapping in found.mappings] == [("id", "z")] * 2
    assert not any("taken into the key" in warning for warning in found.warnings)


def test_two_columns_together_tell_rows_apart() -> None:
    """Where no single column is different everywhere, all common ones join the key."""
    data = both({"a": {"value": 1}, "b": {"value": 1}}, {"a": {"value": 1}, "b": {"value": 2}})
    data["mapping"]["south.more"] = {**data["mapping"]["south.clients"]}
    data["mapping"]["south.more"]["column_mapping"] = {"id": "id", "a": {"value": 2}, "b": {"value": 1}}
    assert {mapping.primary_key for mapping in read(data).mappings} == {("id", "a", "b")}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"s": {"value": 1}}, {}),
        ({"s": {"value": 1}}, {"s": "s"}),
        ({"s": {"value": 1}}, {"s": {"value": "01"}}),
        ({"s": {"value": "a"}}, {"s": {"value": "A "}}),
    ],
)
def test_mappings_that_write_the_same_rows(first: Data, second: Data) -> None:
    """Mappings whose rows nothing keeps apart are refused, with both paths."""
    found = problems(both(first, second))
    assert "as mapping.north.clients" in found["mapping.south.clients"]
    assert list(found) == ["mapping.south.clients"]


def test_complementary_filters_do_not_keep_rows_apart() -> None:
    """One table mapped twice with opposite filters is refused: a row may cross from one to the other."""
    data = pipeline()
    data["mapping"] = {
        "low": clients(source_table="north.clients", filter={"id": {"lt": 5}}),
        "high": clients(source_table="north.clients", filter={"id": {"gte": 5}}),
    }
    assert "same rows" in problems(data)["mapping.high"]


def test_same_server_under_two_names() -> None:
    """Two targets with one address are one server."""
    data = both({}, {})
    data["targets"]["pond"] = dict(data["targets"]["lake"])
    data["mapping"]["south.clients"]["target_table"] = "pond.c"
    assert "same rows" in problems(data)["mapping.south.clients"]


def test_table_into_itself() -> None:
    """A table that is replicated into itself would never come to rest."""
    data = pipeline()
    data["targets"]["lake"] = {**data["sources"]["north"], "host": "DB.example"}
    data["mapping"] = {"north.clients": clients()}
    assert "source table itself" in problems(data)["mapping.north.clients.target_table"]


# ---- connections -------------------------------------------------------------------------------------
def test_database_section_gives_defaults(tmp_path: Path) -> None:
    """A connection's own setting wins over the `database` section, whose own typos are found once."""
    (tmp_path / "ca.pem").write_text("x")
    data = pipeline(database={"connect_timeout": 5, "ssl_ca": "ca.pem", "port": 3307, "password": "other"})
    data["sources"]["north"]["port"] = 3308
    found = read(data, tmp_path)
    assert found.sources["north"].port == 3308
    assert found.sources["south"].port == 3307
    assert found.targets["lake"].ssl_ca == str(tmp_path / "ca.pem")
    assert found.targets["lake"].password.reveal() == PASSWORD

    data["database"]["conect_timeout"] = 5
    assert problems(data, tmp_path) == {"database.conect_timeout": "unknown key (did you mean 'connect_timeout'?)"}


def test_socket_without_password() -> None:
    """A socket needs neither host nor password."""
    data = pipeline()
    data["sources"]["north"] = {"unix_socket": "/run/mysqld.sock", "user": "repl", "database": "shop_north"}
    source = read(data).sources["north"]
    assert (source.unix_socket, source.password.reveal(), source.address) == (
        "/run/mysqld.sock",
        "",
        "/run/mysqld.sock",
    )


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"host": None}, "host", "is missing"),
        ({"user": ""}, "user", "is empty"),
        ({"port": 0}, "port", "1 to 65535"),
        ({"port": 70000}, "port", "1 to 65535"),
        ({"port": "abc"}, "port", "whole number, not text"),
        ({"port": True}, "port", "whole number"),
        ({"password": 1234}, "password", "text, not a number"),
        ({"password": [PASSWORD]}, "password", "text, not a list"),
        ({"pasword": PASSWORD}, "pasword", "did you mean 'password'?"),
        ({"read_timeout": 0}, "read_timeout", "above 0"),
        ({"read_timeout": "soon"}, "read_timeout", "a number, not text"),
        ({"ssl_ca": "gone.pem"}, "ssl_ca", "no such file"),
        ({"ssl_disabled": True, "ssl_verify_identity": True}, "ssl_disabled", "contradicts"),
        ({"ssl_disabled": "maybe"}, "ssl_disabled", "true or false"),
        ({"charset": "utf8; drop"}, "charset", "character set"),
        ({"batch_size": 0}, "batch_size", "1 or more"),
        ({"server_id": 2**32}, "server_id", "1 to"),
        ({"database": None}, "database", "checkpoints"),
    ],
)
def test_wrong_connections(change: Data, path: str, said: str) -> None:
    """A connection's mistakes are named before anything connects, without values."""
    data = pipeline()
    data["targets"]["lake"].update(change)
    assert said in problems(data)[f"targets.lake.{path}"]


def test_source_without_database() -> None:
    """A source needs no database where the tables name their schema."""
    data = pipeline()
    del data["sources"]["north"]["database"]
    assert "schema" in problems(data)["mapping.north.clients"]
    data["mapping"]["north.clients"]["source_table"] = "north.shop.clients"
    assert read(data).mappings[0].source_name == TableName("shop", "clients")


# ---- settings that would lose data -------------------------------------------------------------------
@pytest.mark.parametrize(
    ("replication", "path", "said"),
    [
        ({"resume_stream": False}, "resume_stream", "checkpoint"),
        ({"only_events": ["WriteRowsEvent"]}, "only_events", "UpdateRowsEvent, DeleteRowsEvent"),
        ({"only_events": []}, "only_events", "WriteRowsEvent"),
        ({"only_events": "all"}, "only_events", "list"),
        ({"log_pos": 1234}, "log_pos", "without log_file"),
        ({"log_file": "bin.000001", "log_pos": 3}, "log_pos", "4 or more"),
        ({"server_id": 0}, "server_id", "1 to"),
        ({"server_ids": 1}, "server_ids", "did you mean 'server_id'?"),
    ],
)
def test_wrong_replication(replication: Data, path: str, said: str) -> None:
    """A replication setting that would lose data is refused, and says what to do."""
    assert said in problems(pipeline(replication=replication))[f"replication.{path}"]


def test_start_position() -> None:
    """log_file and log_pos are read; with several sources a warning says that all start there."""
    found = read(pipeline(replication={"log_file": "bin.000007", "log_pos": 120, "blocking": False}))
    assert (found.replication.log_file, found.replication.log_pos) == ("bin.000007", 120)
    assert "every source" in found.warnings[0]


# ---- variables ---------------------------------------------------------------------------------------
def test_variables() -> None:
    """`${NAME}` inside text and `{"env": "NAME"}` in the place of a value are put in."""
    data = pipeline(metrics_port={"env": "PORT"})
    data["sources"]["north"].update(password={"env": "PW"}, port="${PORT}", host="${HOST}.example", read_timeout="${T}")
    data["mapping"]["north.clients"]["filter"] = {"name": {"env": "WHO"}, "cost": "$${not}", "env": "prod"}
    data["mapping"]["north.clients"]["column_mapping"]["env"] = {"column": "stage", "value": {"env": "WHO"}}
    found = read(data, PW=PASSWORD, PORT="3310", HOST="db7", WHO="ann", T="2.5")
    source = found.sources["north"]
    assert (source.password.reveal(), source.port, source.host, source.read_timeout_s) == (
        PASSWORD,
        3310,
        "db7.example",
        2.5,
    )
    assert found.metrics_port == 3310
    assert found.mappings[0].filter == And(
        (Compare("name", "eq", "ann"), Compare("cost", "eq", "${not}"), Compare("env", "eq", "prod"))
    )
    assert found.mappings[0].columns is not None
    assert found.mappings[0].columns[-1].value == "ann"


def test_missing_variables() -> None:
    """A missing variable is one problem, with its name and path."""
    data = pipeline()
    data["sources"]["north"].update(password={"env": "PW"}, user="${WHO}", port="${PORT}")
    data["mapping"]["north.clients"]["filter"] = {"id": {"gt": {"env": "LOW"}}}
    data["mapping"]["north.clients"]["primary_key"] = "${KEY}"
    found = problems(data)
    assert set(found) == {
        "sources.north.password",
        "sources.north.user",
        "sources.north.port",
        "mapping.north.clients.filter.id.gt",
        "mapping.north.clients.primary_key",
    }
    assert "PW is not set" in found["sources.north.password"]


# ---- problems ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"filters": {}}, "filters", "did you mean 'filter'?"),
        ({"filter": {"id": {"gtt": 3}}}, "filter.id.gtt", "did you mean 'gt'?"),
        ({"primary_key": None, "column_mapping": {"id": "id"}}, "primary_key", "is missing"),
        ({"primary_key": "idd"}, "primary_key", "did you mean 'id'?"),
        ({"primary_key": ["id", "id"]}, "primary_key", "twice"),
        ({"primary_key": [1]}, "primary_key", "list of them"),
        ({"column_mapping": {}}, "column_mapping", "is empty"),
        ({"column_mapping": "all"}, "column_mapping", "object, not text"),
        ({"columns": {"id": "id"}}, "columns", "same as column_mapping"),
        ({"column_mapping": {"id": 3}}, "column_mapping.id", "object, not a number"),
        ({"column_mapping": {"id": {"colum": "x"}}}, "column_mapping.id.colum", "did you mean 'column'?"),
        (
            {"column_mapping": {"id": "id", "x": {"column": "ID"}}},
            "column_mapping.x",
            "same target column as id",
        ),
        (
            {"column_mapping": {"id": "id", "x": {"transform": "transform.uppercas"}}},
            "column_mapping.x.transform",
            "no file",
        ),
        (
            {"column_mapping": {"id": "id", "x": {"transform": "transform.trim", "value": 1}}},
            "column_mapping.x.value",
            "beside a transform",
        ),
        ({"column_mapping": {"id": "id", "x": {"value": [1]}}}, "column_mapping.x.value", "single value"),
        ({"init_query": "DELETE FROM t"}, "init_query", "SELECT"),
        ({"init_query": 3}, "init_query", "text, not a number"),
        ({"schema_policy": "evolv"}, "schema_policy", "evolve, ignore, fail"),
        ({"on_position_lost": "guess"}, "on_position_lost", "fail, resnapshot"),
        ({"init_if_table_empty": "perhaps"}, "init_if_table_empty", "true or false"),
    ],
)
def test_wrong_mappings(change: Data, path: str, said: str) -> None:
    """A mapping's mistakes are named by their path, with a hint."""
    assert said in problems(pipeline(clients(**change)))[f"mapping.north.clients.{path}"]


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        ({"maping": {}}, "maping", "did you mean 'mapping'?"),
        ({"sources": {}}, "sources", "is empty"),
        ({"targets": None}, "targets", "is missing"),
        ({"mapping": {}}, "mapping", "is empty"),
        ({"sources": []}, "sources", "object, not a list"),
        ({"sources": {"a.b": server()}}, "sources.a.b", "dot"),
        ({"metrics_port": 0}, "metrics_port", "1 to 65535"),
        ({"limits": {"attempts_max": 0}}, "limits.attempts_max", "1 or more"),
        ({"limits": {"attempt_max": 1}}, "limits.attempt_max", "did you mean 'attempts_max'?"),
        ({"monitoring": {"log_level": "LOUD"}}, "monitoring.log_level", "DEBUG"),
        ({"init_queries": {"north.client": "SELECT 1"}}, "init_queries.north.client", "'north.clients'"),
        ({"transformation_rules": []}, "transformation_rules", "sources, targets and mapping"),
    ],
)
def test_wrong_sections(change: Data, path: str, said: str) -> None:
    """Mistakes outside the mappings are named too."""
    assert said in problems({**pipeline(), **change})[path]


def test_limits() -> None:
    """The limits section sets the limits by their names."""
    found = read(pipeline(limits={"chunk_rows_max": 10, "stream_timeout_s": 1.5}))
    assert found.limits == Limits(chunk_rows_max=10, stream_timeout_s=1.5)


def test_all_problems_are_raised_at_once() -> None:
    """One run of the check shows every mistake of the file."""
    data = pipeline(clients(filter={"a": {"xx": 1}}), replication={"resume_stream": False}, unknown=1)
    data["sources"]["north"]["port"] = -1
    data["mapping"]["east.t"] = {"target_table": "lake.t"}
    assert set(problems(data)) == {
        "sources.north.port",
        "replication.resume_stream",
        "mapping.north.clients.filter.a.xx",
        "mapping.east.t",
        "unknown",
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.json", '{"sources": {},}', "line 1, column 16"),
        ("p.json", '{\n  // note\n "sources": {}}', "JSON has no comments"),
        ("p.json", "[]", "must be an object, not a list"),
        ("p.yaml", "", "must be an object, not null"),
        ("p.yaml", "sources:\n  a: {password: *hunter2-very-secret}\n", "line 2"),
        ("p.yaml", "sources:\n  a: {password: !hunter2-very-secret x}\n", "line 2"),
        ("p.yaml", "a: [1\n", "is not YAML"),
        ("p.yaml", "a: 2024-02-31\n", "ValueError"),
        ("p.yaml", "a:\n\tb: hunter2-very-secret\n", "is not YAML: a tab at line 2, column 1 (indent with spaces)"),
        ("p.yaml", "a: \x01\n", "is not YAML"),
        ("p.json", '{"mapping": {"a.b": {"x": 1, "x": 2}}}', "mapping.a.b.x: stands twice"),
        ("p.yaml", "mapping:\n  a.b: {x: 1}\n  a.b: {y: 2}\n", "mapping.a.b: stands twice"),
        ("p.yaml", "1: x\n", "a key must be text"),
    ],
)
def test_files_that_cannot_be_parsed(tmp_path: Path, name: str, text: str, said: str) -> None:
    """What is wrong with a file's text is named with its place, never with what it holds."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / name, {})

    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder and a file in another encoding are named."""
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    for path, said in [("gone.json", "no such file"), (".", "cannot be read"), ("latin.json", "not UTF-8")]:
        with pytest.raises(ConfigError, match=said):
            load(tmp_path / path, {})


def test_yaml_anchors(tmp_path: Path) -> None:
    """Anchors and merges are no repeated keys."""
    text = (
        "sources:\n  a: &s {host: h, user: u, password: p, database: x}\n  b: {<<: *s, database: y}\n"
        "targets:\n  t: {<<: *s, host: g}\nmapping:\n  a.one: {target_table: t.one}\n"
    )
    (tmp_path / "p.yaml").write_text(text)
    found = load(tmp_path / "p.yaml", {})
    assert (found.sources["b"].host, found.sources["b"].database) == ("h", "y")


# ---- secrets -----------------------------------------------------------------------------------------
def test_secrets_do_not_show() -> None:
    """No text made of a pipeline holds a password, and a pickled one keeps it."""
    found = read(pipeline())
    assert PASSWORD not in f"{found} {found!r} {found.sources} {Secret(PASSWORD)}"
    assert pickle.loads(pickle.dumps(found)) == found
    assert pickle.loads(pickle.dumps(found)).sources["north"].password.reveal() == PASSWORD


def test_import_is_light() -> None:
    """Reading a pipeline imports neither a driver nor Dagster, and YAML only where it is read."""
    heavy = ("pymysql", "dagster", "yaml")
    code = f"import sys, myrepetl_dagster.core.config.load; print([m for m in {heavy} if m in sys.modules])"
    env = {"PYTHONPATH": str(Path(__file__).parents[3])}
    assert subprocess.check_output([sys.executable, "-c", code], env=env, text=True).strip() == "[]"


def test_endpoint_address() -> None:
    """Names of one machine are one address."""
    assert Endpoint("a", "source", host="LOCALHOST").address == Endpoint("b", "target", host="127.0.0.1").address


# ---- anything at all ---------------------------------------------------------------------------------
def full() -> Data:
    """A pipeline that uses every section."""
    data = both({"s": {"value": 1}}, {"s": {"value": 2}}, limits={"attempts_max": 3}, metrics_port=9000)
    data["mapping"]["north.clients"].update(init_query="SELECT 1", filter={"and": [{"a": {"gt": 1}}]})
    data["targets"]["lake"].update(batch_size=5, ssl_disabled=True, autocommit=False)
    data.update(database={"charset": "utf8mb4"}, monitoring={"interval": 3}, replication={"server_id": 5})
    return data


def places(data: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, value in children for place in places(value, (*path, key)))]


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["${X}", "a.b"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["env", "eq", "not", "column", "value", "id", "x.y"]), inner, max_size=2)
    ),
    max_leaves=5,
)


@given(st.sampled_from([place for place in places(full()) if place]), junk)
def test_junk_anywhere_is_a_problem_or_a_pipeline(place: tuple[Any, ...], value: object) -> None:
    """Whatever stands wherever, reading ends in a pipeline or in named problems, and shows no secret."""
    data = full()
    inner: Any = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value

    try:
        assert PASSWORD not in repr(read(data))
    except ConfigError as error:
        assert error.problems
        assert PASSWORD not in str(error)
