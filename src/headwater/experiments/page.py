"""The page of a claim: its own figures, then what every claim has: tables, conditions, settings, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from headwater.experiments.comparison import Comparison, Condition
from headwater.experiments.harness import Measure, Outcome, Results, Values
from headwater.experiments.recorded import recorded as full_effort
from headwater.metrics.statistics import student_interval, wilson_interval
from headwater.report import Estimate, Interval, Page, Section, Series, Share
from headwater.report.blocks import Best

_WAYS: Mapping[str, Best] = {"larger": "max", "smaller": "min"}


def add_section(
    page: Page,
    results: Results[Any],
    conditions: Sequence[Condition],
    outcome: Outcome,
    recorded: bool = False,
) -> None:
    """Add the section of a claim; `recorded` shows the verdict of full effort in it instead of this run's."""
    claim = results.claim
    section = page.section(claim.title, claim.lead)
    section.blocks += results.parts[0].figures
    measure_curves(section, results, claim.measures)
    claim.show(section, results)
    measure_tables(section, results, claim.measures)
    _conditions(section, results, conditions)
    values = {k: v for k, v in outcome.settings.items() if k != "effort"}
    if outcome.training_seconds:
        values["trained in this run"] = {n: f"{sum(s):.0f} s" for n, s in outcome.training_seconds.items()}
    elif "training" in values.get("method", {}):
        # What ships was not trained as this run would have trained it.
        values["method"] = {k: v for k, v in values["method"].items() if k != "training"}
        values["networks"] = "shipped"
    section.settings(values)
    if not recorded:
        section.claim(outcome.claim, outcome.measured, outcome.verdict)
        return
    full = full_effort().get(claim.method)
    section.claim(
        outcome.claim, outcome.measured, full and full.verdict, full.measured if full else "not run yet"
    )


def measure_tables(section: Section, results: Results[Any], measures: Mapping[str, Measure]) -> None:
    """Arms by measures; a measure that was taken under several conditions has a table of its own."""
    taken = [n for n in measures if measures[n].tabled and n in results.parts[0].values]
    several = [n for n in taken if any(len(results.cases(n, a)) > 1 for a in results.arms(n))]
    for name in several:
        cases = list(dict.fromkeys(c for a in results.arms(name) for c in results.cases(name, a)))
        # A mean over cases is one number for every arm and seed only where all were measured in all of them.
        everywhere = all(list(p.values[name][a]) == cases for p in results.parts for a in p.values[name])
        columns = [*cases, "all"] if everywhere else cases
        rows = [
            [arm, *(cell(results, name, arm, None if case == "all" else case) for case in columns)]
            for arm in results.arms(name)
        ]
        way = measures[name].better
        best: dict[str, Best] = dict.fromkeys(columns, _WAYS[way]) if way else {}
        section.table([name, *columns], rows, _caption(results, [measures[name]]), best)
    rest = [n for n in taken if n not in several]
    # Measures that were taken of the same arms stand side by side, shares apart from others.
    groups: dict[tuple[bool, tuple[str, ...]], list[str]] = {}
    for name in rest:
        groups.setdefault((measures[name].share, tuple(results.arms(name))), []).append(name)
    for (_, arms), group in groups.items():
        best = {n: _WAYS[w] for n in group if (w := measures[n].better) and len(arms) > 1}
        rows = [[arm, *(cell(results, n, arm) for n in group)] for arm in arms]
        section.table(["arm", *group], rows, _caption(results, [measures[n] for n in group]), best)


def cell(
    results: Results[Any], measure: str, arm: str, case: str | None = None
) -> Estimate | Share | float | None:
    """Mean and spread, over units if every seed brought its own, else over seeds; one seed has no spread. Of
    a share, its interval."""
    if case is not None and case not in results.cases(measure, arm):
        return None
    if (known := results.claim.measures.get(measure)) and known.share:
        return share(results, measure, arm, case)
    rows = results.rows(measure, arm, case)
    values = (rows[0] if results.claim.new_units else rows.mean(1)).tolist()
    return Estimate.of(values) if len(values) > 1 else values[0]


