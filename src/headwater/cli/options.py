"""Options of a verb as a dataclass: command line, config file and record at once."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from headwater.errors import UserError, need

T = TypeVar("T")


def parse(kind: type[T], argv: Sequence[str], prog: str, default: T | None = None) -> T:
    """Read the options of a verb from the words after it.

    `--config FILE` gives defaults from a YAML file (a run.yaml will do); `--print-config` prints the options
    as such a file and stops. default: options that hold unless a word says otherwise. tyro exits with 2 for
    words that fit no option.
    """
    import tyro

    words, config = take(list(argv), "--config")
    show = "--print-config" in words
    words = [word for word in words if word != "--print-config"]
    if config is not None:
        default = fill(kind, _read(Path(config)), Path(config).name)
    found = typing.cast(T, tyro.cli(kind, args=words, prog=prog, default=default))
    if show:
        print(yaml.safe_dump(plain(found), sort_keys=False), end="")
        raise SystemExit(0)
    return found


def take(words: list[str], flag: str) -> tuple[list[str], str | None]:
    """The words without `flag FILE`, and the file."""
    for i, word in enumerate(words):
        if word == flag:
            need(i + 1 < len(words), f"{flag} wants a file after it")
            return words[:i] + words[i + 2 :], words[i + 1]
        if word.startswith(flag + "="):
            return words[:i] + words[i + 1 :], word.removeprefix(flag + "=")
    return words, None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the config {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    need(isinstance(found, dict), f"{path} holds no options: write one `name: value` per line")
    return found.get("options", found)


def fill(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """An instance of a dataclass from plain values. UserError names an unknown key and the nearest one."""
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, kind)) if f.init}
    for name in values:
        near = difflib.get_close_matches(str(name), fields, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(fields)}"
        need(name in fields, f"{where} has an unknown key {name!r}: {hint}")
    missing = [
        f.name
        for f in fields.values()
        if f.name not in values and f.default is f.default_factory is dataclasses.MISSING
    ]
    need(not missing, f"{where} lacks {', '.join(missing)}")
    return kind(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        need(
            isinstance(value, Mapping), f"{where} holds no options: write one `name: value` per line below it"
        )
        return fill(typing.cast(type, hint), value, where)
    options = [a for a in typing.get_args(hint) if a is not type(None)]
    if value is not None and (hint is Path or options == [Path]):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Dataclasses, paths and tuples as what YAML and JSON know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
