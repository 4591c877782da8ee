"""Tells Dagster that tables have changed, while a run goes on: target tables are materialized, source tables observed.

Conditions on downstream assets see materializations of target tables only, and those of any run. A materialization that
is logged in the middle of a run gets no versions from Dagster, so the tags with them are made here, as Dagster makes
them. Without them neither a downstream asset is shown as outdated, nor a table whose mapping has changed.

The version of a table comes from its mappings' checkpoints (`Checkpoint.applied_total`). It is the same after
a restart, and it stays while only the position moves on.
"""

import hashlib
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from .core.config.pipeline import Pipeline, TableMapping
from .core.model.checkpoint import Phase
from .core.model.errors import ReplicationError
from .core.replication.result import Progress
from .health import Tables
from .lineage import ReplicatedTable, identifier
from .options import Checks, Options

if TYPE_CHECKING:
    from .core.diagnostics.pending_changes import PendingChanges

DATA_VERSION = "dagster/data_version"
CODE_VERSION = "dagster/code_version"
INPUT_VERSION = "dagster/input_data_version/"
INPUT_EVENT = "dagster/input_event_pointer/"
_NO_EVENT = "NULL"
_VERSION_LENGTH_MAX = 100

Event = dg.AssetObservation | dg.AssetMaterialization
Describe = Callable[[Sequence[Progress]], Mapping[str, Any]]


# ---- versions: pure --------------------------------------------------------------------------------------
def source_mappings(tables: Tables) -> dict[dg.AssetKey, list[TableMapping]]:
    """The mappings that read each source table, by the source table's asset key."""
    found: dict[dg.AssetKey, list[TableMapping]] = {}
    for table in tables.values():
        for mapping in table.mappings:
            found.setdefault(table.source_keys[mapping.name], []).append(mapping)
    return found


def joined_version(mappings: Sequence[TableMapping], applied: Mapping[str, int]) -> str:
    """One version of what these mappings have made. `applied`: each mapping's `applied_total`, by name."""
    text = " ".join(f"{m.name}={applied.get(m.name, 0)}" for m in mappings)
    if len(mappings) == 1:
        text = str(applied.get(mappings[0].name, 0))
    return text if len(text) <= _VERSION_LENGTH_MAX else hashlib.sha256(text.encode()).hexdigest()


def version_tags(
    table: ReplicatedTable, applied: Mapping[str, int], source_versions: Mapping[dg.AssetKey, str]
) -> dict[str, str]:
    """The tags of a materialization of a target table, from which Dagster tells what is outdated.

    Args:
        applied: each mapping's `applied_total`, by name.
        source_versions: of the source tables, as they were observed.
    """
    tags = {DATA_VERSION: joined_version(table.mappings, applied), CODE_VERSION: table.code_version}
    for key in dict.fromkeys(table.source_keys.values()):
        tags[INPUT_VERSION + key.to_user_string()] = source_versions[key]
        tags[INPUT_EVENT + key.to_user_string()] = _NO_EVENT
    return tags


