"""What the source may not contain: other ways to load weights, and anything that runs text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "headwater"
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "torchvision", "cPickle"}
CALLS = {"eval", "exec", "compile", "__import__"}
READERS = {"torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"}


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(source: str, state: bool = False) -> Iterator[str]:
    """Descriptions of what is forbidden; `state` is for models/state.py, which may load, once, safely."""
    loads = 0
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.split(".")[0] in MODULES:
                yield module
            if module.split(".")[0] == "torch":
                yield from (f"from torch import {a.name}" for a in node.names if a.name == "load")
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            options = {k.arg: k.value for k in node.keywords}
            if called in CALLS or called == "os.system":
                yield called
            if called == "torch.load" and state:
                loads += 1
                only = options.get("weights_only")
                if not (isinstance(only, ast.Constant) and only.value is True):
                    yield "torch.load without weights_only=True"
            elif called in READERS:
                yield called
            allowed = options.get("allow_pickle")
            if allowed is not None and not (isinstance(allowed, ast.Constant) and allowed.value is False):
                yield "allow_pickle"
            if options.get("shell") is not None or options.get("trust_remote_code") is not None:
                yield "shell or trust_remote_code"
    if state and loads != 1:
        yield f"{loads} calls of torch.load"


def test_source_runs_nothing_from_files() -> None:
    found = {}
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        said = list(faults(path.read_text(encoding="utf-8"), name == "models/state.py"))
        if said:
            found[name] = said
    assert not found


def test_the_rule_sees_what_it_forbids() -> None:
    for line in (
        "import pickle",
        "from pickle import loads",
        "import torchvision.transforms",
        "torch.load('x', weights_only=True)",
        "from torch import load",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=flag)",
        "eval('1')",
        "exec(text)",
        "subprocess.run(x, shell=True)",
    ):
        assert list(faults(line)), line
    assert list(faults("torch.load('x')", state=True))
    assert not list(faults("torch.load('x', weights_only=True)", state=True))
    assert not list(faults("model.eval()\nnp.load('x', allow_pickle=False)\nre.compile('x')"))
