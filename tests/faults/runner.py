"""A replication in a process of its own, to be killed, paused and told to end by the tests.

python runner.py CONFIG.json    with a pipeline and what to do; one JSON object for each line of output

MYREPETL_TEST_FAULT="point:n:action" does something at a point around COMMIT, the n-th time it is reached:
points data-written, checkpoint-written, commit-sent, committed; actions kill, stop.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymysql.connections import Connection
from pymysql.constants import COMMAND

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.model.errors import ReplicationError
from myrepetl_dagster.core.replication.catchup import batch_joining
from myrepetl_dagster.core.replication.result import Progress
from myrepetl_dagster.core.replication.source_runs import replicate
from myrepetl_dagster.core.source import binlog_stream
from myrepetl_dagster.core.target import apply_connection, checkpoint_table, control

_out = threading.Lock()


def say(event: str, **facts: Any) -> None:
    with _out:
        sys.stdout.write(json.dumps({"event": event, "at": time.time(), **facts}) + "\n")
        sys.stdout.flush()


# ---- faults at named points ----------------------------------------------------------------------------
def install_fault(text: str) -> None:
    point, nth, action = text.split(":")
    left = [int(nth)]
    storing: dict[str, int] = {}  # what the commit under way stores

    def reached(name: str) -> None:
        if name != point:
            return
        left[0] -= 1
        if left[0] == 0:
            say("fault", point=point, stored=storing)
            os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)

    real_write, real_commit = checkpoint_table.write, apply_connection.MySQLApplyConnection.commit

    def write(*args: Any) -> None:
        reached("data-written")
        real_write(*args)
        reached("checkpoint-written")

    def commit_packet(connection: Connection[Any]) -> None:
        connection._execute_command(COMMAND.COM_QUERY, "COMMIT")
        reached("commit-sent")
        connection._read_ok_packet()

    def commit(connection: apply_connection.MySQLApplyConnection, stored: Any) -> None:
        storing.clear()
        storing.update({c.mapping: c.sequence for c in stored})
        real_commit(connection, stored)
        reached("committed")

    checkpoint_table.write = write  # type: ignore[assignment]
    Connection.commit = commit_packet
    apply_connection.MySQLApplyConnection.commit = commit  # type: ignore


def count_streams() -> None:
    """Say each time that the core opens a stream, so that a stream opened behind its back shows."""
    real_enter = binlog_stream.LogStream.__enter__

    def enter(self: binlog_stream.LogStream) -> binlog_stream.LogStream:
        say("stream")
        return real_enter(self)

    binlog_stream.LogStream.__enter__ = enter  # type: ignore[method-assign]


def join_batches() -> None:
    """As if no buffer pool held the tables: batches wait, and are joined."""
    control.TargetControl.buffer_pool_bytes = 1  # type: ignore[assignment, method-assign]
    batch_joining.JOIN_WAIT_S = 0.3
    real_begin = batch_joining.Joining.begin

    def begin(self: batch_joining.Joining) -> list[batch_joining.QueuedBatches]:
        groups = real_begin(self)
        say("joined", groups=len(groups))
        return groups

    batch_joining.Joining.begin = begin  # type: ignore[method-assign]


class RetryLog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        fields = ("operation", "code", "attempt", "wait_s")
        facts = {name: getattr(record, name) for name in fields if hasattr(record, name)}
        say("log", level=record.levelname, text=record.getMessage(), **facts)


# ---- running -------------------------------------------------------------------------------------------
def on_progress(pace_s: float) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if not progress.rows_uncommitted:
            say("commit", mapping=progress.mapping, phase=progress.phase.value)
        if pace_s:
            time.sleep(pace_s)

    return report


def until_told(stop: threading.Event) -> None:
    """The parent closes our input when it wants us to end after the call under way."""
    while os.read(0, 4096):  # not sys.stdin: its lock, held by this thread, would break the interpreter's end
        pass
    stop.set()


def main() -> int:
    config = json.loads(Path(sys.argv[1]).read_text())
    logging.getLogger("myrepetl").addHandler(RetryLog())
    logging.getLogger("myrepetl").setLevel(logging.INFO)
    count_streams()
    if fault := os.environ.get("MYREPETL_TEST_FAULT"):
        install_fault(fault)
    if config.get("joins"):
        join_batches()
    if config.get("sigterm") == "interrupt":  # as Dagster does it in a run's process

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        signal.signal(signal.SIGTERM, interrupt)
    elif config.get("sigterm") == "default":  # whatever the tests were started with: a shell may have it ignored
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    random.seed(config.get("seed"))
    stop = threading.Event()
    threading.Thread(target=until_told, args=(stop,), daemon=True).start()
    pipeline = from_dict(config["pipeline"])
    say("ready")
    copy_again = bool(config.get("copy_again"))
    try:
        while True:
            say("call")
            results = replicate(
                pipeline,
                on_progress=on_progress(config.get("pace_s", 0.0)),
                copy_again=copy_again,
                follow_s=config.get("follow_s", 0.0),
            )
            copy_again = False
            for result in results:
                if result.error is not None:
                    raise result.error
            say("done", changes=sum(r.changes_applied for r in results))
            if stop.is_set() or config.get("once"):
                return 0
            time.sleep(config.get("pause_s", 0.0))
    except ReplicationError as error:
        text = "".join(traceback.format_exception(error))
        say("error", kind=type(error).__name__, code=error.code, message=str(error), traceback=text)
        return 3
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    sys.exit(main())
