"""The size of a WebP picture by its first bytes: Pillow allocates several pictures of it as it opens one."""

from __future__ import annotations

START = 30
"""Bytes that tell."""


def size_of(start: bytes) -> tuple[int, int] | None:
    """Width and height; None for what is no WebP file."""
    if len(start) < START or start[:4] != b"RIFF" or start[8:12] != b"WEBP":
        return None
    kind, body = start[12:16], start[20:]
    if kind == b"VP8X":
        return 1 + _number(body[4:7]), 1 + _number(body[7:10])
    if kind == b"VP8L":
        bits = _number(body[1:5])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return _number(body[6:8]) & 0x3FFF, _number(body[8:10]) & 0x3FFF


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
