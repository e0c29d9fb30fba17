"""Imports point down through the layers and never round; a room is entered by its method alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from headwater.methods.catalogue import METHODS, TABLES
from tooling import TOOLS, tool

scanner = tool("imports")
ROOT = TOOLS.parent
SRC = ROOT / "src" / "headwater"

LAYERS = (
    "__main__",
    "cli",
    "experiments bench",
    "baselines attacks",
    "methods",
    "training",
    "models",
    "sampling",
    "nets controls",
    "codecs operators",
    "noise discrete",
    "core",
    "gallery",
    "atomic locks digest",
    "modes",
    "progress",
    "plain_yaml",
    "limits",
    "errors",
    "notes",
)
"""From the top. A package imports those on lower lines; on its own line, itself alone."""
HEIGHT = {name: -line for line, names in enumerate(LAYERS) for name in names.split()}
BESIDE = {"data", "metrics", "report"}
"""They import no more than UNDER_BESIDE; whatever lies above all of that may import them."""
UNDER_BESIDE = {"noise", "core", "gallery", "atomic", "errors", "notes", "limits", "modes", "progress"}
FOR_CLAIMS = {"experiments", "baselines", "attacks"}
"""Above the methods, and open to their claims alone."""
CORE_LINES = 1600

KNOWN = {
    # A claim that two rooms share, loaded by their claims.
    ("headwater.methods.segmentation.shared.mask_claim", "segmentation.implicit_ensembles.method"),
    ("headwater.methods.segmentation.shared.mask_claim", "segmentation.segdiff.method"),
    # Tools that train what ships with the settings of its claim.
    ("tools/train_captioner.py", "text.clip_diffusion_lm.claim"),
    ("tools/train_csdi.py", "series.csdi.claim"),
    ("tools/train_diffuseq.py", "text.diffuseq.claim"),
}
"""Imports that enter a room by another door: importer, and module below headwater.methods. To be emptied."""
LONELY: set[str] = set()
"""Modules of a `shared` folder that a single place imports. To be emptied."""

TEXTS = {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in SRC.rglob("*.py")}
MODULES = {scanner.module_name(path): path for path in TEXTS}
IMPORTS = {name: list(scanner.imports(TEXTS[path], MODULES)) for name, path in MODULES.items()}
OUTSIDE = {
    path.relative_to(ROOT).as_posix(): list(scanner.imports(path.read_text(encoding="utf-8"), MODULES))
    for folder in ("tests", "tools")
    for path in (ROOT / folder).rglob("*.py")
}
"""Imports of the files of tests/ and tools/."""


def package(module: str) -> str:
    """The part of a dotted name that LAYERS speaks of; "" for headwater itself."""
    return module.split(".")[1] if "." in module else ""


def place(module: str) -> tuple[str, str]:
    """Chapter and room of a module, "shared" for what a chapter shares; empty outside the chapters."""
    parts = module.split(".")
    inside = len(parts) > 4 and parts[1] == "methods"
    return (parts[2], parts[3]) if inside else ("", "")


def in_tests(module: str) -> bool:
    return ".tests." in module


def is_claim(module: str) -> bool:
    """Whether a module is (part of) the claim of a method, or of several: a chapter's table is one."""
    if module in {table.module for table in TABLES.values()}:
        return True
    return bool(place(module)[0]) and "claim" in module.rsplit(".", 1)[1] and not in_tests(module)


def pairs(at_import: bool = False) -> Iterator[tuple[str, str]]:
    """Importer and imported in the package, tests left out; at_import: only what runs when it is imported."""
    for module, found in IMPORTS.items():
        for each in found:
            if not in_tests(module) and not (at_import and (each.typing or each.inside)):
                yield module, each.module


def allowed(importer: str, imported: str) -> bool:
    """Whether the layers let one module import the other."""
    a, b = package(importer), package(imported)
    if a in ("", b):  # headwater itself has everything, by name
        return True
    if a in BESIDE:
        return b in UNDER_BESIDE
    if b in BESIDE:
        return HEIGHT[a] > max(HEIGHT["noise"], HEIGHT["core"])
    return HEIGHT.get(b, 1) < HEIGHT[a] or (b in FOR_CLAIMS and is_claim(importer))


def test_every_package_has_its_layer() -> None:
    found = {
        p.stem if p.suffix == ".py" else p.name for p in SRC.iterdir() if p.suffix == ".py" or p.is_dir()
    }
    code = {name for name in found - {"__init__"} if any(package(m) == name for m in MODULES)}
    assert code == {*HEIGHT, *BESIDE}


