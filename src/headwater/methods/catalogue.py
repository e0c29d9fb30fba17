"""The methods by name, as strings only: listing them imports none of them."""

from __future__ import annotations

import difflib
import typing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from headwater.errors import UserError

if TYPE_CHECKING:
    from headwater.methods.base import Method
    from headwater.models import Pretrained


CHAPTERS: dict[str, tuple[str, str]] = {
    "restoration": ("restoration", "图像修复"),
    "translation": ("translation", "图像翻译"),
    "anomaly": ("anomaly detection", "异常检测"),
    "segmentation": ("segmentation", "语义分割"),
    "synthesis": ("synthesis", "图像合成"),
    "text": ("text", "文本"),
    "series": ("time series", "时间序列"),
    "robustness": ("robustness", "鲁棒性"),
    "medical": ("medical", "医学影像"),
}
"""Folder of each chapter, and its title in English and in Chinese."""


ROUNDING = 1e-5
"""What one network call, or some hundred, differ by in other batches; measured are 1e-7 to 2e-6."""
STEEP = 1e-4
"""The same where a step multiplies what the one before it rounded; measured are up to 2e-5."""


@dataclass(frozen=True)
class Entry:
    """What is said of a method wherever methods are listed; `make registers` writes these lists."""

    chapter: str
    room: str
    """Folder of the method below its chapter."""
    attribute: str
    """Name of its class."""
    summary: str
    """What it does, as a verb phrase: `headwater list`, help, the tables of docs/index.md."""
    title: str = ""
    claim: str = ""
    """The claim that `headwater reproduce` tests, in a few words."""
    claim_zh: str = ""
    """The same in Chinese."""
    want: str = ""
    """What somebody wants who should take it; methods with the same `want` and `have` share a line."""
    have: str = ""
    """What that takes of one's own."""
    calls: str = ""
    """Network calls a picture, text or window."""
    title_zh: str = ""
    """The title in Chinese, where it is translated."""
    tour: int = 0
    """Seconds that its panel of the tour takes on one core, about; 0 leaves it out of the tour."""
    rounding: float = ROUNDING
    """What is promised of batches: the draws of an item are the same bits in any batch, and its numbers
    differ by this share of the largest one at most (of 1 where that is smaller), as networks add in another
    order. Where what is made is a choice, as of words or classes, it is another one only where two were as
    near."""

    def module(self, name: str) -> ModuleType:
        """A module of the method's room: `method`, `claim`."""
        return import_module(f"headwater.methods.{self.chapter}.{self.room}.{name}")

    def load(self) -> type[Method]:
        """The method's class."""
        return getattr(self.module("method"), self.attribute)

    @property
    def folder(self) -> Path:
        """The method's room."""
        return Path(__file__).parent / self.chapter / self.room

    def recipe(self, given: str) -> Path:
        """The recipe of that name in the method's room, or else the file `given`."""
        return recipe_file(self.folder / "recipes", given)

    def configured(self, given: str) -> Any:
        """The method as a recipe sets it; its claim is tested with that. Raises UserError as `build`."""
        import yaml

        from headwater.models.schema import build

        path = self.recipe(given)
        return build(self.load(), yaml.safe_load(path.read_text(encoding="utf-8")), path.name)


@dataclass(frozen=True)
class Table:
    """The methods of a chapter side by side; `headwater reproduce NAME` tests what is said of it."""

    chapter: str
    """Its folder has a README.md with the figures."""
    title: str
    summary: str
    """What is compared, as a noun phrase."""
    claim: str
    """What must hold, in a few words."""
    file: str = "table"
    """Module of the chapter that has the claim."""

    @property
    def module(self) -> str:
        """Where its CLAIM is."""
        return f"headwater.methods.{self.chapter}.{self.file}"


