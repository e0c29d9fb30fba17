"""The command line. One verb a module; the list of verbs loads neither torch nor any of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

VERBS: dict[str, tuple[str, str]] = {
    "list": ("listing", "the methods, by chapter; also shipped priors and data"),
    "show": ("show", "a method: paper, equations, files, options, citation"),
    "fit": ("fit", "train a prior, or what a method trains"),
    "apply": ("apply", "a method on your own files"),
    "evaluate": ("evaluate", "results of a method against the truth"),
    "sample": ("sample", "draw pictures from a prior"),
    "degrade": ("degrade", "make measured pictures from clean ones, to restore them"),
    "reproduce": ("reproduce", "a paper's claim in miniature, on real data"),
    "convert": ("convert", "a checkpoint between our folder, guided-diffusion and diffusers"),
    "inspect": ("inspect", "what a checkpoint is, without running anything in it"),
    "rerun": ("rerun", "repeat a run from its run.yaml and compare"),
    "bench": ("bench", "time and memory against what one would use instead"),
    "tour": ("tour", "the main job: every claim on shipped priors, one page"),
}
SHARED = ("apply", "fit")
"""Verbs whose work several processes under torchrun share."""
_LONGEST = 1500
"""Letters of a sentence; what is longer repeats a file."""
DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 130
"""Exit codes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C."""
    from headwater.cli.voice import one_voice

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with one_voice():
            code = _run(words)
    except BrokenPipeError:
        return _unheard(FAILED)
    try:
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
    except OSError:
        return _unheard(code)
    return code


def _run(words: list[str]) -> int:
    from headwater.cli.usage import WrongUsage
    from headwater.cli.voice import Ended, notes_heard
    from headwater.errors import LeftAlone
    from headwater.limits import as_by_default

    try:
        with notes_heard(), as_by_default():
            return _verb(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else DONE
    except KeyboardInterrupt:
        return _say("stopped; whatever was finished is kept", STOPPED)
    except Ended:
        return _say("ended with another process of the same run; whatever was finished is kept", FAILED)
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("HEADWATER_TRACEBACK"):
            raise
        code = USAGE if isinstance(error, WrongUsage) else FAILED
        return _say(_sentence(error), code, isinstance(error, LeftAlone))


def _verb(words: list[str]) -> int:
    from headwater.cli.usage import TARGETS, WrongUsage, check_target, nearest, target_help
    from headwater.cli.voice import several

    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return DONE if words else USAGE
    if words[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"headwater {version('headwater')}")
        return DONE
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        raise WrongUsage(
            f"there is no verb {verb!r}: {nearest(verb, VERBS, '`headwater --help` lists the verbs')}"
        )
    if several() and verb not in SHARED:
        raise WrongUsage(f"torchrun shares the work of {' and '.join(SHARED)}: run {verb} without it")
    if verb in TARGETS and (not rest or rest[0] in ("-h", "--help")):
        print(target_help(verb))
        return DONE if rest else USAGE
    check_target(verb, rest)
    return import_module(f"headwater.cli.{VERBS[verb][0]}").run(rest)


def _sentence(error: Exception) -> str:
    """What went wrong and what to do, without line breaks."""
    from headwater.notes import printable

    text = printable(" ".join(str(error).split()))
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 300]} ... {text[-290:]}"
    full = ("out of memory", "not enough memory", "can't allocate memory")
    if isinstance(error, MemoryError) or any(words in text for words in full):
        return "there is not enough memory: lower --batch, or use smaller pictures"
    if isinstance(error, OSError) and error.filename:
        return f"{printable(str(error.filename))}: {error.strerror}: check the path and its permissions"
    if isinstance(error, (ValueError, OSError)) and text:
        return text
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"this is a bug ({what}): set HEADWATER_TRACEBACK=1 to see where, and report it"


def _say(sentence: str, code: int, follows: bool = False) -> int:
    from headwater.cli.voice import say_the_end

    say_the_end(sentence, follows)
    return code


def _unheard(code: int) -> int:
    """Whoever read our output has seen enough; Python would complain again when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        os.dup2(nowhere, stream.fileno())
    return code


def _help() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, (_, summary) in VERBS.items())
    return f"""usage: headwater VERB ...

One diffusion prior, every downstream task.

{verbs}

`headwater VERB --help` lists the options of a verb; `headwater show METHOD` tells what a method does.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C."""
