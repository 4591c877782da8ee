"""The component in a project's `defs` folder: what it makes of its attributes, and what it refuses."""

import itertools
import re
import textwrap
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster_support import PASSWORD, ROOT

from myrepetl_dagster.core.model.errors import ConfigError

# Dagster warns itself of what it does itself, to the check definitions of a component.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `execution_type`")

_numbers = itertools.count()  # each project's module is imported once


class Project:
    """A project with a `defs` folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.module = f"acme_{next(_numbers)}"
        self.defs_folder = folder / self.module / "defs"
        self.defs_folder.mkdir(parents=True)
        (folder / self.module / "__init__.py").touch()
        (folder / "pyproject.toml").write_text(
            f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{self.module}"\n'
        )

    def component(self, folder: str, **attributes: Any) -> None:
        data = {"type": "myrepetl_dagster.ReplicationComponent", "attributes": attributes}
        self.write(f"{folder}/defs.yaml", yaml.safe_dump(data))

    def write(self, path: str, text: str) -> None:
        file = self.defs_folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))

    def load(self) -> dg.Definitions:
        return dg.load_from_defs_folder(path_within_project=self.folder)

    def specs(self) -> dict[str, dg.AssetSpec]:
        return {spec.key.to_user_string(): spec for spec in self.load().resolve_all_asset_specs()}

    def refused(self) -> BaseException:
        """The error behind Dagster's own, which says in which component it was."""
        with pytest.raises(Exception, match="Error while") as caught:
            self.load()
        assert caught.value.__cause__ is not None
        return caught.value.__cause__


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Project(tmp_path)


def pipeline(password: str = "x", target_table: str = "wh.orders") -> dict[str, Any]:
    server = {"host": "nowhere.invalid", "user": "u", "password": password}
    return {
        "sources": {"shop": server | {"database": "shop"}},
        "targets": {"wh": server | {"database": "dw", "password": "x"}},
        "mapping": {"shop.orders": {"target_table": target_table}},
    }


def test_a_pipeline_inline_with_translations(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline may stand in defs.yaml itself; asset attributes come from translations, as of other components. What
    Dagster keeps of the component shows no password.
    """
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    project.component(
        "shop", name="shop", pipeline=pipeline("{{ env.SHOP_PASSWORD }}"), op_tags={"tier": "gold"}, pool="my/{source}",
        translation={"key": "raw/{{ table }}", "owners": ["team:data"], "group_name": "bronze", "kinds": ["{{ server }}"],
                     "automation_condition": "{{ dg.AutomationCondition.eager() }}"},
        source_translation={"key_prefix": "oltp"}, checks={"lag_s_max": 5, "fresh_within_s": None},
    )  # fmt: skip

    defs = project.load()
    found = project.specs()

    assert set(found) == {"oltp/shop/orders", "raw/orders"}
    orders = found["raw/orders"]
    assert (orders.group_name, orders.owners, orders.kinds) == ("bronze", ["team:data"], {"wh"})
    assert orders.automation_condition is not None
    assert [dep.asset_key.to_user_string() for dep in orders.deps] == ["oltp/shop/orders"]
    ops = [a.op for a in defs.assets or () if isinstance(a, dg.AssetsDefinition)]
    (op,) = [op for op in ops if "replicate" in op.name]
    assert (op.name, op.tags["tier"], op.pool) == ("shop_replicate_shop", "gold", "my/shop/shop")
    assert orders.freshness_policy is None
    assert PASSWORD not in repr(defs)


def test_a_component_in_python_that_overrides_a_spec(project: Project) -> None:
    """A subclass decides what `translation` cannot; its pipeline file lies beside it."""
    project.write("shop/pipeline.yaml", yaml.safe_dump(pipeline()))
    project.write("shop/component.py", """
        import dagster as dg
        from myrepetl_dagster import ReplicatedTable, ReplicationComponent


        class Ours(ReplicationComponent):
            def get_asset_spec(self, table: ReplicatedTable) -> dg.AssetSpec:
                return super().get_asset_spec(table).replace_attributes(owners=["team:ours"])


        @dg.component_instance
        def load(context: dg.ComponentLoadContext) -> Ours:
            return Ours(path="pipeline.yaml", name="shop")
    """)  # fmt: skip

    assert project.specs()["wh/orders"].owners == ["team:ours"]


@pytest.mark.parametrize(
    ("attributes", "line"),
    [
        ({"name": "my-shop", "pipeline": pipeline()}, "name: 'my-shop' is no name for Dagster (use letters, digits and _)"),
        ({"name": "shop"}, "attributes: need either path or pipeline (path: pipeline.yaml)"),
        ({"path": "none.yaml"}, "none.yaml: no such file (give the path of a .json or .yaml file)"),
        ({"pipeline": pipeline("${NOT_SET_4711}")},
         "sources.shop.password: the environment variable NOT_SET_4711 is not set (export NOT_SET_4711, or write the value)"),
        ({"pipeline": {**pipeline(), "mappings": {}}}, "mappings: unknown key (did you mean 'mapping'?)"),
    ],
    ids=["name", "neither", "file", "variable", "key"],
)  # fmt: skip
def test_what_a_component_refuses(project: Project, attributes: dict[str, Any], line: str) -> None:
    """One line says what is wrong, and where."""
    project.component("shop", **attributes)

    error = project.refused()

    assert isinstance(error, ConfigError)
    assert str(error).endswith(line)
    assert "\n" not in str(error)


def test_a_wrong_attribute_and_a_variable_of_a_template(project: Project) -> None:
    """Dagster refuses an attribute that there is not, and takes a variable that is not set for nothing: we name it."""
    project.component("shop", nam="shop", pipeline=pipeline())
    assert "attributes.nam" in str(project.refused())
    project.component("shop", pipeline=pipeline("{{ env.NOT_SET_4711 }}"))
    assert "pipeline: the environment variable NOT_SET_4711 is not set (export NOT_SET_4711)" in str(project.refused())


def test_two_components_with_one_name(project: Project) -> None:
    """The name is said, and what to do. With a name each, both load; of a table that both read, one has the asset."""
    project.component("one", name="shop", pipeline=pipeline())
    project.component("two", name="shop", pipeline=pipeline(target_table="wh.orders_too"))

    assert str(project.refused()) == (
        "name: 'shop' is the name of another pipeline of this project, too "
        "(give each ReplicationComponent a name of its own)"
    )
    project.component("two", name="shop_too", pipeline=pipeline(target_table="wh.orders_too"), source_assets=False)
    assert set(project.specs()) == {"shop/orders", "wh/orders", "wh/orders_too"}


def test_the_component_of_the_docs(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The defs.yaml of docs/builders.md loads, with the keys, owners and groups that it says."""
    for name in ("SHOP_PASSWORD", "ETL_PASSWORD"):
        monkeypatch.setenv(name, PASSWORD)
    (text,) = re.findall(r"```yaml\n(type: .*?)```", (ROOT / "docs" / "builders.md").read_text(), re.DOTALL)
    project.write("shop/defs.yaml", text)

    found = project.specs()

    assert found["raw/orders"].owners == ["team:data"]
    assert found["shop/orders"].group_name == "oltp"