TABLES: dict[str, Table] = {
    "restoration": Table(
        "restoration",
        "Restoration, side by side",
        "holes filled and small pictures enlarged by every method, on the same pictures",
        "with 105 network calls each, RePaint, DDRM and DPS beat the smoothest picture that fits",
    ),
    "robustness": Table(
        "robustness",
        "Defences, side by side",
        "every defence on the same pictures, under the same attacks in two norms",
        "every purifier leaves more right than no purifier, in the worst case of all attacks",
    ),
    "robustness-colour": Table(
        "robustness",
        "Defences, side by side, in colour",
        "the same defences and attacks on small pictures in colour",
        "every purifier leaves more emoji right than no purifier, in the worst case of all attacks",
        "colour",
    ),
    "medical": Table(
        "medical",
        "MR reconstruction, side by side",
        "the same scans reconstructed by every method with one prior",
        "with 220 network calls each, all three beat zero filling by 3 dB, and total variation",
    ),
}
"""By name: that of the chapter, where it is the chapter's first."""


METHODS: dict[str, Entry] = {
    "repaint": Entry(
        "restoration",
        "repaint",
        "RePaint",
        "fill any hole with any unconditional prior",
        title="RePaint",
        claim="walking back and forth fills holes better than a plain walk, also at equal cost",
        claim_zh="反复加噪、去噪比单程采样补得更好，网络调用次数相同时也是如此",
        want="a damaged or covered part of a picture filled in",
        have="the mask, and pictures of that sort without damage",
        calls="2,410 with the paper's settings, 230 with `RePaint(50, 5, 5)`",
        tour=25,
    ),
    "sr3": Entry(
        "restoration",
        "sr3",
        "SR3",
        "enlarge pictures by a diffusion that sees the small one",
        title="SR3",
        claim="enlarged pictures look real where a regression network, which has the better PSNR, is blurred",
        claim_zh="放大的图片看起来真实，而峰值信噪比更好的回归网络是模糊的",
        want="pictures larger by a factor",
        have="large pictures of that sort, to train on",
        calls="`steps` (2000)",
        tour=15,
    ),
    "palette": Entry(
        "restoration",
        "palette",
        "Palette",
        "fill holes, widen, colourise and clean JPEG files by one network, or translate by your own pairs",
        title="Palette",
        claim="one network for four tasks does as well as one for each, and varies where there is a choice",
        claim_zh="一个网络完成四项任务，效果不输各自专用的网络；在有多种可能时，结果富于变化",
        want="a damaged, grey or compressed picture restored, or one kind of picture turned into another",
        have="undamaged pictures of that sort, or pairs, to train on",
        calls="`steps` (1,000)",
        tour=20,
    ),
    "ilvr": Entry(
        "restoration",
        "ilvr",
        "ILVR",
        "draw variants that keep the coarse content of a reference",
        title="ILVR",
        claim="pictures keep the coarse content of a reference; the coarser, the more varied",
        claim_zh="图片保留参考图的粗略内容；越粗略，变化越多",
        want="variants of a picture that keep its coarse content",
        have="the picture, and pictures of that sort",
        calls="`steps` (100)",
    ),
    "ddrm": Entry(
        "restoration",
        "ddrm",
        "DDRM",
        "undo any linear measurement in 20 network calls",
        title="DDRM",
        claim="noisy small pictures are enlarged better than by bicubic interpolation, in 20 calls",
        claim_zh="20 次网络调用就比双三次插值更好地放大含噪小图",
        want="small, blurred, grey or sparsely measured pictures restored",
        have="how they were measured, and pictures of that sort",
        calls="`steps` (20)",
        tour=20,
    ),
    "dps": Entry(
        "restoration",
        "dps",
        "DPS",
        "undo any differentiable measurement, linear or not",
        title="DPS",
        claim="gradients restore pictures, linear measurements and others, and have a best weight",
        claim_zh="沿梯度可复原线性与非线性测量的图片，且存在最佳权重",
        want="small, blurred, grey or sparsely measured pictures restored",
        have="how they were measured, and pictures of that sort",
        calls="`steps` (1,000), each with its gradient",
    ),
    "sdedit": Entry(
        "translation",
        "sdedit",
        "SDEdit",
        "make strokes, collages and rough edits realistic",
        title="SDEdit",
        claim="strokes become more realistic and stay recognisable; more noise trades one for the other",
        claim_zh="笔触草图变得更逼真且仍可辨认；加噪越多，越逼真也越不像原稿",
        want="strokes or a rough edit made realistic",
        have="the rough picture, and pictures of that sort",
        calls="`level` (500), or `steps` if fewer, times `repeats`",
        tour=20,
    ),
    "egsde": Entry(
        "translation",
        "egsde",
        "EGSDE",
        "carry pictures of one domain into another, without pairs",
        title="EGSDE",
        claim="energies of a classifier and of coarse content translate more realistically than SDEdit "
        "at equal likeness",
        claim_zh="在相似度相同时，分类器能量与粗略内容能量的引导比 SDEdit 译得更逼真",
        want="pictures of one kind turned into another kind, their content kept",
        have="unpaired pictures of both kinds",
        calls="`level` (500), or `steps` if fewer, each with a classifier's gradient",
    ),
    "anoddpm": Entry(
        "anomaly",
        "anoddpm",
        "AnoDDPM",
        "find what a prior of healthy pictures would not draw",
        title="AnoDDPM",
        claim="simplex noise finds large lesions that Gaussian noise leaves in place",
        claim_zh="simplex 噪声能发现高斯噪声遗漏的大病灶",
        want="to know whether and where a picture is abnormal",
        have="healthy pictures only",
        calls="`level` (250), or `steps` if fewer, times `reconstructions`",
        tour=30,
    ),
    "ddpm-segmentation": Entry(
        "segmentation",
        "ddpm_segmentation",
        "DDPMSegmentation",
        "label every pixel from 20 labelled pictures and a frozen prior",
        title="DDPM-Seg",
        claim="features of a prior label pixels from 20 pictures better than other features",
        claim_zh="只有 20 张标注图时，用先验的特征比用其他特征标得更准",
        want="every pixel labelled",
        have="many pictures, 20 to 50 of them labelled",
        calls="one per noise level, three by default",
        tour=25,
    ),
    "dataset-ddpm": Entry(
        "segmentation",
        "dataset_ddpm",
        "DatasetDDPM",
        "train a segmenter on pictures that a prior draws and few labels label",
        title="DatasetDDPM",
        claim="a segmenter of drawn pictures comes near DDPM-Seg, and beats one of the few labels",
        claim_zh="用先验生成并自动标注的图训练的分割网络接近 DDPM-Seg，优于只用少量标注训练的网络",
        want="every pixel labelled, by one forward pass a picture",
        have="many pictures, 20 to 50 of them labelled",
        calls="none once it is trained; `sampling_steps` for each of `samples` pictures before",
        tour=0,
    ),
    "ddpm-cd": Entry(
        "segmentation",
        "ddpm_cd",
        "DDPMCD",
        "find what changed between two pictures by what a prior sees in both",
        title="DDPM-CD",
        claim="a prior's features at several noise levels find changes better than an untrained network's, "
        "one level's, or differencing",
        claim_zh="与未训练网络的特征、单一噪声水平的特征或直接作差相比，先验在多个噪声水平上的特征能更好地找出变化",
        want="what changed between two pictures of a place",
        have="a prior of such pictures, and pairs with label maps of what changed",
        calls="2 x 3 (`signal_levels`), none of them whole",
        tour=5,
    ),
    "segdiff": Entry(
        "segmentation",
        "segdiff",
        "SegDiff",
        "train on masks, draw several for each picture, keep what they agree on",
        title="SegDiff",
        claim="more masks averaged segment better, and better than a plain network",
        claim_zh="平均的掩码越多分得越好，也胜过普通网络",
        want="masks with a measure of doubt",
        have="pictures with a mask each, thousands rather than twenty",
        calls="`steps` (100) times `samples` (9)",
        tour=10,
    ),
    "implicit-ensembles": Entry(
        "segmentation",
        "implicit_ensembles",
        "ImplicitEnsembles",
        "train on masks; their mean segments, their variance says where to look twice",
        title="Implicit ensembles",
        claim="an ensemble of masks beats one, and their variance shows the errors",
        claim_zh="多个掩码胜过单个，方差指出错误所在",
        want="masks with a measure of doubt",
        have="pictures with a mask each, thousands rather than twenty",
        calls="`steps` (1,000) times `samples` (5)",
    ),
    "darl": Entry(
        "segmentation",
        "darl",
        "DARL",
        "segment vessels without a label, from pictures with vessels, pictures without, and drawn trees",
        title="DARL",
        claim="vessels without labels, better than without the diffusion, and noise harms less",
        claim_zh="无需标注即可分割血管，胜过不用扩散的同一网络，也更耐噪声",
        want="masks of vessels without a label",
        have="pictures with vessels and pictures without, hundreds of each",
        calls="one",
        tour=10,
    ),
    "glide": Entry(
        "synthesis",
        "glide",
        "Glide",
        "draw what a caption says",
        title="GLIDE",
        claim="guidance makes pictures match their captions better, at the price of variety",
        claim_zh="引导使图片更符合描述，代价是多样性下降",
        want="pictures of what a caption says",
        have="pictures with a caption each",
        calls="`steps` (150), of twice the batch",
        tour=50,
        rounding=STEEP,
    ),
    "glide-inpaint": Entry(
        "synthesis",
        "glide_inpaint",
        "GlideInpaint",
        "fill a hole with what a caption says",
        title="GLIDE, inpainting",
        claim="a network trained to fill holes leaves fewer seams than replacing what is known",
        claim_zh="为补洞训练的网络比逐步替换已知像素接缝更少",
        want="pictures of what a caption says",
        have="pictures with a caption each",
        calls="`steps`, of twice the batch",
        rounding=STEEP,
    ),
    "sdm": Entry(
        "synthesis",
        "sdm",
        "SDM",
        "draw pictures from label maps",
        title="SDM",
        claim="maps read by the decoder's norms are followed better than concatenated ones, and guidance "
        "trades variety for it",
        claim_zh="标签图经解码器归一化输入比拼接输入更能被遵循；引导以多样性换取一致性",
        want="pictures of what a label map shows",
        have="pictures with a label map each",
        calls="`steps` (1,000), of twice the batch",
        tour=20,
    ),
    "blended-diffusion": Entry(
        "synthesis",
        "blended_diffusion",
        "BlendedDiffusion",
        "change a region of a picture to what a text says, and nothing else",
        title="Blended Diffusion",
        claim="a region takes on what a text says while the rest stays exactly as it was",
        claim_zh="区域按文字改变，其余部分分毫不变",
        want="a part of a picture changed to what a text says",
        have="the mask, an encoder of pictures and texts, and pictures of that sort",
        calls="`steps` less `skip` (75) times `candidates` (64), each with its gradient",
    ),
    "d3pm-images": Entry(
        "synthesis",
        "d3pm_images",
        "D3PMImages",
        "draw pictures by undoing random changes of grey values",
        title="D3PM on pictures",
        claim="a discretised Gaussian chain needs fewer bits than uniform replacement "
        "under the same hybrid loss",
        claim_zh="同样的混合损失下，离散化高斯链比均匀替换所需比特更少",
        want="small pictures in few grey values, new, completed or measured in bits",
        have="pictures of that sort",
        calls="`steps` (1,000) to draw, `levels` (128) for the bound",
        title_zh="图像上的 D3PM",
    ),
    "clip-diffusion-lm": Entry(
        "text",
        "clip_diffusion_lm",
        "CLIPDiffusionLM",
        "caption pictures, all words at once",
        title="CLIP-Diffusion-LM",
        claim="captions from a few parallel refinements beat retrieval",
        claim_zh="几步并行细化得到的描述胜过检索",
        want="captions",
        have="pictures with a caption each",
        calls="five refinements",
        tour=15,
    ),
    "d3pm": Entry(
        "text",
        "d3pm",
        "D3PM",
        "write and complete texts by undoing random edits",
        title="D3PM",
        claim="masking needs fewer bits per character than uniform replacement, "
        "and a quarter of the steps will do",
        claim_zh="吸收态比均匀替换每字符所需比特更少，四分之一步数也够",
        want="texts written or completed",
        have="texts of that sort",
        calls="`steps` (1,000) a window, `levels` (128) more for the bound",
        tour=25,
    ),
    "diffuseq": Entry(
        "text",
        "diffuseq",
        "DiffuSeq",
        "rewrite texts, all words at once",
        title="DiffuSeq",
        claim="the best of ten candidates beats one, and copying the source",
        claim_zh="十个候选中择优胜过单个样本，也胜过照抄原文",
        want="texts rewritten",
        have="pairs of source and target",
        calls="the walk's steps times the candidates",
        tour=8,
    ),
    "csdi": Entry(
        "series",
        "csdi",
        "CSDI",
        "fill gaps in series, or forecast them, with intervals",
        title="CSDI",
        claim="seeing the given cells gives better intervals than pasting them, "
        "and smaller errors than interpolation",
        claim_zh="以已知值为条件比粘贴已知值的区间更准，误差也小于插值",
        want="gaps in tables filled, or forecasts, with intervals",
        have="series, complete or not",
        calls="`steps` (50) times `samples` (100) a window",
        tour=40,
    ),
    "timegrad": Entry(
        "series",
        "timegrad",
        "TimeGrad",
        "forecast several series together, each path a joint draw of their future",
        title="TimeGrad",
        claim="an RNN with a diffusion head forecasts the sum of columns better than the season before "
        "and than a Gaussian head, and keeps their correlation",
        claim_zh="带扩散头的 RNN 对各列之和的预测优于季节性朴素法和高斯头，并保持列间相关性",
        want="forecasts of tables, with intervals and sample paths",
        have="series at even steps",
        calls="`T` (100) times `horizon` (24), for all paths together",
        tour=20,
    ),
    "diffpure": Entry(
        "robustness",
        "diffpure",
        "DiffPure",
        "wash an attack out of a picture with noise and a walk back",
        title="DiffPure",
        claim="purified pictures withstand attacks; robustness rises, then falls, with the noise level",
        claim_zh="净化后的图片能抵御攻击；鲁棒性随噪声水平先升后降",
        want="a classifier that withstands attacks",
        have="the classifier, and a prior of its pictures",
        calls="`steps` (100)",
        tour=15,
    ),
    "blau-purification": Entry(
        "robustness",
        "blau_purification",
        "BlauPurification",
        "wash attacks of any kind out of a picture in 15 network calls",
        title="Blau et al.",
        claim="one purification withstands several kinds of attack, on average better than "
        "training against one",
        claim_zh="同一净化可抵御多种攻击，平均胜过只针对一种攻击的对抗训练",
        want="a classifier that withstands attacks",
        have="the classifier, and a prior of its pictures",
        calls="`steps` (15)",
    ),
    "gdmp": Entry(
        "robustness",
        "gdmp",
        "GDMP",
        "wash an attack out in rounds that are pulled back to the picture",
        title="GDMP",
        claim="guidance keeps pictures recognisable under much noise, up to a best weight",
        claim_zh="强噪声下引导使图片仍可辨认，且存在最佳权重",
        want="a classifier that withstands attacks",
        have="the classifier, and a prior of its pictures",
        calls="`steps` (36) times `rounds` (4)",
    ),
    "wu-purification": Entry(
        "robustness",
        "wu_purification",
        "WuPurification",
        "wash an attack out by drawing the picture anew from noise, pulled towards it",
        title="Wu et al.",
        claim="pictures drawn anew from noise withstand attacks; diffusion certifies large radii",
        claim_zh="从随机噪声重新生成的图片可抵御攻击；扩散模型可认证更大的半径",
        want="a classifier that withstands attacks",
        have="the classifier, and a prior of its pictures",
        calls="`steps` (1,000)",
    ),
    "adp": Entry(
        "robustness",
        "adp",
        "ADP",
        "wash an attack out in a few steps along a score, each as long as the picture allows",
        title="ADP",
        claim="a few steps of adaptive length along a score withstand strong attacks, the more when several "
        "purifications are averaged",
        claim_zh="沿得分走几步自适应步长即可抵御强攻击，多次净化取平均更佳",
        want="a classifier that withstands attacks",
        have="the classifier, and a prior of its pictures",
        calls="two a step, `steps` (10)",
        rounding=STEEP,
    ),
    "score-inverse-medical": Entry(
        "medical",
        "score_inverse",
        "ScoreInverse",
        "reconstruct noisy or few measurements, of MR, CT or any linear operator",
        title="Song et al. 2022",
        claim="one prior reconstructs at any acceleration; less than full trust is best for noisy data",
        claim_zh="同一先验可重建任意加速倍数；数据含噪时，不完全信任测量最好",
        want="pictures from few or noisy measurements of a scanner",
        have="a prior of magnitude pictures",
        calls="two a level, times `samples`",
        rounding=STEEP,
    ),
    "score-mri": Entry(
        "medical",
        "score_mri",
        "ScoreMRI",
        "reconstruct undersampled k-space with any magnitude prior",
        title="Score-MRI",
        claim="one magnitude prior reconstructs real, complex and multi-coil data 3 dB above zero filling",
        claim_zh="同一个幅度先验重建实数、复数和多线圈数据，比零填充高 3 dB",
        want="pictures from undersampled k-space",
        have="a prior of magnitude pictures",
        calls="two a level, times `samples`",
        tour=50,
    ),
    "diffuse-recon": Entry(
        "medical",
        "diffuse_recon",
        "DiffuseRecon",
        "reconstruct undersampled k-space from many short chains, with their spread",
        title="DiffuseRecon",
        claim="the refined mean of ten short chains beats one long chain at a fraction of its calls",
        claim_zh="十条短链的均值经细化后胜过一条长链，网络调用次数只是其几分之一",
        want="pictures from undersampled k-space",
        have="a prior of magnitude pictures",
        calls="`steps` (100) times `samples` (10), and `refine_steps` (20)",
    ),
}
"""By chapter: in this order they stand in every list."""


