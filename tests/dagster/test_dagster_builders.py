"""What those who build on the package are given: translator, names, specs, an op body of their own, data frames."""

import datetime as dt
import json
import logging
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pandas
import pytest
from dagster_support import ROOT, Pair, pipeline_of, run

from myrepetl_dagster import (
    MySQLSourceResource,
    ReplicatedTable,
    ReplicationResource,
    ReplicationTranslator,
    SourceTable,
    build_replication_defs,
    build_replication_specs,
    build_source_specs,
    supported_dagster,
)
from myrepetl_dagster.core.config.load import from_dict, load
from myrepetl_dagster.core.model.errors import ConfigError
from myrepetl_dagster.pipeline_file import RELOAD, PipelineFile

USERS, ORDERS = dg.AssetKey(["warehouse", "users"]), dg.AssetKey(["warehouse", "orders"])
TWO = {"eu.users": {"target_table": "warehouse.users"}, "us.orders": {"target_table": "warehouse.orders"}}


class Ours(ReplicationTranslator):
    """Other keys for both kinds of tables."""

    def get_asset_spec(self, table: ReplicatedTable) -> dg.AssetSpec:
        spec = super().get_asset_spec(table)
        return spec.replace_attributes(
            key=spec.key.with_prefix("raw"),
            owners=["team:data"],
            tags={**spec.tags, "tier": "1"},
            group_name="bronze",
            automation_condition=dg.AutomationCondition.on_missing(),
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=dt.timedelta(minutes=5)),
        )

    def get_source_spec(self, table: SourceTable) -> dg.AssetSpec:
        spec = super().get_source_spec(table)
        return spec.replace_attributes(key=["oltp", table.source, table.name.table], kinds={"mysql", "oltp"})


def specs_by_key(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


# ---- translator and names --------------------------------------------------------------------------------
def test_a_translator_decides_about_target_and_source_tables() -> None:
    """Keys, owners, tags, groups, conditions and freshness are the translator's; targets depend on the new keys."""
    found = specs_by_key(build_replication_defs(pipeline_of(TWO), translator=Ours()))

    assert set(found) == {"raw/warehouse/users", "raw/warehouse/orders", "oltp/eu/users", "oltp/us/orders"}
    users = found["raw/warehouse/users"]
    assert [dep.asset_key.to_user_string() for dep in users.deps] == ["oltp/eu/users"]
    assert (users.owners, users.tags["tier"], users.group_name) == (["team:data"], "1", "bronze")
    assert users.automation_condition is not None
    assert users.freshness_policy is not None
    assert found["oltp/eu/users"].kinds == {"mysql", "oltp"}


def test_the_kind_is_the_flavour_that_the_file_says() -> None:
    """`flavour: mariadb` of a connection makes its tables of the kind mariadb; mysql is the default."""
    server = {"host": "h", "user": "u", "database": "d"}
    data = {"sources": {"a": server | {"flavour": "mariadb"}}, "targets": {"b": server | {"host": "i"}},
            "mapping": {"a.x": {"target_table": "b.y"}}}  # fmt: skip
    found = specs_by_key(build_replication_defs(from_dict(data)))

    assert (found["a/x"].kinds, found["b/y"].kinds) == ({"mariadb", "source"}, {"mysql", "table"})
    with pytest.raises(
        ConfigError, match=r"sources\.a\.flavour: is not one of the known values \(known: mysql, mariadb\)"
    ):
        from_dict(data | {"sources": {"a": server | {"flavour": "maria"}}})


def test_one_key_for_two_tables_is_refused() -> None:
    """A translator that gives two tables one key ends in one line that names the table and the key."""

    class Wrong(ReplicationTranslator):
        def get_asset_spec(self, table: ReplicatedTable) -> dg.AssetSpec:
            return super().get_asset_spec(table).replace_attributes(key="same")

    with pytest.raises(
        ConfigError, match=r"warehouse\.dw\.orders: the translator gives the key same to another"
    ) as caught:
        build_replication_defs(pipeline_of(TWO), translator=Wrong())
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="given beside a translator"):
        build_replication_defs(pipeline_of(TWO), translator=Ours(), asset_spec=Ours().get_asset_spec)