def share(results: Results[Any], measure: str, arm: str, case: str | None = None) -> Share:
    """Share of the units, over all seeds, with Wilson's interval for as many units as there are: seeds that
    measure the same ones bring no new ones."""
    rows = results.rows(measure, arm, case)
    mean, units = float(rows.mean()), rows.shape[1]
    low, high = wilson_interval(round(mean * units), units)
    return Share(low, mean, high)


def measure_curves(section: Section, results: Results[Any], measures: Mapping[str, Measure]) -> None:
    """Every measure that names an axis, over its cases: a line for each arm, a level one for an arm that has
    one case of many."""
    for name in (n for n in measures if measures[n].axis and n in results.parts[0].values):
        arms = {arm: results.cases(name, arm) for arm in results.arms(name)}
        every = sorted({case for cases in arms.values() if len(cases) > 1 for case in cases}, key=float)
        lines = [
            band(arm, every, [results.rows(name, arm, c if c in own else own[0]).mean(0) for c in every])
            for arm, own in arms.items()
            if every
        ]
        if lines:
            caption = f"{measures[name].about} Bands: 95 %, over {results.claim.unit}s."
            section.curve(lines, measures[name].axis, name, caption.strip())


def band(name: str, x: Sequence[float | str], values: Sequence[Values]) -> Series:
    """A line of means with Student's 95 % bands over units: values (units,) at each x; no bands for one."""
    ends = [student_interval(v) if len(v) > 1 else (float(v.mean()),) * 2 for v in values]
    low, high = zip(*ends, strict=True)
    return Series(name, [float(v) for v in x], [float(v.mean()) for v in values], list(low), list(high))


def _caption(results: Results[Any], measures: Sequence[Measure]) -> str:
    spread = f"{results.claim.unit}s and seeds" if results.claim.new_units else "seeds"
    one = len(results.seeds) == 1 and not results.claim.new_units
    head = f"Means over {results.claim.unit}s." if one else f"Mean and standard deviation over {spread}."
    if all(measure.share for measure in measures):
        head = f"Shares of the {results.claim.unit}s, over all seeds, with Wilson's 95 % intervals."
    return " ".join([head, *dict.fromkeys(m.about for m in measures if m.about)])


def _conditions(section: Section, results: Results[Any], conditions: Sequence[Condition]) -> None:
    """Everything that the verdict rests on, and what is reported beside."""
    rows: list[list[object]] = []
    for c in sorted(conditions, key=lambda c: not c.required):
        interval = n = None
        if isinstance(c, Comparison):
            n = c.counts.removeprefix("n = ")
            interval = Interval(c.low, c.mean, c.high) if len(c.ours) > 1 else None
        rows.append([c.what, interval, n, "required" if c.required else "beside", c.holds])
    averaged = "" if results.claim.new_units else ", averaged over seeds"
    if not any(isinstance(c, Comparison) for c in conditions):
        section.table(
            ["condition", "part", "holds"], [[r[0], *r[3:]] for r in rows], "What the verdict rests on."
        )
        return
    section.table(
        ["condition", "gain, with its 95 % interval", "n", "part", "holds"],
        rows,
        f"A gain is positive where ours is better, whichever way the measure goes, and holds if its whole "
        f"interval lies right of the line at 0. It is over n {results.claim.unit}s{averaged}, and over "
        f"trainings too where arms were trained anew.",
    )


def described(settings: Any) -> dict[str, Any]:
    """Settings as names and values: switches that are on, and of a method what differs from its defaults."""
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return {name: _described(value) for name, value in values.items() if value is not False}


def _described(value: Any) -> Any:
    if not is_dataclass(value):
        return value
    found = {}
    for f in fields(value):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if getattr(value, f.name) != default:
            found[f.name] = _described(getattr(value, f.name))
    return found
