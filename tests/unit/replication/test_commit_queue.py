"""When batches that wait are committed, and how many are put together."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import accumulate
from operator import index
from typing import cast

import pytest
from simulation.fake_target import Database, FakeConnection, FakeTarget
from simulation.specs import Spec, plan_of

from myrepetl_dagster.core.binlog.row_images import ImageKey
from myrepetl_dagster.core.model.checkpoint import Checkpoint, Phase
from myrepetl_dagster.core.model.errors import UnsupportedEvent
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.model.position import Position, Transaction
from myrepetl_dagster.core.replication.catchup import batch_joining, commit_queue
from myrepetl_dagster.core.replication.catchup.batch_joining import FIRST_JOINED_MAX, JOIN_WAIT_S, Batch, QueuedBatches
from myrepetl_dagster.core.replication.catchup.commit_queue import CommitQueue
from myrepetl_dagster.core.replication.catchup.commits import APPLY_CONNECTIONS
from myrepetl_dagster.core.replication.catchup.log_cursor import LogCursor
from myrepetl_dagster.core.replication.catchup.mapping_writes import MappingWrites
from myrepetl_dagster.core.replication.catchup.serial_backoff import SERIAL_FIRST, SerialBackoff
from myrepetl_dagster.core.replication.catchup.work import CurrentTransaction, MappingWork
from myrepetl_dagster.core.replication.mapping_state import MappingState
from myrepetl_dagster.core.rows.event_encoder import WRITE_ROWS_MAX, RowChanges
from myrepetl_dagster.core.rows.pending_rows import LastImageByKey, PendingRows
from myrepetl_dagster.core.rows.writable_rows import Mutation

LIMITS = Limits(batch_rows_max=10, joined_batches_max=20, batch_interval_s_max=5.0)


class Clock:
    """`time`, as far as it is asked for."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (commit_queue, batch_joining):
        monkeypatch.setattr(module, "time", made)
    return made


class World:
    """One mapping, its target, and what was committed: how many rows, in each transaction."""

    def __init__(self, limits: Limits = LIMITS, name: str = "m") -> None:
        self.database = Database(is_large=True)
        self.commits: list[int] = []
        target = FakeTarget(self.database, "run", {}, lambda _: None, self.note)
        target.claim([name])
        start = Position("binlog.000001", 4, None, "", "the-source")
        checkpoint = Checkpoint(name, Phase.REPLICATING, start)
        self.state = MappingState(plan_of(Spec(name, 0, "people")), target, checkpoint, start)
        self.work = MappingWork(self.state, at_stream=True)
        self.queue = CommitQueue([self.work], LogCursor([self.work], start), limits, lambda _: None)
        self.rows = 0
        self.offset_bytes = start.offset_bytes

    def note(self, database: Database, *_: object) -> None:
        self.commits.append(len(database.tables.get("people", {})) - sum(self.commits))

    def read(self, rows: int = 10) -> None:
        """So many new rows in a batch."""
        mutations: list[Mutation] = [
            ((str(n),), (str(n), "NULL", "0", "''")) for n in range(self.rows, self.rows + rows)
        ]
        self.rows += rows
        self.work.in_transaction = PendingRows(mutations, rows_read=rows, rows_upserted=rows)
        self.end_transaction(1)
        self.queue.commit(in_background=True)

    def end_transaction(self, size_bytes: int, *, touched: bool = True) -> bool:
        """The log's next transaction ends; returns whether its rows should be committed."""
        self.offset_bytes += size_bytes
        current = CurrentTransaction({self.state.name: self.work} if touched else {})
        return self.queue.end_transaction(current, Transaction("binlog.000001", self.offset_bytes))


def test_an_idle_target_is_given_work_soon(clock: Clock) -> None:
    """The first batches wait a second and a half for more, not longer."""
    world = World()
    world.read()
    clock.now_s += JOIN_WAIT_S * 0.9
    world.read()
    assert not world.queue.under_way
    clock.now_s += JOIN_WAIT_S * 0.2
    world.read()
    assert len(world.queue.under_way) == 3
    world.queue.land()
    assert world.commits == [10, 10, 10]