def test_a_name_begins_every_name_but_the_keys() -> None:
    """Jobs, sensors, ops, resources and groups of a named pipeline; keys stay, so that other assets still depend on them."""
    defs = build_replication_defs(pipeline_of(TWO), name="shop")

    assert {"shop_replicate", "shop_snapshot", "shop_follow_eu"} <= {job.name for job in defs.jobs or ()}
    assert all(job.name.startswith("shop_") for job in defs.jobs or ())
    assert {sensor.name for sensor in defs.sensors or ()} == {"shop_catch_up_eu", "shop_catch_up_us"}
    ops = {a.op.name for a in defs.assets or () if isinstance(a, dg.AssetsDefinition)}
    assert {"shop_replicate_eu", "shop_replicate_us"} <= ops
    assert all(op.startswith("shop_") for op in ops)
    assert all(key.startswith("shop_") for key in defs.resources or {})
    assert specs_by_key(defs)["warehouse/users"].group_name == "shop_warehouse"
    with pytest.raises(ConfigError, match=r"name: 'my-shop' is no name for Dagster \(use letters, digits and _\)"):
        build_replication_defs(pipeline_of(TWO), name="my-shop")


def test_two_pipelines_in_one_code_location() -> None:
    """With a name each they merge; of a table that both read, one has the asset; one may go on where the other ends."""
    other = {"eu.users": {"target_table": "warehouse.people"}}
    first = build_replication_defs(pipeline_of(TWO), name="a", executor_def=dg.in_process_executor)
    second = build_replication_defs(
        pipeline_of(other), name="b", executor_def=dg.in_process_executor, source_assets=False
    )
    server = {"host": "h", "user": "u", "database": "dw"}
    mart = from_dict({"sources": {"warehouse": server}, "targets": {"mart": server | {"host": "m"}},
                      "mapping": {"warehouse.users": {"target_table": "mart.users"}}})  # fmt: skip
    third = build_replication_defs(mart, name="c", source_assets=False)

    merged = dg.Definitions.merge(first, second, third)

    dg.Definitions.validate_loadable(merged)
    assert merged.resolve_job_def("b_replicate").asset_layer.executable_asset_keys == {
        dg.AssetKey(["warehouse", "people"])
    }
    assert [dep.asset_key for dep in specs_by_key(merged)["mart/users"].deps] == [USERS]


def test_two_pipelines_with_one_name(caplog: pytest.LogCaptureFixture) -> None:
    """One line says what mends it, before Dagster's own refusal, which names the pipelines' resource."""
    first = build_replication_defs(pipeline_of(TWO), name="one_name")
    with caplog.at_level(logging.WARNING, "myrepetl"):
        second = build_replication_defs(pipeline_of({"eu.x": {"target_table": "warehouse.x"}}), name="one_name")

    (line,) = [record.getMessage() for record in caplog.records]
    assert "two pipelines have the name 'one_name'" in line
    assert line.endswith("give each a name: build_replication_defs(..., name=...)")
    with pytest.raises(dg.DagsterInvariantViolationError, match="same key 'one_name_replication'"):
        dg.Definitions.merge(first, second)


