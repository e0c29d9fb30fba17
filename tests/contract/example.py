"""The method that docs/extending.md writes as an example, as if it were of the catalogue."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from headwater.methods.base import Method
from headwater.methods.catalogue import Entry

NAME = "one-shot"
_PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def source() -> str:
    """The block of the page that holds the class, which must stand alone."""
    blocks = re.findall(r"^```python\n(.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.M | re.S)
    (found,) = [block for block in blocks if "class OneShot" in block]
    return found


@dataclass(frozen=True)
class Example(Entry):
    """An entry that is found in no room."""

    def load(self) -> type[Method]:
        """The class, from a module of its own, whose source can be looked up."""
        if "method_of_the_page" not in sys.modules:
            file = Path(tempfile.mkdtemp()) / "method_of_the_page.py"
            file.write_text(source(), encoding="utf-8")
            spec = importlib.util.spec_from_file_location("method_of_the_page", file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
        return sys.modules["method_of_the_page"].OneShot

    @property
    def folder(self) -> Path:
        return Path("/nowhere")


ENTRY = Example("restoration", NAME, "OneShot", "take noise out of pictures", "OneShot", "", "", "", "", "")
