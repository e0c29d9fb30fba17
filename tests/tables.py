"""Tables as texts: made, read, and written again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headwater.data.series import Table, read_table, write_table


def read(folder: Path, text: str | bytes, **said: Any) -> Table:
    """A text as `read_table` reads it."""
    (folder / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(folder / "t.csv", **said)


def stamped(head: str, *stamps: str) -> str:
    """A table of these times, cells parted by semicolons, that rises by one."""
    return f"{head};a\n" + "".join(f"{stamp};{i}\n" for i, stamp in enumerate(stamps))


def cells(*numbers: str, head: str = "a") -> str:
    """A table of one or more columns of these cells."""
    return f"time;{head}\n" + "".join(f"{i};{cell}\n" for i, cell in enumerate(numbers))


def check_again(table: Table, folder: Path, **said: Any) -> None:
    """What is written, forecast included, is read as the same."""
    write_table(folder / "again.csv", table)
    again = read_table(folder / "again.csv", **said)
    assert (again.stamps, again.heads, again.columns) == (table.stamps, table.heads, table.columns)
    np.testing.assert_allclose(again.times, table.times, atol=1e-6)
    assert np.array_equal(again.values, table.values, equal_nan=True)
