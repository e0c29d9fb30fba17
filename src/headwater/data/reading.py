"""What a user says about files that can mean several things: a reader asks for it where it cannot know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Reading:
    """Answers to what files do not say themselves. None and () leave it to the reader, which then asks."""

    threshold: float | None = None
    """In masks that are not black and white alone: share of the range from black to white, 0 to 1, from which
    on a pixel counts as white."""
    window: tuple[float, float] | None = None
    """In pictures and volumes with units of their own: the values that become black and white."""
    bands: tuple[int, ...] = ()
    """In TIFF files of more than four bands: the bands to read, counted from 1, in the order of the channels,
    such as 3 2 1."""
    slices: tuple[int, int] | None = None
    """In volumes that are read as pictures: the first and the last axial slice to read, counted from 0."""
    label_values: tuple[int, ...] = ()
    """In label maps that are not numbered 0, 1, 2, ...: the value of each class, in the order of classes."""
    missing: tuple[float, ...] = ()
    """In tables: numbers that stand for a missing value, such as -999."""
    drawn_on: Literal["seen", "stored"] | None = None
    """Of pictures with an orientation tag: whether masks and label maps were drawn on the picture as it is
    seen, or as it is stored, before the tag turns it."""
    decimal: Literal[".", ","] | None = None
    """In tables: the sign before decimals, where 1,234 can mean two numbers."""
    time_column: str | None = None
    """In tables: name of the column that holds the time, where several may."""
    date_order: Literal["dmy", "mdy", "ymd"] | None = None
    """In tables: order of day, month and year, where 01/02/2024 can mean two dates."""


UNSAID = Reading()
"""Nothing was said."""

ASKED_OF = {
    "threshold": ("mask",),
    "window": ("images", "measured"),
    "bands": ("images", "measured"),
    "slices": ("images", "measured"),
    "label_values": ("labels",),
    "missing": ("series",),
    "drawn_on": ("mask", "labels"),
    "decimal": ("series",),
    "time_column": ("series",),
    "date_order": ("series",),
}
"""Names of the kinds of input (headwater.methods.base.Kind) that each answer is about."""
