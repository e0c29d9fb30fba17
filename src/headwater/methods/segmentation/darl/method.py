"""DARL: segment vessels without a label, from pictures with vessels, pictures without, and drawn trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, Unpack, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwater.core import Denoiser, Diffusion
from headwater.core.schedule import linear
from headwater.errors import need
from headwater.methods.base import Collection, Images, Map, Mask, Method, Paper
from headwater.methods.segmentation.darl.trees import Trees
from headwater.metrics.mask_agreement import jaccard
from headwater.metrics.segmentation import dice
from headwater.models.config import MOST_STEPS
from headwater.models.filling import Parts
from headwater.models.folder import Layout, Shapes, prefixed
from headwater.models.pretrained import Pretrained
from headwater.nets.level_unet import (
    TABLES,
    LevelArchitecture,
    LevelUNet,
    LevelUNetConfig,
    infer_level_unet,
)
from headwater.nets.patch_gan import PatchArchitecture, PatchGAN, Pool, looks_real, told_apart
from headwater.nets.switchable_spade import SpadeArchitecture, SpadeGenerator, infer_spade
from headwater.nets.tiles import places, tent
from headwater.noise import Purpose, White, derive
from headwater.sampling import Run, RunOptions
from headwater.training import Adversary, TrainerConfig, train

Channel = Literal["grey", "red", "green", "blue"]
AT_ONCE = 16
"""Tiles of a picture in one network call, where they are as large as in training; of larger ones fewer."""


@dataclass(frozen=True)
class DARLConfig:
    """Sizes and chain, and how pictures are cut."""

    network: LevelUNetConfig | None
    """The diffusion's network; None: the generator sees pictures alone."""
    generator: SpadeArchitecture
    size: int = 256
    """Side of what it was trained on."""
    stride: int = 2
    """As in `DARL`, and so is `channel`."""
    channel: Channel = "grey"
    T: int = 2000
    start: float = 1e-6
    """Variance of the first step; `end` that of the last."""
    end: float = 1e-2

    def __post_init__(self) -> None:
        need(1 <= self.T <= MOST_STEPS, f"T is {self.T}: give 1 to {MOST_STEPS} timesteps")
        need(0 < self.start <= self.end < 1, "variances rise between 0 and 1: give others")
        need(self.stride >= 1, f"stride is {self.stride}: give 1 or more")
        fold = self.fold
        need(
            self.size >= fold and self.size % fold == 0,
            f"size is {self.size}: give a multiple of {fold}, which these networks halve",
        )
        one = self.network is None or (self.network.in_channels, self.network.out_channels) == (1, 1)
        need(
            one, "the diffusion's network reads and answers one channel: give 1 in_channels and out_channels"
        )

    @property
    def fold(self) -> int:
        """Sides of what the networks see are multiples of this."""
        return max(SpadeGenerator.FOLD, 1 if self.network is None else self.network.downsampling)


class DARLNetwork(nn.Module):
    """G([x, eps(x, t)]; map): the diffusion's network and the generator, named as in published files."""

    def __init__(self, network: LevelUNetConfig | None, generator: SpadeArchitecture) -> None:
        super().__init__()
        self.denoise_fn = None if network is None else LevelUNet(network)
        self.segment_fn = SpadeGenerator(generator)

    def latent(self, x: Tensor, t: Tensor) -> Tensor:
        """eps(x, t), timesteps from 0; zeros where there is no diffusion."""
        return torch.zeros_like(x) if self.denoise_fn is None else self.denoise_fn(x, t)

    def forward(self, x: Tensor, latent: Tensor, chart: Tensor | None = None) -> Tensor:
        """A mask in [-1, 1]; with a map (B, 2, H, W) a picture that has vessels there."""
        return self.segment_fn(torch.cat([x, latent], 1), chart)


