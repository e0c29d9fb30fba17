"""What the JSON of a tokenizer may ask of the library that reads it: a few known steps, none that grows.

The library is trusted with what it wrote itself. A file of somebody else's could hold patterns that take for
ever, steps that multiply a text, or sizes that end the process, so all is compared with a closed table.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_STEPS = 16
"""Most steps of a part, those of sequences included."""
_TEXT = 64
"""Letters of a mark, prefix or the like."""
_PIECE = 1024
"""Letters of an entry."""
_ENTRIES = 1 << 22
_REPLACEMENT = 128
"""Bytes that a table of Unicode forms puts in place of a character: the longest is a word of 18 letters."""
_CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_NUMBERS = ("{1,3}", "")
_PATTERNS = {r"\s+", " {2,}", _CLIP} | {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + many + r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    for many in _NUMBERS
}
"""The regular expressions of published tokenizers."""

Check = Callable[[Any], bool]


def _flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _word(value: Any) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= _TEXT)


def _number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _TEXT


def _pattern(value: Any) -> bool:
    match value:
        case {"String": str(text)}:
            return 0 < len(text) <= _TEXT
        case {"Regex": str(text)}:
            return text in _PATTERNS
        case _:
            return False


def _table(value: Any) -> bool:
    """A table of Unicode forms: a trie in one array (darts-clone's), and texts that each end in 0.

    The library walks the trie without looking where it goes, so no step may lead out of the array, and no
    leaf out of the texts.
    """
    try:
        raw = base64.b64decode(value, validate=True)
        size = int.from_bytes(raw[:4], "little")
        texts = np.frombuffer(raw[4 + size :].decode("utf-8").encode(), np.uint8)
        units = np.frombuffer(raw[4 : 4 + size], "<u4")
    except (TypeError, ValueError, binascii.Error):
        return False
    if not len(units) or not len(texts) or texts[-1] != 0 or size > len(raw) - 4:
        return False
    ends = np.flatnonzero(texts == 0)
    leaves = units >> 31 == 1
    # The next unit is at this place, or at one that differs from it in its last byte.
    base = np.arange(len(units), dtype=np.uint64) ^ ((units >> 10).astype(np.uint64) << ((units & 512) >> 6))
    place = units[leaves] & 0x7FFFFFFF
    inside = bool(((base[~leaves] | 255) < len(units)).all()) and bool((place < len(texts)).all())
    # A text begins with a character, not in the middle of one.
    return (
        inside
        and bool((texts[place] & 0xC0 != 0x80).all())
        and int(np.diff(ends, prepend=-1).max()) <= _REPLACEMENT
    )


def _bare(*kinds: str) -> dict[str, dict[str, Check]]:
    """Steps without fields."""
    return {kind: {} for kind in kinds}


_BYTES: dict[str, Check] = dict.fromkeys(("add_prefix_space", "trim_offsets", "use_regex"), _flag)
_SPACES: dict[str, Check] = dict(replacement=_word, prepend_scheme=_word, split=_flag, add_prefix_space=_flag)
_CHANGE: dict[str, Check] = {"pattern": _pattern, "content": _word}
_PARTS: dict[str, dict[str, dict[str, Check]]] = {
    "normalizer": {
        "BertNormalizer": dict.fromkeys(
            ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), _flag
        ),
        **_bare("Lowercase", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "StripAccents", "ByteLevel"),
        "Strip": {"strip_left": _flag, "strip_right": _flag},
        "Replace": _CHANGE,
        "Prepend": {"prepend": _word},
        "Precompiled": {"precompiled_charsmap": _table},
    },
    "pre_tokenizer": {
        **_bare("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts"),
        "ByteLevel": _BYTES,
        "Metaspace": _SPACES,
        "Punctuation": {"behavior": _word},
        "Digits": {"individual_digits": _flag},
        "Split": {"pattern": _pattern, "behavior": _word, "invert": _flag},
        "CharDelimiterSplit": {"delimiter": _word},
    },
    "decoder": {
        "ByteLevel": _BYTES,
        "Metaspace": _SPACES,
        "WordPiece": {"prefix": _word, "cleanup": _flag},
        "BPEDecoder": {"suffix": _word},
        "Replace": _CHANGE,
        "Strip": {"content": _word, "start": _number, "stop": _number},
        **_bare("Fuse", "ByteFallback"),
    },
}
"""The steps that are known, and what each field of theirs may hold."""
_SEQUENCES = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}


def is_harmless(about: Any) -> bool:
    """Whether a tokenizer's JSON, once parsed, asks for nothing but what published tokenizers do."""
    if not isinstance(about, dict) or not all(_is_part(name, about.get(name)) for name in _PARTS):
        return False
    return (
        _is_small(about.get("post_processor"))
        and _is_small(about.get("truncation"))
        and _is_small(about.get("padding"))
        and _are_added(about.get("added_tokens", []))
        and _is_model(about.get("model"))
    )


def _is_part(name: str, value: Any) -> bool:
    if value is None:
        return True
    steps, todo = list[Any](), [value]
    while todo and len(steps) <= _STEPS:
        step = todo.pop()
        inner = (
            step.get(_SEQUENCES[name]) if isinstance(step, dict) and step.get("type") == "Sequence" else None
        )
        if isinstance(inner, list) and len(step) == 2:
            todo += inner[: _STEPS + 1]
        steps.append(None if isinstance(inner, list) else step)
    return not todo and len(steps) <= _STEPS and all(s is None or _is_step(name, s) for s in steps)


def _is_step(name: str, step: Any) -> bool:
    kind = step.get("type") if isinstance(step, dict) else None
    known = _PARTS[name].get(kind) if isinstance(kind, str) else None
    if known is None or not all(k == "type" or (k in known and known[k](v)) for k, v in step.items()):
        return False
    if kind == "Replace":  # a text does not grow
        pattern, content = step.get("pattern", {}), step.get("content")
        return isinstance(content, str) and len(content) <= len(pattern.get("String", "1"))
    return kind != "Prepend" or len(step.get("prepend") or "") <= 1


def _is_small(value: Any) -> bool:
    """Whether a part that texts do not go through has no more values than those that are published."""
    count, todo = 0, [value]
    while todo and count <= 4096:
        count += 1
        one = todo.pop()
        if isinstance(one, str) and len(one) > _PIECE:
            return False
        todo += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return not todo


def _are_added(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 10_000 and all(map(_is_added, value))


def _is_added(value: Any) -> bool:
    match value:
        case {"id": int(number), "content": str(text)}:
            return 0 <= number < _ENTRIES and 0 < len(text) <= _PIECE
        case _:
            return False


def _is_model(model: Any) -> bool:
    kind = model.get("type") if isinstance(model, dict) else None
    known = {
        "BPE": {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk"}
        | {"byte_fallback", "ignore_merges", "vocab", "merges"},
        "WordLevel": {"unk_token", "vocab"},
        "WordPiece": {"unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"},
        "Unigram": {"unk_id", "vocab", "byte_fallback"},
    }.get(kind if isinstance(kind, str) else "")
    if known is None or not model.keys() <= known | {"type"}:
        return False
    vocabulary, unknown = model.get("vocab"), model.get("unk_token")
    if kind == "Unigram":
        if not isinstance(vocabulary, list) or not 0 < len(vocabulary) <= _ENTRIES:
            return False
        number = model.get("unk_id")
        known_one = number is None or (type(number) is int and 0 <= number < len(vocabulary))
        return known_one and all(map(_is_weighed, vocabulary))
    if not _is_numbered(vocabulary) or not (unknown is None or unknown in vocabulary):
        return False
    words = ("continuing_subword_prefix", "end_of_word_suffix")
    small = type(model.get("max_input_chars_per_word", 0)) is int
    return small and all(_word(model.get(word)) for word in words) and _are_merges(model)


def _is_weighed(entry: Any) -> bool:
    match entry:
        case [str(text), int() | float()]:
            return len(text) <= _PIECE
        case _:
            return False


def _is_numbered(vocabulary: Any) -> bool:
    """Whether entries have numbers of their own, and none without which there would be as many."""
    if not isinstance(vocabulary, dict) or not 0 < len(vocabulary) <= _ENTRIES:
        return False
    numbers = vocabulary.values()
    plain = all(type(number) is int and 0 <= number < _ENTRIES for number in numbers)
    return plain and all(len(text) <= _PIECE for text in vocabulary)


def _are_merges(model: Mapping[str, Any]) -> bool:
    """Whether what is merged has the prefix that the library cuts off without looking."""
    prefix = model.get("continuing_subword_prefix") or ""
    merges = model.get("merges", [])
    if not isinstance(merges, list) or not prefix:
        return isinstance(merges, list)
    right = [merge.split(" ")[-1] if isinstance(merge, str) else (merge or [""])[-1] for merge in merges]
    return all(isinstance(text, str) and text.startswith(prefix) for text in right)
