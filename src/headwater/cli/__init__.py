"""The command line. One verb a module; the list of verbs loads neither torch nor any of them."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module

VERBS: dict[str, tuple[str, str]] = {
    "list": ("listing", "the methods, by chapter; also shipped priors and data"),
    "show": ("show", "a method: paper, equations, needs, options, citation"),
    "fit": ("fit", "train a prior, or what a method trains"),
    "apply": ("apply", "a method on your own files"),
    "evaluate": ("evaluate", "results of a method against the truth"),
    "sample": ("sample", "draw pictures from a prior"),
    "reproduce": ("reproduce", "a paper's claim in miniature, on real data"),
    "convert": ("convert", "a checkpoint between our folder, guided-diffusion and diffusers"),
    "inspect": ("inspect", "what a checkpoint is, without running anything in it"),
    "rerun": ("rerun", "repeat a run from its run.yaml and compare"),
    "bench": ("bench", "time and memory against what one would use instead"),
    "tour": ("tour", "the main job: every claim on shipped priors, one page"),
}
DONE, FAILED, USAGE = 0, 1, 2
"""Exit codes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return DONE if words else USAGE
    if words[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"headwater {version('headwater')}")
        return DONE
    if words[0] not in VERBS:
        near = difflib.get_close_matches(words[0], VERBS, 1)
        hint = f"did you mean {near[0]!r}?" if near else "`headwater --help` lists the verbs"
        return _say(f"there is no verb {words[0]!r}: {hint}", USAGE)
    return _run(words[0], words[1:])


def _run(verb: str, rest: list[str]) -> int:
    try:
        return import_module(f"headwater.cli.{VERBS[verb][0]}").run(rest)
    except KeyboardInterrupt:
        return _say("stopped; whatever was finished is kept", 130)
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("HEADWATER_TRACEBACK"):
            raise
        return _say(_sentence(error), FAILED)
    except Exception as error:
        if os.environ.get("HEADWATER_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {_sentence(error)}"
        return _say(f"this is a bug ({what}): set HEADWATER_TRACEBACK=1 to see where", FAILED)


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory: lower --batch"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _say(sentence: str, code: int) -> int:
    print(f"headwater: {sentence}", file=sys.stderr)
    return code


def _help() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, (_, summary) in VERBS.items())
    return f"""usage: headwater VERB ...

One diffusion prior, every downstream task.

{verbs}

`headwater VERB --help` lists the options of a verb; `headwater show METHOD` tells what a method does.
Exit codes: 0 done, 1 failed, 2 wrong usage."""
