"""How numbers and names are told to people, on a terminal."""

from __future__ import annotations

import math
import re
from typing import Any

__all__ = ["count", "duration", "label_text", "percent", "plain", "rate"]

#: What could move a terminal's cursor or change its colours, and what is no Unicode.
_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plain(text: str) -> str:
    """Return *text* with Python's escapes for what a terminal must not be given."""
    return _ODD.sub(lambda found: ascii(found[0])[1:-1], text)


def percent(fraction: float) -> str:
    """Return *fraction* in percent, rounded down: 100.0 % only where nothing is missing."""
    return f"{math.floor(1000 * fraction + 1e-9) / 10:.1f} %"


def count(n: int, what: str) -> str:
    """Return *n* and its noun *what*, in the plural unless there is one."""
    return f"{n:,} {what}" + "s" * (n != 1)


def label_text(label: Any) -> str:
    """Return a label as text that a terminal may be given: it may be of a file's author."""
    return plain(label.decode(errors="replace") if isinstance(label, bytes) else str(label))


def rate(speed: float) -> str:
    """Return *speed*, in epochs a second, in words."""
    if speed >= 10:
        return f"{speed:,.0f} epochs/s"
    return f"{speed:.1f} epochs/s" if speed >= 1 else f"{1 / speed:.1f} s/epoch"


def duration(seconds: float) -> str:
    """Return *seconds* as on a clock."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
