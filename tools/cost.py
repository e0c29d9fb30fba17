"""What each method costs, in files and lines: `python tools/cost.py [--before REVISION]`.

Counted to a method is what lies in its room, by kind. What several methods use is shared out evenly over
them: the `shared` folder of a chapter, baselines, attacks, and the networks that only methods import (those
that priors are made of are apart). Who uses a file is read from the imports. With --before the same is
counted in the tree of a revision, also of one from before the rooms, when a method's files lay in methods/,
claims/, docs/, recipes/ and tests/ by their names.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imports import imports, module_name

from headwater.methods.catalogue import METHODS

ROOT = Path(__file__).parent.parent
FOLDERS = ("src", "tests", "tools", "docs", "recipes", "gallery")
KINDS = ("page", "helpers", "network", "claim", "docs", "recipes", "tests")
ROOMS = {entry.room: name for name, entry in METHODS.items()}

_ROOM = "(?P<room>" + "|".join(sorted(ROOMS, key=len, reverse=True)) + ")"
_NAME = _ROOM.replace("_", "-")
_HERE = r"src/headwater/methods/\w+"
_OLD_TESTS = "tests/(?:methods|claims|parity|oracles)/test_"
PLACES: tuple[tuple[str, str], ...] = (
    # The rooms: a pattern with a room is that method's, one without is of all that import the file.
    (rf"{_HERE}/{_ROOM}/method\.py", "page"),
    (rf"{_HERE}/{_ROOM}/claim\w*\.py", "claim"),
    (rf"{_HERE}/{_ROOM}/README\.md", "docs"),
    (rf"{_HERE}/{_ROOM}/recipes/.+", "recipes"),
    (rf"{_HERE}/{_ROOM}/tests/.+", "tests"),
    (rf"{_HERE}/{_ROOM}/.+", "helpers"),
    (rf"{_HERE}/table\.py", "claim"),
    (rf"{_HERE}/README\.md", "docs"),
    (rf"{_HERE}/shared/tests/.+", "tests"),
    (rf"{_HERE}/shared/\w*claim\w*\.py", "claim"),
    (rf"{_HERE}/shared/.+", "helpers"),
    (r"src/headwater/(?:baselines|attacks)/.+", "claim"),
    (r"src/headwater/nets/(?!adm|ncsnpp|infer|upsampling|wrappers|__init__)\w+\.py", "network"),
    # Before the rooms.
    (rf"{_HERE}/{_ROOM}\.py", "page"),
    (rf"{_HERE}/(?:attacks/\w+|baselines|supervised|autoregressive|total_variation)\.py", "claim"),
    (rf"{_HERE}/(?!__init__)\w+\.py", "helpers"),
    (rf"src/headwater/claims/{_ROOM}\.py", "claim"),
    (r"src/headwater/claims/(?!base|comparison|recorded|tour|__init__)\w+\.py", "claim"),
    (rf"docs/methods/{_NAME}\.md", "docs"),
    (rf"recipes/{_NAME}/.+", "recipes"),
    (rf"{_OLD_TESTS}{_ROOM}(?:_\w+)?\.py", "tests"),
    (rf"{_OLD_TESTS}(?:mask_\w+|few_labels_memory|dataset_ddpm|pixel_classifier)\.py", "tests"),
)
APART = {
    "core, noise, discrete, controls, codecs, operators": "core noise discrete controls codecs operators",
    "nets of priors": "nets",
    "sampling, models, training": "sampling run models priors training train",
    "experiments": "experiments claims",
    "methods: base, catalogue": "methods",
    "data, metrics, report": "data metrics report",
    "cli": "cli",
    "bench": "bench",
}
"""Python that is no method's, by packages of today and of before. All else has a line too."""


@dataclass
class Cost:
    """Files and lines, by kind; fractions where a file is shared."""

    files: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    lines: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, kind: str, lines: int, share: float = 1.0) -> None:
        self.files[kind] += share
        self.lines[kind] += lines * share

    def row(self, among: int = 1) -> list[float]:
        """Files, lines and the lines of each kind, divided by `among`."""
        numbers = [sum(self.files.values()), sum(self.lines.values()), *(self.lines[kind] for kind in KINDS)]
        return [number / among for number in numbers]


@dataclass
class Count:
    """What one tree costs."""

    methods: dict[str, Cost]
    shared: dict[str, tuple[str, int, tuple[str, ...]]]
    """Path to kind, lines and the methods that share it; none for a file that no room imports."""
    apart: dict[str, Cost]
    counted: list[str]
    """Every path that is in `methods`, `shared` or `apart`, once each."""

    def total(self, names: Iterable[str] | None = None) -> Cost:
        """The sum over the methods, or some of them, with the files that no room imports."""
        total = Cost()
        for cost in [self.methods[name] for name in (self.methods if names is None else names)]:
            for kind in cost.lines:
                total.files[kind] += cost.files[kind]
                total.lines[kind] += cost.lines[kind]
        for kind, lines, owners in self.shared.values():
            if not owners:
                total.add(kind, lines)
        return total


