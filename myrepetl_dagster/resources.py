"""The servers of a pipeline as Dagster resources.

Setting one up opens no connection, so that a server that is down fails the op that needs it, not the whole run. The
configuration of a resource names the pipeline file and a connection in it. Passwords stay in the file or in the
environment: Dagster stores and shows configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import dagster as dg
from pydantic import Field, PrivateAttr

from . import supported_dagster  # noqa: F401  (first: it refuses a Dagster that lacks what follows)
from .core.config.load import load
from .core.config.pipeline import Endpoint, Pipeline
from .core.model.errors import ConfigError

if TYPE_CHECKING:
    import pandas

    from .core.diagnostics.queries import Connection
    from .core.model.tables import Table
    from .core.mysql.server import Server
    from .translator import ReplicationTranslator

Context = dg.AssetExecutionContext | dg.OpExecutionContext
Result = dg.MaterializeResult[None] | dg.AssetMaterialization


class _PipelineFileResource(dg.ConfigurableResource[Any]):
    pipeline_file: str = Field(description="Path of the pipeline file (JSON or YAML).")

    def pipeline(self) -> Pipeline:
        """The pipeline. It is read at each call, so that a run sees the present file and environment."""
        return load(self.pipeline_file)


Bound = TypeVar("Bound", bound=_PipelineFileResource)


class ReplicationResource(_PipelineFileResource):
    """A whole pipeline, for an op with a body of your own.

    Examples:
        .. code-block:: python

            @dg.multi_asset(specs=build_replication_specs("pipeline.json"), can_subset=True)
            def tables(context: dg.AssetExecutionContext, pipeline: ReplicationResource):
                yield from pipeline.replicate(context)

            defs = dg.Definitions(
                assets=[tables], resources={"pipeline": ReplicationResource(pipeline_file="pipeline.json")}
            )
    """

    def replicate(
        self,
        context: Context,
        *,
        translator: ReplicationTranslator | None = None,
        mappings: Sequence[str] | None = None,
        copy_again: bool = False,
        follow_s: float = 0.0,
    ) -> Iterator[Result]:
        """Copy the tables that are due, apply the log up to its end, and yield a result for each table that is done.

        In an op with assets these are the selected tables; in another op, all of them.

        Args:
            context: the op's.
            translator: the one that made the op's specs, if that was not the default one.
            mappings: only mappings with these names.
            copy_again: ignore the checkpoints and copy the tables again.
            follow_s: keep applying the sources' changes for this many seconds from now.

        Raises:
            Failure: after all other tables are done, if one has failed.
        """
        from .replicate import Wanted, replicate

        yield from replicate(context, self.pipeline(), translator, Wanted(None, mappings, copy_again, follow_s))


class MySQLResource(_PipelineFileResource):
    """A server to read from. Only the replication jobs write rows of replicated tables."""

    role: ClassVar[Literal["source", "target"]]

    name: str = Field(description="The connection's name in the pipeline file.")

    _server: Any = PrivateAttr(default=None)  # Server | None

    @property
    def endpoint(self) -> Endpoint:
        """The connection as the pipeline describes it."""
        return self._endpoint(self.pipeline())

    def dataframe(self, query_or_table: str, parameters: Sequence[Any] = ()) -> pandas.DataFrame:
        """The rows of a query, or of a table (`table` or `schema.table`), in memory. Times are in UTC.

        Each value is the server's, and NULL is never taken for one (`docs/builders.md` has the dtype of each type):
        integers are Int64 or UInt64, DECIMAL is `Decimal`, and a column with a zero or invalid date holds its text.

        Args:
            query_or_table: a SELECT, or a table's name.
            parameters: values for the `%s` in the query.

        Raises:
            ReplicationError: the server is out of reach, or refuses the query; or the query would write.
        """
        from .core.diagnostics.queries import read_columns
        from .dataframe import dataframe  # here, since most runs never need pandas

        pipeline = self.pipeline()
        return dataframe(read_columns(self._endpoint(pipeline), pipeline.limits, query_or_table, parameters))

    @contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """A PyMySQL connection, opened as the pipeline file says and closed at the end of the `with` block.

        Its transactions are read only, its times are in UTC. Errors of the driver pass as they are.

        Raises:
            ReplicationError: the server is out of reach, or refuses us.
        """
        # Imported here and below, since a process that only loads definitions needs no driver.
        from .core.diagnostics.queries import reading_connection

        pipeline = self.pipeline()
        with reading_connection(self._endpoint(pipeline), pipeline.limits) as connection:
            yield connection

    def describe(self, table: str) -> Table | None:
        """A table's columns and keys as they are now; None if there is no such table, or no right to see it.

        Args:
            table: `table`, or `schema.table`.

        Raises:
            ReplicationError: the server is out of reach, or refuses us.
        """
        from .core.diagnostics.queries import table_name

        with self.asking() as server:
            return server.describe(table_name(server.endpoint, table))

    @contextmanager
    def asking(self) -> Iterator[Server]:
        """The server, for short questions of the replication jobs, over one control connection.

        The connection is opened when first needed and lasts until the end of the run, or until an error.
        """
        from .core.mysql.server import Server

        # An op that is retried gets this same object, so a broken connection must not stay in it after an error.
        if self._server is None:
            pipeline = self.pipeline()
            self._server = Server(self._endpoint(pipeline), pipeline.limits)
        try:
            yield self._server
        except BaseException:
            self.close()
            raise

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        self.close()

    def _endpoint(self, pipeline: Pipeline) -> Endpoint:
        endpoints = pipeline.sources if self.role == "source" else pipeline.targets
        if self.name not in endpoints:
            hint = f"{self.role}s: {', '.join(endpoints)}"
            raise ConfigError([(self.name, f"is no {self.role} of {self.pipeline_file}", hint)])
        return endpoints[self.name]

    def close(self) -> None:
        """Close the connection of `asking`, if there is one."""
        server, self._server = self._server, None
        if server is not None:
            server.close()


class MySQLSourceResource(MySQLResource):
    """A server that is replicated from.

    Examples:
        .. code-block:: python

            @dg.asset
            def report(shop: MySQLSourceResource) -> None:
                orders = shop.dataframe("SELECT id, total FROM orders WHERE total > %s", [100])

            defs = dg.Definitions(
                assets=[report],
                resources={"shop": MySQLSourceResource(pipeline_file="pipeline.json", name="shop")},
            )
    """

    role = "source"

    def replicate(
        self,
        context: Context,
        *,
        translator: ReplicationTranslator | None = None,
        mappings: Sequence[str] | None = None,
        copy_again: bool = False,
        follow_s: float = 0.0,
    ) -> Iterator[Result]:
        """What `ReplicationResource.replicate` does, for the mappings of this source."""
        from .replicate import Wanted, replicate

        wanted = Wanted(self.name, mappings, copy_again, follow_s)
        yield from replicate(context, self.pipeline(), translator, wanted)


class MySQLTargetResource(MySQLResource):
    """A server that is replicated to.

    Examples:
        .. code-block:: python

            @dg.asset(deps=[dg.AssetKey(["warehouse", "orders"])])
            def revenue(target_warehouse: MySQLTargetResource) -> float:
                return float(target_warehouse.dataframe("orders")["total"].sum())

            defs = dg.Definitions.merge(build_replication_defs("pipeline.json"), dg.Definitions(assets=[revenue]))
    """

    role = "target"


def bound(kind: type[Bound], pipeline: Pipeline, **configuration: str) -> Bound:
    """A resource of a pipeline that was not read from a file.

    Each gets its own class, since Dagster copies a resource from its configuration, and a pipeline with its passwords
    must not become configuration.
    """
    own: Any = type(kind.__name__, (kind,), {"__module__": kind.__module__, "pipeline": lambda self: pipeline})
    resource: Bound = own(pipeline_file="(given in code)", **configuration)
    return resource
