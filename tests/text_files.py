"""The command line called in this process, and small files for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from headwater.cli import main


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one sentence of a failure."""
        assert self.code == 1, self
        assert self.err.count("\n") == 1, self
        assert "bug" not in self.err, self
        return self.err


def commands(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`run("fit", "captions", image="p", text="t.txt")` writes its results to `out`."""

    def call(*words: str, **options: object) -> Said:
        capfd.readouterr()
        given = {"out": "out", **options} if words[0] != "evaluate" else options
        flags = [str(w) for k, v in given.items() for w in (f"--{k.replace('_', '-')}", v)]
        more = ["--overwrite"] if words[0] != "evaluate" else []
        code = main([*words, *flags, *more])
        return Said(code, *capfd.readouterr())

    return call


def picture(path: str, value: int = 0, side: int = 8) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side), value, np.uint8)).save(path, format="PNG")


def write(path: str, text: str, encoding: str = "utf-8") -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(text.encode(encoding))
    return path


def jsonl(path: str, rows: list[Any], encoding: str = "utf-8") -> str:
    return write(path, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding)
