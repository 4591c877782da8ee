"""A checkpoint as it is stored in a target, and back. Pure.

Every name and key here is a format: rows that earlier versions stored are read for ever. So nothing in this file
follows from the name of a class or of a field. A change of the form gets a new version, and the reader of the old
one stays; `tests/unit/model/test_checkpoint_codec.py` holds a row of every form that there has been.

Versions (the key `version` of the column `details`):

    1   has no such key. `key` and `in_doubt`, then `birth_unix_s`, then `mark` were added to it and may be missing.
    2   the last form of 1, and says so. `code` was added to it, where a mapping has transforms; then `counts`, and
        `rows_done` and `rows_estimated` in `copy`. A version that does not know them goes on without them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .checkpoint import Checkpoint, CopyState, Phase
from .errors import UnreadableCheckpoint
from .gtid import GtidSet
from .position import LogMark, Position
from .tables import Column

VERSION = 2
# The columns of the row that hold the checkpoint. `run_id`, the fence, is not part of it.
STORED_COLUMNS = (
    "mapping", "sequence", "phase", "source_server", "log_file", "log_offset_bytes", "gtid_set", "mariadb_gtid",
    "rows_snapshotted", "changes_applied", "rows_filtered", "source_time_unix_s", "fingerprint", "details",
    "source_columns", "last_error",
)  # fmt: skip
_SNAPSHOT_HINT = "Run the `snapshot` job for this mapping, which copies its table again."


def to_row(checkpoint: Checkpoint) -> dict[str, Any]:
    """The values of STORED_COLUMNS."""
    position = checkpoint.position
    details = {
        "version": VERSION,
        "copy": _copy_to_json(checkpoint.copy) if checkpoint.copy else None,
        "high_watermark": _position_to_json(checkpoint.high_watermark) if checkpoint.high_watermark else None,
        "altered": checkpoint.altered,
        "birth_unix_s": position.birth_unix_s,
        "mark": _mark_to_json(position.mark) if position.mark else None,
        "key": list(checkpoint.key),
        "in_doubt": dict(checkpoint.in_doubt),
        "counts": {
            "rows_deleted": checkpoint.rows_deleted,
            "rows_swept": checkpoint.rows_swept,
            "bytes_read": checkpoint.bytes_read,
        },
    }
    if checkpoint.code:
        details["code"] = dict(checkpoint.code)
    return {
        "mapping": checkpoint.mapping,
        "sequence": checkpoint.sequence,
        "phase": _PHASES[checkpoint.phase],
        "source_server": position.server,
        "log_file": position.file,
        "log_offset_bytes": position.offset_bytes,
        "gtid_set": None if position.gtid_set is None else str(position.gtid_set),
        "mariadb_gtid": position.mariadb_gtid or None,
        "rows_snapshotted": checkpoint.rows_snapshotted,
        "changes_applied": checkpoint.changes_applied,
        "rows_filtered": checkpoint.rows_filtered,
        "source_time_unix_s": checkpoint.source_time_unix_s,
        "fingerprint": checkpoint.fingerprint,
        "details": json.dumps(details),
        "source_columns": checkpoint.source_columns_json,
        "last_error": checkpoint.last_error or None,
    }


def from_row(row: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint of a row; None where a run has claimed the mapping and stored nothing yet.

    Args:
        row: the values of STORED_COLUMNS, text as `str`.

    Raises:
        UnreadableCheckpoint: a later version stored it, or it is damaged.
    """
    mapping = row["mapping"]
    if not row["phase"]:
        return None
    try:
        details = json.loads(row["details"] or "{}")
        version = details.get("version", 1)
        if version in (1, VERSION):
            return _checkpoint(row, details)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UnreadableCheckpoint(
            mapping, f"mapping {mapping!r}: its checkpoint in the target is damaged", hint=_SNAPSHOT_HINT
        ) from None
    raise UnreadableCheckpoint(
        mapping,
        f"mapping {mapping!r}: its checkpoint in the target has the format {version!r}; this version of"
        f" myrepetl-dagster knows the formats 1 to {VERSION}",
        hint=f"Run the version that wrote it, or a later one. {_SNAPSHOT_HINT.replace('Run', 'Or run')}",
    )


_PHASES = {Phase.COPYING: "copying", Phase.SETTLING: "settling", Phase.REPLICATING: "replicating"}
_PHASE_NAMED = {text: phase for phase, text in _PHASES.items()}


