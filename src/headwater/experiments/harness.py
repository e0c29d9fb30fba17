"""The one way to test a claim. A claim says what is measured, what must hold and what is shown; this file
does the rest: seeds, pairing, intervals, the verdict, what is kept on disk, times, the JSON and the page.

    measure(settings, trial)    one seed: numbers per unit of every arm on the same units, and what is drawn
    rule(results)               comparisons and bounds over all seeds; the verdict follows from them
    show(section, results)      plots over all seeds, where a claim has its own

The page has what the first seed drew in `trial.section`, a curve of every measure that names an axis, what
`show` adds, and then tables, conditions, settings and verdict.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from headwater.atomic import is_whole, read_json, write_json, written_aside
from headwater.experiments.comparison import (
    FEWEST,
    Better,
    Comparison,
    Condition,
    Verdict,
    compare,
    compare_trainings,
    verdict,
)
from headwater.methods.catalogue import METHODS, TABLES, entry
from headwater.metrics.statistics import student_interval
from headwater.report import DRAWN, Page, Section
from headwater.report.blocks import Block, plain
from headwater.sampling import Run

Effort = Literal["tiny", "quick", "full"]
"""`tiny` is for tests, `quick` for the tour (about a minute on a quiet core); a verdict rests on `full`."""
Values = NDArray[np.float64]
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Measure:
    """One of the numbers that are taken of each unit."""

    better: Better | None = None
    """Which way is better; None for one that is only shown."""
    about: str = ""
    """A sentence for the caption of its table."""
    tabled: bool = True
    """False where the claim shows it in a way of its own."""
    axis: str = ""
    """What its cases count, where they are numbers: it is drawn over them then, a line for each arm."""
    share: bool = False
    """Whether each unit gives 0 or 1: its table then has shares of the units with Wilson's intervals."""


@dataclass(frozen=True)
class Reproduction:
    """How a claim is run."""

    page: Page
    effort: Effort = "full"
    seeds: tuple[int, ...] = (0, 1, 2)
    progress: bool = True
    checkpoint_dir: Path | None = None
    """Folder of the networks that the claim trains and of the seeds that are finished: one that was stopped
    goes on from there."""
    recorded: bool = False
    """Show the verdict of full effort in the section, beside what this run measured."""


@dataclass
class Measurements:
    """What one seed gave."""

    values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    """measure -> arm -> case -> one number per unit."""
    samples: dict[str, Any] = field(default_factory=dict)
    """What the figures need besides: tensors, texts and numbers, in lists and dicts."""
    training_seconds: dict[str, float] = field(default_factory=dict)
    """Of each network that was trained in this seed's turn; one that ships takes none."""
    seconds: float = 0.0
    """All the rest."""
    figures: list[Block] = field(default_factory=list)
    """What `measure` drew."""

    def add(self, measure: str, arm: str, values: ArrayLike, case: str = "") -> None:
        """Note one number per unit, (N,), in the same order for every arm; `case` names the condition (a mask
        family, a noise level) where the same units are measured under several."""
        found = np.asarray(values, dtype=np.float64).ravel().tolist()
        self.values.setdefault(measure, {}).setdefault(arm, {})[case] = found


@dataclass(frozen=True)
class Trial:
    """One seed's turn."""

    seed: int
    index: int
    """Place of the seed among `seeds`."""
    seeds: tuple[int, ...]
    effort: Effort
    progress: bool
    checkpoint_dir: Path | None
    found: Measurements
    shared: dict[object, Any]
    """What all seeds use: see `once` and `train`."""

    @property
    def section(self) -> Section:
        """Where `measure` draws pictures and tables of this seed; those of the first one are shown."""
        section = Section("")
        section.blocks = self.found.figures
        return section

    def run(self, batch: int = 32, seed: int | None = None) -> Run:
        """How methods are called: this seed, or another one."""
        seed = self.seed if seed is None else seed
        keep = None if self.checkpoint_dir is None else self.checkpoint_dir / f"seed-{seed}"
        return Run(seed, batch, progress=self.progress, checkpoint_dir=keep)

    def once(self, name: object, make: Callable[[], T]) -> T:
        """What is the same for every seed: data, a prior, a judge. Made when it is first asked for."""
        if name not in self.shared:
            self.shared[name] = make()
        return self.shared[name]

    def train(self, name: str, fit: Callable[[Run], T], trainings: int | None = None) -> T:
        """What `fit` trains, with checkpoints under its name; the time is counted apart.

        trainings: how many of the seeds train a network of their own; the others use that of the last one.
        """
        seed = self.seeds[self.index if trainings is None else min(self.index, trainings - 1)]
        run = self.run(seed=seed).child(name)

        def timed() -> T:
            since = time.perf_counter()
            fitted = fit(run)
            self.found.seconds -= time.perf_counter() - since
            self.found.training_seconds[name] = training_seconds(run, since)
            return fitted

        return self.once((name, seed), timed)


