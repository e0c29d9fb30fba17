"""Who speaks when torchrun has started several processes: one of them, once."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType

from headwater.notes import LOGGER, printable, some

_WAIT = 5
"""Seconds after which torchrun's store counts as gone."""
_GRACE = 2
"""Seconds that a process has to say why it ended, before those that it left alone do."""


class Ended(BaseException):
    """torchrun ends this process: another one failed, or somebody stopped them all."""


def several() -> bool:
    """Whether this process works beside others that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """The first of several processes alone has an output, and SIGTERM raises `Ended` in each."""
    if not several():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with contextlib.ExitStack() as stack:
            if os.environ.get("RANK") != "0":
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Heard(logging.Handler):
    """Says each note once, with the first place that it is about, and keeps them for the record."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, dict[str, str]] = {}
        """Of each note, by place: the whole sentence."""
        self.tallies: dict[str, _Tally] = {}
        """Of each note about some of several items."""

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "of"):
            self._count(**{key: getattr(record, key) for key in ("what", "items", "of")})
        elif record.levelno >= logging.WARNING:
            self._note(record)

    def _count(self, what: str, items: list[str], of: int) -> None:
        tally = self.tallies.setdefault(what, _Tally(what))
        tally.add(items, of)
        if items and not tally.said:
            tally.said = tally.sentence()
            say(" ".join(tally.said.split()))

    def _note(self, record: logging.LogRecord) -> None:
        said = " ".join(record.getMessage().split())
        places = self.places.setdefault(str(getattr(record, "what", said)), {})
        if not places:
            say(said)
        places.setdefault(str(getattr(record, "where", "")), said)

    def notes(self) -> list[str]:
        found = [next(iter(places.values())) + _more(len(places) - 1) for places in self.places.values()]
        return found + [tally.sentence() for tally in self.tallies.values() if tally.count]

    def say_the_rest(self) -> None:
        for what, places in self.places.items():
            if len(places) > 1:
                say(f"the same of {len(places) - 1} more: {what}")
        for tally in self.tallies.values():
            if tally.said and tally.said != tally.sentence():
                say(f"in all, {tally.sentence()}")


@dataclass
class _Tally:
    """How many of how many items a note is about, over all batches."""

    what: str
    said: str = ""
    """What was said of the first batch that it holds for."""
    items: list[str] = field(default_factory=list)
    """The first of them."""
    count: int = 0
    of: int = 0

    def add(self, items: list[str], of: int) -> None:
        self.items += items[: max(0, 3 - len(self.items))]
        self.count += len(items)
        self.of += of

    def sentence(self) -> str:
        return some(self.what, self.items, self.count, self.of)


@contextlib.contextmanager
def notes_heard() -> Iterator[None]:
    """While it lasts, what readers note is said on standard error, one line each, and found by `noted`."""
    if any(isinstance(handler, _Heard) for handler in LOGGER.handlers):  # a command within a command
        yield
        return
    heard, before, level = _Heard(), LOGGER.propagate, LOGGER.level
    LOGGER.addHandler(heard)
    LOGGER.propagate = False
    LOGGER.setLevel(logging.DEBUG)  # batches that a note does not hold for are counted too
    try:
        yield
    finally:
        LOGGER.removeHandler(heard)
        LOGGER.propagate = before
        LOGGER.setLevel(level)
        heard.say_the_rest()


def noted() -> list[str]:
    """What was noted since the command began."""
    heard = [handler for handler in LOGGER.handlers if isinstance(handler, _Heard)]
    return [said for handler in heard for said in handler.notes()]


def _more(count: int) -> str:
    return f" (and {count} more)" if count else ""


def say(sentence: str) -> None:
    """One line to standard error; of several processes that would say the same, one does."""
    if _first_to(sentence):
        print(f"headwater: {printable(sentence)}", file=sys.stderr)


def say_the_end(sentence: str, follows: bool = False) -> None:
    """As `say`, but of all processes that end only one says why: the first that does not follow another."""
    if several():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
    if follows:
        time.sleep(_GRACE)
    if _first_to("end"):
        print(f"headwater: {printable(sentence)}", file=sys.stderr)


def _first_to(what: str) -> bool:
    """Whether no other process has asked this: a count in torchrun's own store, which outlives them all."""
    if not several():
        return True
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # there is none that outlives them
        return os.environ.get("RANK") == "0"
    from datetime import timedelta

    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    host, port = os.environ.get("MASTER_ADDR", "localhost"), int(os.environ.get("MASTER_PORT", "0"))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = TCPStore(
            host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=_WAIT)
        )
        return store.add(f"headwater/{attempt}/{what}", 1) == 1
    except RuntimeError:  # torchrun is gone too
        return os.environ.get("RANK") == "0"


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # torchrun may ask again
    raise Ended
