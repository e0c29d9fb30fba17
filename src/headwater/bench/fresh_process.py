"""Jobs in processes of their own: what another job left in memory does not count for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from headwater.errors import UserError


def answer_of(module: str, job: list[object], failing: str, remedy: str) -> str:
    """The last line that `python -m module JOB` prints. Raises UserError when it does not end well."""
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(job)],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it was killed"]
        raise UserError(f"bench: {failing} ({said[-1]}): {remedy}")
    return done.stdout.splitlines()[-1]