def training_seconds(run: Run, since: float) -> float:
    """How long the training took that `run` has just done since a time.perf_counter(), or that lay finished
    or half finished in its folder of checkpoints."""
    log = run.checkpoint_dir / "log.jsonl" if run.checkpoint_dir else None
    if log is None or not log.is_file():
        return time.perf_counter() - since
    return float(json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["seconds"])


Key = tuple[str, str] | tuple[str, str, str]
"""(measure, arm) over all cases, or (measure, arm, case)."""


@dataclass(frozen=True)
class Results(Generic[S]):
    """What all seeds gave."""

    claim: Claim[S]
    settings: S
    effort: Effort
    seeds: tuple[int, ...]
    parts: list[Measurements]
    """One for each seed."""

    @property
    def first(self) -> dict[str, Any]:
        """Samples of the first seed."""
        return self.parts[0].samples

    def collect(self, name: str) -> list[Any]:
        """Samples of that name of every seed that has some."""
        return [part.samples[name] for part in self.parts if name in part.samples]

    def arms(self, measure: str) -> list[str]:
        """Names, in the order in which they were measured."""
        return list(self.parts[0].values[measure])

    def cases(self, measure: str, arm: str) -> list[str]:
        """Names of the conditions of an arm."""
        return list(self.parts[0].values[measure][arm])

    def rows(self, measure: str, arm: str, case: str | None = None) -> Values:
        """(seeds, units), averaged over cases unless one is named; (1, units) where seeds bring new units."""
        per_seed = self._by_seed(measure, arm, case)
        return np.concatenate(per_seed)[None] if self.claim.new_units else np.array(per_seed)

    def _by_seed(self, measure: str, arm: str, case: str | None) -> list[Values]:
        """(units,) of each seed that measured the arm, averaged over cases unless one is named."""
        per_seed = []
        for part in self.parts:
            cases = part.values.get(measure, {}).get(arm, {})
            if cases and (case is None or case in cases):
                per_seed.append(np.array([cases[c] for c in (cases if case is None else [case])]).mean(0))
        return per_seed

    def per_seed(self, measure: str, arm: str, case: str | None = None) -> list[float]:
        """The mean of each seed, over units of its own where seeds bring new ones."""
        return [float(values.mean()) for values in self._by_seed(measure, arm, case)]

    def mean(self, measure: str, arm: str, case: str | None = None) -> float:
        """The mean over units and seeds."""
        return float(self.rows(measure, arm, case).mean())

    def _better(self, measure: str) -> Better:
        """Which way a measure is better. Raises ValueError where its claim does not say."""
        better = self.claim.measures[measure].better
        if better is None:
            raise ValueError(f"say which way {measure} is better before comparing by it")
        return better

    def compare(self, what: str, ours: Key, other: Key | Values | float, required: bool = True) -> Comparison:
        """Compare two arms, or an arm with a number for all or for each unit, unit by unit; the measure of
        `ours` says what is better.

        A unit that every seed measured is averaged over the seeds first. Where each seed trained arms of its
        own, the interval is over trainings and units; where it also brought units of its own, its trainings
        are what is independent.
        """
        better, trained = self._better(ours[0]), self.trainings > 1
        mine = self.rows(*ours)
        if isinstance(other, tuple):
            other = self.rows(*other)
        theirs = np.broadcast_to(other, mine.shape if np.ndim(other) == 0 else np.shape(other))
        found = compare(what, mine, theirs, better, self.claim.unit, required, trained)
        if not trained or not self.claim.new_units:
            return found
        gain = (np.array(found.ours) - np.array(found.other)) * (1 if better == "larger" else -1)
        low, high = student_interval([part.mean() for part in np.split(gain, len(self.seeds))])
        return replace(found, low=low, high=high, trainings=len(self.seeds))

    @property
    def trainings(self) -> int:
        """How many of the seeds trained networks of their own."""
        return sum(bool(part.training_seconds) for part in self.parts)

    def compare_trainings(self, what: str, ours: Key, other: Key, required: bool = True) -> list[Comparison]:
        """The same by the mean of each seed, where each seed trained its own arms; none for a single seed."""
        better = self._better(ours[0])
        mine, theirs = self.per_seed(*ours), self.per_seed(*other)
        return [compare_trainings(what, mine, theirs, better, required)] if len(mine) > 1 else []

    def against(self, measure: str, ours: str, *others: str, required: bool = True) -> list[Comparison]:
        """One arm against each of others."""
        return [
            self.compare(f"{measure} against {other}", (measure, ours), (measure, other), required)
            for other in others
        ]

    @property
    def training_seconds(self) -> dict[str, list[float]]:
        """Network -> seconds of each of its trainings here."""
        found: dict[str, list[float]] = {}
        for part in self.parts:
            for name, seconds in part.training_seconds.items():
                found.setdefault(name, []).append(seconds)
        return found


