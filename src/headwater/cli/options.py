"""Options of a verb as a dataclass: command line, config file and record at once."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from headwater.cli.usage import WrongUsage, nearest
from headwater.errors import UserError
from headwater.limits import NAMES, choose
from headwater.plain_yaml import read_yaml

T = TypeVar("T")

SPOKEN = ("json", "overwrite", "resume", "max_minutes")
"""How to run this time: on the command line only, never in a config or a record."""
_COMMON = ("--help", "--config", "--print-config", "--limit")


def parse(kind: type[T], argv: Sequence[str], prog: str, default: T | None = None) -> T:
    """Read the options of a verb from the words after it.

    `--config FILE` gives defaults from a YAML file (a run.yaml will do); `--print-config` prints the options
    as such a file and stops; `--limit NAME=VALUE` changes what a file may cost whoever reads it, until the
    command ends. default: options that hold unless a word or the config says otherwise.
    Raises WrongUsage, in one sentence, for words that fit no option.
    """
    import tyro

    words, limit = take(list(argv), "--limit", "NAME=VALUE")
    while limit is not None:
        choose(limit)
        words, limit = take(words, "--limit", "NAME=VALUE")
    words, config = take(words, "--config")
    show = "--print-config" in words
    words = [word for word in words if word != "--print-config"]
    if config is not None:
        default = fill(kind, read_options(Path(config)), Path(config).name, default)
    _check_flags(kind, words, prog)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            found = cast(T, tyro.cli(kind, args=words, prog=prog, default=default))
    except SystemExit as end:
        if end.code:
            raise WrongUsage(_one_sentence(said.getvalue(), words, prog)) from None
        print("--config FILE takes options from a YAML file, --print-config prints them as one.")
        print(f"--limit NAME=VALUE changes what a file may cost: {', '.join(NAMES)}.\n")
        raise
    except ValueError as error:  # what a dataclass says about its own values
        raise WrongUsage(str(error)) from None
    if show:
        print(yaml.safe_dump(plain(found), sort_keys=False), end="")
        raise SystemExit(0)
    return found


def take(words: list[str], flag: str, what: str = "a file") -> tuple[list[str], str | None]:
    """The words without `flag FILE`, and the file."""
    for i, word in enumerate(words):
        if word == flag:
            if i + 1 == len(words):
                raise WrongUsage(f"{flag} wants {what} after it")
            return words[:i] + words[i + 2 :], words[i + 1]
        if word.startswith(flag + "="):
            return words[:i] + words[i + 1 :], word.removeprefix(flag + "=")
    return words, None


def flags(kind: type, prefix: str = "") -> Iterator[str]:
    """The options of a dataclass as they are typed, those of nested ones included."""
    import tyro

    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint, marks = hints[field.name], ()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *marks = typing.get_args(hint)
        given = next((mark.name for mark in marks if getattr(mark, "name", None)), field.name)
        name = given.replace("_", "-")
        if dataclasses.is_dataclass(hint):
            hidden = any(getattr(mark, "name", None) == "" for mark in marks)
            yield from flags(cast(type, hint), prefix if hidden else f"{prefix}{name}.")
        elif tyro.conf.Positional not in marks:
            yield f"--{prefix}{name}"
            if hint is bool and tyro.conf.FlagCreatePairsOff not in marks:
                yield f"--{prefix}no-{name}"


def _check_flags(kind: type, words: Sequence[str], prog: str) -> None:
    """tyro would first complain about the required option that a misspelt one left out."""
    known = [*flags(kind), *_COMMON]
    for word in words:
        name = word.split("=")[0].replace("_", "-")
        if name.startswith("--") and len(name) > 2 and name not in known:
            hint = nearest(name, known, f"`{prog} --help` lists them")
            raise WrongUsage(f"{prog.removeprefix('headwater ')} has no option {name}: {hint}")


def _one_sentence(text: str, words: Sequence[str], prog: str) -> str:
    """What tyro drew in a box, as a sentence."""
    lines = [line.strip("│╭╮╰╯─ \n") for line in text.splitlines()]
    parts = [part.strip() for part in re.sub(r"\n{2,}", "\n\n", "\n".join(lines)).split("\n\n")]
    body = " ".join(parts[0].split())
    hint = f"`{prog} --help` lists the options"
    if body.startswith("Required options"):
        named = [line.split()[0] for line in parts[0].splitlines() if re.match(r"--|[A-Z]{2,}( |$)", line)]
        return f"{prog.removeprefix('headwater ')} needs {', '.join(named)}: {hint}"
    if choice := re.search(r"invalid choice '(.*)' for argument '(.*)'. Expected one of \((.*)\)", body):
        options = [option.strip("' ") for option in choice[3].split(",") if option]
        hint = nearest(choice[1], options, f"choose {' or '.join(options)}")
        return f"{choice[2]} cannot be {choice[1]!r}: {hint}"
    wrong = re.match(r"Value error Error parsing (\S+): (.*)", body)
    if wrong is None:
        said = re.sub(r"^(Missing argument|Unrecognized options) ", "", body)
        return f"{said.rstrip('.')}: {hint}"
    name, reason = wrong.groups()
    shape = re.search(rf"Argument helptext:\n{re.escape(name)} (.+)", "\n".join(parts))
    if shape is None:
        return reason
    at = max((i for i, word in enumerate(words) if word == name), default=-1)
    form = re.sub(r"^\{None\}\|(.*)$", r"\1 or None", shape[1])
    return f"{name} cannot be {words[at + 1]!r}: give {form}" if at >= 0 else f"{name}: give {form}"


def read_options(path: Path) -> Mapping[str, Any]:
    """The options of a YAML file. Raises UserError or WrongUsage if it cannot be read or holds none."""
    try:
        found = read_yaml(path, yaml.SafeLoader)
    except OSError as error:
        raise UserError(f"cannot read the config {path} ({error.strerror}): check the path") from None
    except yaml.YAMLError as error:
        raise WrongUsage(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    options = found.get("options", found) if isinstance(found, dict) else None
    if not isinstance(options, dict):
        raise WrongUsage(f"{path} holds no options: write one `name: value` per line")
    return options


def fill(kind: type[T], values: Mapping[str, Any], where: str, base: T | None = None) -> T:
    """An instance of a dataclass from plain values; base: what holds for fields without a value.

    Fields that nothing gives are left to the command line. Raises WrongUsage, naming the nearest one, for an
    unknown key, and for a value of the wrong type.
    """
    import tyro

    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(cast(Any, kind)) if f.init}
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name in SPOKEN:
            raise WrongUsage(f"{where} sets {name}, which belongs on the command line: remove it")
        if name not in fields:
            known = [f for f in fields if f not in SPOKEN]
            hint = nearest(str(name), known, _below(hints, str(name)) or f"known are {', '.join(known)}")
            raise WrongUsage(f"{where} has an unknown key {name!r}: {hint}")
        given[name] = _value(hints[name], value, f"{where}: {name}", _standing(fields[name], base))
    for field in fields.values():
        free = field.default is field.default_factory is dataclasses.MISSING
        if field.name not in given and (base is not None or free):
            given[field.name] = getattr(base, field.name, tyro.MISSING)
    try:
        return kind(**given)
    except ValueError as error:
        raise WrongUsage(f"{where}: {error}") from None


def _standing(field: dataclasses.Field[Any], base: Any) -> Any:
    """What holds for a field before anything is said: in the base, else by default."""
    if base is not None:
        return getattr(base, field.name, None)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _below(hints: Mapping[str, Any], name: str) -> str:
    """Where a key belongs that is one of a nested block; empty if it is none."""
    for block, hint in hints.items():
        if dataclasses.is_dataclass(hint) and name in [f.name for f in dataclasses.fields(hint)]:
            return f"it belongs below {block!r}"
    return ""


def _value(hint: Any, value: Any, where: str, base: Any) -> Any:
    from headwater.models.schema import fit

    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise WrongUsage(f"{where} holds no options: write one `name: value` per line below it")
        return fill(cast(type, hint), value, where, base)
    kinds = typing.get_args(hint) or (hint,)
    if Path in kinds:
        return None if value is None else Path(str(value))
    if float in kinds and str not in kinds and isinstance(value, str):
        with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-3 as text
            value = float(value)
    try:
        return fit(value, hint, where)
    except UserError as error:
        raise WrongUsage(str(error)) from None


def plain(value: Any) -> Any:
    """Dataclasses, paths and tuples as what YAML and JSON know, without what is only spoken."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value) if f.name not in SPOKEN]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
