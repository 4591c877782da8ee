"""Chooses how the rows of a table map are shaped: as undecoded images, or decoded row by row. Pure."""

from __future__ import annotations

from typing import Protocol

from ..binlog.events import RowsRead
from ..binlog.map_columns import TableMap, layout_of
from ..model.errors import SchemaDrift
from ..model.tables import Column
from ..plan.table_plan import TablePlan
from .image_shaper import ImageShaper, only_last_images
from .partial_shaper import PartialRowsShaper, lacks_columns
from .pending_rows import PendingRows
from .shaper import Shaper


class RowsShaper(Protocol):
    """Shapes the rows events of one table map for one mapping. `plan`: the mapping's plan for that map's columns."""

    @property
    def plan(self) -> TablePlan: ...

    def shape(self, event: RowsRead, into: PendingRows) -> None:
        """Add what the event's rows mean for the target.

        Raises:
            UnsupportedEvent: the images are not rows of the table, or lack what the mapping needs.
            RowRejected: a transform or the filter failed; names the mapping.
        """


class DecodedRowsShaper:
    """Decodes every row and shapes it by itself, for targets to which each change counts and not only a key's last."""

    def __init__(self, shaper: Shaper) -> None:
        self.plan = shaper.plan
        self._shaper = shaper

    def shape(self, event: RowsRead, into: PendingRows) -> None:
        self._shaper.shape(event.changes, into)


def shaper_for(plan: TablePlan, event: RowsRead, *, bulk: bool) -> RowsShaper:
    """The shaper for this event and all others of its table map.

    Args:
        bulk: whether the target takes rows in bulk.

    Raises:
        SchemaDrift: the rows lack a column that the mapping needs, or have one that the target lacks.
    """
    table_map = event.table_map
    assert isinstance(table_map, TableMap)
    partial = lacks_columns(plan, table_map)
    layout = layout_of(table_map.whole or table_map if partial else table_map)
    _require_in_target(plan, event, layout)
    shaper = Shaper(plan, layout)
    if partial:
        return PartialRowsShaper(shaper, table_map)
    if event.images and only_last_images(shaper.plan):
        return ImageShaper(shaper, table_map, bulk=bulk)
    return DecodedRowsShaper(shaper)


def _require_in_target(plan: TablePlan, event: RowsRead, layout: tuple[Column, ...]) -> None:
    """Refuse columns that the target should have got before these rows came."""
    if not plan.every_column or plan.mapping.schema_policy == "ignore":
        return
    in_target = set(plan.target.column_names)
    # A column that has been dropped since is not needed any more.
    in_source = {c.name for c in plan.source.columns if not c.hidden}
    missing = [c.name for c in layout if c.name not in in_target and c.name in in_source]
    if missing:
        raise SchemaDrift(
            f"mapping {plan.name!r}: the log has column {', '.join(missing)} of {event.table} at"
            f" {event.transaction.file}:{event.transaction.end_offset_bytes}, the target has not",
            hint=f"Add it to {plan.target.name}, then run the `snapshot` job for this mapping.",
        )
