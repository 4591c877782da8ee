"""The `myrepetl` command: a thin rim over the core, without Dagster.

Exit codes: 0 done, 1 a problem or an error (printed), 2 wrong usage, 130 and 143 stopped by SIGINT and SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence

from ..core.config.load import load
from ..core.config.pipeline import Pipeline
from ..core.config.section import closest
from ..core.model.errors import ConfigError, ReplicationError

USAGE = 2


class UsageError(Exception):
    """The arguments name something that the pipeline file does not have, or no pipeline file."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        code: int = given.command(given)
        sys.stdout.flush()
        return code
    except UsageError as error:
        parser.exit(USAGE, f"myrepetl: {error}\n")
    except ConfigError as error:
        if given.debug:
            raise
        _print_problems(error)
        return 1
    except ReplicationError as error:
        if given.debug:
            raise
        _print_error(error)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `myrepetl status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="myrepetl", description="MySQL and MariaDB tables replicated into MySQL and MariaDB targets."
    )
    _common(parser, None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, does: str, function: object) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=does, description=does[0].upper() + does[1:] + ".")
        added.set_defaults(command=function)
        added.add_argument("file", nargs="?", metavar="PIPELINE", help="the pipeline file; also --config")
        _common(added, argparse.SUPPRESS)  # allowed before and after the command; its default must not reset the former
        return added

    command("validate", "name every problem of the pipeline file, without a connection", _validate)
    test = command("test-connection", "check each server, and say how to mend what it lacks", _test_connection)
    status = command("status", "show how every mapping stands", _status)
    for one in (test, status):
        _only(one)
        one.add_argument("--json", action="store_true", help="for machines")
    run = command("run", "copy what is due, then catch up with the sources", _run)
    run.add_argument("--mapping", metavar="NAME", action="append", help="only this mapping (may be repeated)")
    run.add_argument("--snapshot", action="store_true", help="copy again, and delete rows that the source lacks")
    run.add_argument(
        "--follow-s",
        metavar="N",
        type=float,
        default=0.0,
        help="keep applying the sources' changes until N seconds after the start",
    )
    run.add_argument("--log-format", choices=("text", "json"), default="text", help="json: a line for each record")
    _only(command("metrics", "print Prometheus metrics of every mapping, once", _metrics))
    accept = command("accept-code", "go on with changed transforms without copying again", _accept_code)
    accept.add_argument("--mapping", metavar="NAME", action="append", required=True, help="may be repeated")
    return parser


def _only(parser: argparse.ArgumentParser) -> None:
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--source", metavar="NAME", help="only this source")
    only.add_argument("--target", metavar="NAME", help="only this target")


def _common(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument("--config", metavar="FILE", default=default, help="the pipeline file (or MYREPETL_CONFIG)")
    parser.add_argument("--debug", action="store_true", default=default or False, help="show where an error came from")


# ---- commands ----
def _validate(given: argparse.Namespace) -> int:
    path = _path(given)
    pipeline = load(path)
    for warning in pipeline.warnings:
        print(f"warning: {warning}")
    counts = ((pipeline.sources, "source"), (pipeline.targets, "target"), (pipeline.mappings, "mapping"))
    print(f"{path}: no problems; {', '.join(_count(len(things), noun) for things, noun in counts)}")
    return 0


def _test_connection(given: argparse.Namespace) -> int:
    from ..core.diagnostics.connection_test import diagnose
    from .output import print_report

    pipeline = _load(given)
    _one_of("source", given.source, pipeline.sources)
    _one_of("target", given.target, pipeline.targets)
    reports = []
    for report in diagnose(pipeline, given.source, given.target):
        reports.append(report)
        if not given.json:
            print_report(report)
    if given.json:
        print(json.dumps({"connections": [report.as_json() for report in reports]}, indent=2))
    return 0 if all(report.ok for report in reports) else 1


def _status(given: argparse.Namespace) -> int:
    from ..core.diagnostics.status import status
    from .output import print_status

    pipeline = _load(given)
    _one_of("source", given.source, pipeline.sources)
    _one_of("target", given.target, pipeline.targets)
    found = status(pipeline, given.source, given.target)
    if given.json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        print_status(found)
    return 0 if found.connected else 1


def _metrics(given: argparse.Namespace) -> int:
    from ..core.diagnostics.status import status
    from ..metrics import metrics_text

    pipeline = _load(given)
    _one_of("source", given.source, pipeline.sources)
    _one_of("target", given.target, pipeline.targets)
    print(metrics_text(pipeline, status(pipeline, given.source, given.target)), end="")
    return 0  # a server that is down is among the metrics


def _run(given: argparse.Namespace) -> int:
    from .run import run

    pipeline = _load(given)
    for name in given.mapping or ():
        _one_of("mapping", name, [mapping.name for mapping in pipeline.mappings])
    return run(
        pipeline,
        given.mapping,
        copy_again=given.snapshot,
        follow_s=given.follow_s,
        debug=given.debug,
        log_format=given.log_format,
    )


def _accept_code(given: argparse.Namespace) -> int:
    from ..core.replication.accept_code import accept_code

    pipeline = _load(given)
    mappings = {mapping.name: mapping for mapping in pipeline.mappings}
    for name in given.mapping:
        _one_of("mapping", name, mappings)
    for name in given.mapping:
        print(accept_code(pipeline, mappings[name]))
    return 0


# ---- arguments and errors ----
def _path(given: argparse.Namespace) -> str:
    path = given.file or given.config or os.environ.get("MYREPETL_CONFIG")
    if not path:
        raise UsageError("no pipeline file: name it with --config FILE, or set MYREPETL_CONFIG")
    return str(path)


def _load(given: argparse.Namespace) -> Pipeline:
    pipeline = load(_path(given))
    for warning in pipeline.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return pipeline


def _one_of(noun: str, name: str | None, known: Iterable[str]) -> None:
    names = list(known)
    if name is not None and name not in names:
        raise UsageError(f"no {noun} {name!r} in the pipeline file; {closest(name, names)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_problems(error: ConfigError) -> None:
    for path, problem, hint in error.problems:
        print(f"{path}: {problem}" + (f" ({hint})" if hint else ""))
    print(f"{_count(len(error.problems), 'problem')}", file=sys.stderr)


def _print_error(error: ReplicationError) -> None:
    code = f" [{error.code}]" if error.code is not None else ""
    print(f"myrepetl: {error.message}{code}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)