@dataclass(frozen=True, eq=False)
class FittedDARL(Pretrained):
    """What `DARL.fit` returns."""

    network: DARLNetwork
    config: DARLConfig

    kind = "darl"
    tags = ("image-segmentation",)

    @classmethod
    def networks(cls, config: DARLConfig) -> Parts:
        return {"network": DARLNetwork(config.network, config.generator)}

    @classmethod
    def published(cls, shapes: Shapes, settings: Mapping[str, Any]) -> Layout:
        """A generator's file of bispl-kaist/DARL. Settings: `image_size`, and where they are others than 32,
        2000, 1e-6 and 1e-2, `norm_groups`, `n_timestep`, `linear_start` and `linear_end`."""
        inner = {"denoise_fn.": dict[str, Any](), "segment_fn.": dict[str, Any]()}
        for name, shape in shapes.items():
            for prefix, own in inner.items():
                if name.startswith(prefix):
                    own[name.removeprefix(prefix)] = tuple(shape)
        network = infer_level_unet(inner["denoise_fn."], int(settings.get("norm_groups", 32)))
        config = DARLConfig(
            network,
            infer_spade(inner["segment_fn."]),
            int(settings["image_size"]),
            T=int(settings.get("n_timestep", 2000)),
            start=float(settings.get("linear_start", 1e-6)),
            end=float(settings.get("linear_end", 1e-2)),
        )
        # Beside the networks their files hold the tables of the chain, which the settings say.
        return Layout(config, prefixed, unused=lambda name: bool(TABLES.fullmatch(name)))

    @property
    def denoiser(self) -> Denoiser:
        """The diffusion of backgrounds."""
        need(self.network.denoise_fn is not None, "this DARL has no diffusion: fit one with it")
        return Denoiser(cast(nn.Module, self.network.denoise_fn), chain(self.config))

    def synthesize(self, background: Tensor, mask: Tensor) -> Tensor:
        """Put vessels where masks (B, 1, H, W) are above 0 into pictures of one channel (B, 1, H, W)."""
        return self.network(background, self._clean(background), chart_of(mask))

    def segment(self, image: Tensor) -> Tensor:
        """Masks in [-1, 1] of pictures of one channel (B, 1, H, W), in one pass without noise."""
        return self.network(image, self._clean(image))

    def _clean(self, x: Tensor) -> Tensor:
        return self.network.latent(x, torch.zeros(len(x), device=x.device))


def chain(config: DARLConfig) -> Diffusion:
    """The diffusion's process: timestep t, from 0 as the network is told it, is level t + 1."""
    return Diffusion.vp(linear(config.T, config.start, config.end))


def chart_of(mask: Tensor) -> Tensor:
    """A map (B, 2, H, W) of masks (B, 1, H, W): which pixels are background, which vessel."""
    vessel = (mask > 0).to(mask)
    return torch.cat([1 - vessel, vessel], 1)


@dataclass(frozen=True)
class Passes:
    """What one batch is made into."""

    mask: Tensor
    """Masks of pictures with vessels, in [-1, 1]."""
    image: Tensor
    """Backgrounds with vessels where the drawn masks have them."""
    again: Tensor
    """Masks of these."""
    error: Tensor
    """Mean squared error of the diffusion on backgrounds."""


