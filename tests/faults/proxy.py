"""A TCP proxy between us and a server, for faults that no driver can be asked for.

It forwards until it is told otherwise, and reads along just enough of the protocol to find a COMMIT, its OK,
a dump of the log and a packet of 16 MB.

with Proxy(server.host, server.port) as proxy:
    with proxy.stopped(): ...
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum, auto
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024
PACKET_BYTES_MAX = 0xFFFFFF
COM_QUERY, COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID = 0x03, 0x12, 0x1E


class Way(Enum):
    """A direction."""

    TO_SERVER = auto()
    TO_CLIENT = auto()


class Mode(Enum):
    FORWARD = auto()
    STALLED = auto()  # bytes are held back and sent later
    DRIBBLING = auto()  # one byte for each send
    DROPPING = auto()  # bytes vanish, the connection stays


class Packets:
    """Finds the packets in a stream: `on_packet(length, first bytes, where its header starts in the bytes fed)`."""

    def __init__(self, on_packet: Callable[[int, bytes, int], None], peek_bytes: int = 16) -> None:
        self._on_packet = on_packet
        self._peek_bytes = peek_bytes
        self._head = b""  # the header and the first bytes of the body
        self._skip = 0

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            at += self._take(data, at, 4)
            if len(self._head) < 4:
                return
            length = int.from_bytes(self._head[:3], "little")
            wanted = 4 + min(length, self._peek_bytes)
            at += self._take(data, at, wanted)
            if len(self._head) == wanted:
                self._on_packet(length, self._head[4:], at - wanted)
                self._skip = 4 + length - wanted
                self._head = b""

    def _take(self, data: bytes, at: int, wanted: int) -> int:
        taken = data[at : at + max(0, wanted - len(self._head))]
        self._head += taken
        return len(taken)


class Link:
    """One connection through the proxy: two sockets and two threads."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server
        self.closed = threading.Event()
        self.awaiting_commit_reply = False
        self._ended = 0
        self.cut_after_bytes: dict[Way, int | None] = {Way.TO_SERVER: None, Way.TO_CLIENT: None}
        self._packets = {
            Way.TO_SERVER: Packets(self._from_client),
            Way.TO_CLIENT: Packets(self._from_server),
        }
        for way in Way:
            threading.Thread(target=self._pump, args=(way,), daemon=True, name=f"proxy-{way.name}").start()

    def cut(self) -> None:
        """End both sides at once, as a reset."""
        if self.closed.is_set():
            return
        self.closed.set()
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                end.close()
        self.proxy.forget(self)

    def _pump(self, way: Way) -> None:
        reading, writing = (self.client, self.server) if way is Way.TO_SERVER else (self.server, self.client)
        try:
            while data := reading.recv(CHUNK_BYTES):
                self._packets[way].feed(data)
                self._send(writing, data, way)
                if self.closed.is_set():
                    return
        except (OSError, ValueError):
            self.cut()
            return
        self._end(writing)

    def _end(self, writing: socket.socket) -> None:
        """One side said goodbye; the other hears of it, unless the network is at fault just now."""
        while self.proxy.mode not in (Mode.FORWARD, Mode.DRIBBLING) and not self.closed.wait(0.02):
            pass
        with contextlib.suppress(OSError):
            writing.shutdown(socket.SHUT_WR)
        self._ended += 1
        if self._ended == len(Way):
            self.cut()

    def _send(self, writing: socket.socket, data: bytes, way: Way) -> None:
        limit = self.cut_after_bytes[way]
        if limit is not None:
            writing.sendall(data[:limit])
            time.sleep(0.02)  # so that the bytes arrive before the reset, which would overtake them
            self.cut()
            return
        if self.proxy.delay_s:
            time.sleep(self.proxy.delay_s)
        while self.proxy.mode is Mode.STALLED and way in self.proxy.ways and not self.closed.wait(0.01):
            pass
        if self.proxy.mode is Mode.DROPPING and way in self.proxy.ways:
            return
        if self.proxy.mode is Mode.DRIBBLING and way in self.proxy.ways:
            for i in range(len(data)):
                writing.sendall(data[i : i + 1])
            return
        writing.sendall(data)

    # ---- reading along ----
    def _from_client(self, length: int, peeked: bytes, start: int) -> None:
        if length and peeked[0] in (COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID):
            self.proxy.dumps += 1
        if length and peeked[0] == COM_QUERY and peeked[1:].strip().upper() == b"COMMIT":
            self.proxy.commits += 1
            if self.proxy.take_commit_fault("request"):
                self.cut_after_bytes[Way.TO_SERVER] = 0
            else:
                self.awaiting_commit_reply = True
        if length == PACKET_BYTES_MAX and self.proxy.take_big_packet_fault(Way.TO_SERVER):
            self.cut_after_bytes[Way.TO_SERVER] = max(0, start) + 1000

    def _from_server(self, length: int, peeked: bytes, start: int) -> None:
        if self.awaiting_commit_reply:
            self.awaiting_commit_reply = False
            if self.proxy.take_commit_fault("reply"):
                self.cut_after_bytes[Way.TO_CLIENT] = max(0, start) + self.proxy.commit_reply_bytes
        if length == PACKET_BYTES_MAX and self.proxy.take_big_packet_fault(Way.TO_CLIENT):
            self.cut_after_bytes[Way.TO_CLIENT] = max(0, start) + 1000


