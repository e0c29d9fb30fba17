"""The command line in two processes that share a work; the second may be killed on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Killed from inside, as soon as a file is there: no timing, and no search for process numbers.
CHILD = """
import os, signal, sys, threading, time
from pathlib import Path

def watch():
    while not Path(sys.argv[1]).exists():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

if os.environ["RANK"] == "1":
    threading.Thread(target=watch, daemon=True).start()
from headwater.cli import main
sys.exit(main(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Heard:
    """What came of it; torchrun's own words are left out of `sentences`."""

    code: int
    out: str
    err: str

    @property
    def sentences(self) -> list[str]:
        """What the processes said to standard error."""
        return [line for line in self.err.splitlines() if line.startswith("headwater: ")]


def torchrun(*words: object, kill: Path | None = None) -> Heard:
    """Run `headwater WORDS` in two processes; kill: the second one dies when this path exists."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += (
        ["-m", "headwater"] if kill is None else ["--no-python", sys.executable, "-c", CHILD, str(kill)]
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += [str(word) for word in words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    return Heard(done.returncode, done.stdout, done.stderr)
