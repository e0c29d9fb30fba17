"""Ctrl-C and a polite kill: finish the step, save, then go."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Stop:
    """While entered, SIGINT and SIGTERM set `asked`; a second one acts as it would have.

    Leaving hands the first signal on, so that Ctrl-C still ends in KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Stop:
        # Only the main thread may set handlers; elsewhere signals act as usual.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._restore()
        if self.asked is not None and kind is None:
            signal.raise_signal(self.asked)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
