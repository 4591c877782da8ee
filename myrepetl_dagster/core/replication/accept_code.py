"""To go on with transforms whose code has changed, without a new copy: it makes no difference to the rows there are."""

from __future__ import annotations

import logging
from contextlib import closing

from ..config.code_version import ACCEPT_CODE, transform_code
from ..config.pipeline import Pipeline, TableMapping
from ..target.control import TargetControl

log = logging.getLogger("myrepetl")


def accept_code(pipeline: Pipeline, mapping: TableMapping) -> str:
    """Store the hashes of a mapping's transforms in its checkpoint.

    Returns:
        What was stored, for people.

    Raises:
        ReplicationError: the target cannot be reached, or the checkpoint cannot be read.
    """
    code = transform_code(mapping)
    with closing(TargetControl(pipeline.targets[mapping.target], pipeline.limits)) as target:
        before = target.read_checkpoints([mapping.name]).get(mapping.name)
        if before is None:
            return f"{mapping.name}: not started, nothing to accept"
        known = before.code or {}
        changed = [spec for spec in sorted(code.keys() | known.keys()) if code.get(spec) != known.get(spec)]
        if not changed:
            return f"{mapping.name}: nothing has changed"
        # An error of another kind stays: `status` goes on showing what stops the mapping.
        target.accept_code(mapping.name, code, mended=ACCEPT_CODE)
    changes = ", ".join(f"{spec} ({known.get(spec) or 'unknown'} to {code.get(spec) or 'unknown'})" for spec in changed)
    text = f"{mapping.name}: accepted the code of {changes}"
    log.info("mapping %s", text, extra={"mapping": mapping.name})
    return text
