"""Any method on any prior: it runs and does what it must, or declines before any work, in one sentence."""

from __future__ import annotations

import pytest

from headwater.errors import UserError
from headwater.models import Prior
from matrix import cells
from matrix.kinds import KINDS, Answer, untold
from tooling import TOOLS, tool

CELLS = [pytest.param(name, kind, id=f"{name}-{kind}") for name in cells.NAMES for kind in KINDS]


@pytest.mark.parametrize(("name", "kind"), CELLS)
def test_a_method_runs_on_a_prior_or_says_why_not(name: str, kind: str) -> None:
    sentence = cells.refusal(name, kind)
    assert not sentence or (len(sentence.split()) > 4 and ":" in sentence), sentence
    assert cells.declined(name, kind) == sentence  # which the page is made of


@pytest.mark.parametrize("name", cells.NAMES)
def test_few_kinds_are_declined(name: str) -> None:
    """A method that is set up wrongly here would decline all of them, and the page would say so."""
    declined = {kind: sentence for kind in KINDS if (sentence := cells.refusal(name, kind))}
    assert len(declined) <= 2, declined


@pytest.mark.parametrize("kind", ["score-sde-ve", "zero-snr", "edm", "flow"])
@pytest.mark.parametrize("name", cells.NAMES)
def test_the_highest_timestep_is_no_trap(name: str, kind: str) -> None:
    cells.from_the_top(name, kind)


@pytest.mark.parametrize("name", cells.NAMES)
def test_a_prior_of_classes_of_which_none_is_chosen_is_declined_at_once(name: str) -> None:
    config = untold(cells.usual(name), 12)
    with pytest.raises(UserError, match=r"3 classes.*label=NUMBER"):
        cells.run(name, Prior(Answer(config), config), cells.FEW, cells.arrived)


def test_the_page_says_what_is_so() -> None:
    page = TOOLS.parent / "docs" / "any-prior.md"
    assert page.read_text(encoding="utf-8") == tool("registers").any_prior(), "stale; run: make registers"