def test_a_table_larger_than_the_buffer_pool_is_gone_through_seldom(clock: Clock) -> None:
    """From when the target has nothing to do, what waits does so for more. What waits at the log's end is begun then."""
    world = World()
    for _ in range(FIRST_JOINED_MAX):
        assert not world.queue.under_way
        world.read()
    assert world.queue.under_way
    for _ in range(3):
        world.read()
    clock.now_s += 2 * JOIN_WAIT_S
    world.queue._wait()
    world.read()
    clock.now_s += JOIN_WAIT_S * 0.9
    world.read()
    assert not world.queue.under_way
    clock.now_s += JOIN_WAIT_S * 0.2
    world.read()
    assert world.queue.under_way
    world.read()
    world.queue.land()
    assert sum(world.commits) == 10 * (FIRST_JOINED_MAX + 7)


@pytest.mark.parametrize(("joined_batches_max", "is_large"), [(30, False), (1, True)], ids=["fits", "turned off"])
def test_nothing_waits_where_joining_brings_nothing(clock: Clock, joined_batches_max: int, is_large: bool) -> None:
    """Of tables that fit the buffer pool, and with `joined_batches_max: 1`, each batch is a commit, begun as soon as it is
    read, beside those before it.
    """
    world = World(replace(LIMITS, joined_batches_max=joined_batches_max))
    world.database.is_large = is_large
    for number in range(APPLY_CONNECTIONS):
        world.read()
        assert len(world.queue.under_way) == number + 1
    world.queue.land()
    assert world.commits == [10] * APPLY_CONNECTIONS


def test_after_giving_way_commits_run_alone_for_a_while(clock: Clock) -> None:
    """One that gave way costs `SERIAL_FIRST` commits their company, the next one twice as many; then all is as before."""
    world = World(replace(LIMITS, joined_batches_max=1))
    alone = SERIAL_FIRST
    for _ in range(3):
        world.read()
        world.read()
        cast(FakeConnection, world.queue.under_way[-1][1].connection).give_way()
        world.queue.land()
        for _ in range(alone):
            world.read()
            assert len(world.queue.under_way) == 1
        world.queue.land()
        alone *= 2
    for number in range(APPLY_CONNECTIONS):
        world.read()
        assert len(world.queue.under_way) == number + 1
    world.queue.land()
    assert sum(world.commits) == world.rows


def test_those_that_give_way_at_once_count_as_one(clock: Clock) -> None:
    """Of three commits of joined batches two give way to the first: the next batches are one commit each time, for
    `SERIAL_FIRST` commits less that second one.
    """
    world = World()

    def joined() -> int:
        for _ in range(FIRST_JOINED_MAX):
            world.read()
        world.queue._start_all_joined()
        return len(world.queue.under_way)

    assert joined() == APPLY_CONNECTIONS
    for _, commit in world.queue.under_way[1:]:
        cast(FakeConnection, commit.connection).give_way()
    world.queue.land()
    for _ in range(SERIAL_FIRST - 1):
        assert joined() == 1
        world.queue.land()
    assert joined() == APPLY_CONNECTIONS
    world.queue.land()
    assert sum(world.commits) == world.rows


