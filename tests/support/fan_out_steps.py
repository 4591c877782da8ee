"""The steps of a fanned-out copy, in this process or as processes of their own that tests kill.

python fan_out_steps.py CONFIG.json    copies one range: a pipeline and a part, as JSON
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from myrepetl_dagster.core.config.load import from_dict
from myrepetl_dagster.core.config.pipeline import Pipeline
from myrepetl_dagster.core.model.errors import ReplicationError
from myrepetl_dagster.core.replication.fan_out import BeginCopies, CopyOneRange, EndCopies, Part
from myrepetl_dagster.core.replication.result import MappingResult, Progress


def begin(pipeline: Pipeline, step_rows: int) -> list[Part]:
    """Begin the copies of all mappings of the pipeline's only source; an error fails the test."""
    run = BeginCopies(pipeline, pipeline.mappings, step_rows=step_rows, waits_for_turn=False)
    for result in run.run():
        assert result.error is None, result.error
    return run.parts


def copy(pipeline: Pipeline, part: Part) -> int:
    """Copy a range; how many rows of it are written then."""
    run = CopyOneRange(pipeline, part)
    run.run()
    return run.rows


def end(pipeline: Pipeline, parts: Sequence[Part]) -> dict[str, MappingResult]:
    """The last step; an error fails the test."""
    results = {r.mapping: r for r in try_to_end(pipeline, parts)}
    for result in results.values():
        assert result.error is None, result.error
    return results


def try_to_end(pipeline: Pipeline, parts: Sequence[Part]) -> list[MappingResult]:
    return EndCopies(pipeline, pipeline.mappings, parts, waits_for_turn=False).run()


def copy_error(pipeline: Pipeline, part: Part) -> ReplicationError:
    """Copy a range, and insist on an error."""
    try:
        copy(pipeline, part)
    except ReplicationError as error:
        return error
    raise AssertionError("the step should have failed")


def write_config(path: Path, pipeline: dict[str, object], part: Part) -> Path:
    path.write_text(json.dumps({"pipeline": pipeline, "part": asdict(part)}))
    return path


def main() -> int:
    """Say each commit, then how it ended."""

    def said(progress: Progress) -> None:
        print(json.dumps({"event": "commit", "rows": progress.rows_snapshotted}), flush=True)

    config = json.loads(Path(sys.argv[1]).read_text())
    run = CopyOneRange(from_dict(config["pipeline"]), Part(**config["part"]), said)
    print(json.dumps({"event": "begun"}), flush=True)
    run.run()
    print(json.dumps({"event": "done", "rows": run.rows}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