def entry(name: str) -> Entry:
    """The entry of a method. Raises UserError, naming the nearest one, if there is none."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(METHODS)}"
        raise UserError(f"no method is called {name!r}: {hint}")
    return METHODS[name]


_OTHERS = {
    "prior": "headwater.models:Prior",
    "image-text-encoder": "headwater.models:ImageTextEncoder",
    "glide-upsampler": "headwater.methods.synthesis.glide.method:FittedGlideUpsampler",
}
"""What is trained by none of the methods."""


def trained(kind: str) -> type[Pretrained] | None:
    """The class of what a method of that name trains, or of another kind; None for an unknown one."""
    if kind in _OTHERS:
        module, _, name = _OTHERS[kind].partition(":")
        return getattr(import_module(module), name)
    hints = typing.get_type_hints(METHODS[kind].load().apply) if kind in METHODS else {}  # pyright: ignore[reportAttributeAccessIssue]
    return hints.get("fitted")


def recipe_file(folder: Path, given: str) -> Path:
    """The recipe of that name in a folder, or else the file `given`.

    Raises UserError, naming the recipes that there are, for a plain name that is neither.
    """
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if given in known:
        return folder / f"{given}.yaml"
    path = Path(given)
    if len(path.parts) == 1 and not path.suffix and not path.exists():
        near = difflib.get_close_matches(given, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(known)}, or give a file"
        raise UserError(f"there is no recipe {given!r}: {hint}")
    return path