# ---- while a run goes on ---------------------------------------------------------------------------------
class TableEvents:
    """The events that Dagster has to be told of, by what runs report. Ask for them again and again.

    What Dagster knows already is read from its storage. So the changes that a run had no time to tell of, since it was
    killed, are told by the next one, after its first commit for the table.

    Args:
        tables: by asset key.
        applied: the `applied_total` of all mappings that have a checkpoint (`applied_totals` in the core). Else a table
            whose mappings report one after another would seem to change with each of them.
        interval_s: the least time between two materializations of a table, in seconds.
        describe: gives the metadata of a materialization.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        tables: Tables,
        applied: Mapping[str, int],
        checks: Checks,
        interval_s: float = 0.0,
        describe: Describe = lambda progress: {},
    ) -> None:
        self._instance = instance
        self._tables = tables
        self._sources = source_mappings(tables)
        self._applied = dict(applied)
        self._checks = checks
        self._interval_s = interval_s
        self._describe = describe
        self._progress: dict[str, tuple[Progress, float]] = {}
        self._told: dict[dg.AssetKey, dict[str, str]] = {}
        self._told_by_us: dict[dg.AssetKey, dict[str, str]] = {}
        self._told_unix_s: dict[dg.AssetKey, float] = {}
        self._read_told(list(tables))
        self._observed = {key: latest_version(instance, key) for key in self._sources}

    def _read_told(self, keys: Sequence[dg.AssetKey]) -> None:
        for key, entry in self._instance.get_latest_materialization_events(keys).items():
            if entry is not None and entry.asset_materialization is not None:
                self._told[key] = dict(entry.asset_materialization.tags or {})
                self._told_unix_s[key] = entry.timestamp

    def __call__(self, progress: Progress) -> None:
        """Note a report of a run, from any thread."""
        self._progress[progress.mapping] = progress, time.monotonic()

    def due(self, *, at_once: bool = False) -> list[Event]:
        """The events to log now, observations first. `at_once`: regardless of the interval, as at the end of a run."""
        progress = dict(self._progress)
        applied = self._applied | {name: one.applied_total for name, (one, _) in progress.items()}
        sources = {key: joined_version(own, applied) for key, own in self._sources.items()}
        changed = {key: self._made(key, progress, applied, sources, at_once) for key in self._tables}
        events: list[Event] = [event for event in changed.values() if event is not None]
        of_changed = {s for key, event in changed.items() if event for s in self._tables[key].source_keys.values()}
        observations = [
            self._observation(one, version, _position(self._sources[one], progress))
            for one, version in sources.items()
            if one in of_changed and self._observed[one] != version
        ]
        return [*observations, *events]

    def of_result(
        self, key: dg.AssetKey, applied: Mapping[str, int]
    ) -> tuple[dict[str, str], list[dg.AssetObservation]]:
        """For a table that the caller materializes: the tags, and the observations to log before.

        Args:
            applied: the `applied_total` of mappings that have run since.
        """
        self._applied |= applied
        read = dict.fromkeys(self._tables[key].source_keys.values())
        sources = {one: joined_version(self._sources[one], self._applied) for one in read}
        found = [self._observation(one, v, None) for one, v in sources.items() if self._observed[one] != v]
        return version_tags(self._tables[key], self._applied, sources), found

    def _made(
        self,
        key: dg.AssetKey,
        progress: Mapping[str, tuple[Progress, float]],
        applied: Mapping[str, int],
        sources: Mapping[dg.AssetKey, str],
        at_once: bool,
    ) -> dg.AssetMaterialization | None:
        table = self._tables[key]
        own = [progress[m.name] for m in table.mappings if m.name in progress]
        # A table that is being copied is not what its source ever was: nobody downstream should read it.
        if not own or any(one.phase is not Phase.REPLICATING for one, _ in own):
            return None
        tags, age_s = version_tags(table, applied, sources), time.time() - self._told_unix_s.get(key, 0.0)
        if tags.items() <= self._told.get(key, {}).items():
            if not self._goes_stale(own, age_s):
                return None
        elif (age_s < self._interval_s and not at_once) or self._is_known_by_now(key, tags, own):
            return None
        self._told[key] = self._told_by_us[key] = tags
        self._told_unix_s[key] = time.time()
        return dg.AssetMaterialization(key, metadata=self._describe([one for one, _ in own]), tags=tags)

    def _is_known_by_now(
        self, key: dg.AssetKey, tags: Mapping[str, str], own: Sequence[tuple[Progress, float]]
    ) -> bool:
        """Whether another run has told as much in the meantime: a person's, or the one that has taken over.

        What was told after we have last heard of the table is another run's news. Older ones must not follow it.
        """
        self._read_told([key])
        told = self._told.get(key, {})
        heard_unix_s = time.time() - (time.monotonic() - max(at_s for _, at_s in own))
        is_ours = key in self._told_by_us and self._told_by_us[key].items() <= told.items()
        return tags.items() <= told.items() or (not is_ours and self._told_unix_s.get(key, 0.0) > heard_unix_s)

    def _goes_stale(self, own: Sequence[tuple[Progress, float]], age_s: float) -> bool:
        """Whether a quiet table is to be materialized again, so that its freshness policy does not fail."""
        window = self._checks.fresh_within
        if window is None or age_s < window.total_seconds() / 2:
            return False
        now_s, lag_s_max = time.monotonic(), self._checks.lag_s_max or 60.0
        return all(one.lag_s is not None and one.lag_s + now_s - at_s <= lag_s_max for one, at_s in own)

    def _observation(self, key: dg.AssetKey, version: str, position: str | None) -> dg.AssetObservation:
        self._observed[key] = version
        return dg.AssetObservation(
            key, metadata={"position": position} if position else {}, tags={DATA_VERSION: version}
        )


def quiet_tables(
    instance: dg.DagsterInstance, in_step: Collection[dg.AssetKey], checks: Checks
) -> list[dg.AssetMaterialization]:
    """The materializations again, as they were, of tables whose freshness policy would fail though nothing is behind.

    Args:
        in_step: tables that hold all that their sources have.
    """
    if checks.fresh_within is None or not in_step:
        return []
    before_unix_s = time.time() - checks.fresh_within.total_seconds() / 2
    found = instance.get_latest_materialization_events(list(in_step))
    old = [one for one in found.values() if one is not None and one.timestamp < before_unix_s]
    return [one.asset_materialization for one in old if one.asset_materialization is not None]


def _position(mappings: Sequence[TableMapping], progress: Mapping[str, tuple[Progress, float]]) -> str | None:
    return next((progress[m.name][0].position for m in mappings if m.name in progress), None)


def latest_version(instance: dg.DagsterInstance, key: dg.AssetKey) -> str | None:
    """The version with which a source table was observed last; None: never."""
    found = instance.fetch_observations(key, limit=1).records
    observation = found[0].asset_observation if found else None
    return observation.tags.get(DATA_VERSION) if observation is not None else None


# ---- definitions -----------------------------------------------------------------------------------------
def with_freshness(spec: dg.AssetSpec, checks: Checks) -> dg.AssetSpec:
    """A target table's spec with the freshness policy of the checks, unless it has one of its own."""
    if checks.fresh_within is None or spec.freshness_policy is not None:
        return spec
    return spec.replace_attributes(freshness_policy=dg.FreshnessPolicy.time_window(fail_window=checks.fresh_within))


