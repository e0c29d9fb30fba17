"""Priors from every kind of place, and a clear sentence when there is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from headwater.errors import UserError
from headwater.gallery import FOLDERS
from headwater.models import Prior, PriorConfig, ProcessConfig, hub, shipped
from headwater.nets.adm import UNet, UNetConfig

CONFIG = UNetConfig(
    in_channels=3,
    model_channels=32,
    out_channels=6,
    num_res_blocks=1,
    attention_resolutions=(2,),
    channel_mult=(1, 2),
    use_scale_shift_norm=True,
    num_head_channels=32,
)


def network(config: UNetConfig = CONFIG) -> UNet:
    torch.manual_seed(0)
    net = UNet(config)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.05)
    return net.eval()


def answer(net: torch.nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return net(torch.randn(2, 3, 16, 16), torch.tensor([0, 700]))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    described = PriorConfig(
        {"kind": "adm", **json.loads(json.dumps(CONFIG.__dict__))},
        (3, 16, 16),
        ProcessConfig(T=30, betas="cosine"),
        variance="learned_range",
    )
    Prior(network(), described).save_pretrained(tmp_path / "ours")
    return tmp_path / "ours"


@pytest.mark.parametrize("form", ["plain.pt", "nested.pt", "half.pt", "x.safetensors"])
def test_guided_diffusion_weights(tmp_path: Path, form: str) -> None:
    net = network()
    path, state = tmp_path / form, net.state_dict()
    if form == "nested.pt":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "step": 1}, path)
    elif form == "half.pt":
        net = net.half().float()
        torch.save({k: v.half() for k, v in state.items()}, path)
    elif form == "x.safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    prior = Prior.from_pretrained(path, shape=(3, 16, 16), num_head_channels=32)
    assert torch.equal(answer(prior.network), answer(net))
    assert prior.process.T == 1000
    assert prior.config.variance == "learned_range"
    assert prior.config.predicts == "eps"
    path.write_bytes(b"overwritten")
    assert torch.equal(answer(prior.network), answer(net)), "weights must not stay in the file"


def test_overrides_reach_network_process_and_prior(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "x.pt")
    read = lambda **options: Prior.from_pretrained(tmp_path / "x.pt", shape=(3, 16, 16), **options)  # noqa: E731
    assert read(num_heads=2).network.config.num_heads == 2
    assert read(use_new_attention_order=True).network.config.use_new_attention_order
    assert not torch.equal(answer(read(num_heads=2).network), answer(read(num_heads=1).network))
    assert read(T=10, betas="cosine").config.process == ProcessConfig(T=10, betas="cosine")
    assert read(betas=torch.linspace(0.1, 0.2, 7)).process.T == 7
    assert read(predicts="v", noise={"kind": "simplex"}).noise.__class__.__name__ == "Simplex"
    with pytest.raises(UserError, match="unknown option 'num_head': did you mean 'num_heads'"):
        read(num_head=2)
    with pytest.raises(UserError, match="unknown option 'beta': did you mean 'betas'"):
        read(beta=2)
    with pytest.raises(UserError, match="predicts is 'noise'"):
        read(predicts="noise")
    with pytest.raises(UserError, match="evenly into heads"):
        read(num_heads=5)


def test_picture_size_must_be_known(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"pass shape=\(channels"):
        Prior.from_pretrained(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("out.2.weight"), "out.2.weight"),
        (lambda s: s.update({"extra": torch.ones(2)}), "extra"),
        (lambda s: s.update({"out.2.weight": torch.ones(6, 64, 3, 3)}), "out.2.weight"),
        (lambda s: s.clear() or s.update({"fc.weight": torch.ones(2, 2)}), "no guided-diffusion network"),
    ],
)
def test_wrong_shapes_are_named(tmp_path: Path, spoil, message: str) -> None:
    state = dict(network().state_dict())
    spoil(state)
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(UserError, match=message) as caught:
        Prior.from_pretrained(tmp_path / "x.pt", shape=(3, 16, 16))
    assert "\n" not in str(caught.value)


def test_our_folder_takes_overrides_and_a_training_folder_is_understood(ours: Path) -> None:
    assert Prior.from_pretrained(ours, T=7).process.T == 7
    with pytest.raises(UserError, match="did you mean 'shape'"):
        Prior.from_pretrained(ours, shpe=3)
    (ours.parent / "out").mkdir()
    shutil.move(ours, ours.parent / "out" / "prior")
    assert Prior.from_pretrained(ours.parent / "out").process.T == 30


def test_shipped_names(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = ours.parent / "shelf"
    for name in ("digits", "emoji"):
        shutil.copytree(ours, shelf / name)
    monkeypatch.setitem(FOLDERS, "priors", shelf)
    assert shipped() == ["digits", "emoji"]
    prior = Prior.from_pretrained("digits")
    assert prior.source == "digits"
    assert torch.equal(answer(prior.network), answer(network()))
    with pytest.raises(UserError, match="no prior 'digit': did you mean 'digits'"):
        Prior.from_pretrained("digit")
    with pytest.raises(UserError, match="choose one of digits, emoji"):
        Prior.from_pretrained("zzz")


def test_every_shipped_prior_loads() -> None:
    for name in shipped():
        prior = Prior.from_pretrained(name)
        assert len(prior.hash) == 64
        x = torch.zeros(1, *prior.shape)
        assert prior.denoiser(x, prior.process.T // 2).x0.isfinite().all()


@pytest.mark.parametrize("where", ["missing/folder/x.pt", "./nothing", "missing.pt", ""])
def test_what_is_not_there_is_said_without_the_network(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "download", lambda *a: pytest.fail("asked the hub"))
    with pytest.raises(UserError, match=r"no prior|holds no prior"):
        Prior.from_pretrained(where)


@pytest.fixture
def cached(ours: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one repository at two revisions, laid out as huggingface_hub does."""
    cache = ours.parent / "hub"
    repo = cache / "models--org--name"
    (repo / "blobs").mkdir(parents=True)
    (repo / "refs").mkdir()
    for number, (ref, commit) in enumerate((("main", "a" * 40), ("v1", "b" * 40))):
        (repo / "refs" / ref).write_text(commit)
        snapshot = repo / "snapshots" / commit
        snapshot.mkdir(parents=True)
        for file in ours.iterdir():
            blob = repo / "blobs" / f"{number}-{file.name}"
            shutil.copy(file, blob)
            (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
        (snapshot / "README.md").unlink()
        (snapshot / "README.md").write_text("edited on the hub")
    import huggingface_hub.constants as constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return repo


def test_hub_names_and_revisions(cached: Path) -> None:
    prior = Prior.from_pretrained("org/name")
    assert prior.source == "org/name"
    assert torch.equal(answer(prior.network), answer(network()))
    (cached / "snapshots" / ("b" * 40) / "model.safetensors").unlink()
    assert Prior.from_pretrained("org/name", revision="main").process.T == 30
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        Prior.from_pretrained("org/name", revision="v1")
    with pytest.raises(UserError, match=r"cannot get 'org/other' from the hub"):
        Prior.from_pretrained("org/other")
    with pytest.raises(UserError, match=r"cannot get 'org/name' at revision 'v9' from the hub"):
        Prior.from_pretrained("org/name", revision="v9")


class Api:
    """What the hub's client would have been asked to do."""

    calls: list = []  # noqa: RUF012

    def create_repo(self, repo_id: str, **options) -> None:
        self.calls.append(("create", repo_id, options))

    def upload_folder(self, *, repo_id: str, folder_path: Path, **options) -> SimpleNamespace:
        files = {p.name: p.read_bytes() for p in Path(folder_path).iterdir()}
        self.calls.append(("upload", repo_id, files))
        return SimpleNamespace(commit_url="https://hub/commit/1")


def test_push_to_hub_uploads_the_folder_with_its_card(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr(Api, "calls", [])
    url = Prior.from_pretrained(ours).push_to_hub("org/name", private=True)
    (_, _, options), (_, repo, files) = Api.calls
    assert url == "https://hub/commit/1"
    assert (repo, options["private"]) == ("org/name", True)
    assert set(files) == {"README.md", "config.json", "manifest.json", "model.safetensors"}
    assert b"library_name" in files["README.md"]


def test_a_refusal_of_the_hub_is_one_sentence(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self, repo_id: str, **options) -> None:
        raise OSError("403 Forbidden\nmore")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr(Api, "create_repo", refuse)
    with pytest.raises(UserError, match=r"the hub refused 'org/name' \(403 Forbidden\)"):
        Prior.from_pretrained(ours).push_to_hub("org/name")
