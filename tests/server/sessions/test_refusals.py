"""Whatever a run refuses before it reads a row, `test-connection` refuses too: in the same words, with the same remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pipelines import Interrupted, Pair, Route, call_at, interrupt, pair, pair_of
from server_farm import Servers
from servers import FLAVOURS, Flavour, Server

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.diagnostics.connection_test import diagnose
from myrepetl_dagster.core.diagnostics.report import State
from myrepetl_dagster.core.model.errors import PrerequisiteError
from myrepetl_dagster.core.source.source_settings import SETTINGS, Need

JSON_TABLE = "CREATE TABLE t (id INT PRIMARY KEY, d JSON)"
WRONG = {
    "binlog_format": "MIXED",
    "binlog_order_commits": "OFF",
    "binlog_row_image": "MINIMAL",
    "binlog_row_value_options": "PARTIAL_JSON",
    "binlog_row_metadata": "MINIMAL",
}


def refused(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Each failed check of any connection: its sentence, without the mapping before it, and its remedy; not that
    mappings could not be looked at since another check has failed.
    """
    checks = [check for report in diagnose(pipeline) for check in report.checks if check.name != "tables"]
    failed = [(check.found.removeprefix("a.t: "), check.mend) for check in checks if check.state is State.FAILED]
    return [(found, mend) for found, mend in failed if "could not be looked at" not in found]


@contextlib.contextmanager
def setting(server: Server, name: str, value: str) -> Iterator[None]:
    old = server.execute(f"SELECT @@global.{name}")[0][0]
    server.execute(f"SET GLOBAL {name}={value!r}")
    try:
        yield
    finally:
        server.execute(f"SET GLOBAL {name}={old!r}")


@pytest.fixture(params=FLAVOURS)
def world(request: pytest.FixtureRequest, servers: Servers) -> Pair:
    return pair(servers, Route(request.param, True, request.param))


# ---- the source's settings -----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [one.name for one in SETTINGS if one.name != "log_bin"])
def test_a_setting_of_the_source(world: Pair, name: str) -> None:
    """A wrong setting that a run refuses is refused in the same words, one that it can do with is a warning, and what
    is printed mends either. A server without the variable is fine.
    """
    if not world.source.execute(f"SHOW VARIABLES LIKE '{name}'"):
        pytest.skip("this flavour has no such variable")
    world.on_source(JSON_TABLE)
    pipeline = world.pipeline("t")
    need = next(one.need for one in SETTINGS if one.name == name)

    with contextlib.ExitStack() as settings:
        settings.enter_context(setting(world.source, name, WRONG[name]))
        if need in (Need.SCHEMA_CHANGES, Need.WHOLE_ROWS):
            assert refused(pipeline) == []
            assert world.run(pipeline)
            return
        if need is Need.JSON_COLUMNS:
            assert refused(pipeline) == []  # the before images hold the documents
            settings.enter_context(setting(world.source, "binlog_row_image", "MINIMAL"))
        error = world.error(pipeline)
        assert isinstance(error, PrerequisiteError)
        assert (error.message, error.hint) in refused(pipeline)
        statement = error.hint.partition(";")[0]
        world.source.execute(statement)
        assert refused(pipeline) == []
    if world.source.flavour == "mysql":
        world.source.execute(f"RESET PERSIST {name}")


def test_a_source_without_a_log(servers: Servers, flavour: Flavour) -> None:
    """Without a binary log both say so."""
    world = pair_of(servers.get("source", flavour, False, skip_log_bin=None), servers.get("target", flavour))
    world.on_source(JSON_TABLE)

    error = world.error("t")

    assert (error.message, error.hint) in refused(world.pipeline("t"))


