"""Training as the user sees it: what it leaves, how it resumes, what it says when it cannot go on."""

from __future__ import annotations

import errno
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headwater.errors import UserError
from headwater.models import Prior, ProcessConfig
from headwater.nets.adm_blocks import UNetArchitecture
from headwater.training import OutOfTime, Recipe, TrainerConfig, checkpoint, fit, trainer
from headwater.training.checkpoint import steps
from headwater.training.pictures import gather
from headwater.training.prior import Learner

NETWORK = UNetArchitecture(channel_mult=(1,), attention_resolutions=())
LEFT = ".headwater-0123456789abcdef"
TINY = Recipe(
    data="tiny",
    shape=(1, 8, 8),
    network=NETWORK,
    process=ProcessConfig(T=4, betas="cosine"),
    training=TrainerConfig(6, 4, 1e-3, warmup=2, decay="cosine", grad_clip=1.0, ema=0.999, log_every=2),
    sample_every=0,
)


def told(recipe: Recipe = TINY, **changes: object) -> Recipe:
    """The recipe with another training."""
    return replace(recipe, training=replace(recipe.training, **changes))


def train(recipe: Recipe, out: Path, **options: object) -> Prior:
    return fit(recipe, out, progress=False, **options)


def equal(a: Prior, b: Prior) -> bool:
    mine, theirs = a.network.state_dict(), b.network.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def interrupted(recipe: Recipe, out: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train with a checkpoint at every step and fail at one."""
    update = trainer.Trainer.update

    def failing(self: trainer.Trainer, step: int) -> dict[str, float]:
        if step == at:
            raise RuntimeError("power cut")
        return update(self, step)

    with monkeypatch.context() as m:
        m.setattr(trainer.Trainer, "update", failing)
        with pytest.raises(RuntimeError, match="power cut"):
            train(told(recipe, checkpoint_every=0.0), out)


def test_what_a_training_leaves(tmp_path: Path) -> None:
    prior = train(replace(TINY, sample_every=3), tmp_path / "a")
    out = tmp_path / "a"
    lines = [json.loads(line) for line in (out / "checkpoints/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert {"loss", "lr", "grad_norm", "items_per_second", "seconds"} <= lines[0].keys()
    sheets = sorted(p.name for p in (out / "samples").iterdir())
    assert sheets == ["final.png", "step-00000003.png", "step-00000006.png"]
    assert Recipe.load(out / "recipe.yaml").training.steps == 6
    page = (out / "index.html").read_text()
    assert "Training pictures" in page
    assert "grad_accumulation" in page
    read = Prior.from_pretrained(out / "prior")
    assert equal(read, prior)
    about = read.config.about
    assert (about["steps"], about["images_seen"], about["data"]) == (6, 24, "tiny")
    assert about["licence"]
    assert read.sample(2, plan=[4, 2, 0]).shape == (2, 1, 8, 8)


RECIPES = {
    "plain": TINY,
    "conditional": replace(TINY, class_conditional=True, label_dropout=0.3, augment=("flip",)),
    "dropout, bf16": replace(
        told(precision="bf16", channels_last=True, batch_size=2, grad_accumulation=2),
        network=replace(NETWORK, dropout=0.2),
    ),
    "learned": replace(TINY, variance="learned_range", timesteps="stratified"),
    "best of held out": told(held_out=0.25, evaluate_every=2, keep_best=True),
}


@pytest.mark.parametrize("name", RECIPES)
def test_resumed_is_bit_identical(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES[name]
    whole = train(recipe, tmp_path / "a")
    interrupted(recipe, tmp_path / "b", 3, monkeypatch)
    torch.manual_seed(123)  # the state of the global generator must not matter
    resumed = train(recipe, tmp_path / "b", resume=True)
    assert equal(whole, resumed)
    logs = [(tmp_path / d / "checkpoints/log.jsonl").read_text().splitlines() for d in "ab"]
    a, b = ([(x["step"], x["loss"], x["grad_norm"]) for x in map(json.loads, log)] for log in logs)
    assert a == b


def test_grad_accumulation_changes_rounding_only(tmp_path: Path) -> None:
    whole = train(TINY, tmp_path / "a")
    parts = train(told(batch_size=2, grad_accumulation=2), tmp_path / "b")
    for a, b in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        # Adam turns rounding of tiny gradients into steps of up to lr; the average damps them.
        assert (a - b).abs().max() < 1e-3


def test_out_of_time_then_resumed(tmp_path: Path) -> None:
    whole = train(TINY, tmp_path / "a")
    with pytest.raises(OutOfTime, match="after 1 of 6 steps"):
        train(TINY, tmp_path / "b", max_minutes=0)
    assert steps(tmp_path / "b" / "checkpoints") == [1]
    assert not (tmp_path / "b" / "prior").exists()
    assert equal(whole, train(TINY, tmp_path / "b", resume=True))


def test_ctrl_c_saves_the_step_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = trainer.Trainer.update

    def pressed(self: trainer.Trainer, step: int) -> dict[str, float]:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return update(self, step)

    monkeypatch.setattr(trainer.Trainer, "update", pressed)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, tmp_path)
    assert steps(tmp_path / "checkpoints") == [4]


def test_what_a_kill_left_half_written_goes_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".tmp-photos").mkdir()
    for place in (tmp_path / LEFT, tmp_path / "checkpoints" / LEFT):
        place.mkdir(parents=True)
    train(TINY, tmp_path)
    assert not list(tmp_path.rglob(".headwater-*"))
    assert (tmp_path / ".tmp-photos").is_dir()


def test_a_folder_of_the_users_is_left_as_it_is(tmp_path: Path) -> None:
    TINY.save(tmp_path / "recipe.yaml")
    said = "# chosen with care\n" + (tmp_path / "recipe.yaml").read_text()
    (tmp_path / "recipe.yaml").write_text(said)
    train(TINY, tmp_path)
    assert (tmp_path / "recipe.yaml").read_text() == said
    (tmp_path / "other").mkdir()
    replace(TINY, seed=8).save(tmp_path / "other" / "recipe.yaml")
    with pytest.raises(UserError, match=r"recipe.yaml is another recipe"):
        train(TINY, tmp_path / "other")
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "index.html").write_text("mine")
    with pytest.raises(UserError, match=r"index.html"):
        train(TINY, tmp_path / "third")


def test_other_pictures_of_the_same_names_are_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(TINY, tmp_path, 4, monkeypatch)
    changed = gather(TINY)
    assert isinstance(changed.images, torch.Tensor)
    changed.images[0] += 0.5
    monkeypatch.setattr("headwater.training.prior.gather", lambda *_: changed)
    with pytest.raises(UserError, match="content"):
        train(TINY, tmp_path, resume=True)


def test_a_damaged_checkpoint_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(TINY, tmp_path / "a")
    interrupted(TINY, tmp_path / "b", 4, monkeypatch)
    folder = tmp_path / "b" / "checkpoints"
    assert steps(folder) == [3, 4]
    with (checkpoint.folder_of(folder, 4) / "optimizer.safetensors").open("r+b") as file:
        file.seek(500)
        file.write(b"\x01\x02\x03")
    assert checkpoint.newest(folder) == checkpoint.folder_of(folder, 3)
    assert equal(whole, train(TINY, tmp_path / "b", resume=True))


def test_a_finished_training_is_not_overwritten(tmp_path: Path) -> None:
    train(TINY, tmp_path)
    with pytest.raises(UserError, match="already holds a training"):
        train(TINY, tmp_path)


def test_resume_with_another_recipe_names_the_field(tmp_path: Path) -> None:
    train(TINY, tmp_path)
    with pytest.raises(UserError, match=r"network\.dropout is 0\.1 but .* has 0\.0"):
        train(replace(TINY, network=replace(NETWORK, dropout=0.1)), tmp_path, resume=True)
    train(told(log_every=1, checkpoints=5), tmp_path, resume=True)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(broken: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = Learner.loss
    calls = []

    def breaking(self: Learner, *batch: object) -> torch.Tensor:
        calls.append(1)
        return loss(self, *batch) * (broken if len(calls) == 4 else 1.0)

    monkeypatch.setattr(Learner, "loss", breaking)
    with pytest.raises(UserError, match=r"at step 4: lower lr .*/step-00000003$"):
        train(told(checkpoint_every=0.0), tmp_path / "b")
    monkeypatch.undo()
    assert equal(train(TINY, tmp_path / "a"), train(TINY, tmp_path / "b", resume=True))


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import torch as format

    write = format.save_file
    calls = []

    def full(tensors: object, path: Path, *rest: object) -> None:
        calls.append(path)
        if len(calls) > 7:  # three files a checkpoint: in the middle of the third one
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(tensors, path, *rest)

    monkeypatch.setattr(format, "save_file", full)
    with pytest.raises(UserError, match="No space left on device"):
        train(told(checkpoint_every=0.0), tmp_path / "b")
    monkeypatch.undo()
    folder = tmp_path / "b" / "checkpoints"
    assert sorted(p.name for p in folder.glob("*step-*")) == ["step-00000001", "step-00000002"]
    assert checkpoint.newest(folder) == checkpoint.folder_of(folder, 2)
    assert equal(train(TINY, tmp_path / "a"), train(TINY, tmp_path / "b", resume=True))


def test_a_disk_that_fills_beside_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("headwater.training.journal.Journal.write", full)
    with pytest.raises(UserError, match="No space left on device"):
        train(TINY, tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        train(TINY, tmp_path / "file" / "out")


def test_a_device_that_is_not_here(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match="no cuda device"):
        train(TINY, tmp_path, device="cuda")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of noise in folders, one of the files corrupt."""
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "pics" / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 256, (12, 10), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pics" / name / f"{i}.png")
    bad = tmp_path / "pics" / "dogs" / "1.png"
    bad.write_bytes(bad.read_bytes()[:60])
    return tmp_path / "pics"


def test_a_corrupt_picture(pictures: Path, tmp_path: Path) -> None:
    recipe = replace(told(steps=2), data=str(pictures), class_conditional=True)
    with pytest.raises(UserError, match=r"1\.png"):
        train(recipe, tmp_path / "a")
    prior = train(recipe, tmp_path / "b", on_error="skip")
    assert prior.config.classes == ("cats", "dogs")
    assert prior.config.about["pictures"] == 5
    assert list(json.loads((tmp_path / "b" / "skipped.json").read_text())) == ["dogs/1.png"]
    assert "dogs/1.png" in (tmp_path / "b" / "index.html").read_text()


def test_other_pictures_on_resume(pictures: Path, tmp_path: Path) -> None:
    (pictures / "dogs" / "1.png").unlink()
    recipe = replace(TINY, data=str(pictures))
    with pytest.raises(OutOfTime):
        train(recipe, tmp_path / "a", max_minutes=0)
    (pictures / "dogs" / "2.png").unlink()
    with pytest.raises(UserError, match=r"pictures is 4 but the training in .* has 5"):
        train(recipe, tmp_path / "a", resume=True)


def test_pictures_beyond_memory_give_the_same_prior(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "dogs" / "1.png").unlink()
    recipe = replace(TINY, data=str(pictures))
    whole = train(recipe, tmp_path / "a")
    monkeypatch.setattr("headwater.training.pictures.CACHE_BYTES", 0)
    assert equal(whole, train(recipe, tmp_path / "b"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "tinny"}, "tinny"),
        ({"shape": (3, 8, 8)}, "has 1 channels"),
        ({"shape": (1, 8, 16)}, "square"),
        ({"data": "textures", "augmented": 5, "shape": (1, 32, 32)}, "no augmentation"),
        ({"split": "tset"}, "no split 'tset'"),
        ({"process": replace(TINY.process, kind="flow")}, "choose predicts v or x0"),
        ({"noise": "simplx"}, "did you mean 'simplex'"),
    ],
)
def test_recipes_that_do_not_fit(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        train(replace(TINY, **changes), tmp_path)