def observable_sources(
    specs: Mapping[dg.AssetKey, dg.AssetSpec], tables: Tables, pipeline: Pipeline, options: Options
) -> list[dg.AssetsDefinition]:
    """The source tables as assets that a user, a schedule or a condition can observe: one op for each source.

    Args:
        specs: of the source tables.
        tables: all target tables, by asset key.
    """
    readers = source_mappings(tables)
    return [
        _observable({key: own for key, own in readers.items() if own[0].source == source}, specs, pipeline, options)
        for source in dict.fromkeys(own[0].source for own in readers.values())
    ]


def _observable(
    readers: Mapping[dg.AssetKey, Sequence[TableMapping]],
    specs: Mapping[dg.AssetKey, dg.AssetSpec],
    pipeline: Pipeline,
    options: Options,
) -> dg.AssetsDefinition:
    source = next(iter(readers.values()))[0].source

    def observe_source(context: dg.AssetExecutionContext) -> Iterator[dg.ObserveResult]:
        # Imported here, since a process that only loads definitions needs no driver.
        from .core.diagnostics.pending_changes import pending_changes

        chosen = {key: own for key, own in readers.items() if key in context.selected_asset_keys}
        try:
            found = pending_changes(pipeline, [m for own in chosen.values() for m in own])
        except ReplicationError as error:
            raise dg.Failure(error.text, {"hint": error.hint}, allow_retries=error.retryable) from error
        by_name = {one.mapping.name: one for one in found}
        for key, own in chosen.items():
            pending = [by_name[m.name] for m in own]
            yield dg.ObserveResult(
                asset_key=key,
                data_version=dg.DataVersion(_observed_version(own, pending)),
                metadata={"position": pending[0].source_head, "missing": any(one.missing for one in pending)},
            )

    decorator: Any = dg.multi_observable_source_asset  # which has no types
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # its users cannot do anything about it
        made: dg.AssetsDefinition = decorator(
            specs=[specs[key] for key in readers],
            name=options.named(identifier(f"observe_{source}")),
            can_subset=True,
            description=f"Looks which tables of {source} have changed since the targets' checkpoints.",
        )(observe_source)
    return made


def _observed_version(mappings: Sequence[TableMapping], pending: "Sequence[PendingChanges]") -> str:
    """The version that a run gives the table, once it has read on; until then, another one for each head of the log."""
    version = joined_version(mappings, {one.mapping.name: one.applied_total for one in pending})
    behind = [one for one in pending if one.missing and one.phase is not None]
    return f"{version}, more up to {behind[0].source_head}" if behind else version
