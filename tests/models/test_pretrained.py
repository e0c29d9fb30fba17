"""Every trained thing comes back from its folder as it went in; any other folder is refused in a sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from headwater import gallery
from headwater.atomic import sha256, written_aside
from headwater.baselines.autoregressive import Autoregressive, AutoregressiveConfig
from headwater.bench.peak_memory import peak_bytes
from headwater.data.characters import Characters
from headwater.data.tokenizer import Tokenizer
from headwater.data.windows import Scale
from headwater.errors import UserError
from headwater.methods.catalogue import METHODS, trained
from headwater.methods.restoration.palette.method import FittedPalette, PaletteConfig
from headwater.methods.restoration.sr3.method import FittedSR3, PicturedConfig
from headwater.methods.segmentation.darl.method import DARLConfig, FittedDARL
from headwater.methods.segmentation.ddpm_cd.method import ChangeConfig, ChangeDetector, HeadConfig
from headwater.methods.segmentation.ddpm_segmentation.method import PixelClassifiers
from headwater.methods.segmentation.implicit_ensembles.method import FittedImplicitEnsembles
from headwater.methods.segmentation.segdiff.method import FittedSegDiff
from headwater.methods.segmentation.shared.mask_diffusion import MasksConfig
from headwater.methods.segmentation.shared.supervised import FittedUNet
from headwater.methods.series.csdi.method import Chain, FittedCSDI, ImputerConfig
from headwater.methods.series.timegrad.method import FittedTimeGrad, ForecasterConfig, TimeGradSizes
from headwater.methods.synthesis.d3pm_images.method import D3PMImagesConfig, FittedD3PMImages
from headwater.methods.synthesis.glide.method import FittedGlide, GlideConfig
from headwater.methods.synthesis.glide_inpaint.method import FittedGlideInpaint
from headwater.methods.synthesis.sdm.method import FittedSDM, SDMConfig
from headwater.methods.text.clip_diffusion_lm.method import CaptionerConfig, FittedCaptioner
from headwater.methods.text.d3pm.method import D3PMConfig, FittedD3PM
from headwater.methods.text.diffuseq.method import DiffuSeqConfig, FittedDiffuSeq
from headwater.methods.translation.egsde.method import DomainClassifier, DomainsConfig
from headwater.metrics.dual_encoder import EncoderConfig
from headwater.models import Pretrained, Prior, PriorConfig, ProcessConfig, inspect
from headwater.models.filling import Parts
from headwater.models.image_text import ImageTextConfig, ImageTextEncoder, encoder_of
from headwater.models.schema import plain
from headwater.nets.adm import UNetConfig
from headwater.nets.adm_classifier import ClassifierConfig
from headwater.nets.caption_denoiser import CaptionDenoiserConfig
from headwater.nets.csdi import CSDIConfig
from headwater.nets.level_unet import LevelUNetConfig
from headwater.nets.rrdb import RRDBConfig
from headwater.nets.switchable_spade import SpadeArchitecture
from headwater.nets.text2im import Text2ImConfig
from headwater.nets.text_denoiser import TextDenoiserConfig
from headwater.nets.text_encoder import TextConfig
from headwater.nets.text_transformer import TextTransformerConfig

SHAPE = (3, 8, 8)


def words() -> Tokenizer:
    return Tokenizer.train(["a red é", "a blue"], 12, "word")


def unet(reads: int, gives: int) -> dict[str, Any]:
    sizes: dict[str, Any] = {"model_channels": 32, "num_res_blocks": 1, "attention_resolutions": (1,)}
    return {"in_channels": reads, "out_channels": gives, "channel_mult": (1, 1), **sizes}


def masks(sees: bool) -> MasksConfig:
    encoder = RRDBConfig(3, 32, 1, 8, 4) if sees else None
    return MasksConfig(UNetConfig(**unet(1 if sees else 4, 2)), encoder, SHAPE, 2, 30, -1.0, "v")


def drawn(reads: int) -> GlideConfig:
    network = Text2ImConfig(**unet(reads, 6), text=TextConfig(12, 4, 8, 1, 2))
    return GlideConfig(network, words(), SHAPE, T=20)


def told() -> TextDenoiserConfig:
    return TextDenoiserConfig(12, 6, 8, 8, 16, 1, 2, 16)


def captioned() -> CaptionerConfig:
    sizes = CaptionDenoiserConfig(12, 4, 8, 6, 16, 1, 2, 16, 6)
    return CaptionerConfig(sizes, words(), SHAPE, 5, 10, encoder=EncoderConfig(("red", "é"), 8, 4))


def imputed() -> ImputerConfig:
    scale = Scale(np.array([0.1, 1e9 / 3]), np.array([1.0, 1 / 3]), 1.0)
    return ImputerConfig(CSDIConfig(2, 1, 8, 2, 8, 8, 4), ("x", "é"), scale, 6, Chain(4))


def forecaster() -> ForecasterConfig:
    scale, known = (
        Scale(np.array([0.1, 3.0]), np.array([1.0, 1 / 3]), 1.0),
        Scale(np.ones(1), np.ones(1), 1.0),
    )
    sizes = TimeGradSizes(2, 2, 5, "LSTM", 2, 4, 0.1, 6, 2, 4, 4, 8, 2)
    names, process = ("x", "é"), ProcessConfig(T=4)
    return ForecasterConfig(
        sizes, names, ("c",), scale, known, np.ones(2), "change", "hours", (1, 2), 4, process
    )


def lettered() -> D3PMConfig:
    pairs = ((0, 1, 2), (3, 4, 5), (6, 7, 8))
    return D3PMConfig(TextTransformerConfig(4, 8, 8, 1, 2), Characters("\nab"), pairs, T=5)


CONFIGS: dict[type[Pretrained], Callable[[], Any]] = {
    Prior: lambda: PriorConfig({"kind": "adm", **unet(3, 3)}, SHAPE),
    FittedUNet: lambda: PriorConfig({"kind": "adm", **unet(3, 2)}, SHAPE),
    Autoregressive: lambda: AutoregressiveConfig(told(), words()),
    FittedSegDiff: lambda: masks(True),
    FittedSR3: lambda: PicturedConfig(LevelUNetConfig(32, (1,), 1, (), in_channels=6), (3, 8, 8), factor=2),
    FittedPalette: lambda: PaletteConfig(UNetConfig(**unet(6, 3)), SHAPE, power=2, tasks=("jpeg",)),
    FittedImplicitEnsembles: lambda: masks(False),
    FittedDARL: lambda: DARLConfig(
        LevelUNetConfig(32, (1,), 1, (), in_channels=1, out_channels=1, told="timestep"),
        SpadeArchitecture(4, 4),
        size=8,
    ),
    FittedGlide: lambda: drawn(3),
    FittedGlideInpaint: lambda: drawn(7),
    FittedSDM: lambda: SDMConfig(UNetConfig(**unet(3, 6)), SHAPE, 4, True, 8, 30, "v"),
    FittedDiffuSeq: lambda: DiffuSeqConfig(told(), words(), 20),
    FittedCaptioner: captioned,
    FittedCSDI: imputed,
    FittedTimeGrad: forecaster,
    FittedD3PM: lettered,
    DomainClassifier: lambda: DomainsConfig(
        ClassifierConfig(**unet(3, 2), pool="adaptive"), SHAPE, ProcessConfig(T=10)
    ),
    ImageTextEncoder: lambda: ImageTextConfig(EncoderConfig(("red", "é"), 8, 4), 3, 6),
    FittedD3PMImages: lambda: D3PMImagesConfig(
        UNetConfig(**unet(3, 6)), SHAPE, 5, 6, "gaussian", "logistic", "paper"
    ),
    ChangeDetector: lambda: ChangeConfig(HeadConfig((6, 4), 2), SHAPE, (0.9, 0.5), (0, 2), False),
    PixelClassifiers: lambda: PixelClassifiers.config_class()(2, 6, 3, SHAPE, (5, 9), (1, 2)),
}
every = pytest.mark.parametrize("cls", CONFIGS, ids=lambda cls: cls.kind)


def made(cls: type[Pretrained]) -> Pretrained:
    """One with random whole numbers everywhere."""
    found = cls.fresh(CONFIGS[cls](), seed=0)
    generator = torch.Generator().manual_seed(0)
    for value in found.root().state_dict().values():
        value.copy_(torch.randint(9, value.shape, generator=generator))
    return found


def edited(folder: Path, config: Any, **head: Any) -> None:
    """Another config.json, on which the manifest agrees, so that the reader alone can object."""
    values = json.loads((folder / "config.json").read_text()) | {"config": config} | head
    weights = (folder / "model.safetensors").read_bytes()
    with written_aside(folder) as tmp:
        (tmp / "config.json").write_text(json.dumps(values))
        (tmp / "model.safetensors").write_bytes(weights)


def test_every_method_that_fits_is_here() -> None:
    fits = {name for name, entry in METHODS.items() if hasattr(entry.load(), "fit")}
    kinds = {trained(name) for name in fits} - {None}
    kinds |= {Prior, ImageTextEncoder, FittedUNet, Autoregressive}
    assert kinds == CONFIGS.keys()
    assert len({cls.kind for cls in CONFIGS}) == len(CONFIGS)


@every
def test_round_trip_is_bit_for_bit_and_its_hash_stays(cls: type[Pretrained], tmp_path: Path) -> None:
    one = made(cls)
    one.save_pretrained(tmp_path / "out" / "fitted")
    again = cls.from_pretrained(tmp_path / "out")  # what `headwater fit` left
    state, back = one.root().state_dict(), again.root().state_dict()
    assert state.keys() == back.keys()
    assert all(torch.equal(state[k], back[k]) and state[k].dtype == back[k].dtype for k in state)
    assert plain(again.config) == plain(one.config) == json.loads(json.dumps(plain(one.config)))
    for part in again.parts().values():
        if isinstance(part, nn.Module):
            assert not part.training
            assert cls.frozen is not any(p.requires_grad for p in part.parameters())
    again.save_pretrained(tmp_path / "again")
    weights = [tmp_path / name / "model.safetensors" for name in ("out/fitted", "again")]
    assert again.hash == sha256(weights[0]) == sha256(weights[1])
    assert cls.from_pretrained(tmp_path / "again", device="cpu").hash == again.hash
    assert len(one.hash) == 64
    card = (tmp_path / "again" / "README.md").read_text()
    assert f"{cls.__name__}.from_pretrained(" in card


@every
def test_halves_are_read_as_float32(cls: type[Pretrained], tmp_path: Path) -> None:
    one = made(cls)
    one.save_pretrained(tmp_path / "half", dtype=torch.float16)
    one.save_pretrained(tmp_path / "whole")
    back = cls.from_pretrained(tmp_path / "half").root().state_dict()
    assert all(torch.equal(back[k], v) for k, v in one.root().state_dict().items())  # small whole numbers fit
    assert torch.float16 not in {v.dtype for v in back.values()}
    half, whole = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "whole"))
    assert half < whole
    next(iter(one.network.parameters())).data.fill_(1e6)
    with pytest.raises(UserError, match="does not fit"):
        one.save_pretrained(tmp_path / "far", dtype=torch.float16)
    assert not (tmp_path / "far").exists()


@every
def test_damaged_and_other_folders_are_refused(cls: type[Pretrained], tmp_path: Path) -> None:
    folder = tmp_path / "f"
    made(cls).save_pretrained(folder)
    other = FittedCSDI if cls is not FittedCSDI else FittedD3PM
    with pytest.raises(UserError, match=f"holds a {cls.kind}, not a {other.kind}"):
        other.from_pretrained(folder)
    report = inspect(folder, trained)
    assert report.format == f"headwater {cls.kind}"
    assert report.config is not None or trained(cls.kind) is None
    for name in ("config.json", "model.safetensors"):
        raw = (folder / name).read_bytes()
        (folder / name).write_bytes(raw[:-2] + b" }" if name == "config.json" else raw[:-1])
        with pytest.raises(UserError, match=r"is not the file that was written|not valid JSON"):
            cls.from_pretrained(folder)
        (folder / name).write_bytes(raw)
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="never finished"):
        cls.from_pretrained(folder)


@every
def test_configs_are_a_closed_set(cls: type[Pretrained], tmp_path: Path) -> None:
    one, folder = made(cls), tmp_path / "f"
    one.save_pretrained(folder)
    good = plain(one.config)
    first = next(iter(good))
    for config, head, words in (
        ({**good, "code": "os.system"}, {}, "unknown field 'code'"),
        ({k: v for k, v in good.items() if k != first}, {}, f"'{first}' is missing"),
        ({**good, first: True}, {}, first),
        (good, {"format": 99}, "upgrade headwater"),
        (good, {"format": 1}, "written by an older headwater: fit again"),
        (good, {"kind": "os.system"}, "holds a os.system"),
        ([], {}, "has no config"),
        (good, {"module": "os"}, "unknown field"),
    ):
        edited(folder, config, **{"format": 2, "kind": cls.kind, **head})
        with pytest.raises(UserError, match=words) as refused:
            cls.from_pretrained(folder)
        assert "\n" not in str(refused.value)


def test_what_is_wrong_is_said_of_the_network_that_is_meant(tmp_path: Path) -> None:
    for cls, words in ((FittedSR3, "a level is 13 channels wide"), (FittedPalette, "one level is 13")):
        made(cls).save_pretrained(tmp_path / cls.kind)
        config = plain(CONFIGS[cls]())
        edited(tmp_path / cls.kind, {**config, "network": {**config["network"], "model_channels": 13}})
        with pytest.raises(UserError, match=words):
            cls.from_pretrained(tmp_path / cls.kind)


def numbers(config: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where whole numbers stand in a config."""
    if isinstance(config, int) and not isinstance(config, bool):
        yield at
    for key, value in config.items() if isinstance(config, dict) else ():
        yield from numbers(value, (*at, key))
    for key, value in enumerate(config) if isinstance(config, list) else ():
        yield from numbers(value, (*at, key))