@dataclass(frozen=True)
class Outcome:
    """What came out, in numbers."""

    method: str
    claim: str
    """The paper's claim, as tested."""
    measured: str
    """The conditions with their figures."""
    verdict: Verdict
    metrics: dict[str, Any]
    """Plain numbers: conditions, and of each measure, arm and case the mean and all values."""
    settings: dict[str, Any]
    seconds: float
    """Of everything but training, over all seeds, those read from disk included."""
    training_seconds: dict[str, list[float]]
    """Of each network that was trained in this run."""


@dataclass(frozen=True)
class Claim(Generic[S]):
    """What is compared and what must hold."""

    method: str
    """Its name in the catalogue, or the chapter whose methods are compared."""
    title: str
    lead: str
    unit: str
    """What is independent and hence resampled: picture, window, sentence."""
    tiny: S
    quick: S
    full: S
    measures: Mapping[str, Measure]
    measure: Callable[[S, Trial], None]
    rule: Callable[[Results[S]], Sequence[Condition]]
    show: Callable[[Section, Results[S]], None] = lambda section, results: None
    extra: Callable[[Results[S]], dict[str, Any]] = lambda results: {}
    """Numbers that are no measure of a unit."""
    more: Callable[[Page, Results[S]], None] = lambda page, results: None
    """Further sections, below the verdict."""
    statement: str = ""
    """The claim, where it is not in the words of the method's `paper.claim`."""
    new_units: bool = False
    """Whether each seed brings units of its own, or all seeds measure the same ones."""
    quick_seeds: int | None = None
    """Most seeds of a quick run, where each takes long."""
    quick_proves: bool = True
    """False where a quick run, or one of fewer than three seeds, can show parts of the claim only."""

    def reproduce(self, how: Reproduction) -> Outcome:
        """Measure every seed, judge, and add the section to the page."""
        from headwater.experiments.page import add_section, described

        settings: S = getattr(self, how.effort)
        seeds = how.seeds if how.effort == "full" else how.seeds[: self.quick_seeds]
        shared: dict[object, Any] = {}
        parts = [self._seed(settings, i, seeds, how, shared) for i in range(len(seeds))]
        results = Results(self, settings, how.effort, seeds, parts)
        conditions, found = self.judge(results)
        outcome = Outcome(
            self.method,
            self.statement or METHODS[self.method].load().paper.claim,
            "; ".join(map(str, conditions)),
            found,
            {
                "comparisons": {c.what: c.to_dict() for c in conditions if isinstance(c, Comparison)},
                "bounds": {c.what: c.to_dict() for c in conditions if not isinstance(c, Comparison)},
                "measures": {
                    measure: {
                        arm: {case or "all": _numbers(results, measure, arm, case) for case in cases}
                        for arm, cases in arms.items()
                    }
                    for measure, arms in parts[0].values.items()
                },
                **plain(self.extra(results)),
            },
            {"effort": how.effort, "seeds": list(seeds), **plain(described(settings))},
            sum(part.seconds for part in parts),
            results.training_seconds,
        )
        add_section(how.page, results, conditions, outcome, how.recorded)
        self.more(how.page, results)
        return outcome

    def judge(self, results: Results[S]) -> tuple[list[Condition], Verdict]:
        """What must hold, and whether it does."""
        conditions = list(self.rule(results))
        found = verdict(conditions, FEWEST if results.effort == "full" else 0)
        if not self.quick_proves and found == "held" and (results.effort != "full" or len(results.seeds) < 3):
            found = "partly"
        return conditions, found

    def _seed(
        self, settings: S, i: int, seeds: tuple[int, ...], how: Reproduction, shared: dict[object, Any]
    ) -> Measurements:
        """One seed's measurements, read back if they lie finished in the folder of checkpoints."""
        # Some of what is shared depends on all seeds and on the settings: others make it another trial.
        mark = repr((self.method, how.effort, settings, seeds))
        place = how.checkpoint_dir / f"seed-{seeds[i]}" / "measurements" if how.checkpoint_dir else None
        if place is not None and (stored := _stored(place, mark)) is not None:
            return stored
        found, since = Measurements(), time.perf_counter()
        trial = Trial(seeds[i], i, seeds, how.effort, how.progress, how.checkpoint_dir, found, shared)
        self.measure(settings, trial)
        found.seconds += time.perf_counter() - since
        if place is not None:
            _store(place, mark, found)
        return found


