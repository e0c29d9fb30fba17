"""Masks, label maps and truths as people have them: what is white, which class, and on which grid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import headwater as hw
from headwater.cli import main
from headwater.data.label_maps import read_labels
from headwater.data.masks import read_known, read_mask
from headwater.data.orientation import layout_of, turned
from headwater.errors import UserError
from headwater.methods.inputs import labels as given_labels
from headwater.methods.inputs import mask as given_mask
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.adm import UNet, UNetConfig

HOLE = np.zeros((6, 8), bool)
HOLE[1:3, 2:7] = True
FAST = ["--steps", "1", "--blocks", "0", "--ensemble", "1", "--epochs", "1", "--smallest", "1"]
ORIENTATION = 0x0112


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image)


def save(grid: Any, path: Path, tag: int = 1, **how: Any) -> Path:
    """A picture of these pixels, with an orientation tag if it is not 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if tag != 1:
        how["exif"] = Image.Exif()
        how["exif"][ORIENTATION] = tag
    (grid if isinstance(grid, Image.Image) else Image.fromarray(grid)).save(path, **how)
    return path


def palette(indices: Any, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(np.asarray(indices).astype(np.uint8), "L")
    image.putpalette([band for colour in colours for band in colour])
    return image


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """One command line: exit code, standard output, standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(word) for word in words])
        said = capfd.readouterr()
        assert "Traceback" not in said.err
        assert "bug" not in said.err
        return code, said.out, said.err

    return call


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of colour pictures, 24 high and 16 wide."""
    network: dict[str, Any] = {"in_channels": 3, "out_channels": 3, "model_channels": 32, "num_res_blocks": 1}
    kind = {"kind": "adm", **network, "channel_mult": [1], "attention_resolutions": []}
    config = PriorConfig(kind, (3, 24, 16), ProcessConfig(T=20), predicts="v")
    net = UNet(UNetConfig(**network, channel_mult=(1,), attention_resolutions=())).eval()
    folder = tmp_path_factory.mktemp("prior") / "tiny"
    Prior(net, config).save_pretrained(folder)
    return folder


def floats(grid: Any) -> Any:
    return grid.astype(np.float32)


TWO_VALUES: dict[str, Any] = {
    "0-1.png": HOLE.astype(np.uint8),
    "0-255.png": HOLE.astype(np.uint8) * 255,
    "bit.png": Image.fromarray(HOLE),
    "16-bit.png": HOLE.astype(np.uint16) * 65535,
    "16-bit-0-1.png": HOLE.astype(np.uint16),
    "0-1.tif": HOLE.astype(np.uint8),
    "float.tif": floats(HOLE),
    "grey-as-rgb.png": np.stack([HOLE * np.uint8(255)] * 3, -1),
    "opaque.png": Image.fromarray(HOLE.astype(np.uint8) * 255).convert("RGBA"),
    "white-is-index-0.png": palette(~HOLE, (255, 255, 255), (0, 0, 0)),
    "index-as-grey.png": palette(HOLE, (0, 0, 0), (1, 1, 1)),
    "painted-on-nothing.png": np.stack([HOLE * np.uint8(255)] * 4, -1),
    "bool.npy": HOLE,
    "0-1.npy": HOLE.astype(np.int64),
    "0-255.npy": HOLE.astype(np.uint8) * 255,
    "float.npy": floats(HOLE)[None],
    "of-kspace.npy": HOLE.astype(np.complex64),
}
SAID: dict[str, tuple[Any, str]] = {
    "0-128.png": (HOLE.astype(np.uint8) * 128, "holds the values 0 and 128: 128 is taken for white"),
    "0-2.npy": (HOLE.astype(np.uint8) * 2, "holds the values 0 and 2: 2 is taken for white"),
    "video.png": (HOLE * np.uint8(219) + np.uint8(16), "holds the values 16 and 235: 235 is taken for white"),
    "signed.npy": (floats(HOLE) * 2 - 1, "holds the values -1 and 1: 1 is taken for white"),
    "voc.png": (palette(HOLE, (0, 0, 0), (128, 0, 0)), "holds the values 0 and 38: 38 is taken for white"),
    "alpha.png": (
        np.dstack([np.full((6, 8, 3), 255, np.uint8), HOLE * np.uint8(255)]),
        "has one colour: what is opaque is taken for white, what is transparent for black",
    ),
}
RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
CLEAR = HOLE * np.uint8(255)
MANY = "not black and white alone: save"
LOSSY = "lossy, masks must be lossless: save as PNG, or add --threshold 0.5"
REFUSED: dict[str, tuple[Any, str]] = {
    "ramp.png": (RAMP, f"holds 48 values from 0 to 235, {MANY} it so, or add --threshold 0.5"),
    "classes.png": (RAMP // 80, f"holds 3 values from 0 to 2, {MANY} it so, or add --threshold 0.0039"),
    "soft.npy": (floats(RAMP) / 255, "to take 0.5 and more for white"),
    "over.npy": (floats(RAMP), f"holds 48 values from 0 to 235, {MANY} black as 0 and white as 1"),
    "one-two.png": (HOLE + np.uint8(1), f"holds the values 1 and 2, {MANY} black as 0"),
    "seven.png": (np.full((6, 8), 7, np.uint8), "holds the value 7 alone, not black and white alone"),
    "nan.npy": (np.where(HOLE, np.nan, 0), "no finite real numbers"),
    "dark.png": (palette(HOLE, (255, 0, 0), (0, 0, 255)), f"holds the values 29 and 76, {MANY} black as 0"),
    "twins.png": (palette(HOLE, (0, 76, 0), (45, 53, 0)), "equally bright: save it black and white"),
    "dark-ink.png": (np.dstack([0 * RAMP] * 3 + [CLEAR]), "has one dark colour"),
    "cut-out.png": (np.dstack([RAMP] * 3 + [CLEAR]), "transparent parts and several colours"),
    "lossy.jpg": (CLEAR, LOSSY),
    "lossy.webp": (CLEAR, LOSSY),
}  # fmt: skip


def stored(value: Any, path: Path) -> Path:
    if path.suffix == ".npy":
        np.save(path, value)
        return path
    return save(value, path)


@pytest.mark.parametrize("name", TWO_VALUES)
def test_a_mask_of_two_values_is_read_in_silence(name, tmp_path, caplog):
    path = stored(TWO_VALUES[name], tmp_path / name)
    assert np.array_equal(read_mask(path), HOLE)
    assert np.array_equal(read_known(path, white="hole"), ~HOLE)
    assert caplog.text == ""


@pytest.mark.parametrize("name", SAID)
def test_a_mask_that_is_white_by_assumption_says_so(name, tmp_path, caplog):
    value, said = SAID[name]
    assert np.array_equal(read_mask(stored(value, tmp_path / name)), HOLE)
    assert said in caplog.text


@pytest.mark.parametrize("name", REFUSED)
def test_a_mask_that_does_not_say_what_is_white_is_refused(name, tmp_path):
    value, said = REFUSED[name]
    with pytest.raises(UserError, match=said) as error:
        read_mask(stored(value, tmp_path / name))
    assert name in str(error.value)


def test_greys_of_two_and_four_bits_count_as_they_are_stored(tmp_path):
    for bits in (2, 4):
        save(HOLE.astype(np.uint8), tmp_path / "m.png", bits=bits)
        packed = save(palette(HOLE, (0, 0, 0), (9, 9, 9)), tmp_path / f"p{bits}.png", bits=bits)
        assert np.array_equal(read_labels(packed), HOLE)
        grey = tmp_path / f"g{bits}.png"
        grey.write_bytes(few_bits(HOLE.astype(np.uint8), bits))
        with Image.open(grey) as image:
            assert image.mode == "L"
            assert sorted(set(image.tobytes())) == [0, 255 // (2**bits - 1)]
        assert np.array_equal(read_mask(grey), HOLE)
        assert np.array_equal(read_labels(grey), HOLE)


def few_bits(grid: Any, bits: int) -> bytes:
    """A grey PNG of 2 or 4 bits a pixel."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = grid.shape
    each = 8 // bits
    places = np.arange(each)[::-1] * bits
    packed = (grid.reshape(height, width // each, each).astype(int) << places).sum(-1).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_one_value_is_black_or_white(tmp_path, caplog):
    assert not read_mask(save(np.zeros((2, 3), np.uint8), tmp_path / "black.png")).any()
    assert read_mask(save(np.full((2, 3), 255, np.uint8), tmp_path / "white.png")).all()
    assert caplog.text == ""
    assert read_mask(save(np.ones((2, 3), np.uint8), tmp_path / "ones.png")).all()
    assert "holds no value but 1" in caplog.text


@pytest.mark.parametrize("name", ["ramp.png", "soft.npy", "ramp.jpg", "ramp16.png"])
def test_a_threshold_is_a_share_of_white(name, tmp_path, caplog):
    value = {"soft.npy": floats(RAMP) / 255, "ramp16.png": RAMP.astype(np.uint16) * 257}.get(name, RAMP)
    found = read_mask(stored(value, tmp_path / name), threshold=0.5)
    wrong = np.asarray(found) != (RAMP >= 127.5)
    assert wrong.mean() < (0.1 if name.endswith("jpg") else 0.001)
    assert caplog.text == ""
    with pytest.raises(UserError, match="threshold is 2: give a share above 0, at most 1"):
        read_mask(tmp_path / name, threshold=2)


def test_a_threshold_decides_over_faint_masks_and_lossy_noise(tmp_path, caplog):
    faint = save(HOLE.astype(np.uint8) * 30, tmp_path / "faint.png")
    assert not read_mask(faint, threshold=0.5).any()
    assert "is black everywhere at the threshold 0.5" in caplog.text
    noise = save(np.random.default_rng(0).integers(0, 2, (16, 16), np.uint8), tmp_path / "n.jpg", quality=100)
    assert not read_mask(noise, threshold=0.5).any()
    assert np.array_equal(read_mask(save(HOLE * np.uint8(1), tmp_path / "one.png"), threshold=0.5), HOLE)
    assert "1 is taken for white" in caplog.text


def test_masks_given_in_python_are_read_alike(caplog):
    for value in (
        floats(HOLE),
        HOLE.astype(np.int64),
        palette(~HOLE, (255, 255, 255), (0, 0, 0)),
        [palette(HOLE, (0, 0, 0), (255, 255, 255))],
    ):
        assert np.array_equal(given_mask(value, "known")[0, 0], HOLE)
    assert caplog.text == ""
    with pytest.raises(
        UserError, match=r"known holds 48 values .* or compare it first, as in known >= 127.5"
    ):
        given_mask(RAMP, "known")
    assert given_labels(palette(HOLE * 7, *[(9, 9, 9)] * 8), "labels").max() == 7
    with pytest.raises(UserError, match=r"labels is coloured \(2 colours: #0000ff, #ff0000\)"):
        given_labels(palette(HOLE, (255, 0, 0), (0, 0, 255)).convert("RGB"), "labels")


def test_turning_is_that_of_the_tag(tmp_path):
    grid = np.arange(24, dtype=np.uint8).reshape(4, 6)
    for tag in range(1, 9):
        for suffix in ("png", "tif", "webp"):
            how = {"webp": {"lossless": True}, "tif": {"compression": "tiff_lzw"}, "png": {}}[suffix]
            path = save(grid, tmp_path / f"{tag}.{suffix}", tag, **how)
            with Image.open(path) as image:
                seen = np.asarray(ImageOps.exif_transpose(image).convert("L"))
            layout = layout_of(path)
            assert layout is not None
            assert (layout.stored, layout.tag, layout.seen) == ((4, 6), tag, seen.shape)
            if suffix == "png":
                assert np.array_equal(turned(grid, tag), seen)
                assert np.array_equal(read_labels(path), seen)  # the map's own tag


@pytest.fixture
def photo(tmp_path) -> Callable[[int], tuple[Path, Any]]:
    """A picture that is seen 16 x 24 with this tag, red in one corner, and the red pixels as it is stored."""

    def make(tag: int) -> tuple[Path, Any]:
        back = {6: 8, 8: 6}.get(tag, tag)
        seen = np.full((24, 16, 3), 90, np.uint8)
        seen[2:9, 1:6] = (250, 0, 0)
        grid = np.stack([turned(band, back) for band in seen.transpose(2, 0, 1)], -1)
        return save(grid, tmp_path / f"photo{tag}.png", tag), grid[..., 0] == 250

    return make


def unmeasured(path: Path) -> Any:
    """Where nothing was measured, which is mid-grey."""
    return (pixels(path) == 128).all(-1) | (pixels(path) == 127).all(-1)


@pytest.mark.parametrize("tag", range(2, 9))
def test_a_mask_is_turned_with_its_picture(tag, run, photo, prior, tmp_path):
    path, red = photo(tag)
    seen = np.zeros((24, 16), bool)
    seen[2:9, 1:6] = True
    on_stored = save(~red, tmp_path / "stored.png")
    words = ["degrade", path, "--by", "mask", "--prior", prior, "--known"]
    found = tmp_path / "out/measured" / path.name
    code, _, err = run(*words, on_stored, "--drawn-on", "stored", "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert np.array_equal(unmeasured(found), seen)
    code, _, err = run(*words, on_stored, "--out", tmp_path / "b")
    if tag > 4:  # the sizes tell
        assert (code, err.count("\n")) == (0, 1)
        assert "--known stored.png: is drawn on the picture as it is stored: it is turned" in err
        assert np.array_equal(unmeasured(tmp_path / "b/measured" / path.name), seen)
    else:
        assert code == 1
        assert f"{path.name} is turned by its orientation tag {tag}, and stored.png fits it as it is" in err
        assert "add --drawn-on seen if" in err
    on_seen = save(~seen, tmp_path / "seen.png")
    asked = [] if tag > 4 else ["--drawn-on", "seen"]
    assert run(*words, on_seen, *asked, "--out", tmp_path / "c")[0] == 0
    assert np.array_equal(unmeasured(tmp_path / "c/measured" / path.name), seen)
    if tag < 5:
        return
    code, _, err = run(*words, on_stored, "--drawn-on", "seen", "--out", tmp_path / "d")
    assert code == 1
    assert f"the mask stored.png is 24x16 and the picture {path.name} 16x24, stored as 24x16" in err


def test_a_tag_of_the_masks_own_turns_it_and_a_mask_without_a_side_needs_no_answer(
    run, photo, prior, tmp_path
):
    path, red = photo(3)
    words = ["degrade", path, "--by", "mask", "--prior", prior, "--known"]
    own = save(~red * np.uint8(255), tmp_path / "own.png", 3)
    assert run(*words, own, "--out", tmp_path / "a")[::2] == (0, "")
    assert unmeasured(tmp_path / "a/measured" / path.name)[2:9, 1:6].all()
    frame = np.zeros((24, 16), bool)
    frame[4:-4, 4:-4] = True
    assert run(*words, save(frame, tmp_path / "frame.png"), "--out", tmp_path / "b")[::2] == (0, "")


def test_a_mask_fits_its_picture_or_the_size_worked_at(run, prior, tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (("a", (48, 32)), ("b", (30, 40))):
        save(rng.integers(0, 255, (*size, 3), np.uint8), tmp_path / "in" / f"{name}.png")
        save(np.arange(size[1]) % 2 * np.ones((size[0], 1)) > 0, tmp_path / "masks" / f"{name}.png")
    words = ["degrade", tmp_path / "in", "--by", "mask", "--prior", prior]
    assert run(*words, "--known", tmp_path / "masks", "--out", tmp_path / "o1")[::2][0] == 0
    one = save(np.ones((24, 16), bool), tmp_path / "one.png")
    assert run(*words, "--known", one, "--out", tmp_path / "o2")[0] == 0
    one = save(np.ones((48, 32), bool), tmp_path / "big.png")  # fits the first alone
    code, _, err = run(*words, "--known", one, "--out", tmp_path / "o3")
    wanted = "--known: the mask big.png is 32x48 and the picture b.png 40x30: give one of that size, or "
    assert (code, err) == (1, f"headwater: {wanted}of the 16x24 worked at\n")
    images = np.stack([pixels(tmp_path / "in/a.png")] * 2)
    np.savez(tmp_path / "set.npz", images=images)
    words[1] = tmp_path / "set.npz"
    assert run(*words, "--known", one, "--out", tmp_path / "o4")[0] == 0
    np.save(tmp_path / "wide.npy", np.ones((32, 48), bool))
    code, _, err = run(*words, "--known", tmp_path / "wide.npy", "--out", tmp_path / "o5")
    assert code == 1
    assert "the mask wide.npy is 48x32 and the picture set-00000 32x48" in err


def test_truth_is_compared_with_the_pictures_that_were_searched(run, prior, tmp_path):
    picture = save(np.full((24, 40, 3), 90, np.uint8), tmp_path / "in/a.png")
    truth = np.zeros((24, 40), np.uint8)
    truth[4:9, 14:20] = 1
    save(truth, tmp_path / "truth/a.png")
    words = ["--prior", prior, "--image", picture, "--level", 1, "--out", tmp_path / "out"]
    assert run("apply", "anoddpm", *words)[0] == 0
    evaluate = ["evaluate", "anoddpm", "--json", "--result", tmp_path / "out", "--truth", tmp_path / "truth"]
    code, out, err = run(*evaluate)
    assert (code, err) == (0, "")
    assert 0 <= json.loads(out)["pixel_auroc"] <= 1
    save(np.zeros((24, 40), np.uint8), tmp_path / "truth/a.png")
    code, out, err = run(*evaluate)
    assert code == 0
    assert err.startswith("headwater: --truth: no mask has a white pixel, so that pixel_auroc, best_dice and")
    assert json.loads(out)["pixel_auroc"] is None
    assert json.loads(out)["best_dice"] is None
    save(truth.T, tmp_path / "truth/a.png")
    code, _, err = run(*evaluate)
    assert code == 1
    assert "--truth: the mask a.png is 24x40 and the picture a.png 40x24" in err
    picture.unlink()
    code, _, err = run(*evaluate)
    assert code == 0
    assert "--truth a.png: is of another shape than the results, and there is no picture to compare it" in err
    np.save(tmp_path / "out/map/a.npy", np.zeros((1, 5, 5)))
    code, _, err = run(*evaluate)
    assert code == 1
    assert "a.npy has shape (1, 5, 5): give a map of shape (1, 24, 16), the size of the pictures here" in err


def test_true_pictures_have_the_proportions_of_those_that_were_worked_on(run, prior, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (24, 36, 3), np.uint8)
    picture = save(pixels, tmp_path / "a.png", 6)  # seen 24 x 36
    words = ["--prior", prior, "--image", picture, "--level", 1, "--steps", 1, "--out", tmp_path / "out"]
    assert run("apply", "diffpure", *words)[0] == 0
    evaluate = ["evaluate", "diffpure", "--json", "--result", tmp_path / "out", "--truth"]
    assert run(*evaluate, picture)[::2] == (0, "")
    larger = save(np.kron(pixels, np.ones((2, 2, 1), np.uint8)), tmp_path / "b/a.png", 6)
    assert run(*evaluate, larger)[::2] == (0, "")
    code, _, err = run(*evaluate, save(pixels, tmp_path / "c/a.png"))  # the tag is lost
    assert code == 1
    assert "--truth: the picture a.png is 36x24 and the picture a.png 24x36, stored as 36x24 with the" in err


@pytest.fixture
def parts(prior, tmp_path) -> Callable[..., list[object]]:
    """The words of a short fit on three pictures, of whose label maps the values are given."""

    def words(*values: int, suffix: str = "png", out: str = "fit") -> list[object]:
        for i in range(3):
            save(np.full((24, 16, 3), 60 * i + 40, np.uint8), tmp_path / "image" / f"w{i}.png")
            grid = np.full((24, 16), values[0], np.int32)
            grid[5:15, 3:9] = values[i % len(values)]
            grid[7:12, 4:8] = values[-1 - i // 2]
            (tmp_path / "labels").mkdir(exist_ok=True)
            stored(grid if suffix == "npy" else grid.astype(np.uint8), tmp_path / f"labels/w{i}.{suffix}")
        given = ["--prior", prior, "--image", tmp_path / "image", "--labels", tmp_path / "labels"]
        return ["fit", "ddpm-segmentation", *given, *FAST, "--overwrite", "--out", tmp_path / out]

    return words


def classes(folder: Path) -> int:
    return json.loads((folder / "fitted/config.json").read_text())["config"]["classes"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 128, 255), "0, 128, 255"),
        ((0, 85, 170, 255), "0, 85, 170, 255"),
        ((1, 2), "1, 2"),
        ((0, 17, 34, 51), "0, 17, 34, 51"),
    ],
)
def test_values_that_number_no_classes_are_asked_about(values, words, run, parts, tmp_path):
    code, _, err = run(*parts(*values))
    assert code == 1
    said = (
        f"--labels: these label maps hold the values {words}, which do not number classes 0, 1, 2 and so on: "
    )
    assert f"{said}add --label-values {words.replace(',', '')}, the value of each class" in err
    if len(values) == 3:
        assert run(*parts(*values), "--label-values", *values)[0] == 0
        assert classes(tmp_path / "fit") == len(values)


def test_what_was_fitted_says_how_the_truth_is_read(run, parts, tmp_path):
    assert run(*parts(0, 128, 255), "--label-values", 0, 128, 255)[0] == 0
    words = ["--fitted", tmp_path / "fit", "--image", tmp_path / "image", "--out", tmp_path / "out"]
    assert run("apply", "ddpm-segmentation", *words)[0] == 0
    drawn = tmp_path / "out/labels/w2.png"
    save(pixels(tmp_path / "labels/w2.png") // 127, drawn)  # a result that is right
    for i in (0, 1):
        (tmp_path / f"labels/w{i}.png").unlink()
    evaluate = ["evaluate", "ddpm-segmentation", "--json", "--result", tmp_path / "out", "--truth"]
    code, out, _ = run(*evaluate, tmp_path / "labels")
    assert (code, json.loads(out)["accuracy"]) == (0, 1)
    save(np.full((24, 16), 7, np.uint8), tmp_path / "labels/w2.png")
    code, _, err = run(*evaluate, tmp_path / "labels")
    assert code == 1
    assert "w2.png holds the value 7, which is not among the values of classes 0, 128, 255" in err


def test_truth_may_lack_classes_that_the_results_have(run, parts, tmp_path):
    assert run(*parts(0, 1, 2))[0] == 0
    words = ["--fitted", tmp_path / "fit", "--image", tmp_path / "image", "--out", tmp_path / "out"]
    assert run("apply", "ddpm-segmentation", *words)[0] == 0
    for i in range(3):
        save(np.arange(24 * 16, dtype=np.uint8).reshape(24, 16) % 3, tmp_path / f"out/labels/w{i}.png")
        save((np.arange(24 * 16) % 2 * 2).reshape(24, 16).astype(np.uint8), tmp_path / f"labels/w{i}.png")
    evaluate = ["evaluate", "ddpm-segmentation", "--json", "--result", tmp_path / "out", "--truth"]
    code, _, err = run(*evaluate, tmp_path / "labels")
    assert (code, err) == (0, "")
    save(np.full((24, 16), 128, np.uint8), tmp_path / "labels/w1.png")
    assert "hold the values 0, 2, 128" in run(*evaluate, tmp_path / "labels")[2]


@pytest.mark.parametrize("suffix", ["png", "npy"])
def test_numbered_label_maps_need_no_answer_whatever_one_file_lacks(suffix, run, parts, tmp_path):
    assert run(*parts(0, 1, 2, suffix=suffix))[::2] == (0, "")
    assert classes(tmp_path / "fit") == 3
    code, _, err = run(*parts(0, 255, suffix=suffix))
    assert code == 0
    assert "--labels: is black and white: white is taken for class 1" in err
    assert classes(tmp_path / "fit") == 2
    code, _, err = run(*parts(0, 1, 255, suffix=suffix), "--label-values", 0, 1)
    assert code == 0
    assert "255 is not among the label values: it counts as unlabelled" in err


def test_a_class_without_a_pixel_counts_if_it_is_named(run, parts, tmp_path):
    assert "hold the values 0, 8, 15" in run(*parts(0, 8, 15))[2]
    code, _, err = run(*parts(0, 8, 15), "--label-values", *range(16))
    assert code == 0
    assert "labels: hold the values 0, 8, 15: classes without a pixel count too, 16 in all" in err
    assert classes(tmp_path / "fit") == 16


def test_colours_number_no_classes(run, parts, tmp_path):
    words = parts(0, 1)
    halves = np.arange(16) // 8 * np.ones((24, 1))
    save(palette(halves, (255, 0, 0), (0, 0, 255)).convert("RGB"), tmp_path / "labels/w1.png")
    code, _, err = run(*words)
    assert code == 1
    assert (
        "w1.png is coloured (2 colours: #0000ff, #ff0000), and no numbers tell which class is which: " in err
    )
    first = np.zeros((24, 16), np.uint8)
    first[3:9] = 1
    for i, colour in enumerate([(255, 0, 0), (0, 255, 0), (255, 0, 0)]):
        save(palette(first, (0, 0, 0), colour), tmp_path / f"labels/w{i}.png")
    code, _, err = run(*words)
    assert code == 1
    assert (
        "the palettes of these label maps differ, index 1 is #ff0000 in w0.png and #00ff00 in w1.png" in err
    )
    assert run(*words, "--label-values", 0, 1)[0] == 0


def test_a_label_map_is_turned_with_its_picture(run, parts, tmp_path):
    words = parts(0, 1)
    save(np.full((16, 24, 3), 60, np.uint8), tmp_path / "image/w1.png", 6)
    save(np.ones((16, 24), np.uint8), tmp_path / "labels/w1.png")
    code, _, err = run(*words)
    assert code == 0
    assert "--labels w1.png: is drawn on the picture as it is stored: it is turned" in err
    save(np.ones((20, 24), np.uint8), tmp_path / "labels/w1.png")
    code, _, err = run(*words)
    assert code == 1
    assert (
        "label map w1.png is 24x20 and the picture w1.png 16x24, stored as 24x16 with the orientation" in err
    )


def test_labels_read_in_python_say_what_they_are_taken_for(tmp_path, caplog):
    path = save(np.array([[0, 128, 255]], np.uint8), tmp_path / "l.png")
    assert read_labels(path).tolist() == [[0, 128, -1]]
    assert "holds the values 0, 128, 255, which do not number classes from 0" in caplog.text
    assert read_labels(path, values=(0, 128, 255)).tolist() == [[0, 1, 2]]
    with pytest.raises(
        UserError, match="holds the value 128, which is not among the values of classes 0, 255"
    ):
        read_labels(path, values=(0, 255))
    caplog.clear()
    maps = torch.tensor([[[0, 128], [0, 128]]])
    method = hw.DDPMSegmentation(ensemble=1, epochs=1, smallest=1)
    method.fit_maps([torch.zeros(1, 2, 2, 2)], maps, hw.Run(progress=False))
    assert "hold the values 0, 128: classes without a pixel count too, 129 in all" in caplog.text