def test_imports_point_down() -> None:
    wrong = {(a, b) for a, b in pairs() if not allowed(a, b)}
    assert not wrong, "\n".join(f"{a} may not import {b}" for a, b in sorted(wrong))


def test_no_module_imports_itself_on_a_detour() -> None:
    below: dict[str, list[str]] = {module: [] for module in MODULES}
    for importer, imported in pairs(at_import=True):
        if imported in below:
            below[importer].append(imported)
    done: set[str] = set()

    def descend(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " imports ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in below[module]:
                descend(other, (*path, module))
            done.add(module)

    for module in below:
        descend(module, ())


def entered(importer: str, found: list[str], door: Callable[[str], bool]) -> set[tuple[str, str]]:
    """The rooms' modules that a file outside the room imports, although they are no door."""
    rooms = [(module, place(module)) for module in found]
    return {
        (importer, module.removeprefix("headwater.methods."))
        for module, (chapter, room) in rooms
        if chapter and room != "shared" and (chapter, room) != place(importer) and not door(module)
    }


def test_a_room_is_entered_by_its_method() -> None:
    """Also by others of its chapter, since a method may be another one with a change; not by other chapters,
    nor by what the chapter shares, which lies below its rooms."""
    wrong: set[tuple[str, str]] = set()
    for importer, found in IMPORTS.items():
        chapter, room = place(importer)

        def door(module: str, chapter: str = chapter, inside: bool = room == "shared") -> bool:
            own = chapter in ("", place(module)[0])
            return own and not inside and module.endswith(".method")

        names = [each.module for each in found]
        if in_tests(importer) and room == "shared":  # tests of what they share go through the rooms
            continue
        wrong |= entered(importer, names, door)
    for importer, found in OUTSIDE.items():
        wrong |= entered(importer, [e.module for e in found], lambda module: module.endswith(".method"))
    assert wrong == KNOWN, f"new: {sorted(wrong - KNOWN)}; gone, so strike them out: {sorted(KNOWN - wrong)}"


def test_no_chapter_imports_another() -> None:
    wrong = {
        (a, b.module)
        for a, found in IMPORTS.items()
        for b in found
        if place(a)[0] and place(b.module)[1] == "shared" and place(a)[0] != place(b.module)[0]
    }
    assert not wrong  # rooms of another chapter are in the test above


def test_nothing_but_a_claim_imports_a_claim() -> None:
    wrong = {
        (a, b)
        for a, b in pairs()
        if is_claim(b) and not is_claim(a) and (a, b.removeprefix("headwater.methods.")) not in KNOWN
    }
    assert not wrong


def test_what_a_chapter_shares_has_several_users() -> None:
    users: dict[str, set[str]] = {}
    for importer, imported in pairs():
        chapter, room = place(imported)
        if room == "shared" and not imported.endswith(".shared"):
            inside = place(importer)
            used = users.setdefault(imported.removeprefix("headwater.methods."), set())
            used.add(importer if inside == (chapter, "shared") or not inside[0] else inside[1])
    lonely = {module for module, by in users.items() if len(by) < 2}
    assert lonely == LONELY, f"move into the one room that uses it: {lonely ^ LONELY}"


def test_core_is_small_and_needs_torch_alone() -> None:
    texts = [text for path, text in TEXTS.items() if path.startswith("src/headwater/core/")]
    lines = sum(text.count("\n") for text in texts)
    assert lines <= CORE_LINES, f"core has {lines} lines: move out what only one family of methods needs"
    names = {each.module.split(".")[0] for text in texts for each in scanner.imports(text, package="")}
    assert names - {"headwater", "torch", *sys.stdlib_module_names} == set()


@pytest.mark.parametrize("name", METHODS)
def test_every_room_is_complete(name: str) -> None:
    entry = METHODS[name]
    wanted = ["__init__.py", "method.py", "claim.py", "README.md"]
    if hasattr(entry.load(), "fit"):
        wanted.append("recipes")
    assert [item for item in wanted if not (entry.folder / item).exists()] == []
    assert list((entry.folder / "recipes").glob("*.yaml")) or "recipes" not in wanted


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_complete(name: str) -> None:
    table = TABLES[name]
    wanted, folder = (f"{table.file}.py", "README.md"), SRC / "methods" / table.chapter
    assert [f for f in wanted if not (folder / f).exists()] == []


def test_every_folder_of_a_chapter_is_a_room_or_shared() -> None:
    folders = {p.parent for p in (SRC / "methods").rglob("__init__.py")} - {SRC / "methods"}
    rooms = {entry.folder for entry in METHODS.values()}
    chapters = {folder.parent for folder in rooms}
    assert folders == rooms | chapters | {f for f in folders if f.name == "shared" and f.parent in chapters}