def test_tags_of_the_ops_and_hooks_of_the_jobs(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """`op_tags` are on each op; a hook is called for the ops of our jobs."""
    called: list[str] = []

    @dg.success_hook
    def tell(context: dg.HookContext) -> None:
        called.append(context.op.name)

    defs = mysql_pair.defs(op_tags={"tier": "gold"}, hooks={tell})
    ops = [a.op for a in defs.assets or () if isinstance(a, dg.AssetsDefinition)]

    assert [op.tags["tier"] for op in ops if op.name == "replicate_shop"] == ["gold"]
    assert run(defs, "replicate", instance).success
    assert called == ["replicate_shop"]


def test_a_file_that_changes_after_it_was_loaded(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """The sensor asks for no run of tables that the file no longer has, nor for any run while the file is wrong: it says
    to reload. A change of a setting is no reason: the next run takes it.
    """
    pair = mysql_pair
    path = pair.write()
    file, loaded = PipelineFile.of(path), load(path)
    defs = pair.defs()
    (sensor,) = defs.sensors or ()
    assert isinstance(sensor, dg.SensorDefinition)

    def tick() -> tuple[bool, str]:
        with dg.build_sensor_context(instance=instance, definitions=defs) as context:
            data = sensor.evaluate_tick(context)
        return bool(data.run_requests), data.skip_message or ""

    first = tick()
    pair.limits["attempts_max"] = 3
    pair.write()
    setting = tick(), file.problem(loaded), file.fault()
    del pair.mapping["shop.users"]
    pair.write()
    tables = tick(), file.problem(loaded), file.fault()
    path.write_text("{")
    wrong = tick(), file.fault()

    reload = "pipeline.json has changed since it was loaded: " + RELOAD
    assert first[0]
    assert setting == ((True, ""), None, None)
    assert tables == ((False, "no table can be followed yet; " + reload), reload, None)
    assert not wrong[0][0]
    assert "pipeline.json has changed since it was loaded, and is wrong: " in wrong[0][1]
    assert wrong[1] is not None


# ---- specs, and an op body of one's own --------------------------------------------------------------------
def test_specs_without_anything_else() -> None:
    """The specs of all tables, or of one source's; a source that is not there is named, with those that are."""
    pipeline = pipeline_of(TWO)

    assert [s.key for s in build_replication_specs(pipeline)] == [USERS, ORDERS]
    assert [s.key for s in build_replication_specs(pipeline, source="us")] == [ORDERS]
    assert [s.key.to_user_string() for s in build_source_specs(pipeline, source="us")] == ["us/orders"]
    assert [s.key.to_user_string() for s in build_source_specs(pipeline, translator=Ours())] == [
        "oltp/eu/users", "oltp/us/orders"]  # fmt: skip
    with pytest.raises(ConfigError, match=r"source: shop is no source \(sources: eu, us, crm\)"):
        build_replication_specs(pipeline, source="shop")


def test_an_op_body_of_ones_own(pair: Pair, instance: dg.DagsterInstance) -> None:
    """`replicate` yields a result for each selected table, which the body may see and add to, before and after its own work."""
    path = str(pair.write())
    seen: list[str] = []

    @dg.multi_asset(specs=build_replication_specs(path, translator=Ours(), source="shop"), can_subset=True)
    def tables(context: dg.AssetExecutionContext, shop: MySQLSourceResource) -> Iterator[dg.MaterializeResult[None]]:
        for result in shop.replicate(context, translator=Ours()):
            assert isinstance(result, dg.MaterializeResult)
            assert result.asset_key is not None
            seen.append(result.asset_key.path[-1])
            yield result

    resources = {"shop": MySQLSourceResource(pipeline_file=path, name="shop")}
    selection = dg.AssetSelection.assets(USERS.with_prefix("raw"))
    first = dg.materialize([tables], instance=instance, resources=resources, selection=selection)
    second = dg.materialize([tables], instance=instance, resources=resources)

    assert first.success
    assert second.success
    assert seen == ["users", "users", "orders"]
    assert pair.users() == ["Ann", "Bob", "Cem"]
    event = instance.get_latest_materialization_event(ORDERS.with_prefix("raw"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["rows_snapshotted"].value == 2
    assert event.asset_materialization.metadata["dagster/row_count"].value == 2


def test_replicate_in_an_op_without_assets(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """There it takes all tables, or the named mappings, and the tables are materialized all the same."""

    @dg.op(out={})
    def work(context: dg.OpExecutionContext, pipeline: ReplicationResource) -> Iterator[Any]:
        yield from pipeline.replicate(context, mappings=["shop.users"])

    @dg.job
    def own() -> None:
        work()

    resource = ReplicationResource(pipeline_file=str(mysql_pair.write()))
    result = own.execute_in_process(instance=instance, resources={"pipeline": resource})

    assert result.success
    assert instance.get_latest_materialization_event(USERS) is not None
    assert instance.get_latest_materialization_event(ORDERS) is None


def test_what_replicate_refuses(mysql_pair: Pair, instance: dg.DagsterInstance) -> None:
    """A mapping that is not there, and assets of another translator: one line each, before a connection is opened."""
    path = str(mysql_pair.write())
    arguments: dict[str, Any] = {}

    @dg.multi_asset(specs=build_replication_specs(path, translator=Ours()))
    def tables(context: dg.AssetExecutionContext, pipeline: ReplicationResource) -> Iterator[Any]:
        yield from pipeline.replicate(context, **arguments)

    def refused() -> str:
        resources = {"pipeline": ReplicationResource(pipeline_file=path)}
        found = dg.materialize([tables], instance=instance, resources=resources, raise_on_error=False)
        error = found.failure_data_for_node("tables")
        assert error is not None
        assert error.error is not None
        return (error.error.cause or error.error).message.strip()

    assert refused().endswith(
        "replicate: none of the op's assets is written by this pipeline (give replicate() the translator that made the op's specs)"
    )
    arguments["mappings"] = ["shop.user"]
    assert refused().endswith("mappings: not in the pipeline file: 'shop.user' (did you mean 'shop.users'?)")


# ---- data frames ---------------------------------------------------------------------------------------------
COLUMNS = {  # by type: the values as SQL, the dtype, and what is to be found
    "BIGINT UNSIGNED": (["18446744073709551615", "NULL"], "UInt64", [18446744073709551615, None]),
    "BIGINT": (["9007199254740993", "NULL"], "Int64", [9007199254740993, None]),
    "TINYINT(1)": (["1", "NULL"], "Int64", [1, None]),
    "YEAR": (["2026", "NULL"], "UInt64", [2026, None]),
    "BIT(12)": (["b'100000000001'", "NULL"], "UInt64", [2049, None]),
    "DECIMAL(65,30)": (["12345678901234567890.123456789012345678901234567890", "NULL"], "object",
                       [Decimal("12345678901234567890.123456789012345678901234567890"), None]),
    "FLOAT": (["16777217", "0.1"], "float64", [16777216.0, 0.10000000149011612]),
    "DOUBLE": (["0.1", "NULL"], "float64", [0.1, None]),
    "DATE": (["'0000-00-00'", "'9999-12-31'"], "object", ["0000-00-00", dt.date(9999, 12, 31)]),
    "DATETIME(6)": (["'9999-12-31 23:59:59.999999'", "NULL"], "datetime64[us]",
                    [dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None]),
    "DATETIME": (["'0000-00-00 00:00:00'", "'2026-01-02 03:04:05'"], "object",
                 ["0000-00-00 00:00:00", dt.datetime(2026, 1, 2, 3, 4, 5)]),
    "TIME(6)": (["'-838:59:58.999999'", "NULL"], "timedelta64[us]",
                [-dt.timedelta(hours=838, minutes=59, seconds=58, microseconds=999999), None]),
    "VARCHAR(9) CHARACTER SET latin1": (["'größe'", "NULL"], "object", ["größe", None]),
    "ENUM('a','ü')": (["'ü'", "NULL"], "object", ["ü", None]),
    "VARBINARY(4)": (["x'00FF'", "NULL"], "object", [b"\x00\xff", None]),
    "JSON": (["'{\"a\": 1}'", "NULL"], "object", ['{"a": 1}', None]),
}  # fmt: skip


@pytest.fixture
def typed(pair: Pair) -> MySQLSourceResource:
    names = [f"`{name}`" for name in COLUMNS]
    rows = [", ".join(values[i] for values, _, _ in COLUMNS.values()) for i in range(2)]
    pair.source.execute(
        f"CREATE TABLE shop.typed (n INT PRIMARY KEY, {', '.join(f'{c} {c.strip(chr(96))} NULL' for c in names)})",
        "SET SESSION sql_mode = ''",
        *(f"INSERT INTO shop.typed VALUES ({i}, {row})" for i, row in enumerate(rows)),
    )
    return MySQLSourceResource(pipeline_file=str(pair.write()), name="shop")


def objects(series: "pandas.Series[Any]") -> list[Any]:
    found = [None if pandas.isna(value) else value for value in series]
    return [value.to_pydatetime() if isinstance(value, pandas.Timestamp) else value for value in found]


def test_a_data_frame_holds_what_the_server_holds(typed: MySQLSourceResource) -> None:
    """Of each type the dtype, the values to the last digit, and NULL as no value: of a table and of a query."""
    table = typed.dataframe("typed")
    query = typed.dataframe("SELECT * FROM typed WHERE n >= %s ORDER BY n", [0])

    for name, (_, dtype, expected) in COLUMNS.items():
        for frame in (table, query):
            if frame is query and name == "FLOAT":
                continue  # a query is sent as it is, and the server prints a FLOAT with six digits
            assert str(frame[name].dtype) == dtype, name
            assert objects(frame[name]) == expected, name


def test_a_data_frame_of_nothing_keeps_its_columns(typed: MySQLSourceResource) -> None:
    """No rows, two columns of one name, an expression: each column has the dtype that it has with rows."""
    empty = typed.dataframe("SELECT n, n, COUNT(*) OVER () AS c, NULL AS x FROM typed WHERE n > 9")

    assert list(empty.columns) == ["n", "n", "c", "x"]
    assert [str(dtype) for dtype in empty.dtypes] == ["Int64", "Int64", "Int64", "object"]
    assert len(empty) == 0


# ---- versions of Dagster ---------------------------------------------------------------------------------------
def test_a_dagster_that_is_too_old_is_refused_in_one_line() -> None:
    """With what is installed, what is needed, and the command that mends it. The version is a fake: pip refuses it, too."""
    with pytest.raises(ImportError) as caught:
        supported_dagster.require_dagster("1.11.16")

    assert str(caught.value) == (
        "myrepetl_dagster needs Dagster 1.12.3 or newer, and Dagster 1.11.16 is installed: "
        "run `pip install --upgrade dagster dagster-webserver`"
    )
    supported_dagster.require_dagster("1.12.3")
    supported_dagster.require_dagster("2.0rc1")
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert f'"dagster>={supported_dagster.OLDEST}"' in pyproject


# ---- the run's log -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("captured", [False, True], ids=["plain", "python_logs"])
def test_what_the_core_says_is_in_the_runs_log_once(mysql_pair: Pair, tmp_path: Path, captured: bool) -> None:
    """On an instance that captures no logger, and on one that captures ours: one line in the event log, from a thread of the core."""
    overrides = (
        {"python_logs": {"managed_python_loggers": ["myrepetl"], "python_log_level": "INFO"}} if captured else {}
    )
    mysql_pair.target.execute(
        "CREATE TABLE dw.users (id INT PRIMARY KEY, name VARCHAR(50))", "INSERT INTO dw.users VALUES (77, 'x')"
    )
    logger = logging.getLogger("myrepetl")
    before = list(logger.handlers), logger.level
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
        result = run(mysql_pair.defs(), "replicate", instance)
        lines = [entry.user_message for entry in instance.all_logs(result.run_id)]
    after = list(logger.handlers), logger.level
    logger.setLevel(before[1])  # Dagster sets the level of a logger that it captures, for good

    assert result.success
    assert len([line for line in lines if "deleted 1 row" in line]) == 1
    assert captured or after == before


# ---- docs --------------------------------------------------------------------------------------------------------
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "builders.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[f"{number}" for number in range(len(SNIPPETS))])
def test_the_snippets_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snippet: str) -> None:
    """Each Python block of docs/builders.md makes definitions that load."""
    server = {"host": "nowhere.invalid", "user": "u"}
    for file, source in (("pipeline.json", "shop"), ("other.json", "crm")):
        data = {"sources": {source: server | {"database": "d"}}, "targets": {"analytics": server | {"database": "dw"}},
                "mapping": {f"{source}.{table}": {"target_table": f"analytics.{table}"}
                            for table in ("orders", "people")[source == "crm":]}}  # fmt: skip
        (tmp_path / file).write_text(json.dumps(data))
    monkeypatch.chdir(tmp_path)
    if "other.json" in snippet:
        (tmp_path / "pipeline.json").write_text((tmp_path / "pipeline.json").read_text().replace("people", "goods"))
    names: dict[str, Any] = {}

    exec(snippet, names)

    dg.Definitions.validate_loadable(names["defs"])
