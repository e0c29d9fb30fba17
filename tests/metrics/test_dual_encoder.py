"""The dual encoder learns what belongs together, and the measures built on it."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from headwater.errors import UserError
from headwater.metrics import dual_encoder
from headwater.metrics.dual_encoder import (
    DualEncoder,
    caption_scores,
    diversity,
    judged,
    retrieve,
    train_dual_encoder,
    words,
)

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0)}


def pictures(seed: int) -> tuple[torch.Tensor, list[str]]:
    """8x8 pictures of one colour, bright in the upper or the lower half, with their captions."""
    generator = torch.Generator().manual_seed(seed)
    images, texts = [], []
    for colour, value in COLOURS.items():
        for place, half in (("top", slice(0, 4)), ("bottom", slice(4, 8))):
            for _ in range(8):
                image = 0.1 * torch.randn(3, 8, 8, generator=generator)
                image[:, half] += torch.tensor(value)[:, None, None]
                images.append(image)
                texts.append(f"{place} {colour}")
    return torch.stack(images), texts


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return train_dual_encoder(*pictures(0), seed=0, steps=60, batch=32, width=8, dim=16)


def test_new_pictures_find_their_texts(encoder: DualEncoder) -> None:
    images, texts = pictures(1)
    assert retrieve(encoder, images, texts, texts, ways=6).accuracy > 0.95
    wrong = texts[8:] + texts[:8]
    assert retrieve(encoder, images, wrong, texts, ways=6).accuracy < 0.05


def test_training_is_a_function_of_the_seed(encoder: DualEncoder) -> None:
    state = torch.get_rng_state()
    again = train_dual_encoder(*pictures(0), seed=0, steps=60, batch=32, width=8, dim=16)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), again.parameters(), strict=True))


def test_disturbed_pictures_make_an_encoder_that_small_changes_do_not_fool(encoder: DualEncoder) -> None:
    """Each picture is moved to where a text of another colour is nearer."""
    firm = train_dual_encoder(*pictures(0), seed=0, steps=60, batch=32, width=8, dim=16, radius=5.0)
    images, texts = pictures(1)
    wrong = [{"red": "green", "green": "blue", "blue": "red"}[t.split()[1]] for t in texts]
    wrong = [f"{t.split()[0]} {w}" for t, w in zip(texts, wrong, strict=True)]
    near = []
    for net in (encoder, firm):
        leaf = images.clone().requires_grad_()
        gap = (net.image(leaf) * (net.text(wrong) - net.text(texts))).sum()
        (uphill,) = torch.autograd.grad(gap, leaf)
        moved = images + 7 * uphill / uphill.flatten(1).norm(dim=1)[:, None, None, None]
        near.append(retrieve(net, moved, texts, texts, ways=6).accuracy)
        assert retrieve(net, images, texts, texts, ways=6).accuracy > 0.9
    assert near[1] > near[0]


def test_vectors_have_length_one_and_ignore_case_and_company(encoder: DualEncoder) -> None:
    vectors = encoder.text(["Top, RED", "top red", "", "unheard of"])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    assert torch.equal(vectors[0], vectors[1])
    torch.testing.assert_close(vectors[1:2], encoder.text(["top red"]))
    assert [encoder.known(text) for text in ("RED bottom", "red square", "")] == [True, False, False]
    assert words("Wavy-dash, 2nd") == ["wavy", "dash", "2nd"]


def test_diversity_is_the_mean_distance_of_pairs(encoder: DualEncoder) -> None:
    images, _ = pictures(2)
    vectors = encoder.image(images[::8])
    pairs = [1 - float(a @ b) for i, a in enumerate(vectors) for j, b in enumerate(vectors) if i != j]
    assert diversity(encoder, images[::8]) == pytest.approx(sum(pairs) / len(pairs), abs=1e-5)
    assert diversity(encoder, images[:1].expand(4, -1, -1, -1)) == pytest.approx(0, abs=1e-5)


def test_what_does_not_fit_is_refused(encoder: DualEncoder) -> None:
    images, texts = pictures(0)
    with pytest.raises(ValueError, match="one text for each"):
        train_dual_encoder(images, texts[1:], 0)
    with pytest.raises(ValueError, match="multiple of 8"):
        train_dual_encoder(images[..., :6, :6], texts, 0)
    with pytest.raises(ValueError, match="7-way"):
        retrieve(encoder, images, texts, texts, ways=7)
    with pytest.raises(ValueError, match="8, 8"):
        encoder.image(images[..., :4])


def test_pictures_are_judged_per_text() -> None:
    torch.manual_seed(0)
    names, images = [f"n{i}" for i in range(40)], torch.rand(40, 3, 8, 8) * 2 - 1
    judge = train_dual_encoder(images, names, 0, steps=80, batch=40, width=8, dim=16)
    drawn = torch.stack([images[[0, 0]], images[[1, 4]]])
    found = judged(judge, drawn, names[:2], names)
    assert found["retrieval"].tolist() == [1.0, 0.5]
    assert found["variety"][0] == pytest.approx(0, abs=1e-5)
    assert found["pixel spread"][0] == pytest.approx(0, abs=1e-6)
    apart = judge.image(drawn[1])
    assert float(found["variety"][1]) == pytest.approx(1 - float(apart[0] @ apart[1]), abs=1e-5)


def test_captions_are_scored_by_a_judge_trained_on_real_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dual_encoder, "train_dual_encoder", partial(train_dual_encoder, steps=60, batch=32))
    images, texts = pictures(0)
    found = caption_scores(images, texts, images)
    assert found["retrieval"] > 0.9
    assert 0 <= found["diversity"] <= 2
    with pytest.raises(UserError, match="one caption only"):
        caption_scores(images, ["red"] * len(images), images)
