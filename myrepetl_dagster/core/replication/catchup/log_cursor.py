"""How far a catch-up has read its source's log, and which of its mappings are further on. Pure: it reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...model.errors import PositionLost
from ...model.position import Position, Transaction, earliest, file_number
from ..mapping_state import named_mapping
from .work import MappingWork


class LogCursor:
    """Begins at the mapping that is furthest back. The others are at the stream once it comes to their positions.

    It keeps the mappings' `position` and `at_stream`; after a failover it also sets their high watermarks anew.

    Args:
        works: the mappings of one source.
        until: the source's head.

    Attributes:
        position: up to where the log is read.
        reached: whether the log is read up to `until`.
        source_time_unix_s: what is read holds all that the source had committed by then, by its own clock; None if
            nothing tells yet.
    """

    def __init__(self, works: Sequence[MappingWork], until: Position) -> None:
        self.works = works
        self.until = until
        # When files of the log were begun. With that a checkpoint knows its file again.
        positions = [work.state.position for work in works]
        self._births = {p.file: p.birth_unix_s for p in positions if p.server == until.server}
        self.position = self._start()
        # The position's own place may be further on than the stream begins, where GTIDs decide.
        self._place = self.position.order if self.position.gtid_set is None else (0, 0)
        self._until_place = until.order
        self.reached = self._place >= self._until_place
        self._further_on = [work for work in works if not work.at_stream]
        self.source_time_unix_s: float | None = None

    def _start(self) -> Position:
        for work in self.works:
            with named_mapping(work.state):
                work.state.position = _on_server(work.state.position, self.until)
        start = earliest([work.state.position for work in self.works])
        for work in self.works:
            state = work.state
            work.at_stream = start.covers(state.position)
            high = state.checkpoint.high_watermark
            if high is not None and high.server != self.until.server:
                # Its place means nothing here, and its GTIDs may lack some whose rows the copy has seen.
                state.checkpoint = replace(state.checkpoint, high_watermark=self.until)
        return start

    @property
    def at_head(self) -> bool:
        """Whether there is nothing to read: no transaction, and no new file either."""
        return self.position.covers(self.until) and self.position.order >= self.until.order

    def log_ended(self) -> None:
        """The source has sent all it has. The checkpoint held already what it did not send up to `until`.

        The GTIDs alone do not tell this earlier: a transaction is in the files, and may be visible, before it is in the
        head's set.
        """
        if self.position.gtid_set is not None and self.position.covers(self.until):
            self.advance_to(self.until.file, self.until.offset_bytes)
        if not self.reached:
            raise PositionLost(
                f"the log ended at {self.position} before {self.until}, so the checkpoint is not of this server",
                hint="Was the source replaced or restored? Run the `snapshot` job for its mappings.",
            )

    def committed(self, transaction: Transaction) -> None:
        """The log is read up to the end of a transaction that has happened: every mapping has it now."""
        for work in self._further_on:
            if not work.state.position.includes(transaction):
                work.state.position = work.state.position.after(transaction)
        self.advance(transaction)

    def advance(self, transaction: Transaction) -> None:
        """The log is read up to a transaction's end."""
        place = file_number(transaction.file), transaction.end_offset_bytes
        if place > self._place:
            self._place = place
            self.reached = place >= self._until_place
        self.position = self.position.after(transaction)
        if transaction.committed_at_unix_s:
            self.source_time_unix_s = transaction.committed_at_unix_s
        if self._further_on:
            for work in self._further_on:
                work.at_stream = self.position.covers(work.state.position)
            self._further_on = [work for work in self._further_on if not work.at_stream]

    def advance_to(self, file: str, offset_bytes: int, birth_unix_s: int = 0) -> None:
        """The log is read up to a place outside any transaction, which is a position, too."""
        if birth_unix_s:
            self._births[file] = birth_unix_s
        place = file_number(file), offset_bytes
        if place > self.position.order:
            self.position = replace(self.position, file=file, offset_bytes=offset_bytes)
        if place > self._place:
            self._place = place
            self.reached = place >= self._until_place

    def read_all(self, unix_s: float) -> None:
        """Everything is read that the source had committed at this time, by its own clock."""
        self.source_time_unix_s = max(self.source_time_unix_s or 0.0, unix_s)

    def sign_of_life(self, unix_s: float) -> None:
        """At this time the source had nothing to send."""
        if self.reached:  # else it skips what was read before, and has said nothing of what comes then
            self.read_all(unix_s)

    def read_up_to(self, work: MappingWork) -> tuple[Position, float | None]:
        """A mapping's position now, and the source's time that belongs to it; None if its checkpoint knows better."""
        at_stream = work.at_stream
        position = self.position if at_stream else work.state.position
        position = replace(position, birth_unix_s=self._births.get(position.file, 0))
        return position, self.source_time_unix_s if at_stream else None

    def check_at_stream(self) -> None:
        """At the end of the log.

        Raises:
            PositionLost: a mapping's position is beyond all that there is.
        """
        for work in self.works:
            with named_mapping(work.state):
                if not work.at_stream:
                    raise PositionLost(
                        f"the checkpoint of {work.state.name} holds transactions that this source never wrote",
                        hint="Is it another server than before? Run the `snapshot` job for the mapping.",
                    )


def _on_server(position: Position, head: Position) -> Position:
    """A position as one of the head's server.

    Raises:
        PositionLost: the position is in another server's files, and has no GTIDs to find the place by.
    """
    if position.server == head.server:
        return position
    if position.gtid_set is not None and head.gtid_set is not None:
        return replace(position, server=head.server, file="", offset_bytes=0, mark=None)
    raise PositionLost(
        f"the checkpoint {position} is of server {position.server or 'unknown'}, the source now is {head.server}",
        hint="Was the source replaced? Without GTIDs its log cannot be matched: run the `snapshot` job.",
    )