def claim_of(name: str) -> Claim[Any]:
    """The claim of a method, CLAIM of its room's claim.py, or of a table of several.

    Raises UserError for a name that is neither.
    """
    if name in TABLES:
        return import_module(TABLES[name].module).CLAIM
    return entry(name).module("claim").CLAIM


def _numbers(results: Results[Any], measure: str, arm: str, case: str) -> dict[str, Any]:
    rows = results.rows(measure, arm, case)
    return {"mean": float(rows.mean()), "per_seed": rows.mean(1).tolist(), "values": rows.tolist()}


def _store(place: Path, mark: str, found: Measurements) -> None:
    """Keep one seed's measurements: numbers and texts as JSON, tensors beside it."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}

    def plainly(value: Any) -> Any:
        if isinstance(value, Tensor):
            name = str(len(tensors))
            tensors[name] = value.detach().cpu().contiguous().clone()
            return {_TENSOR: name}
        if isinstance(value, dict):
            return {str(k): plainly(v) for k, v in value.items()}
        if type(value).__name__ in DRAWN:
            return {
                _BLOCK: type(value).__name__,
                **{f.name: plainly(getattr(value, f.name)) for f in fields(value)},
            }
        return [plainly(v) for v in value] if isinstance(value, list | tuple) else value

    about = {"mark": mark} | {f.name: plainly(getattr(found, f.name)) for f in fields(found)}
    with written_aside(place) as aside:
        save_file(tensors, aside / "tensors.safetensors")
        write_json(aside / "measurements.json", about)


def _stored(place: Path, mark: str) -> Measurements | None:
    """What `_store` kept, or None where nothing whole lies there, or that of another trial."""
    from safetensors.torch import load_file

    if not is_whole(place):
        return None
    about = read_json(place / "measurements.json")
    if about.pop("mark", None) != mark:
        return None
    tensors = load_file(place / "tensors.safetensors")

    def back(value: Any) -> Any:
        if isinstance(value, dict):
            if _TENSOR in value:
                return tensors[value[_TENSOR]]
            held = {k: back(v) for k, v in value.items() if k != _BLOCK}
            return DRAWN[value[_BLOCK]](**held) if _BLOCK in value else held
        return [back(v) for v in value] if isinstance(value, list) else value

    return Measurements(**{name: back(value) for name, value in about.items()})


_TENSOR = "a tensor, by its name in the file beside"
_BLOCK = "a block of the page"