def tree(revision: str | None = None) -> dict[str, str]:
    """Path and text of the Python, the pages and the recipes in the working tree or in a revision."""
    if revision is None:
        paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
        found = [(path.relative_to(ROOT).as_posix(), path.read_bytes()) for path in paths]
    else:
        command = ["git", "archive", revision]
        archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            found = [(member.name, file.read()) for member in tar if (file := tar.extractfile(member))]
    below = re.compile(rf"(?:{'|'.join(FOLDERS)})/.+\.(?:py|md|yaml)")
    kept = ((path, data) for path, data in found if below.fullmatch(path))
    return {p: data.decode() for p, data in kept if p.endswith(".py") or p.startswith("docs/") or place(p)}


def count(texts: dict[str, str]) -> Count:
    """What the files of a tree cost."""
    placed = {path: place(path) for path in texts}
    owners = _owners(texts, {p: at for p, at in placed.items() if at})
    methods = {name: Cost() for name in METHODS}
    apart: dict[str, Cost] = {
        label: Cost() for label in [*APART, "the rest of src", "gallery", "tests", "tools", "docs"]
    }
    shared = {}
    for path, text in texts.items():
        at, lines = placed[path], text.count("\n")
        if at is None:
            apart[_part(path)].add("", lines)
            continue
        kind, room = at
        if not room:
            shared[path] = (kind, lines, tuple(owners[path]))
        for owner in owners[path]:
            methods[owner].add(kind, lines, 1 / len(owners[path]))
    return Count({n: c for n, c in methods.items() if c.lines}, shared, apart, list(texts))


def place(path: str) -> tuple[str, str] | None:
    """Kind of a file and the room that it lies in, "" if it is shared; None if it is of no method."""
    for pattern, kind in PLACES:
        if match := re.fullmatch(pattern, path):
            return kind, match.groupdict().get("room", "").replace("-", "_")
    return None


def _owners(texts: dict[str, str], placed: dict[str, tuple[str, str]]) -> dict[str, list[str]]:
    """The methods that each file of `placed` is counted to."""
    modules = {module_name(p): p for p in texts if p.startswith("src/") and p.endswith(".py")}

    def used(path: str) -> set[str]:
        """What of `placed` a file imports; with a module come the packages that it lies in."""
        if not path.endswith(".py"):
            return set()
        names = {i.module for i in imports(texts[path], modules)}
        names |= {name.rsplit(".", n)[0] for name in names for n in range(1, name.count(".") + 1)}
        return {modules[name] for name in names if modules.get(name) in placed}

    uses = {path: used(path) for path in placed}
    users: dict[str, set[str]] = {p: {ROOMS[room]} if room else set() for p, (_, room) in placed.items()}
    for room, name in ROOMS.items():
        left = [p for p, (kind, at) in placed.items() if at == room and kind != "tests"]
        while left:
            for path in uses[left.pop()]:
                if not placed[path][1] and name not in users[path]:
                    users[path].add(name)
                    left.append(path)
    for path, (kind, room) in placed.items():
        if kind == "tests" and not room:
            users[path] = {name for other in uses[path] for name in users[other]}
    return {path: [name for name in METHODS if name in names] for path, names in users.items()}


def _part(path: str) -> str:
    folder, _, rest = path.partition("/")
    if folder != "src":
        return folder
    package = Path(rest).parts[1].removesuffix(".py")
    return next((label for label, names in APART.items() if package in names.split()), "the rest of src")


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what each method costs, in files and lines.")
    parser.add_argument(
        "--before", metavar="REVISION", help="A git revision to compare with, such as b167b7b."
    )
    args = parser.parse_args()
    now = count(tree())
    before = count(tree(args.before)) if args.before else None
    for line in report(now, before):
        print(line)


def report(now: Count, before: Count | None = None) -> Iterator[str]:
    """The lines to print."""
    yield _row("", ("files", "lines", *KINDS))
    for name, cost in now.methods.items():
        yield _row(name, cost.row())
    yield _row("sum", now.total().row())
    yield _row("a method", now.total().row(len(now.methods)))
    if before:
        yield "\nbefore"
        for name, cost in before.methods.items():
            yield _row(name, cost.row())
        yield _row("sum", before.total().row())
        yield _row("a method", before.total().row(len(before.methods)))
        then, same = before.total(), now.total(before.methods)
        yield _row("\nthese methods now", same.row())
        ratio = [a / b for a, b in zip(same.row(), then.row(), strict=True)]
        yield "now / before" + "".join(f"{part:>9.0%}" for part in ratio).rjust(20 - 12 + 9 * len(ratio))
        least = [sum(cost.lines.values()) - cost.lines["network"] for cost in (same, then)]
        yield f"without networks: {least[0]:,.0f} lines of {least[1]:,.0f}, {least[0] / least[1]:.0%}"
    yield "\nshared out evenly"
    for path, (kind, lines, owners) in now.shared.items():
        yield f"{path} ({kind}, {lines} lines): {', '.join(owners) or 'no room imports it'}"
    yield f"\n{'apart':<52}" + "".join(f"{head:>9}" for head in ["lines", "before"][: 2 if before else 1])
    for label, cost in now.apart.items():
        trees = [cost, before.apart[label]] if before else [cost]
        yield f"{label:<52}" + "".join(f"{sum(each.lines.values()):>9,.0f}" for each in trees)


def _row(label: str, cells: Sequence[str | float]) -> str:
    written = [cell if isinstance(cell, str) else f"{cell:,.1f}" for cell in cells[:1]]
    written += [cell if isinstance(cell, str) else f"{cell:,.0f}" for cell in cells[1:]]
    return f"{label:<20}" + "".join(f"{cell:>9}" for cell in written)


if __name__ == "__main__":
    main()
