"""`headwater show METHOD`."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Sequence
from typing import Any

from headwater.cli.methods import fitted_class, helps, kinds, results, spare, verb_of
from headwater.cli.options import plain
from headwater.cli.usage import WrongUsage, nearest
from headwater.cli.work import answer
from headwater.experiments.recorded import Recorded, recorded
from headwater.methods.base import Method
from headwater.methods.catalogue import entry

_USAGE = """usage: headwater show METHOD [--json]

Print a method's paper, equations, files, hyper-parameters with the paper's values, and citation."""


def run(argv: Sequence[str]) -> int:
    """Print what a method is."""
    if "-h" in argv or "--help" in argv:
        print(_USAGE)
        return 0
    name, *rest = argv
    for word in rest:
        if word != "--json":
            hint = nearest(word, ["--json"], "it takes a method and --json")
            raise WrongUsage(f"headwater show does not know {word!r}: {hint}")
    method = entry(name).load()
    options, files = _options(method), _files(method)
    paper = method.paper
    verdict = recorded().get(name)
    values = {
        "paper": plain(paper),
        "needs": method.needs,
        "files": files,
        "options": options,
        "reproduced": plain(verdict),
    }
    fields = "\n".join(_paragraph(f"{k} = {v['default']}", v["help"]) for k, v in options.items())
    uses = "\n".join(_paragraph(f"{verb}", text) for verb, text in files.items())
    where = " ".join(filter(None, [paper.venue, str(paper.year), paper.arxiv and f"arXiv {paper.arxiv}"]))
    text = f"""{paper.title}
{paper.authors}
{where}

Claim: {paper.claim}
{_reproduced(verdict)}
Needs: {"; ".join(method.needs)}

{inspect.getdoc(method)}

Files
{uses}

Options, with the paper's values
{fields}

{paper.bibtex(name)}"""
    return answer("--json" in rest, text, values)


def _reproduced(verdict: Recorded | None) -> str:
    if verdict is None:
        return "Reproduced: not yet at full effort"
    how = f"{len(verdict.seeds)} seeds, {verdict.minutes} min"
    return f"Reproduced: {verdict.verdict} ({how}): {verdict.measured}"


def _files(method: type[Method]) -> dict[str, str]:
    """What each verb reads and writes."""
    found: dict[str, str] = {}
    for verb in ("fit", "apply", "evaluate"):
        if not hasattr(method, verb):
            continue
        function = verb_of(method, verb)
        free = spare(function) if verb != "evaluate" else {}
        needs = [f"--{k} ({kind.help})" for k, kind in kinds(function).items() if k not in free]
        needs += [f"[--{k} ({kinds(function)[k].help})]" for k in free]
        needs += ["--fitted (what fit wrote)"] if fitted_class(function) else []
        made = [f"{k} ({kind.name})" for k, kind in results(method).items()] if verb == "apply" else []
        found[verb] = ", ".join(needs or ["--data (pictures)"]) + (f" -> {', '.join(made)}" if made else "")
    return found


def _options(method: type[Method]) -> dict[str, dict[str, Any]]:
    """Default and help of every hyper-parameter; those of nested ones have dotted names."""
    return _fields(method(), "")


def _fields(made: Any, prefix: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    said = helps(type(made))
    for field in dataclasses.fields(made):
        value, name = getattr(made, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            found |= _fields(value, f"{name}.")
        else:
            found[name] = {"default": plain(value), "help": said.get(field.name, "")}
    return found


def _paragraph(head: str, text: str) -> str:
    return textwrap.fill(
        f"{head}: {text}" if text else head, 100, initial_indent="  ", subsequent_indent="      "
    )