def test_a_replica_that_does_not_log_what_it_replicates(servers: Servers, flavour: Flavour) -> None:
    """A replica whose log lacks what it replicates would lose changes in silence: it is no source, even where the
    account may not ask for its replication (MariaDB).
    """
    options: dict[str, Any] = {"log_replica_updates": "OFF"} if flavour == "mysql" else {}
    world = pair_of(servers.get("source", flavour, True, **options), servers.get("target", flavour))
    world.on_source(JSON_TABLE)
    pipeline = world.pipeline("t")
    if flavour == "mysql":
        become = ["CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=1, SOURCE_USER='nobody'"]
        cease = ["RESET REPLICA ALL"]
    else:
        become = ["CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='nobody'", "START SLAVE"]
        cease = ["STOP SLAVE", "RESET SLAVE ALL"]
    world.source.execute(*become)
    try:
        error = world.error(pipeline)
        said = refused(pipeline)
    finally:
        world.source.execute(*cease)

    assert isinstance(error, PrerequisiteError)
    assert "what it replicates is not in its log" in error.message
    assert said == [(error.message, error.hint)]
    world.run(pipeline)


def test_a_schema_that_is_kept_out_of_the_log(servers: Servers, flavour: Flavour) -> None:
    """Both say which tables' changes the log will never hold, and so does the source's own report."""
    source = servers.get("source", flavour, binlog_ignore_db="hidden")
    world = pair_of(source, servers.get("target", flavour))
    source.execute(
        "CREATE DATABASE hidden", "CREATE TABLE hidden.t (id INT PRIMARY KEY)", "GRANT SELECT ON hidden.* TO reader@'%'"
    )
    pipeline = world.pipeline({"a.t": {"source_table": "a.hidden.t", "target_table": "b.t"}})

    said = refused(pipeline)
    error = world.error(pipeline)

    assert isinstance(error, PrerequisiteError)
    assert "binlog_ignore_db" in str(error)
    assert said == [("changes in hidden are kept out of the log", error.hint), (error.message, error.hint)]


# ---- mappings ------------------------------------------------------------------------------------------------
TABLE = "CREATE TABLE t (id INT PRIMARY KEY, v INT, w VARCHAR(20))"
ROWS = "INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')"


@dataclass
class World(Pair):
    directory: str = ""


Refusal = Callable[[World], dict[str, Any] | Pipeline]
REFUSALS: list[tuple[Flavour, Refusal]] = []


def refusal(*flavours: Flavour) -> Callable[[Refusal], Refusal]:
    """Something that a run refuses, on each flavour or on these; it gives the pipeline."""

    def add(made: Refusal) -> Refusal:
        REFUSALS.extend((flavour, made) for flavour in flavours or FLAVOURS)
        return made

    return add


def mapped(table: str = "t", **more: Any) -> dict[str, Any]:
    return {f"a.{table}": {"target_table": f"b.{table}", **more}}


def explicit(*columns: str, key: str = "id", **more: Any) -> dict[str, Any]:
    return mapped(primary_key=key, column_mapping={column: column for column in columns}, **more)


@refusal()
def missing_table(world: World) -> dict[str, Any]:
    return mapped("nowhere")


@refusal()
def view(world: World) -> dict[str, Any]:
    world.on_source("CREATE VIEW seen AS SELECT * FROM t")
    return mapped("seen", primary_key="id")


@refusal("mariadb")
def sequence(world: World) -> dict[str, Any]:
    world.on_source("CREATE SEQUENCE numbers")
    return mapped("numbers", primary_key="next_not_cached_value")


@refusal("mariadb")
def table_versioned_by_transaction(world: World) -> dict[str, Any]:
    world.on_source(
        "CREATE TABLE old (id INT PRIMARY KEY, s BIGINT UNSIGNED GENERATED ALWAYS AS ROW START, e BIGINT UNSIGNED"
        " GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e)) WITH SYSTEM VERSIONING ENGINE=InnoDB"
    )
    return mapped("old")


@refusal()
def no_key(world: World) -> dict[str, Any]:
    world.on_source("CREATE TABLE n (id INT)")
    return mapped("n")


@refusal()
def unknown_source_column(world: World) -> dict[str, Any]:
    return explicit("id", "nothing")


@refusal()
def unknown_source_column_with_a_target_table(world: World) -> dict[str, Any]:
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, nothing INT)")
    return explicit("id", "nothing")


