"""What makes two ways to write a text one: composed characters, and characters that nobody sees."""

from __future__ import annotations

import unicodedata

_UNSEEN = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad"))
"""Zero width space, word joiner, byte order mark, soft hyphen. Joiners stay: they make other letters."""


def plain(text: str) -> str:
    """The text in composed characters (NFC), without characters that are not seen."""
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_UNSEEN))


def says_nothing(text: str) -> bool:
    """Whether a text is empty, or holds nothing that can be seen."""
    return not plain(text).strip()


def short(text: str) -> str:
    """A text in quotes for a sentence about it: long ones by their beginning and end."""
    words = " ".join(text.split())
    return f"'{words}'" if len(words) <= 48 else f"'{words[:24]}…{words[-16:]}'"
