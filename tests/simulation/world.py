"""One world for each seed: what exists in it, what goes wrong, and what has to hold after every commit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

from simulation.fake_source import FakeSource, Kind, Logged
from simulation.fake_target import Claims, Database, FakeConnection, FakeTarget
from simulation.specs import FILTERS, SOURCE_COLUMNS, SOURCE_TABLES, Spec, expected, may_lack, plan_of, written

from myrepetl_dagster.core.model.checkpoint import Checkpoint, CopyState, Phase
from myrepetl_dagster.core.model.checkpoint_codec import columns_from_json, columns_to_json
from myrepetl_dagster.core.model.errors import RowRejected, SourceLost, StaleRun, TargetBusy, TargetLost, TransientError
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.model.tables import Column
from myrepetl_dagster.core.plan.table_plan import TablePlan
from myrepetl_dagster.core.replication import attempt, lag
from myrepetl_dagster.core.replication.attempt import Attempt
from myrepetl_dagster.core.replication.catchup import (
    batch_joining,
    catch_up,
    commit_queue,
    table_changes,
    xa_transactions,
)
from myrepetl_dagster.core.replication.snapshot import copy
from myrepetl_dagster.core.rows import shapers
from myrepetl_dagster.core.rows.shaper import Shaper

STEPS_MAX = 6_000
WRITES_MAX = 25


class Wrong(AssertionError):
    """A rule was broken."""


class Crash(BaseException):
    """The process ends here."""


class Clock:
    """`time` as the core sees it: every look at it takes a while."""

    def __init__(self) -> None:
        self.start(0)

    def start(self, seed: int) -> None:
        self.rng = Random(f"clock {seed}")  # not the world's own numbers: all its kinds have fast and slow clocks
        self.now_s = 0.0
        self.look_s = self.rng.choice((0.02, 1.0))
        self.tokens = 0

    def monotonic(self) -> float:
        self.now_s += self.rng.random() * self.look_s
        return self.now_s

    def uuid4(self) -> Token:
        """In `uuid`'s place."""
        self.tokens += 1
        return Token(f"token{self.tokens}")


@dataclass
class Token:
    hex: str


CLOCK = Clock()


class Shapers:
    """Makes shapers, each only once: they hold no state, and compiling them would take half of the time."""

    def __init__(self) -> None:
        self.made: dict[tuple[int, bool], tuple[TablePlan, Shaper]] = {}

    def __call__(self, plan: TablePlan, layout: Sequence[Column]) -> Shaper:
        asked = (id(plan), layout is SOURCE_COLUMNS)
        if asked not in self.made:
            self.made[asked] = plan, Shaper(plan, layout)
        return self.made[asked][1]