def test_giving_way_is_a_matter_of_one_target(clock: Clock) -> None:
    """The other target's transactions go on side by side, and are not counted."""
    limits = replace(LIMITS, joined_batches_max=1)
    sick, well = World(limits, "sick"), World(limits, "well")
    cursor = LogCursor([sick.work, well.work], sick.state.position)
    sick.queue = well.queue = queue = CommitQueue([sick.work, well.work], cursor, limits, lambda _: None)
    sick.read()
    sick.read()
    cast(FakeConnection, queue.under_way[-1][1].connection).give_way()
    queue.land()
    for _ in range(2 * SERIAL_FIRST):
        well.read()
        well.read()
        assert len(queue.under_way) == 2
        queue.land()
    for _ in range(SERIAL_FIRST // 2):
        sick.read()
        sick.read()
        assert len(queue.under_way) == 1
    queue.land()
    assert (sum(sick.commits), sum(well.commits)) == (sick.rows, well.rows)


def test_what_went_well_long_enough_is_as_new() -> None:
    """After as many commits side by side as the next time would cost, the next time costs as little as the first."""
    alone = SerialBackoff()
    alone.ended(gave_way=True)
    alone.ended(gave_way=True)  # begun before that one had landed
    assert (alone.left, alone.next) == (SERIAL_FIRST - 1, 2 * SERIAL_FIRST)
    for _ in range(alone.left + 2 * SERIAL_FIRST - 1):
        alone.ended(gave_way=False)
    assert (alone.left, alone.next) == (0, 2 * SERIAL_FIRST)
    alone.ended(gave_way=False)
    assert alone.next == SERIAL_FIRST


def test_what_waits_may_be_more_than_is_joined(clock: Clock) -> None:
    """While the target is at work batches go on to wait; of them it is given what it did in time, then the rest."""
    world = World(replace(LIMITS, joined_batches_max=1000))
    for _ in range(12 + 10):
        world.read()
    assert world.queue.joining.begun_rows == 120
    assert world.queue.joining.rows == 100
    clock.now_s += 2 * LIMITS.batch_interval_s_max
    world.queue._wait()
    world.read()
    assert world.queue.joining.begun_rows == 60
    assert world.queue.joining.rows == 50
    world.queue.land()
    assert not world.queue.joining.queued
    assert sum(world.commits) == 230


def test_as_many_as_may_be_joined_are_shared_out_evenly(clock: Clock) -> None:
    """At `joined_batches_max` batches they are begun, each connection with about as many rows as the others."""
    world = World()
    world.queue.joining.rows_max = 200
    for _ in range(20):
        world.read()
    assert len(world.queue.under_way) == APPLY_CONNECTIONS
    world.queue.land()
    assert sum(world.commits) == 200
    assert max(world.commits) - min(world.commits) <= 10


@pytest.mark.parametrize("sizes", [[4] * 8, [10, 1, 1, 10, 1, 1, 10], [3] * 11, [9, 9, 9, 3], [1, 30, 1], [10, 10]])
def test_no_connection_has_much_more_than_the_others(clock: Clock, sizes: list[int]) -> None:
    """Whatever the batches' sizes: none has more than its share by more than a batch; each batch is in one commit, in order."""
    world = World()
    world.queue.joining.rows_max = 1000
    for rows in sizes:
        world.read(rows)
    world.queue.land()
    number = min(APPLY_CONNECTIONS, 1 + sum(sizes) // LIMITS.batch_rows_max)
    assert max(world.commits) <= sum(sizes) / number + max(sizes)
    assert len(world.commits) <= number
    ends = list(accumulate(world.commits))
    assert set(ends) <= set(accumulate(sizes))
    assert ends[-1] == sum(sizes)


def test_few_rows_are_one_commit(clock: Clock) -> None:
    """Batches that were cut off by time, not by size, don't become a transaction each."""
    world = World()
    for _ in range(3):
        world.read(rows=3)
    world.queue.land()
    assert world.commits == [9]


def test_rows_that_take_much_memory_do_not_wait(clock: Clock) -> None:
    """At `joined_bytes_max` bytes they are begun, however few they are."""
    world = World(Limits(batch_rows_max=10, joined_batches_max=1000, joined_bytes_max=20_000))
    for _ in range(4):
        world.read()
    assert not world.queue.under_way
    world.read()  # 50 rows of four short texts
    assert world.queue.under_way


def test_the_first_are_few(clock: Clock) -> None:
    """How long a target takes is not known yet: no more than four batches for each connection are joined."""
    world = World()
    for _ in range(4 * APPLY_CONNECTIONS):
        assert not world.queue.under_way
        world.read()
    assert world.queue.under_way


@pytest.mark.parametrize(
    ("took_s", "rows_max"), [(1.0, 200), (5.0, 200), (10.0, 100), (1000.0, 10 * APPLY_CONNECTIONS)]
)
def test_a_slow_target_is_given_less_at_once(clock: Clock, took_s: float, rows_max: int) -> None:
    """So that commits are no further apart than `batch_interval_s_max`, but never less than a batch a connection.
    Only what was joined tells: whatever else was committed before and after it took its own time.
    """
    world = World()
    world.queue.joining.rows_max = 1000
    clock.now_s += 1000
    for _ in range(20):
        world.read()
    clock.now_s += took_s
    world.queue.land()
    clock.now_s += 1000
    world.work.pending.truncate()
    world.queue.commit()
    world.read()
    assert world.queue.joining.rows_max == rows_max


def test_each_commit_has_the_checkpoint_of_its_own_end() -> None:
    """Of batches that were joined and shared out, a share ends where its last batch ended."""
    world = World()
    queued = []
    for number in range(9):
        rows = PendingRows([((str(number),), None)] * 10, rows_read=10, rows_deleted=10)
        checkpoint = world.state.checkpoint
        batch = Batch(world.work, rows, checkpoint.position, replace(checkpoint, sequence=number))
        queued.append(QueuedBatches([batch], 10, 0))
    shares = world.queue.joining.shared_out(queued, world.state.target, APPLY_CONNECTIONS)
    assert [(len(one.rows.mutations), one.checkpoint.sequence) for (one,) in shares] == [
        (30, 2),
        (30, 5),
        (30, 8),
    ]


class Unreadable:
    """Images of which one cannot be told."""

    order = staticmethod(index)

    def mutations(self, last: LastImageByKey) -> list[Mutation]:
        raise AssertionError("nobody asks")

    def written_out(self, last: LastImageByKey) -> list[Mutation]:
        if b"bad" in last.values():
            raise UnsupportedEvent("a month that is none")
        return [((str(key),), (str(key), "NULL", "0", "''")) for key in last]

    def changes(self, last: LastImageByKey, new_keys: Collection[ImageKey]) -> RowChanges | None:
        return None


def test_what_cannot_be_read_is_told_with_the_place_before_it(clock: Clock) -> None:
    """An image of the last share is after what the shares before it committed."""
    world = World()
    images = Unreadable()
    for batch in range(2 * APPLY_CONNECTIONS):
        last: LastImageByKey = dict.fromkeys(range(10 * batch, 10 * batch + 10), b"good")
        if batch == 2 * APPLY_CONNECTIONS - 1:
            last[59] = b"bad"
        world.work.in_transaction = PendingRows(last_images=last, image_writer=images, rows_read=10, rows_upserted=10)
        world.end_transaction(1000 if batch else 996)
        world.queue.commit(in_background=True)
    with pytest.raises(UnsupportedEvent, match=r"^after binlog\.000001:4000: a month that is none"):
        world.queue.land()
    assert world.commits == [20, 20]
    assert world.state.checkpoint.position.offset_bytes == 4000
    assert world.queue.broken


def test_a_batch_that_is_all_filtered_waits_with_the_others(clock: Clock) -> None:
    """It has no images, and is joined with those that have: what waits is not begun early for it."""
    world = World()
    world.queue.joining.rows_max = 1000
    images = Unreadable()

    def read(n: int, filtered: int) -> None:
        shaped = PendingRows(rows_read=10, rows_upserted=10 - filtered, rows_filtered=filtered)
        if filtered < 10:
            shaped.begin_images(images)
            shaped.last_images = {n * 100 + m: b"x" for m in range(10 - filtered)}
        world.work.in_transaction = shaped
        world.end_transaction(1)
        world.queue.commit(in_background=True)

    for n, filtered in enumerate([0, 10, 10, 5, 10]):
        read(n, filtered)
    assert len(world.queue.joining.queued) == 5
    assert not world.queue.under_way


def test_what_waits_for_an_idle_target_needs_no_further_batch(clock: Clock) -> None:
    """Where the log has little more, it is committed at its next transaction, not when that makes another batch."""
    world = World()
    world.read()
    assert not world.end_transaction(1, touched=False)
    clock.now_s += JOIN_WAIT_S
    assert world.end_transaction(1, touched=False)


def test_rows_that_may_collide_are_written_bit_by_bit(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the log's order, each once, and of what was joined no more written out at once than of anything else."""
    world = World()
    written: list[list[Mutation]] = []
    monkeypatch.setattr(FakeConnection, "write", lambda self, plan, rows: written.append(list(rows.rows)))
    rows: list[Mutation] = [((str(n % 700),), None if n % 3 else (str(n),)) for n in range(2 * WRITE_ROWS_MAX + 1)]
    connection = world.state.target.apply
    MappingWrites(world.work, world.state.position, world.state.plan, rows=rows).write(connection)
    assert [one for rows in written for one in rows] == rows
    assert [len(rows) for rows in written] == [WRITE_ROWS_MAX, WRITE_ROWS_MAX, 1]
