"""Whether a source's log is the one that a checkpoint was made with.

After a RESET, a restore or a reset disk snapshot, another log may have the same file names, sizes and GTIDs. A file is
recognized by the second in which it was begun, and by a mark: the place and the bytes of one event in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from ..binlog.event_format import KIND_AT, event_crc32, event_offset_bytes
from ..binlog.event_types import FORMAT_DESCRIPTION
from ..binlog.events import Committed, LogAdvanced, RolledBack, XaDecided, XaPrepared
from ..binlog.reader import LogReader
from ..model.errors import PositionLost, ReplicationError, UnsupportedEvent
from ..model.position import LogMark, Position, Transaction

_BEGINNING_BYTES_MAX = 2**20
_FIRST_OFFSET = 4
_BAD_PLACE = 1236  # ER_SOURCE_FATAL_ERROR_READING_BINLOG
_TRANSACTIONS_MAX = 1000  # so many are looked through for one GTID: they may be logged in another order


class SameLog:
    """Answers questions about one server's log, each once, from a stream that begins at the place in question.

    Args:
        events: opens a stream of the log's events from a position on.
    """

    def __init__(self, events: Callable[[Position], AbstractContextManager[Iterator[bytes]]]) -> None:
        self._events = events
        self._beginnings: dict[str, tuple[int, LogMark | None]] = {}  # by file
        self._answers: dict[tuple[str, int, LogMark | None], bool] = {}

    def beginning(self, end: Position) -> tuple[int, LogMark | None]:
        """As the function `beginning`, for the file of a position."""
        if end.file not in self._beginnings:
            with self._events(Position(end.file, _FIRST_OFFSET)) as events:
                self._beginnings[end.file] = beginning(events, end.file, end.offset_bytes)
        return self._beginnings[end.file]

    def another_file(self, position: Position, files: Collection[str]) -> str:
        """The name of a file that is not the one of the checkpoint any more; '' if there is none.

        It was begun again, or holds another event in the place of the position's mark. Neither GTIDs nor sizes tell
        this once the new log has grown.

        Args:
            files: the names of the server's files.
        """
        mark = position.mark
        questions = [(position.file, position.birth_unix_s, mark if mark and mark.file == position.file else None)]
        if mark and mark.file != position.file:
            questions.append((mark.file, 0, mark))
        for file, birth_unix_s, own_mark in questions:
            if file in files and (birth_unix_s or own_mark) and not self._is_same(file, birth_unix_s, own_mark):
                return file
        return ""

    def _is_same(self, file: str, birth_unix_s: int, mark: LogMark | None) -> bool:
        question = (file, birth_unix_s, mark)
        if question not in self._answers:
            try:
                with self._events(Position(file, mark.offset_bytes if mark else _FIRST_OFFSET)) as events:
                    self._answers[question] = is_same(events, *question)
            except ReplicationError as error:
                if error.code != _BAD_PLACE:
                    raise
                self._answers[question] = False  # the file is there, but no event begins at this place
        return self._answers[question]

    def another_history(self, position: Position, files: Collection[str]) -> bool:
        """Whether the server was restored and has given the GTID of the mark's transaction to another one since.

        The answer is looked for only if the mark's file is gone: the GTID leads to the transaction's new place. If no
        file holds the transaction, the answer is no.
        """
        mark = position.mark
        if position.gtid_set is None or mark is None or mark.gtid is None or mark.file in files:
            return False
        try:
            with self._events(replace(position, gtid_set=position.gtid_set.without(*mark.gtid))) as events:
                for transaction in transactions(events, _TRANSACTIONS_MAX):
                    if transaction.gtid == mark.gtid and transaction.mark is not None:
                        return transaction.mark.originated_at_us != mark.originated_at_us
        except PositionLost:
            pass  # purged
        return False


def beginning(events: Iterable[bytes], file: str, end_offset_bytes: int) -> tuple[int, LogMark | None]:
    """(The second in which a file was begun, the mark of its first transaction).

    The mark is None if the transaction ends after the given place, or is not among the file's first events.

    Args:
        events: the file's events, from the first on.
    """
    reader = LogReader({}, file)
    birth_unix_s = size_bytes = 0
    try:
        for raw in events:
            size_bytes += len(raw)
            for event in reader.read(raw):
                if isinstance(event, LogAdvanced):
                    birth_unix_s = birth_unix_s or event.birth_unix_s
                elif isinstance(event, (Committed, RolledBack, XaPrepared, XaDecided)):
                    ended = event.transaction.end_offset_bytes <= end_offset_bytes
                    return birth_unix_s, event.transaction.mark if ended else None
            if size_bytes > _BEGINNING_BYTES_MAX:
                break
    except UnsupportedEvent:
        pass  # a run that reads from there will raise it
    return birth_unix_s, None


def is_same(events: Iterable[bytes], file: str, birth_unix_s: int, mark: LogMark | None) -> bool:
    """Whether a file was begun in that second (0: not known), and holds the mark.

    Args:
        events: the file's events, from the mark on, or from the first on.
    """
    reader = LogReader({}, file)
    for raw in events:
        if raw[KIND_AT] == FORMAT_DESCRIPTION:
            begun = [e.birth_unix_s for e in reader.read(raw) if isinstance(e, LogAdvanced)]
            if birth_unix_s and any(second not in (0, birth_unix_s) for second in begun):
                return False
            if mark is None:
                return True
        elif mark is not None and event_offset_bytes(raw) >= mark.offset_bytes:
            here = event_offset_bytes(raw) == mark.offset_bytes
            return here and event_crc32(raw, reader.checksums) == mark.crc32
    return mark is None


def transactions(events: Iterable[bytes], count_max: int) -> Iterator[Transaction]:
    """The next transactions of a stream. They are fewer if the stream ends, or has an event that is not understood."""
    reader = LogReader({}, "")
    count = 0
    try:
        for raw in events:
            for event in reader.read(raw):
                if isinstance(event, (Committed, RolledBack, XaPrepared, XaDecided)):
                    yield event.transaction
                    count += 1
            if count >= count_max:
                return
    except UnsupportedEvent:
        return