class Proxy:
    """A listening port that leads to a server. Counts: `accepted` connections, `dumps` of the log, `commits`."""

    host = "127.0.0.1"

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self.mode = Mode.FORWARD
        self.ways: frozenset[Way] = frozenset(Way)
        self.delay_s = 0.0
        self.accepted = self.dumps = self.commits = self.faults_taken = 0
        self.commit_reply_bytes = 0
        self._commit_fault: str | None = None
        self._commits_to_go = 0
        self._big_packet_fault: Way | None = None
        self._lock = threading.Lock()
        self._links: set[Link] = set()
        self._listener: socket.socket | None = None
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port = int(probe.getsockname()[1])

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.forward()
        self.cut()

    # ---- listening ----
    def listen(self) -> None:
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(64)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True, name="proxy-accept").start()

    def refuse(self) -> None:
        """Refuse new connections; those that are open go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                server = socket.create_connection(self._to, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._links.add(Link(self, client, server))

    @property
    def links(self) -> list[Link]:
        with self._lock:
            return [link for link in self._links if not link.closed.is_set()]

    def forget(self, link: Link) -> None:
        with self._lock:
            self._links.discard(link)

    # ---- faults ----
    def forward(self) -> None:
        self.mode, self.ways, self.delay_s = Mode.FORWARD, frozenset(Way), 0.0

    def cut(self) -> int:
        """Cut every open connection; how many."""
        links = self.links
        for link in links:
            link.cut()
        return len(links)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Nothing gets through, and new connections are refused: a server that is down."""
        self.refuse()
        self.cut()
        try:
            yield
        finally:
            self.listen()

    @contextlib.contextmanager
    def stalled(self, *ways: Way) -> Iterator[None]:
        """Bytes are held back, connections stay: a network that hangs."""
        yield from self._in(Mode.STALLED, ways)

    @contextlib.contextmanager
    def half_open(self, way: Way) -> Iterator[None]:
        """Bytes of one direction vanish: the peer died, or a firewall forgot the connection."""
        yield from self._in(Mode.DROPPING, (way,))
        self.cut()  # what was lost cannot be made up for

    @contextlib.contextmanager
    def dribbling(self, *ways: Way) -> Iterator[None]:
        """One byte at a time."""
        yield from self._in(Mode.DRIBBLING, ways)

    @contextlib.contextmanager
    def delayed(self, delay_s: float) -> Iterator[None]:
        self.delay_s = delay_s
        try:
            yield
        finally:
            self.delay_s = 0.0

    def _in(self, mode: Mode, ways: tuple[Way, ...]) -> Iterator[None]:
        self.ways = frozenset(ways or Way)
        self.mode = mode
        try:
            yield
        finally:
            self.forward()

    def lose_commit(self, nth: int = 1) -> None:
        """The next (nth) COMMIT does not arrive at the server; the connection is cut."""
        self._commit_fault, self._commits_to_go = "request", nth

    def lose_commit_reply(self, after_bytes: int = 0, nth: int = 1) -> None:
        """The next (nth) COMMIT arrives; of its OK only so many bytes come back, then the connection is cut."""
        self.commit_reply_bytes = after_bytes
        self._commit_fault, self._commits_to_go = "reply", nth

    def cut_in_big_packet(self, way: Way) -> None:
        """The next packet of 16 MB in this direction is cut a thousand bytes in."""
        self._big_packet_fault = way

    @property
    def armed(self) -> bool:
        """Whether a fault still waits for its moment."""
        return self._commit_fault is not None or self._big_packet_fault is not None

    def disarm(self) -> None:
        self._commit_fault = self._big_packet_fault = None

    def take_commit_fault(self, kind: str) -> bool:
        with self._lock:
            if self._commit_fault != kind:
                return False
            self._commits_to_go -= 1
            if self._commits_to_go > 0:
                return False
            self._commit_fault = None
            self.faults_taken += 1
            return True

    def take_big_packet_fault(self, way: Way) -> bool:
        with self._lock:
            if self._big_packet_fault is not way:
                return False
            self._big_packet_fault = None
            self.faults_taken += 1
            return True