@refusal()
def filter_on_an_unknown_column(world: World) -> dict[str, Any]:
    return mapped(filter={"nothing": 1})


@refusal()
def filter_of_the_wrong_type(world: World) -> dict[str, Any]:
    return mapped(filter={"v": {"gt": "much"}})


@refusal()
def filter_of_the_wrong_type_later(world: World) -> dict[str, Any]:
    world.run(mapped())
    return mapped(filter={"v": {"gt": "much"}})


@refusal()
def key_that_no_column_has(world: World) -> dict[str, Any]:
    return mapped(primary_key="ID")


@refusal()
def key_that_no_column_has_with_a_target_table(world: World) -> dict[str, Any]:
    world.on_target(TABLE)
    return mapped(primary_key="nothing")


@refusal()
def key_of_any_length(world: World) -> dict[str, Any]:
    world.on_source("ALTER TABLE t ADD note TEXT NOT NULL")
    return explicit("id", "note", key="note")


@refusal()
def key_made_by_a_transform(world: World) -> Pipeline:
    Path(world.directory, "own.py").write_text("def name(value) -> str: return str(value)\n")
    columns = {"id": {"column": "id", "primary_key": True, "transform": "own.name"}}
    return world.pipeline(mapped(column_mapping=columns), base_dir=world.directory)


@refusal()
def target_table_dropped(world: World) -> dict[str, Any]:
    world.run(mapped())
    world.on_target("DROP TABLE t")
    return mapped()


@refusal()
def target_without_a_mapped_column(world: World) -> dict[str, Any]:
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY)")
    return explicit("id", "v")


@refusal()
def target_without_a_column_of_the_source(world: World) -> dict[str, Any]:
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY)")
    return mapped(schema_policy="fail")


@refusal()
def target_without_a_unique_key(world: World) -> dict[str, Any]:
    world.on_target("CREATE TABLE t (id INT NOT NULL, v INT, w VARCHAR(20))")
    return mapped()


@refusal()
def target_with_a_nullable_key(world: World) -> dict[str, Any]:
    world.on_target("CREATE TABLE t (id INT UNIQUE, v INT, w VARCHAR(20))")
    return mapped()


@refusal()
def key_by_another_collation(world: World) -> dict[str, Any]:
    for on, collation in ((world.on_source, "utf8mb4_bin"), (world.on_target, "utf8mb4_general_ci")):
        on(f"CREATE TABLE c (id VARCHAR(9) COLLATE {collation} PRIMARY KEY) CHARACTER SET utf8mb4")
    return mapped("c")


@refusal()
def key_of_another_type(world: World) -> dict[str, Any]:
    world.on_source("CREATE TABLE c (id VARCHAR(9) PRIMARY KEY)")
    world.on_target("CREATE TABLE c (id INT PRIMARY KEY)")
    return mapped("c")


@refusal()
def rounded_column(world: World) -> dict[str, Any]:
    world.on_source("ALTER TABLE t ADD d DECIMAL(9,3)")
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v INT, w VARCHAR(20), d DECIMAL(9,2))")
    return mapped()


@refusal()
def column_of_another_kind_by_now(world: World) -> dict[str, Any]:
    world.chunks_of(1)
    world.on_target("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20), w VARCHAR(20))")  # somebody chose v's type
    with pytest.raises(Interrupted):
        world.run(mapped(), call_at(2, interrupt))
    world.on_source("UPDATE t SET v=NULL", "ALTER TABLE t MODIFY v DATE")
    return mapped()


@refusal()
def part_of_a_merge_table(world: World) -> dict[str, Any]:
    world.on_source(
        "CREATE TABLE part (id INT PRIMARY KEY) ENGINE=MyISAM",
        "CREATE TABLE whole (id INT PRIMARY KEY) ENGINE=MERGE UNION=(part) INSERT_METHOD=LAST",
        "INSERT INTO whole VALUES (1)",
    )
    return {"a.part": {"target_table": "b.part"}}


