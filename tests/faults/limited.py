"""Commands and readers in children of one process that has imported everything: time and memory are limited.

A child that begins anew would spend three seconds on imports, and its memory would be that of the imports.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

SPACE = 3 << 30
"""Bytes of addresses that a child may take beyond what it begins with."""


class Ended(NamedTuple):
    """How a child ended, and what it took beyond what it began with."""

    code: int
    """What `main` returned; of a reader 0, or 1 where it refused; -1 for what a signal ended."""
    seconds: float
    """Of the processor, or on the clock where it was ended."""
    megabytes: float
    said: str
    """Both streams of a command, or how a reader refused."""


class Limited:
    """A process that is ready to run commands and readers in children of its own."""

    def __init__(self, seconds: float = 20) -> None:
        tests = str(Path(__file__).parents[1])
        found = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
        environ = {**os.environ, "PYTHONPATH": found, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        words = [sys.executable, __file__, str(seconds)]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
        )

    def close(self) -> None:
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()

    def command(self, *words: object) -> Ended:
        """`headwater WORDS`."""
        return self._ask("headwater.cli:main", [[str(word) for word in words]])

    def call(self, where: str, *given: Any, **options: Any) -> Ended:
        """`module:function` of values that JSON knows."""
        return self._ask(where, [str(g) if isinstance(g, Path) else g for g in given], options)

    def _ask(self, where: str, given: Sequence[Any], options: dict[str, Any] | None = None) -> Ended:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([where, given, options or {}]) + "\n")
        self.process.stdin.flush()
        return Ended(*json.loads(self.process.stdout.readline()))


def _serve(seconds: float) -> None:
    for name in ("headwater.cli", "headwater.cli.inspect", "headwater.cli.apply", "headwater.cli.fit"):
        importlib.import_module(name)
    for name in ("h5py", "nibabel", "tokenizers", "headwater.methods.catalogue", "headwater.data.texts"):
        importlib.import_module(name)
    importlib.import_module("headwater.models.unet2d").plain_class()
    held = _one(["headwater.cli:main", [["inspect", os.devnull]], {}], seconds, 0)[2]
    for line in sys.stdin:
        print(json.dumps(_one(json.loads(line), seconds, held)), flush=True)


def _one(job: list[Any], seconds: float, held: float) -> list[Any]:
    """A job in a child that may use so many seconds of the processor, and four times that on the clock."""
    with tempfile.TemporaryFile("w+") as said:
        begun = time.monotonic()
        child = os.fork()
        if child == 0:
            _work(job, said.fileno(), math.ceil(seconds))
        status, used = 0, None
        while used is None and time.monotonic() < begun + 4 * seconds:
            pid, status, found = os.wait4(child, os.WNOHANG)
            used = found if pid else None
            time.sleep(0 if pid else 0.005)
        if used is None:
            os.kill(child, signal.SIGKILL)
            _, status, used = os.wait4(child, 0)
        code = os.waitstatus_to_exitcode(status)
        took = used.ru_utime + used.ru_stime
        took = max(took, time.monotonic() - begun) if code == -signal.SIGKILL else took
        said.seek(0)
        return [max(code, -1), took, used.ru_maxrss / 1024 - held, said.read()]


def _work(job: list[Any], file: int, seconds: int) -> None:
    """In the child: never comes back."""
    code, (where, given, options) = 99, job
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        most = (_memory("VmSize") << 10) + SPACE
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        module, _, name = where.partition(":")
        code = _called(getattr(importlib.import_module(module), name), given, options)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _called(function: Any, given: list[Any], options: dict[str, Any]) -> int:
    from headwater.errors import UserError

    try:
        found = function(*given, **options)
    except UserError as error:
        print(error)
        return 1
    except BaseException as error:
        print(f"this is a bug: {type(error).__name__}: {str(error)[:300]}")
        return 98
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])


if __name__ == "__main__":
    sys.path.pop(0)
    _serve(float(sys.argv[1]))
