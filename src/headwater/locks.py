"""One folder, one writer: a lock in the folder, which says who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from headwater.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: what the file says, and how fresh it is, must do
    fcntl = None

LOCK = ".headwater-lock"
"""The file in a folder that is being written."""
_BEAT = 10.0
"""Seconds after which a holder says again that it lives, for those who cannot see its process."""
_STALE = 60.0
"""Seconds without that after which a holder of another machine counts as dead."""


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str] | None) -> Iterator[None]:
    """Hold a folder, which is made if need be, against all others who ask; None holds nothing.

    The lock of a process that died on this machine is nobody's; one that is held on another machine that
    sees the same folder counts as dead after a minute without a sign. What was made and stayed empty is
    removed again. Raises UserError that says who holds the folder, or that it cannot be written.
    """
    if folder is None:
        yield
        return
    path = Path(os.path.abspath(folder))
    made = [p for p in (path, *path.parents) if not p.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = _take(path / LOCK)
    except OSError as error:
        _remove(made)
        reason = error.strerror or error
        raise UserError(f"cannot write {path} ({reason}): choose a folder that you may write") from None
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(path / LOCK, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        with contextlib.suppress(OSError):
            (path / LOCK).unlink()  # before it is given up: who then takes it finds that it has no name
        os.close(handle)
        _remove(made)


def _take(lock: Path) -> int:
    """The open file of a lock that is now ours. Raises UserError if it is another's."""
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            free = _free(handle)
            who = _holder(handle)
            if not free or _lives_elsewhere(handle, who):
                raise UserError(
                    f"{lock.parent} is being written by process {who.get('pid', '?')} of "
                    f"{who.get('host', 'this machine')}: wait for its end, or choose another folder"
                )
            if _is_named(handle, lock):
                os.ftruncate(handle, 0)
                os.lseek(handle, 0, os.SEEK_SET)
                os.write(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # it was given up between our opening it and our taking it


def _free(handle: int) -> bool:
    """Whether no living process of this machine held the lock; it is ours then."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(handle: int) -> dict[str, object]:
    """Who wrote the lock; empty where nobody has yet."""
    try:
        found = json.loads(os.read(handle, 4096))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _lives_elsewhere(handle: int, who: dict[str, object]) -> bool:
    """Whether somebody whose process we cannot see holds the lock, by its last sign of life."""
    seen = fcntl is not None and who.get("host") == socket.gethostname()
    return bool(who) and not seen and time.time() - os.fstat(handle).st_mtime < _STALE


def _is_named(handle: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), lock.stat())
    except FileNotFoundError:
        return False


def _beat(lock: Path, done: threading.Event) -> None:
    while not done.wait(_BEAT):
        with contextlib.suppress(OSError):
            os.utime(lock)


def _remove(folders: list[Path]) -> None:
    """Remove folders that are empty, the innermost first."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