def _checkpoint(row: Mapping[str, Any], details: Mapping[str, Any]) -> Checkpoint:
    copy, high, time_unix_s = details.get("copy"), details.get("high_watermark"), row["source_time_unix_s"]
    counts, rows_snapshotted = details.get("counts") or {}, int(row["rows_snapshotted"])
    source_columns_json = row["source_columns"] or "[]"
    columns_from_json(source_columns_json)  # a damaged one is found now, while it can stop its own mapping only
    return Checkpoint(
        mapping=row["mapping"],
        phase=_PHASE_NAMED[row["phase"]],
        position=Position(
            file=row["log_file"],
            offset_bytes=int(row["log_offset_bytes"]),
            gtid_set=_gtid_set(row["gtid_set"]),
            mariadb_gtid=row["mariadb_gtid"] or "",
            server=row["source_server"],
            birth_unix_s=int(details.get("birth_unix_s") or 0),
            mark=_mark_from_json(details.get("mark")),
        ),
        copy=_copy_from_json(copy, rows_snapshotted) if copy else None,
        high_watermark=_position_from_json(high) if high else None,
        rows_snapshotted=rows_snapshotted,
        changes_applied=int(row["changes_applied"]),
        rows_filtered=int(row["rows_filtered"]),
        source_time_unix_s=None if time_unix_s is None else float(time_unix_s),
        source_columns_json=source_columns_json,
        altered=bool(details.get("altered")),
        key=tuple(details.get("key") or ()),
        in_doubt=dict(details.get("in_doubt") or {}),
        fingerprint=row["fingerprint"],
        sequence=int(row["sequence"]),
        last_error=row["last_error"] or "",
        code=dict(details["code"]) if "code" in details else None,
        rows_deleted=int(counts.get("rows_deleted", 0)),
        rows_swept=int(counts.get("rows_swept", 0)),
        bytes_read=int(counts.get("bytes_read", 0)),
    )


# ---- parts of `details` ----
def _copy_to_json(copy: CopyState) -> dict[str, Any]:
    return {
        "after_key": copy.after_key,
        "sweep": copy.sweep,
        "sweeping": copy.sweeping,
        "sweep_after": copy.sweep_after,
        "rows_done": copy.rows_done,
        "rows_estimated": copy.rows_estimated,
    }


def _copy_from_json(data: Mapping[str, Any], rows_snapshotted: int) -> CopyState:
    # Earlier versions did not store how many rows were done. What was copied is nearly that, as long as it is read.
    rows_done = data.get("rows_done", 0 if data["sweeping"] else rows_snapshotted)
    rows_estimated = data.get("rows_estimated")
    return CopyState(
        after_key=tuple(data["after_key"]) if data["after_key"] else None,
        sweep=data["sweep"],
        sweeping=data["sweeping"],
        sweep_after=tuple(data["sweep_after"]) if data["sweep_after"] else None,
        rows_done=int(rows_done),
        rows_estimated=None if rows_estimated is None else int(rows_estimated),
    )


def _position_to_json(position: Position) -> dict[str, Any]:
    """A watermark: it is compared with positions and never resumed from, so it needs no mark."""
    return {
        "file": position.file,
        "offset_bytes": position.offset_bytes,
        "gtid_set": None if position.gtid_set is None else str(position.gtid_set),
        "mariadb_gtid": position.mariadb_gtid,
        "server": position.server,
        "birth_unix_s": position.birth_unix_s,
        "mark": None,
    }


def _position_from_json(data: Mapping[str, Any]) -> Position:
    return Position(
        file=data["file"],
        offset_bytes=data["offset_bytes"],
        gtid_set=_gtid_set(data["gtid_set"]),
        mariadb_gtid=data["mariadb_gtid"],
        server=data["server"],
        birth_unix_s=data.get("birth_unix_s") or 0,
    )


def _gtid_set(text: str | None) -> GtidSet | None:
    return None if text is None else GtidSet.parse(text)


def _mark_to_json(mark: LogMark) -> dict[str, Any]:
    return {
        "file": mark.file,
        "offset_bytes": mark.offset_bytes,
        "crc32": mark.crc32,
        "gtid": mark.gtid,
        "originated_at_us": mark.originated_at_us,
    }


def _mark_from_json(data: Mapping[str, Any] | None) -> LogMark | None:
    if not data:
        return None
    uuid_and_number = data["gtid"]
    return LogMark(
        file=data["file"],
        offset_bytes=data["offset_bytes"],
        crc32=data["crc32"],
        gtid=(uuid_and_number[0], uuid_and_number[1]) if uuid_and_number else None,
        originated_at_us=data["originated_at_us"],
    )


# ---- the column `source_columns` ----
def columns_to_json(columns: Sequence[Column]) -> str:
    """A source table's columns as the checkpoint keeps them."""
    return json.dumps([_column_to_json(column) for column in columns])


def columns_from_json(text: str) -> tuple[Column, ...]:
    """The columns that `columns_to_json` stored."""
    return tuple(_column_from_json(data) for data in json.loads(text))


def _column_to_json(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "column_type": column.column_type,
        "unsigned": column.unsigned,
        "charset": column.charset,
        "collation": column.collation,
        "nullable": column.nullable,
        "members": [member.hex() for member in column.members],
        "generated": column.generated,
        "invisible": column.invisible,
        "auto_increment": column.auto_increment,
        "generation_expression": column.generation_expression,
        "srid": column.srid,
    }


def _column_from_json(data: Mapping[str, Any]) -> Column:
    return Column(
        name=data["name"],
        type=data["type"],
        column_type=data["column_type"],
        unsigned=data["unsigned"],
        charset=data["charset"],
        collation=data["collation"],
        nullable=data["nullable"],
        members=tuple(bytes.fromhex(member) for member in data["members"]),
        generated=data["generated"],
        invisible=data["invisible"],
        auto_increment=data["auto_increment"],
        generation_expression=data["generation_expression"],
        srid=data["srid"],
    )
