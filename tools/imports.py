"""What Python files import of Headwater, read from their text: nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

PACKAGE = "headwater"


@dataclass(frozen=True)
class Import:
    """One module that a file imports."""

    module: str
    typing: bool = False
    """Under `if TYPE_CHECKING:`."""
    inside: bool = False
    """In a function, so not yet when the file is imported."""


def module_name(path: str) -> str:
    """The dotted name of a file below src/."""
    parts = PurePosixPath(path).relative_to("src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(text: str, known: Iterable[str] = (), package: str = PACKAGE) -> Iterator[Import]:
    """Each module of `package` that the text imports; of all packages if that is empty.

    known: the modules there are, which tell whether `from a import b` means the module a.b or a name in a.
    """
    known = set(known)

    def visit(node: ast.AST, typing: bool, inside: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                full = {alias.name: f"{child.module}.{alias.name}" for alias in child.names}
                names = [f if f in known else child.module or "" for f in full.values()]
            else:
                guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                yield from visit(child, typing or guarded, inside or function)
                continue
            for name in dict.fromkeys(names):
                if not package or name.split(".")[0] == package:
                    yield Import(name, typing, inside)

    yield from visit(ast.parse(text), False, False)
