"""Options of a method's verbs, made from the method's own dataclass and the arguments of its functions."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, cast

import tyro
from torch import Tensor

from headwater.cli.options import fill
from headwater.data.reading import ASKED_OF, UNSAID, Reading
from headwater.errors import UserError, need
from headwater.methods.base import Kind, Method, hints_of, kind_of
from headwater.methods.catalogue import METHODS

Size = Literal["asked", "larger", "stored"]
"""Height and width of pictures: as a prior or method asks; as the first picture has them, where they are
larger; or as the first picture has them."""
PRIOR = "A shipped prior, a folder, a guided-diffusion file or a hub name."


def kinds(function: Callable[..., Any]) -> dict[str, Kind]:
    """The arguments of a method's function that come from files."""
    hints = hints_of(function)
    names = inspect.signature(function).parameters
    return {name: kind for name in names if (kind := kind_of(hints.get(name))) is not None}


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a method's function has an argument of that name."""
    return name in inspect.signature(function).parameters


def may_lack(function: Callable[..., Any], name: str) -> bool:
    """Whether a method's function also takes None for an argument."""
    return type(None) in typing.get_args(hints_of(function).get(name))


def results(method: type[Method]) -> dict[str, Kind]:
    """The outputs of a method's `apply` by name; a single one is called as `evaluate` calls it."""
    hint = hints_of(verb_of(method, "apply"))["return"]
    if (kind := kind_of(hint)) is not None:
        return {next(iter(kinds(verb_of(method, "evaluate")))): kind}
    fields = typing.get_type_hints(hint, include_extras=True) if dataclasses.is_dataclass(hint) else {}
    return {name: kind for name, h in fields.items() if (kind := kind_of(h)) is not None}


def taken_apart(result: Any, outputs: Mapping[str, Kind]) -> dict[str, list[Any]]:
    """What `apply` returned as items of each output, tensors in main memory."""
    single = not dataclasses.is_dataclass(result)
    found = {key: result if single else getattr(result, key) for key in outputs}
    return {
        key: [item.cpu() if isinstance(item, Tensor) else item for item in value]
        for key, value in found.items()
    }


def verb_of(method: type[Method], verb: str) -> Callable[..., Any]:
    """A method's function of that name. UserError if it has none."""
    need(hasattr(method, verb), f"this method has no {verb}: `headwater list` shows the others")
    return getattr(method, verb)


def options_of(
    verb: str, name: str, base: type, fields: Mapping[str, tuple[Any, str]], defaults: Mapping[str, Any] = {}
) -> Any:
    """A dataclass of fields, name -> (type, help), before those of `base`; without a default, required."""
    specs = [
        (key, Annotated[hint, tyro.conf.arg(help=text)], dataclasses.field(default=defaults[key]))
        if key in defaults
        else (key, Annotated[hint, tyro.conf.arg(help=text)])
        for key, (hint, text) in fields.items()
    ]
    inputs = dataclasses.make_dataclass("Inputs", specs, frozen=True, kw_only=True)
    # Fields of later bases come first.
    made = dataclasses.make_dataclass(verb.title(), [], bases=(base, inputs), frozen=True, kw_only=True)
    made.__doc__ = f"{verb.capitalize()} {name}: {METHODS[name].summary}."
    made.__module__ = inputs.__module__ = __name__
    return made


def with_method(kind: Any, method: type[Method]) -> Any:
    """The same options with the method's own hyper-parameters after them."""
    fields = [
        ("method", Annotated[method, tyro.conf.arg(name="")], dataclasses.field(default_factory=method))
    ]
    made = dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True, kw_only=True)
    made.__doc__, made.__module__ = kind.__doc__, __name__
    return made


def inputs_of(function: Callable[..., Any], optional: bool = False) -> dict[str, tuple[Any, str]]:
    """One path per argument that comes from files, with its help."""
    free = kinds(function) if optional else spare(function)
    return {
        key: (str | None if key in free else str, sentence(help_of(key, kind)))
        for key, kind in kinds(function).items()
    }


def answers(function: Callable[..., Any]) -> dict[str, tuple[Any, str]]:
    """The fields of `Reading` that the inputs of a method's function may need, with their help."""
    held = {kind.name for kind in kinds(function).values()}
    hints, said = typing.get_type_hints(Reading), helps(Reading)
    return {k: (hints[k], said[k]) for k, names in ASKED_OF.items() if held.intersection(names)}


def reading_of(options: Any, record: Mapping[str, Any] | None = None) -> Reading:
    """What the options say about the files, or else the record of the run that read them before."""
    before, free = (record or {}).get("options") or {}, vars(UNSAID)
    said = {k: getattr(options, k, default) for k, default in free.items()}
    said = {k: before.get(k) or v if v == free[k] else v for k, v in said.items()}
    return Reading(**{k: tuple(v) if isinstance(v, list) else v for k, v in said.items()})


def spare(function: Callable[..., Any]) -> dict[str, None]:
    """The arguments that come from files and may be left out."""
    found = inspect.signature(function).parameters
    return {key: None for key in kinds(function) if found[key].default is None}


def applied(method: type[Method]) -> dict[str, tuple[Any, str]]:
    """The hyper-parameters that may still be chosen when something fitted is applied."""
    hints, said = typing.get_type_hints(method, include_extras=True), helps(method)
    return {key: (hints[key] | None, f"{said.get(key, key)} Default: as fitted.") for key in method.applied}


def helps(kind: type) -> dict[str, str]:
    """What the page of a dataclass says about each field: the string below it."""
    said: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(owner):
            continue
        tree = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                said[ast.unparse(field.target)] = " ".join(str(ast.literal_eval(text.value)).split())
    return said


def sentence(phrase: str) -> str:
    """A phrase that stands alone."""
    return f"{phrase[0].upper()}{phrase[1:]}."


def help_of(name: str, kind: Kind) -> str:
    """What to give for an argument."""
    return f"{kind.help}; white marks what is {name}" if kind.name == "mask" else kind.help


def fitted_class(function: Callable[..., Any]) -> Any:
    """What `fit` must have made before this function can run: the class of its `fitted` argument, or None."""
    return hints_of(function).get("fitted")


def shape_of(prior: Any, *others: Any) -> tuple[int, int, int] | None:
    """Channels, height and width of the pictures that a prior wants, or else what was fitted, or a method."""
    shapes = [getattr(owner, "shape", None) for owner in (prior, *others)]
    good = [s for s in shapes if isinstance(s, tuple) and len(s) == 3 and all(isinstance(n, int) for n in s)]
    return good[0] if good else None


def size_of(method: Any) -> Size:
    """Which height and width pictures are read at: see `Method`."""
    if getattr(method, "resize", False):
        return "stored"
    return "larger" if getattr(method, "tiled", False) else "asked"


def classes_of(fitted: Any) -> int:
    """How many classes of label maps something that was fitted knows; 0 where it says none. A map need not
    show all of them."""
    found = getattr(getattr(fitted, "config", None), "classes", 0)
    return found if isinstance(found, int) else 0


def recorded_method(
    method: type[Method], record: Mapping[str, Any], said: Mapping[str, Any] | None = None
) -> Method:
    """The method with the hyper-parameters of a record; with the paper's where the record has none.

    said: hyper-parameters that go before, where they are not None.
    """
    values = (record.get("options") or {}).get("method") or {}
    try:
        found = fill(method, values, "run.yaml")
    except UserError:
        found = method()
    chosen = {key: value for key, value in (said or {}).items() if value is not None}
    return dataclasses.replace(cast(Any, found), **chosen)
