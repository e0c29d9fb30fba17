"""What a bench has measured so far, kept as files, so that one that was stopped can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headwater.atomic import read_json, write_file
from headwater.bench.curve import Curve, Point
from headwater.bench.row import Row

_BUSY = "load average before"


@dataclass(frozen=True)
class Kept:
    """A JSON file for each finished comparison and study, named by its class and sizes.

    folder: None keeps nothing, everything is measured. where: what `surroundings` says. A file counts only if
    it was measured with the same versions, cores and threads; the quality of samples is no time, and may
    come from another number of threads.
    """

    folder: Path | None = None
    where: Mapping[str, str] = field(default_factory=dict[str, str])

    def rows(self, comparison: object, measure: Callable[[], list[Row]]) -> list[Row]:
        """The kept rows of a comparison, or else measure and keep them.

        Raises UserError for a damaged file.
        """
        found = self._once(comparison, (_BUSY,), lambda: [asdict(row) for row in measure()])
        return [Row(**{**row, "spread": row["spread"] and tuple(row["spread"])}) for row in found]

    def curve(self, study: object, measure: Callable[[], Curve]) -> Curve:
        """The kept curve of a study, or else measure and keep it.

        Raises UserError for a damaged file.
        """
        (found,) = self._once(study, (_BUSY, "threads", "cores"), lambda: [asdict(measure())])
        return Curve(**{**found, "points": tuple(Point(**point) for point in found["points"])})

    def _once(
        self, what: object, passing: Sequence[str], measure: Callable[[], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """What the file of a measurement holds; `passing` names the surroundings that may differ."""
        if self.folder is None:
            return measure()
        called = hashlib.sha256(repr(what).encode()).hexdigest()[:12]
        file = self.folder / f"{type(what).__name__}-{called}.json"
        where = {name: value for name, value in self.where.items() if name not in passing}
        if file.exists():
            kept = read_json(file)
            if kept.get("where") == where:
                return kept["found"]
        found = measure()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(file, json.dumps({"where": where, "found": found}, indent=1))
        return found
