"""Where a pass is in its source's log, and which of its mappings are ahead of it. Pure: nothing is read here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...model.errors import PositionLost
from ...model.position import Position, Transaction, earliest
from ..mapping_state import named_mapping
from .work import MappingWork


class LogCursor:
    """Begins where the mapping stands that is furthest back; the others join when it comes to where they stand.

    It keeps the mappings' `position` and `at_stream`; after a failover it also sets their high watermarks anew.

    Attributes:
        source_time_unix_s: what is read holds all that the source had committed by then (its clock); None: nothing
            tells yet.

    Args:
        works: the mappings of one source, any of them ahead of others.
        until: the source's head.
    """

    def __init__(self, works: Sequence[MappingWork], until: Position) -> None:
        self.works = works
        self.until = until
        # When files of the log were begun; with it a checkpoint knows its file again.
        places = [work.state.position for work in works]
        self.births = {place.file: place.birth_unix_s for place in places if place.server == until.server}
        self.position = self._start()
        self.place = self.position.order if self.position.gtid_set is None else (0, 0)
        self.ahead = [work for work in works if not work.at_stream]
        self.source_time_unix_s: float | None = None

    def _start(self) -> Position:
        for work in self.works:
            with named_mapping(work.state):
                work.state.position = _on_server(work.state.position, self.until)
        start = earliest([work.state.position for work in self.works])
        for work in self.works:
            work.at_stream = start.covers(work.state.position)
            state = work.state
            high = state.checkpoint.high_watermark
            if high is not None and high.server != self.until.server:
                # Its place is not known here, and its GTIDs may lack some whose rows the copy has seen.
                state.checkpoint = replace(state.checkpoint, high_watermark=self.until)
        return start

    @property
    def at_head(self) -> bool:
        """Whether there is nothing to read: no transaction, and no new file either."""
        return self.position.covers(self.until) and self.position.order >= self.until.order

    @property
    def reached(self) -> bool:
        """Whether the log is read up to `until`."""
        return self.place >= self.until.order

    def log_ended(self) -> None:
        """The source has sent all it has: what it did not send up to `until`, the checkpoint held already.

        By the GTIDs alone this cannot be told earlier: a transaction is in the files, and may be visible, before
        it is in the head's set.
        """
        if self.position.gtid_set is not None and self.position.covers(self.until):
            self.moved(self.until.file, self.until.offset_bytes)
        if not self.reached:
            raise PositionLost(
                f"the log ended at {self.position} before {self.until}, so the checkpoint is not of this server",
                hint="Was the source replaced or restored? Run the `snapshot` job for its mappings.",
            )

    def committed(self, transaction: Transaction) -> None:
        """The same as `advance`, of a transaction that has happened: mappings that are ahead have it, or have now."""
        for work in self.ahead:
            if not work.state.position.includes(transaction):
                work.state.position = work.state.position.after(transaction)
        self.advance(transaction)

    def advance(self, transaction: Transaction) -> None:
        """The log is read up to this transaction's end."""
        self.position = self.position.after(transaction)
        self.moved(transaction.file, transaction.end_offset_bytes)
        if transaction.committed_at_unix_s:
            self.source_time_unix_s = transaction.committed_at_unix_s
        if self.ahead:
            for work in self.ahead:
                work.at_stream = self.position.covers(work.state.position)
            self.ahead = [work for work in self.ahead if not work.at_stream]

    def moved(self, file: str, offset_bytes: int, birth_unix_s: int = 0) -> None:
        """Note how far the log is read; outside a transaction that is a position, too."""
        if birth_unix_s:
            self.births[file] = birth_unix_s
        if (self.position.file, self.position.offset_bytes) != (file, offset_bytes):
            here = replace(self.position, file=file, offset_bytes=offset_bytes)
            if here.order > self.position.order:
                self.position = here
            self.place = max(self.place, here.order)
        else:
            self.place = max(self.place, self.position.order)

    def read_all(self, unix_s: float) -> None:
        """All is read that the source had at this time, by its own clock."""
        self.source_time_unix_s = max(self.source_time_unix_s or 0.0, unix_s)

    def sign_of_life(self, unix_s: float) -> None:
        """At this time the source had nothing to send."""
        if self.reached:  # else it skips what was read before, and has said nothing of what comes then
            self.read_all(unix_s)

    def position_of(self, work: MappingWork) -> Position:
        """Where a mapping stands."""
        position = self.position if work.at_stream else work.state.position
        return replace(position, birth_unix_s=self.births.get(position.file, 0))

    def source_time_of(self, work: MappingWork) -> float | None:
        """The time that belongs to where a mapping stands; None: its checkpoint knows better."""
        return self.source_time_unix_s if work.at_stream else None

    def check_at_stream(self) -> None:
        """At the end of the log.

        Raises:
            PositionLost: a mapping is ahead of all that there is.
        """
        for work in self.works:
            with named_mapping(work.state):
                if not work.at_stream:
                    raise PositionLost(
                        f"the checkpoint of {work.state.name} holds transactions that this source never wrote",
                        hint="Is it another server than before? Run the `snapshot` job for the mapping.",
                    )


def _on_server(position: Position, head: Position) -> Position:
    """A position as one of the server that the head is of.

    Raises:
        PositionLost: another server's files, and no GTIDs to find the place by.
    """
    if position.server == head.server:
        return position
    if position.gtid_set is not None and head.gtid_set is not None:
        return replace(position, server=head.server, file="", offset_bytes=0, mark=None)
    raise PositionLost(
        f"the checkpoint {position} is of server {position.server or 'unknown'}, the source now is {head.server}",
        hint="Was the source replaced? Without GTIDs its log cannot be matched: run the `snapshot` job.",
    )