@refusal()
def mapping_changed_since_its_checkpoint(world: World) -> dict[str, Any]:
    world.run(mapped())
    return mapped(filter={"v": {"gt": 1}})


@refusal()
def mapping_changed_while_copying(world: World) -> dict[str, Any]:
    world.chunks_of(1)
    with pytest.raises(Interrupted):
        world.run(mapped(), call_at(2, interrupt))
    return mapped(filter={"v": {"gt": 1}})


@refusal()
def checkpoint_that_the_log_does_not_hold(world: World) -> dict[str, Any]:
    world.run(mapped())
    world.on_target(
        "UPDATE _myrepetl_checkpoint SET log_file='gone.000001', mariadb_gtid=NULL,"
        " gtid_set=IF(gtid_set IS NULL, NULL, 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee:1-9')"
    )
    return mapped()


@refusal()
def checkpoint_table_that_is_not_ours(world: World) -> dict[str, Any]:
    world.on_target("CREATE TABLE _myrepetl_checkpoint (mapping INT PRIMARY KEY)")
    return mapped()


@refusal()
def log_start_that_is_not_there(world: World) -> Pipeline:
    world.replication |= {"log_file": "gone.000001", "log_pos": 4}
    world.on_target(TABLE, ROWS)
    return world.pipeline(mapped(init_if_table_empty=True))


@refusal()
def init_query_without_a_column(world: World) -> dict[str, Any]:
    return mapped(init_query="SELECT id, v FROM t")


@refusal()
def init_query_of_an_unknown_column(world: World) -> dict[str, Any]:
    return mapped(init_query="SELECT id, v, nothing AS w FROM t")


@refusal()
def init_query_of_another_schema_without_a_grant(world: World) -> dict[str, Any]:
    hidden = f"hidden_{world.source_schema}"
    world.source.execute(f"CREATE DATABASE {hidden}", f"CREATE TABLE {hidden}.t (id INT PRIMARY KEY)")
    return mapped(init_query=f"SELECT id, v, w FROM t WHERE id IN (SELECT id FROM {hidden}.t)")


@refusal()
def sql_mode_that_the_target_does_not_know(world: World) -> Pipeline:
    unknown = "NO_AUTO_CREATE_USER" if world.target.flavour == "mysql" else "TIME_TRUNCATE_FRACTIONAL"
    return changed(world, "targets", sql_mode=f"STRICT_ALL_TABLES,{unknown}")


@refusal()
def variable_that_the_target_does_not_know(world: World) -> Pipeline:
    return changed(world, "targets", init_command="SET SESSION nothing_like_it=1")


@refusal()
def variable_that_the_source_does_not_know(world: World) -> Pipeline:
    return changed(world, "sources", init_command="SET SESSION nothing_like_it=1")


def changed(world: World, role: str, **settings: Any) -> Pipeline:
    config = world.config(mapped())
    next(iter(config[role].values())).update(settings)
    return from_dict(config)


def traces(world: World) -> object:
    """All that a run could leave in the target."""
    tables = [name for (name,) in world.on_target("SHOW TABLES")]
    return [(name, world.on_target(f"SHOW CREATE TABLE {name}"), world.target_rows(name)) for name in tables]


@pytest.mark.parametrize(("flavour", "refusal"), REFUSALS, ids=lambda one: getattr(one, "__name__", one))
def test_a_refused_mapping(servers: Servers, flavour: Flavour, refusal: Refusal, tmp_path: Path) -> None:
    """The one mapping that a run refuses fails in test-connection, too, before the run and after it; nothing else does,
    and the target stays as it is.
    """
    world = World(**vars(pair(servers, Route(flavour, True, flavour))), directory=str(tmp_path))
    world.on_source(TABLE, ROWS)
    made = refusal(world)
    pipeline = made if isinstance(made, Pipeline) else world.pipeline(made)
    before = traces(world)

    said = refused(pipeline)
    after = traces(world)
    error = world.error(pipeline)

    assert not error.retryable
    assert (error.message, error.hint) in said
    assert len(set(said)) == 1
    assert after == before
    assert set(refused(pipeline)) == set(said)