@every
@pytest.mark.parametrize("value", [13, 1 << 14, 1 << 40, 0, -5])
def test_a_config_that_does_not_fit_takes_no_memory(
    cls: type[Pretrained], value: int, tmp_path: Path
) -> None:
    """Each whole number in turn is another one: refused in a sentence, or of no consequence for weights."""
    one, folder = made(cls), tmp_path / "f"
    one.save_pretrained(folder)
    refused = 0
    for at in numbers(plain(one.config)):
        config = copy.deepcopy(plain(one.config))
        inner = config
        for key in at[:-1]:
            inner = inner[key]
        inner[at[-1]] = value
        edited(folder, config)
        before = peak_bytes()
        try:
            cls.from_pretrained(folder)
        except UserError:
            refused += 1
        assert peak_bytes() - before < 30e6, at
    assert refused > 2


def test_old_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "fitted").mkdir()
    for name in ("about.json", "classifiers.json"):
        (tmp_path / "fitted" / name).write_text("{}")
        for cls in (FittedGlide, Prior):
            with pytest.raises(UserError, match="written by an older headwater: fit again"):
                cls.from_pretrained(tmp_path)
        (tmp_path / "fitted" / name).unlink()


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no folder"):
        FittedCSDI.from_pretrained(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds nothing that was trained"):
        FittedCSDI.from_pretrained(tmp_path)
    (tmp_path / "x.pt").write_bytes(b"x")
    with pytest.raises(UserError, match="headwater convert"):
        FittedCSDI.from_pretrained(tmp_path / "x.pt")
    made(FittedCSDI).save_pretrained(tmp_path / "air" / "fitted")
    monkeypatch.setitem(gallery.FOLDERS, "fitted", tmp_path)
    assert FittedCSDI.from_pretrained("air").config.columns == ("x", "é")
    with pytest.raises(UserError, match="did you mean 'air'"):
        FittedCSDI.from_pretrained("airs")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot get 'org/name' from the hub"):
        FittedCSDI.from_pretrained("org/name")


def test_the_hub_gets_the_folder_with_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Api:
        def create_repo(self, repo_id: str, **options: Any) -> None:
            calls.append(options["private"])

        def upload_folder(self, *, repo_id: str, folder_path: Path, **options: Any) -> SimpleNamespace:
            calls.append({p.name for p in Path(folder_path).iterdir()})
            return SimpleNamespace(commit_url="https://hub/commit/1")

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert made(FittedCSDI).push_to_hub("org/name", private=True) == "https://hub/commit/1"
    assert calls == [True, {"README.md", "config.json", "manifest.json", "model.safetensors"}]


@dataclass(frozen=True)
class ToyConfig:
    wide: int
    deep: int = 1


@dataclass(frozen=True, eq=False)
class Toy(Pretrained):
    """Two networks and a tensor, of which one network is in double precision and one counts."""

    config: ToyConfig
    counts: nn.Module
    table: torch.Tensor

    kind = "toy"

    @classmethod
    def networks(cls, config: ToyConfig) -> Parts:
        layers = (nn.Linear(config.wide, config.wide) for _ in range(config.deep))
        return {
            "network": nn.Sequential(*layers),
            "counts": nn.BatchNorm1d(3),
            "table": torch.zeros(config.wide, dtype=torch.int64),
        }


def test_several_networks_and_tensors_of_any_type(tmp_path: Path) -> None:
    toy = Toy.fresh(ToyConfig(4, 2), seed=0)
    toy.network.double()
    toy.counts.get_buffer("num_batches_tracked").add_((1 << 24) + 1)  # more than float32 can count
    toy.save_pretrained(tmp_path / "t")
    back = Toy.from_pretrained(tmp_path / "t")
    assert next(back.network.parameters()).dtype == torch.float32
    assert back.counts.get_buffer("num_batches_tracked") == (1 << 24) + 1
    assert torch.equal(back.table, toy.table)
    assert back.to("cpu").hash == back.hash
    same, other = Toy.fresh(ToyConfig(4, 2), seed=0), Toy.fresh(ToyConfig(4, 2), seed=1)
    assert same.hash == Toy.fresh(ToyConfig(4, 2), seed=0).hash != other.hash


def test_an_encoder_by_folder_by_name_or_neither(tmp_path: Path) -> None:
    one = made(ImageTextEncoder)
    one.save_pretrained(tmp_path / "out" / "fitted")
    found: Any = encoder_of(str(tmp_path / "out"))
    assert (found.hash, found.channels, found.side) == (
        sha256(tmp_path / "out/fitted/model.safetensors"),
        3,
        8,
    )
    assert [found.knows(text) for text in ("RED thing", "thing", "")] == [True, False, False]
    shipped = encoder_of("emoji-captions")
    assert isinstance(shipped, ImageTextEncoder)
    assert shipped.image(torch.zeros(2, 3, 32, 32)).shape == shipped.text(["red heart"] * 2).shape == (2, 64)
    with pytest.raises(UserError, match='the encoder that ships, "emoji-captions"'):
        encoder_of(str(tmp_path))