def passes(
    network: DARLNetwork, process: Diffusion,
    image: Tensor, background: Tensor, chart: Tensor, noise: Tensor, near: Tensor, far: Tensor,
) -> Passes:  # fmt: skip
    """All three passes, with one noise; timesteps (B,) from 0, `near` of pictures with vessels."""

    def seen(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        noisy = x if network.denoise_fn is None else process.combine(x, noise, t + 1)
        return noisy, network.latent(noisy, t.to(x))

    mask = network(*seen(image, near))
    noisy, latent = seen(background, far)
    made = network(noisy, latent, chart)
    again = network(*seen(made, near))
    return Passes(mask, made, again, (noise - latent).square().mean() if network.denoise_fn else latent.sum())


@dataclass(frozen=True)
class Vessels:
    """What `DARL.apply` returns."""

    mask: Mask
    """True where a vessel is."""
    soft: Map
    """How much of a vessel each pixel is, from 0 to 1."""


@dataclass(frozen=True)
class DARL(Method):
    """Learn to segment vessels from pictures with vessels, pictures without, and masks of drawn trees, none
    of which belong together (Kim et al. 2023).

        a_t = sqrt(abar_t) a + sqrt(1 - abar_t) e     t below near; b_t: t below far; one noise e
        v    = G([a_t, eps(a_t, t)])                  a mask of the picture a
        ahat = G([b_t, eps(b_t, t)]; s)               vessels s put into the background b by SPADE
        shat = G([ahat_t, eps(ahat_t, t)])            and found again
        loss = |e - eps(b_t, t)|^2 + adversarial (L(v) + L(ahat)) + cycle |shat - s|
        mask = G([a, eps(a, 0)]) > 0                  one pass, no noise

    L are least squares against two discriminators of patches, of masks and of pictures. Without a map SPADE
    is an instance norm. Pictures have one channel: of colour, `channel` is seen. Each is split into its
    stride x stride pictures of every stride-th pixel; what is larger than `tile` then is cut into tiles that
    overlap by half, and their masks are blended.

    Deviates from the reference code: backgrounds need not come from the sequence of the picture, batches are
    re-paired in every epoch (there never, or it fails), grey pixels of masks above the middle are vessels
    (there only those of exactly 1), timesteps go no farther than T, tiles are ours, the trees are ours, and
    nothing is chosen on test pictures (there the first 12 of them are the validation).

    >>> import headwater as hw
    >>> pictures = hw.load("textures", "train", 16).images[:8]
    >>> sizes, patches = LevelArchitecture(32, (1,), 1, ()), PatchArchitecture(8, 1)
    >>> method = hw.DARL(size=16, stride=1, network=sizes, generator=SpadeArchitecture(8, 8),
    ...     discriminator=patches, trees=Trees(8), training=TrainerConfig(2, 4))
    >>> fitted = method.fit(pictures, pictures, seed=0, progress=False)
    >>> tuple(method.apply(pictures[:2], fitted, seed=0, progress=False).mask.shape)
    (2, 1, 16, 16)
    """

    paper: ClassVar[Paper] = Paper(
        title="Diffusion Adversarial Representation Learning for Self-supervised Vessel Segmentation",
        authors="Boah Kim, Yujin Oh, Jong Chul Ye",
        year=2023,
        venue="ICLR",
        arxiv="2209.14566",
        code="bispl-kaist/DARL",
        claim="Vessels are segmented without a label better than by the same generator without the "
        "diffusion, and noise in the picture harms less.",
    )
    needs: ClassVar[tuple[str, ...]] = (
        "pictures with vessels and pictures of the same kind without, of any number and in no order",
        "no mask: trees are drawn, unless `masks` of such shapes are given",
    )
    applied: ClassVar[tuple[str, ...]] = ("shape", "tile")

    T: int = 2000
    """Number of timesteps of the diffusion of backgrounds."""
    near: int = 200
    """Number of timesteps, from the first, of which one noises a picture with vessels in training."""
    far: int = 2000
    """Number of timesteps, from the first, of which one noises a background; fewer than T keep more of it in
    what is made of it, which short trainings need."""
    cycle: float = 5.0
    """Weight of finding drawn vessels again where they were put."""
    adversarial: float = 0.2
    """Weight of what the discriminators say."""
    history: int = 50
    """Number of earlier fakes of which discriminators are shown one half of the time."""
    diffusion: bool = True
    """Whether there is a diffusion; without, the paper's ablation, the generator sees clean pictures only."""
    channel: Channel = "grey"
    """Channel of colour pictures that is seen: their mean, or green for photographs of the retina."""
    size: int = 256
    """Side of what the networks see in training: a place of each picture at random."""
    stride: int = 2
    """Distance in a picture of what the networks see side by side, in one of its stride x stride parts."""
    tile: int = 0
    """Side, in what the networks see, of the tiles that pictures are cut into when they are segmented; 0:
    `size`. Larger ones are better where many would hold no vessel, since norms make noise strong there."""
    network: LevelArchitecture = field(
        default_factory=lambda: LevelArchitecture(64, (1, 1, 2, 2, 4, 4), 2, (16,))
    )
    """Sizes of the diffusion's U-Net."""
    generator: SpadeArchitecture = field(default_factory=SpadeArchitecture)
    """Sizes of the generator."""
    discriminator: PatchArchitecture = field(default_factory=PatchArchitecture)
    """Sizes of either discriminator."""
    trees: Trees = field(default_factory=Trees)
    """Trees that are drawn where no masks are given."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width to which the command line brings pictures; None: those of the first one."""
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(243_150, 1, lr=5e-6, betas=(0.5, 0.999))
    )
    """How the networks are trained, the discriminators like the others."""

    def fit(
        self, image: Collection, background: Collection, masks: Collection | None = None,
        **how: Unpack[RunOptions],
    ) -> FittedDARL:  # fmt: skip
        """Learn from pictures with vessels and pictures without, each (N, C, H, W) in [-1, 1].

        masks: shapes of vessels, above 0 inside, in place of drawn trees. Raises UserError where pictures are
        smaller than `size` asks for.
        """
        run = Run(**how)
        network = None
        if self.diffusion:
            network = LevelUNetConfig(**asdict(self.network), in_channels=1, out_channels=1, told="timestep")
        config = DARLConfig(network, self.generator, self.size, self.stride, self.channel, self.T)
        least = self.discriminator.least
        need(
            self.size >= least, f"size is {self.size}: the discriminators want {least} pixels or more a side"
        )
        positive = min(self.history, self.near, self.far) >= 1
        need(positive, "history, near and far are 1 or more: give others")
        seen = {k: one_channel(v, self.channel) for k, v in (("image", image), ("background", background))}
        if masks is not None:
            seen["masks"] = one_channel(masks, "grey")
        for name, values in seen.items():
            need(len(values) > 0, f"there is no picture in {name}: give some")
            fits = min(values.shape[-2:]) // self.stride >= self.size
            need(
                fits,
                f"pictures of {name} are {values.shape[-2]} x {values.shape[-1]}: give {self.size} times "
                f"stride {self.stride} pixels a side, or lower size or stride",
            )
        fitted = FittedDARL.fresh(config, derive(run.seed, Purpose.DARL_WEIGHTS))
        held = [(values, self.stride) for values in seen.values()]
        if masks is None:
            held.append((self.trees.draw(self.size, run.seed), 1))
        process, made = chain(config), dict[int, tuple[tuple[Tensor, Tensor], ...]]()

        def draw(rows: Tensor, number: int) -> tuple[list[Tensor], list[Tensor]]:
            """Pictures, backgrounds and masks of a batch, and its timesteps."""
            n, seed = len(rows), derive(run.seed, Purpose.DARL_BATCHES, number)
            draws = torch.Generator().manual_seed(seed)
            found = list[Tensor]()
            for k, (values, stride) in enumerate(held):
                chosen = rows if k == 0 else torch.randint(len(values), (n,), generator=draws)
                some = [placed(values[i], self.size, stride, draws) for i in chosen.tolist()]
                found.append(torch.stack(some).to(run.device))
            t = [torch.randint(min(limit, self.T), (n,), generator=draws) for limit in (self.near, self.far)]
            return found, [v.to(run.device) for v in t]

        def loss(network: Any, rows: Tensor, number: int) -> Tensor:
            (real, background, trees), t = draw(rows, number)
            seeds = [derive(run.seed, Purpose.DARL_NOISE, number, k) for k in range(len(rows))]
            noise, chart = White().stream(seeds)(real), chart_of(trees)
            found = passes(network["model"], process, real, background, chart, noise, *t)
            pairs = (trees, found.mask), (real, found.image)
            judges = network["discriminators"]
            fooled = sum(looks_real(judge(fake)) for judge, (_, fake) in zip(judges, pairs, strict=True))
            if network.training:  # what is held out teaches nothing
                made[number] = tuple((true, fake.detach()) for true, fake in pairs)
            return found.error + self.adversarial * fooled + self.cycle * (found.again - trees).abs().mean()

        def apart(network: Any, rows: Tensor, number: int) -> Tensor:
            draws = torch.Generator().manual_seed(derive(run.seed, Purpose.DARL_FAKES, number))
            sides = zip(network["discriminators"], network["pools"], made.pop(number), strict=True)
            parts = [told_apart(j(real), j(pool.exchange(fake, draws))) for j, pool, (real, fake) in sides]
            return torch.stack(parts).sum()

        parts = self._parts(fitted.network, run.seed)
        adversary = Adversary("discriminators", apart, self.training.lr, self.training.betas)
        about = {**self.learnt(), "masks": None if masks is None else len(masks)}
        trained = train(parts, loss, len(image), self.training, run, about, adversary=adversary)
        return replace(fitted, network=cast(nn.ModuleDict, trained)["model"])  # pyright: ignore

    def _parts(self, network: DARLNetwork, seed: int) -> nn.ModuleDict:
        """All that is trained or kept beside it, with first weights as the reference code draws them."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, Purpose.DARL_WEIGHTS, 1))
            judges = nn.ModuleList(PatchGAN(self.discriminator) for _ in range(2))
            for module in (*network.modules(), *judges.modules()):
                weight = getattr(module, "weight_orig", getattr(module, "weight", None))
                if isinstance(weight, nn.Parameter) and weight.ndim > 1:
                    nn.init.normal_(weight, std=0.02)
                    bias = getattr(module, "bias", None)
                    if bias is not None:
                        nn.init.zeros_(bias)
            for module in network.denoise_fn.modules() if network.denoise_fn else ():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.orthogonal_(module.weight)
            pools = nn.ModuleList(Pool(self.history, 1, self.size, self.size) for _ in range(2))
        return nn.ModuleDict({"model": network, "discriminators": judges, "pools": pools})

    def apply(self, image: Images, fitted: FittedDARL, **how: Unpack[RunOptions]) -> Vessels:
        """Segment pictures (B, C, H, W) in [-1, 1] of any size that stride divides. Nothing is drawn.

        Each is computed apart, so that its mask is the same to the bit whatever else there is.
        """
        run, config = Run(**how), fitted.config
        size = self.tile or config.size
        need(len(image) > 0, "there is no picture to segment: give some")
        right = size > 0 and size % config.fold == 0
        need(right, f"tile is {size}: give a multiple of {config.fold}, which these networks halve, or 0")
        for side in image.shape[-2:]:
            seen, rest = divmod(int(side), config.stride)
            need(
                rest == 0 and (seen >= size or seen % config.fold == 0),
                f"a side of pictures is {side}: crop or resize it to {size * config.stride} or more, "
                f"a multiple of the stride {config.stride}, or to one of {config.fold * config.stride}",
            )
        seen = one_channel(image, config.channel)
        with torch.no_grad():
            found = [blended(one, fitted, size, run.device) for one in run.track(seen, "pictures", len(seen))]
        soft = torch.stack(found)
        return Vessels(soft > 0, (soft + 1) / 2)

    def evaluate(self, mask: Mask, truth: Mask, inside: Mask | None = None) -> dict[str, float]:
        """Compare with true masks (B, 1, H, W), picture by picture, then the mean over pictures.

        dice, iou, precision, and the standard deviations of these over pictures. inside: where pictures are
        compared, such as the field of view of a camera; pixels elsewhere count nowhere.
        """
        if inside is not None:
            mask, truth = mask & inside, truth & inside
        hit, said = ((v.flatten(1).sum(1).double()) for v in (mask & truth, mask))
        scores = {
            "dice": dice(mask, truth),
            "iou": jaccard(mask, truth),
            "precision": hit / said.clamp(min=1),
        }
        spread = {f"{k}_std": float(v.std(correction=0)) for k, v in scores.items()}
        return {k: float(v.mean()) for k, v in scores.items()} | spread


def one_channel(image: Tensor, channel: Channel) -> Tensor:
    """Pictures (B, C, H, W) as (B, 1, H, W): the channel, if they have colour."""
    need(image.ndim == 4 and image.shape[1] in (1, 3), "pictures have one channel or three: give others")
    if image.shape[1] == 1:
        return image
    if channel == "grey":
        return image.mean(1, keepdim=True)
    k = ("red", "green", "blue").index(channel)
    return image[:, k : k + 1]


def placed(image: Tensor, size: int, stride: int, draws: torch.Generator) -> Tensor:
    """Every stride-th pixel of a picture (1, H, W), a place of `size` x `size` in it, turned and mirrored."""
    i, j = torch.randint(stride, (2,), generator=draws).tolist()
    image = image[:, i::stride, j::stride]
    free = [int(torch.randint(n - size + 1, (), generator=draws)) for n in image.shape[-2:]]
    image = image[:, free[0] : free[0] + size, free[1] : free[1] + size]
    across, down, turned = (torch.rand(3, generator=draws) < 0.5).tolist()
    image = image.flip(-1) if across else image
    image = image.flip(-2) if down else image
    return image.mT if turned else image


def blended(image: Tensor, fitted: FittedDARL, size: int, device: str) -> Tensor:
    """The mask in [-1, 1] of one picture (1, H, W), from those of its tiles of at most `size` a side."""
    split = F.pixel_unshuffle(image, fitted.config.stride)[:, None]
    total, weight = torch.zeros_like(split), torch.zeros_like(split)
    tiles = places(split.shape[-2:], (size, size), overlap=0.5)
    work = [(k, place) for k in range(len(split)) for place in tiles]
    count = max(1, AT_ONCE * fitted.config.size**2 // size**2)
    for some in (work[i : i + count] for i in range(0, len(work), count)):
        cut = torch.stack([split[k, :, rows, columns] for k, (rows, columns) in some])
        for (k, place), mask in zip(some, fitted.segment(cut.to(device)).cpu(), strict=True):
            (rows, columns), window = place, tent(place, mask)
            total[k, :, rows, columns] += window * mask
            weight[k, :, rows, columns] += window
    return F.pixel_shuffle((total / weight)[:, 0], fitted.config.stride)