def install() -> Callable[[], None]:
    """Put the worlds' clock, and what is said in the log, in the core's place; returns what undoes it."""
    shapers_once = Shapers()
    places: list[tuple[Any, str, Any]] = [
        *((module, "time", CLOCK) for module in (copy, catch_up, commit_queue, batch_joining, lag)),
        (xa_transactions, "uuid", CLOCK),
        (attempt, "columns_to_json", lru_cache(columns_to_json)),
        (table_changes, "columns_from_json", lru_cache(columns_from_json)),
        (catch_up, "IDLE_CHECKPOINT_S", 0.5),  # the worlds are short
        *((module, "Shaper", shapers_once) for module in (copy, shapers)),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    log = logging.getLogger("myrepetl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    for module, name, ours in places:
        setattr(module, name, ours)

    def undo() -> None:
        for module, name, real in before:
            setattr(module, name, real)
        log.setLevel(level)

    return undo


@dataclass
class Run:
    """One process: it may try several times. `crash_at`, `zombie_at`: steps of the world, 0 for never."""

    claims: dict[int, Claims]
    copy_again: set[str]
    crash_at: int = 0
    zombie_at: int = 0
    follow_s: float = 0.0


class World:
    """Everything that one seed decides. What stands before `__init__` is for the mutants.

    `counts`, `times`: whether the core's counters and a checkpoint's time are judged, too. `notes`: whether all that
    `seen` may hold is looked for.
    """

    source_class: type[FakeSource] = FakeSource
    connection_class: type[FakeConnection] = FakeConnection
    counts = True
    times = True
    notes = False

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)
        CLOCK.start(seed)
        self.steps = self.writes = self.commits = self.attempts = 0
        self.quiet = True
        self.nested = False
        self.run: Run | None = None
        self.kind = rng.choice(list(Kind))
        self.unique = rng.random() < 0.6
        by_key = rng.random() < 0.8
        self.source = self.source_class(rng, self.kind, self.unique, by_key, self.tick, lambda: CLOCK.now_s)
        self.seen = self.source.seen
        self.databases = [Database(is_quick=lambda: rng.random() < 0.3, is_large=rng.random() < 0.5) for _ in range(2)]
        self.specs = {spec.name: spec for spec in self._specs()}
        self.last: dict[str, Checkpoint] = {}
        # Not the world's own numbers: the seeds' worlds without partial images stay what they were.
        partial_rng = self.source.partial_rng = Random(f"partial {seed}")
        if not self.unique and partial_rng.random() < 0.6:
            for name in SOURCE_TABLES:
                self.source.may_lack[name] = may_lack(self.specs.values(), name)
        fails_over = self.kind is Kind.GTID and rng.random() < 0.4
        self.fail_over_at = rng.randint(1, 200) if fails_over else 0
        self.limits = Limits(
            chunk_rows_max=rng.randint(1, 4),
            batch_rows_max=rng.randint(1, 5),
            batch_bytes_max=rng.choice((25, 10_000)),
            batch_interval_s_max=rng.choice((0.0, 2.0, 10_000.0)),
            joined_batches_max=rng.choice((1, 2, 20)),
            joined_bytes_max=rng.choice((1_000, 1_000_000)),
            snapshot_slice_s=rng.choice((0.0, 0.0, 2.0, 10_000.0)),
        )
        for _ in range(rng.randint(0, 6)):
            self.source.write()

    def _specs(self) -> list[Spec]:
        rng = self.rng
        specs = []
        tagged = rng.random() < 0.3
        for i in range(rng.choice((1, 1, 2, 2, 3))):
            tag = i + 1 if tagged and i < 2 else None
            if tag == 2:
                self.seen.add("shared")
            specs.append(
                Spec(
                    name=f"m{i}",
                    table=rng.randint(0, 1),
                    target="shared" if tag else f"own{i}",
                    tag=tag,
                    filter=rng.choice(list(FILTERS)),
                    unique=self.unique,
                    every_column=rng.random() < 0.5,
                    shifted=rng.random() < 0.2,
                    pause=rng.random() < 0.3,
                    server=0 if tag else int(rng.random() < 0.3),
                )
            )
            if rng.random() < 0.3:
                self._litter(specs[-1])
        return specs

    def _litter(self, spec: Spec) -> None:
        """Rows in the target that nobody has replicated there."""
        held = self.databases[spec.server].tables.setdefault(spec.target, {})
        tag = () if spec.tag is None else (str(spec.tag),)
        for number in self.rng.sample(range(1, 11), 4):
            row = written((number, number, self.rng.randint(0, 7), b"x"))
            held[(*tag, row[0])] = (*tag, *row)

    # ---- what happens meanwhile ----
    def tick(self) -> None:
        """Time passes: somebody writes, something becomes visible, something breaks."""
        self.step()
        if self.source.connected_to != self.source.server:
            raise SourceLost("another server is in its place")
        if self.quiet:
            return
        if self.fail_over_at and (self.steps >= self.fail_over_at or self._settles_over_unexecuted()):
            self.fail_over_at = 0
            self.source.fail_over()
            raise SourceLost("simulated")
        roll = self.rng.random()
        if roll < 0.14:
            if self.writes < WRITES_MAX:
                self.writes += 1
                self.source.write()
        elif roll < 0.34:
            self.source.reveal_some()
        elif roll > 0.988:
            self.seen.add("source lost")
            raise SourceLost("simulated")

    def _settles_over_unexecuted(self) -> bool:
        """Whether a copy may have seen rows whose GTID is in nobody's set yet."""
        return bool(self.source.unexecuted) and any(c.phase is Phase.SETTLING for c in self.last.values())

    def step(self) -> None:
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Wrong("the run does not end")
        run = self.run
        if run is None or self.quiet:
            return
        if self.steps == run.crash_at:
            self.seen.add("crash")
            raise Crash
        if self.steps == run.zombie_at:
            self._other_run()

    def fault(self, where: str) -> None:
        self.step()
        if self.quiet:
            return
        roll = self.rng.random()
        if where == "after" and roll > 0.97:
            self.seen.add("outcome unknown")
            raise TargetLost("simulated, after the commit")
        if where != "after" and roll > 0.985:
            self.seen.add("target busy" if roll > 0.99 else "target lost")
            raise TargetBusy("simulated") if roll > 0.99 else TargetLost("simulated")

    # ---- runs ----
    def live(self) -> None:
        """The whole life of the world, then a quiet run, after which everything must be equal."""
        rng = self.rng
        names = sorted(self.specs)
        self.quiet = False
        for _ in range(rng.randint(1, 4)):
            chosen = names if rng.random() < 0.6 else rng.sample(names, rng.randint(1, len(names)))
            self.start(self._new_run(chosen), chosen)
            while rng.random() < 0.5 and self.writes < WRITES_MAX:
                self.writes += 1
                self.source.write()
            if rng.random() < 0.3:
                self.source.reveal_all()
        self.quiet = True
        if rng.random() < 0.7:
            self.source.reveal_all()
        self.start(Run({}, set()), names)
        self._check_end(names)

    def _new_run(self, chosen: list[str]) -> Run:
        rng = self.rng
        copy_again = set(rng.sample(chosen, 1)) if rng.random() < 0.15 else set()
        crash_at = self.steps + rng.randint(1, 150) if rng.random() < 0.4 else 0
        zombie_at = self.steps + rng.randint(1, 100) if rng.random() < 0.25 else 0
        follow_s = rng.random() * 20 if rng.random() < 0.3 else 0.0
        return Run({0: {}, 1: {}}, copy_again, crash_at, zombie_at, follow_s)

    def start(self, run: Run, names: list[str]) -> None:
        """A process: attempts until one gets through, or until it dies."""
        outer, self.run = self.run, run
        try:
            for _ in range(self.rng.randint(1, 4)):
                if self._attempt(run, names):
                    return
        finally:
            self.run = outer

    def _attempt(self, run: Run, names: list[str]) -> bool:
        self.attempts += 1
        run_id = f"run{self.attempts}"
        targets = [
            FakeTarget(
                database, run_id, run.claims.setdefault(i, {}), self.fault, self.committed, self.connection_class
            )
            for i, database in enumerate(self.databases)
        ]
        plans: dict[str, tuple[TablePlan, FakeTarget]] = {
            name: (plan_of(self.specs[name]), targets[self.specs[name].server]) for name in names
        }
        before = self.source.reader, self.source.connected_to
        self.source.reader, self.source.connected_to = run_id, self.source.server
        try:
            attempt = Attempt(self.source, plans, self.limits, lambda *_: None, copy_again=run.copy_again)
            until_s = CLOCK.now_s + run.follow_s
            attempt.run(follow_ended=(lambda: CLOCK.monotonic() >= until_s) if run.follow_s else None)
        except TransientError:
            return False
        except (Crash, StaleRun) as error:
            if isinstance(error, StaleRun):
                self.seen.add("stale")
            if self.quiet:
                raise
        except RowRejected as error:
            raise Wrong(f"refused: {error}") from error
        finally:
            self.source.reader, self.source.connected_to = before
            for target in targets:
                target.close()
        return True

    def _other_run(self) -> None:
        """While a run stands still, another one starts, and goes on to its end."""
        self.seen.add("zombie")
        names = sorted(self.specs)
        chosen = names if self.rng.random() < 0.7 else self.rng.sample(names, 1)
        self.start(Run({0: {}, 1: {}}, set()), chosen)

    # ---- what has to hold ----
    def committed(self, database: Database, by: FakeConnection, stored: Sequence[Checkpoint]) -> None:
        """Judge a commit; `by` is the run that made it."""
        self.commits += 1
        for one in stored:
            if self.notes:
                self._note(one, by)
            self._check_step(one, by)
            if self.times:
                self._check_time(one)
        for name, spec in self.specs.items():
            if self.databases[spec.server] is database and database.locked.get(name) in (None, by):
                self._check_rows(spec, database)

    def _note(self, stored: Checkpoint, by: FakeConnection) -> None:
        old, seen = self.last.get(stored.mapping), self.seen
        if old is not None and stored.phase is Phase.COPYING and old.phase is not Phase.COPYING:
            seen.add("copy again")
        if stored.copy is not None and stored.copy.sweep_after and any(row is None for row in by.written):
            seen.add("swept")
        if by.evicted:
            seen.add("evicted")
        if by.lacked:
            seen.add("lacked a row to update")
        if self.databases[self.specs[stored.mapping].server].prepared:
            seen.add("XA kept")
        if self.run is not None and self.run.follow_s:
            seen.add("followed")
        included = self.source.included(stored.position)
        if False in included and True in included[included.index(False) :]:
            seen.add("gap in the set")
        if stored.phase is Phase.REPLICATING:
            if any(held and not entry.visible for held, entry in zip(included, self.source.log, strict=True)):
                seen.add("committed while hidden")
            others = [c for name, c in self.last.items() if name != stored.mapping]
            if any(c.position != stored.position for c in others):
                seen.add("unequal positions")

    def _check_rows(self, spec: Spec, database: Database) -> None:
        """A mapping that replicates holds the source at exactly its checkpoint."""
        checkpoint = database.checkpoints.get(spec.name)
        if checkpoint is None or checkpoint.phase is not Phase.REPLICATING:
            return
        rows = self.source.state_at(self.source.included(checkpoint.position))[spec.source].values()
        wanted = expected(spec, rows)
        held = self.rows_of(spec)
        if held != wanted:
            raise Wrong(f"{spec.name} at {checkpoint.position} holds {held}, the source {wanted}")

    def _check_time(self, stored: Checkpoint) -> None:
        """A checkpoint's time promises no transaction that its position lacks."""
        time_unix_s = stored.source_time_unix_s
        assert time_unix_s is not None
        for entry, held in zip(self.source.log, self.source.included(stored.position), strict=True):
            if not held and entry.committed_unix_s is not None and entry.committed_unix_s < time_unix_s:
                raise Wrong(f"{stored.mapping} at {stored.position} lacks what was committed before {time_unix_s}")

    def rows_of(self, spec: Spec) -> dict[tuple[str, ...], tuple[str, ...]]:
        held = self.databases[spec.server].tables.get(spec.target, {})
        if spec.tag is None:
            return held
        return {key: row for key, row in held.items() if key[0] == str(spec.tag)}

    def _check_step(self, new: Checkpoint, by: FakeConnection) -> None:
        """Checkpoints go forward, and every row on the way was counted."""
        name = new.mapping
        old = self.last.get(name)
        self.last[name] = new
        if old is None or new.sequence == 0:  # a new copy
            return
        if self.counts and new.sequence <= old.sequence:
            raise Wrong(f"{name}: the sequence went from {old.sequence} to {new.sequence}")
        before, after = self.source.included(old.position), self.source.included(new.position)
        if any(was and not now for was, now in zip(before, after, strict=True)):
            raise Wrong(f"{name}: the checkpoint went back from {old.position} to {new.position}")
        if not self.counts:
            return
        counted = new.changes_applied + new.rows_filtered + new.rows_snapshotted
        counted -= old.changes_applied + old.rows_filtered + old.rows_snapshotted
        if _begins_again(
            new, [e for e, was, now in zip(self.source.log, before, after, strict=True) if now and not was]
        ):
            self.seen.add("XA unseen")
            return
        there = self.source.handed_out.pop((by.target.run_id, name), 0) + sum(
            sum(table == self.specs[name].source for table, *_ in entry.changes)
            for entry, was, now in zip(self.source.log, before, after, strict=True)
            if now and not was and not entry.rolled_back and not entry.prepares
        )
        if counted != there:
            raise Wrong(f"{name}: {there} rows were there, {counted} were counted, up to {new.position}")

    def _check_end(self, names: list[str]) -> None:
        for name in names:
            spec = self.specs[name]
            checkpoint = self.databases[spec.server].checkpoints[name]
            if checkpoint.phase is not Phase.REPLICATING:
                raise Wrong(f"{name} ends as {checkpoint.phase}")
            wanted = expected(spec, self.source.tip[spec.source].values())
            if self.rows_of(spec) != wanted:
                raise Wrong(f"{name} ends with {self.rows_of(spec)}, the source with {wanted}")


def _begins_again(new: Checkpoint, passed: list[Logged]) -> bool:
    """Whether a copy begins behind the commit of an XA transaction that was prepared before the mapping's first one."""
    fresh = new.phase is Phase.COPYING and new.copy in (CopyState(sweep=True), CopyState())
    return fresh and len(passed) == 1 and bool(passed[0].xid) and not passed[0].prepares


def live(seed: int, world_class: type[World] = World) -> World:
    """Let one world live.

    Raises:
        AssertionError: with the seed to replay it by.
    """
    world = world_class(seed)
    try:
        world.live()
    except Exception as error:
        raise Wrong(f"replay with seed={seed} (PYTHONPATH=tests python -m simulation {seed}): {error!r}") from error
    return world
