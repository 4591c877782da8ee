"""For how long a target's commits run alone after one of them had to give way. Pure."""

from __future__ import annotations

from dataclasses import dataclass

SERIAL_FIRST = 32


@dataclass(slots=True)
class SerialBackoff:
    """How many of a target's next commits run alone. Zero until one had to give way.

    Each time costs the commit's patience (`apply_connection.PATIENCE_S`). If triggers of the target, say, make the
    locks meet, it would happen again and again; so there are twice as many each time, unless as many have gone well
    side by side. After a second in which the target's disk stood still, a run that goes on for days goes on as before.
    """

    left: int = 0
    next: int = SERIAL_FIRST
    went_well: int = 0  # commits side by side, since one gave way

    def ended(self, *, gave_way: bool) -> None:
        """Note that a commit has ended."""
        if self.left:
            self.left -= 1  # a commit that gives way now began before, and is no second time
        elif gave_way:
            self.left, self.next, self.went_well = self.next, 2 * self.next, 0
        else:
            self.went_well += 1
            if self.went_well >= self.next:
                self.next = SERIAL_FIRST
