"""Who speaks when torchrun has started several processes: one of them, once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

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


def say(sentence: str) -> None:
    """One line to standard error; of several processes that would say the same, one does."""
    if _first_to(sentence):
        print(f"headwater: {sentence}", file=sys.stderr)


def say_the_end(sentence: str, follows: bool = False) -> None:
    """As `say`, but of all processes that end only one says why: the first that does not follow another."""
    if several():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending already
    if follows:
        time.sleep(_GRACE)
    if _first_to("end"):
        print(f"headwater: {sentence}", file=sys.stderr)


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
