"""Puts the parts of a page into one HTML document."""

from __future__ import annotations

import base64
import hashlib
import math
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from headwater.report.blocks import Claim, Numbering, badge, settings_list
from headwater.report.markup import number, text

if TYPE_CHECKING:
    from headwater.report.page import Page, Provenance
    from headwater.report.section import Section


@cache
def _asset(name: str) -> str:
    return files("headwater.report").joinpath(name).read_text(encoding="utf-8")


def assemble(page: Page, numbering: Numbering) -> str:
    """The document; its content policy forbids every request and every script but our own."""
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    sections = "".join(_section(s, i, numbering) for i, s in enumerate(page.sections, 1))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f'<meta name="description" content="{text(page.subtitle)}">\n'
        f"<title>{text(page.title)}</title>\n<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#content">Skip to the results</a>\n'
        f'{_header(page)}\n<div class="frame">\n{_contents(page)}\n'
        f'<main id="content">\n{sections}</main>\n</div>\n'
        f"{_footer(page.origin)}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _header(page: Page) -> str:
    subtitle = f'<p class="subtitle">{text(page.subtitle)}</p>' if page.subtitle else ""
    kicker = f'<p class="kicker">{text(page.kicker)}</p>' if page.kicker else ""
    return (
        f'<div class="top">{_streams()}<header>{kicker}<h1>{text(page.title)}</h1>{subtitle}'
        f"{_cards(page) or _verdicts(page)}{_cover(page)}{_tiles(page)}</header></div>"
    )


def _verdicts(page: Page) -> str:
    items = []
    for i, section in enumerate(page.sections, 1):
        claims = [b for b in section.blocks if isinstance(b, Claim)]
        for claim in claims:
            if claim.verdict is None:
                continue
            label = badge(claim.verdict, f"{section.title}: {claim.verdict}")
            items.append(f'<li><a href="#s{i}">{label}</a></li>')
    if not items:
        return ""
    return f'<ul class="badges" aria-label="Verdicts on the claims">{"".join(items)}</ul>'


def _cards(page: Page) -> str:
    items = "".join(
        f'<li><a href="#s{card.section + 1}">{page.sections[card.section].thumbnail()}'
        f"<b>{text(card.label)}</b><span>{text(card.text)}</span>"
        f"{badge(card.verdict) if card.verdict else ''}</a></li>"
        for card in page.cards
    )
    return f'<ul class="cards" aria-label="What is on this page">{items}</ul>' if items else ""


def _cover(page: Page) -> str:
    if not page.cover_cells:
        return ""
    items = "".join(f"<li>{cell.html(160)}</li>" for cell in page.cover_cells)
    return f'<figure class="cover"><ul>{items}</ul></figure>'


def _tiles(page: Page) -> str:
    tiles = []
    for h in page.highlights:
        note = f"<small>{text(h.note)}</small>" if h.note else ""
        tiles.append(f"<div><dt>{text(h.label)}</dt><dd>{text(number(h.value))}{note}</dd></div>")
    return f'<dl class="tiles">{"".join(tiles)}</dl>' if tiles else ""


def _contents(page: Page) -> str:
    items = "".join(f'<li><a href="#s{i}">{text(s.title)}</a></li>' for i, s in enumerate(page.sections, 1))
    again = '<li><a href="#again">Run it again</a></li>' if page.origin else ""
    return f'<nav aria-label="Contents"><div><p>Contents</p><ol>{items}{again}</ol></div></nav>'


def _section(section: Section, index: int, numbering: Numbering) -> str:
    lead = f'<p class="lead">{text(section.lead)}</p>' if section.lead else ""
    body = "\n".join(block.body(numbering) for block in section.blocks)
    return (
        f'<section id="s{index}" aria-labelledby="h{index}"><h2 id="h{index}">'
        f"<span>{index}</span>{text(section.title)}</h2>{lead}\n{body}\n</section>\n"
    )


def _footer(origin: Provenance | None) -> str:
    if origin is None:
        return "<footer><div><p>Made with Headwater.</p></div></footer>"
    facts: dict[str, object] = {}
    if origin.seeds:
        facts["seeds" if len(origin.seeds) > 1 else "seed"] = list(origin.seeds)
    if origin.seconds is not None:
        facts["time taken"] = duration(origin.seconds)
    facts |= origin.settings
    versions = ", ".join(f"{text(k)} {text(v)}" for k, v in origin.versions.items())
    return (
        '<footer id="again"><div><h2>Run it again</h2>'
        f'<div class="command"><pre tabindex="0"><code>{text(origin.command)}</code></pre></div>'
        f'{settings_list(facts)}<p class="fine">Made with Headwater. {versions}.</p></div></footer>'
    )


def duration(seconds: float) -> str:
    """`0.8 s`, `42 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@cache
def _streams() -> str:
    """The emblem: springs at the left run together into one river at the right."""
    paths = []
    for i in range(13):
        spread = (i - 6) * 34.0
        points = []
        for step in range(41):
            p = step / 40
            meet = 1 / (1 + math.exp(-10 * (p - 0.55)))
            sway = 14 * math.sin(5.5 * p + 0.9 * i) * (1 - meet) + 9 * math.sin(7 * p) * meet
            points.append(f"{p * 1200:.0f} {200 + spread * (1 - 0.9 * meet) + sway:.1f}")
        paths.append(f'<path stroke-width="{1.2 + (i % 3) * 0.5:.1f}" d="M{"L".join(points)}"/>')
    return (
        '<svg class="streams" viewBox="0 0 1200 400" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(paths)}</svg>'
    )
