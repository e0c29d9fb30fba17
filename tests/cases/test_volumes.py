"""NIfTI volumes as programs write them: read right, by an assumption that is said, or refused."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Unpack

import nibabel
import numpy as np
import pytest
import torch
import yaml

from headwater.cli import main
from headwater.cli.volumes import write_volumes
from headwater.data import (
    UnreadableError,
    open_dataset,
    open_kspace,
    open_magnitude,
    read_volume,
    save_labels,
    save_picture,
)
from headwater.data.volumes import Grid, nifti
from headwater.errors import UserError, need
from headwater.methods.base import Images, Kind, Labels, Map, Mask, Method, Paper
from headwater.methods.catalogue import METHODS, Entry
from headwater.sampling import RunOptions
from headwater.training import Recipe
from headwater.training.pictures import gather

SIDE = 16
PLAIN = np.diag([1.0, 1, 1, 1])


@dataclass(frozen=True)
class Seen:
    """What `Look` returns."""

    image: Images
    bright: Mask
    part: Labels
    level: Map


@dataclass(frozen=True)
class Look(Method):
    """The pictures as they come in."""

    paper: ClassVar[Paper] = Paper("A title", "A. Author", 2020, "0000.00000", "It works.")
    shape: ClassVar[tuple[int, int, int]] = (1, SIDE, SIDE)
    stops: ClassVar[bool] = False

    def apply(self, image: Images, **how: Unpack[RunOptions]) -> Seen:
        need(not (Look.stops and how.get("first")), "stopped")
        bright = image > 0
        return Seen(image, bright, bright[:, 0].long(), image.mean(1, keepdim=True))

    def evaluate(self, image: Images, truth: Images) -> dict[str, float]:
        return {"mse": float((image - truth).square().mean())}


class _Here(Entry):
    def load(self) -> type[Method]:
        return Look


@pytest.fixture(autouse=True)
def _catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "look", _Here("test", "", "Look", "made up"))


def head(shape: tuple[int, ...] = (6, 7, 5), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float32) + 0.5


def saved(path: Path, values: np.ndarray, affine: np.ndarray | None = PLAIN, **header: Any) -> Path:
    """A NIfTI file; `header` sets fields of its header as they stand."""
    image = nibabel.Nifti1Image(values, affine)
    for name, value in header.items():
        image.header[name] = value
    if header:
        path.write_bytes(image.header.binaryblock + b"\0" * 4 + values.tobytes("F"))
    else:
        nibabel.save(image, path)
    return path


def notes_of(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.name == "headwater")


@pytest.mark.parametrize(
    "name", ["a.nii", "A.NII", "a.nii.gz", "A.NII.GZ", "a.Nii.gz", "packed.nii", "plain.nii.gz"]
)
def test_the_bytes_decide_what_a_file_is(tmp_path: Path, name: str) -> None:
    raw = nibabel.Nifti1Image(head(), PLAIN).to_bytes()
    packed = name.lower().endswith(".gz") != (name in ("packed.nii", "plain.nii.gz"))
    (tmp_path / name).write_bytes(gzip.compress(raw) if packed else raw)
    assert torch.equal(read_volume(tmp_path / name).values, torch.from_numpy(head()))
    assert len(open_dataset(tmp_path / name)) == 5
    assert len(open_magnitude(tmp_path / name)) == 5


def test_pairs_nifti_2_big_endian_and_whole_numbers(tmp_path: Path) -> None:
    values = (head() * 1000).astype(np.int16)
    wanted = torch.from_numpy(values.astype(np.float32))
    nibabel.save(nibabel.Nifti1Pair(values, PLAIN), tmp_path / "pair.img")
    nibabel.save(nibabel.Nifti1Pair(values, PLAIN), tmp_path / "packed.img.gz")
    nibabel.save(nibabel.Nifti2Image(values, PLAIN), tmp_path / "two.nii")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nibabel.save(nibabel.Nifti1Image(values, PLAIN, header), tmp_path / "big.nii.gz")
    for name in ("pair.img", "pair.hdr", "packed.hdr.gz", "two.nii", "big.nii.gz"):
        assert torch.equal(read_volume(tmp_path / name).values, wanted), name
        assert len(open_dataset(tmp_path / name)) == 5
    for dtype in (np.uint8, np.uint16, np.int32, np.int64, np.float64):
        few = (head() * 50).astype(dtype)
        nibabel.save(nibabel.Nifti1Image(few, PLAIN, dtype=dtype), tmp_path / "t.nii")
        assert torch.equal(read_volume(tmp_path / "t.nii").values, torch.from_numpy(few.astype(np.float32)))
    (tmp_path / "pair.img").unlink()
    with pytest.raises(UnreadableError, match=r"pair\.hdr is half of a pair: put its \.img file beside it"):
        read_volume(tmp_path / "pair.hdr")


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    stored = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = saved(tmp_path / "a.nii", stored, scl_slope=0.5, scl_inter=10, vox_offset=352, magic=b"n+1")
    assert torch.equal(read_volume(path).values, torch.from_numpy(stored * np.float32(0.5) + 10))


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 7, 5, 1), (6, 7, 5, 1, 1), (6, 7, 1, 1)])
def test_axes_of_one_and_single_slices(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = saved(tmp_path / "a.nii", head(shape))
    assert torch.equal(read_volume(path).values.flatten(), torch.from_numpy(head(shape).ravel()))
    assert len(open_dataset(path)) == (5 if 5 in shape else 1)


def test_several_volumes_are_refused_and_the_advice_works(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", head((6, 7, 5, 3)))
    with pytest.raises(
        UnreadableError, match=r"shape \(6, 7, 5, 3\), 3 volumes: give one.*slicer\[\.\.\., 0\]"
    ):
        read_volume(path)
    nibabel.save(nibabel.load(path).slicer[..., 0], tmp_path / "one.nii")
    assert read_volume(tmp_path / "one.nii").values.shape == (6, 7, 5)
    vectors = saved(tmp_path / "v.nii", head((6, 7, 5, 1, 3)))
    with pytest.raises(UnreadableError, match=r"slicer\[\.\.\., 0, 0\]"):
        read_volume(vectors)


def test_complex_numbers_give_their_magnitude_and_it_is_said(tmp_path: Path, caplog) -> None:
    values = (head() * np.exp(1j * head(seed=1))).astype(np.complex64)
    path = saved(tmp_path / "a.nii", values)
    np.testing.assert_allclose(read_volume(path).values, head(), rtol=1e-6)
    assert "a.nii: holds complex numbers: their magnitude is taken, and the phase is left out" in notes_of(
        caplog
    )


def test_colours_are_refused(tmp_path: Path) -> None:
    values = np.zeros((6, 7, 5), [(part, "u1") for part in "RGB"])
    with pytest.raises(
        UnreadableError, match=r"a\.nii holds colours and no values: save its slices as pictures"
    ):
        read_volume(saved(tmp_path / "a.nii", values))


@pytest.mark.parametrize(("low", "said"), [(0.5, "taken for 0,"), (-3.0, "taken for -3,")])
def test_nan_is_background_and_it_is_said(tmp_path: Path, caplog, low: float, said: str) -> None:
    values = head()
    values[0, 0, 0] = low
    values[2:4] = np.nan
    found = read_volume(saved(tmp_path / "a.nii.gz", values)).values
    assert torch.equal(found[2:4], torch.full((2, 7, 5), min(low, 0.0)))
    assert torch.equal(found[4:], torch.from_numpy(values[4:]))
    assert f"holds NaN: {said} as background" in notes_of(caplog)


@pytest.mark.parametrize(
    ("value", "said"), [(np.inf, "infinite or beyond 32-bit"), (1e300, "infinite or beyond")]
)
def test_infinite_values_are_refused(tmp_path: Path, value: float, said: str) -> None:
    values = head().astype(np.float64)
    values[1, 1, 1] = value
    with pytest.raises(UnreadableError, match=said):
        read_volume(saved(tmp_path / "a.nii", values))


def test_other_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 300)
    (tmp_path / "a.nii").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 300)
    for name in ("a.DCM", "a.mgz", "a.nrrd", "a.mha", "a.nii.txt"):
        (tmp_path / name).write_bytes(b"x" * 400)
    dicom = r"is a DICOM file: convert it to NIfTI \(all files of the series, by dcm2niix\)"
    for name, said in {
        "IM0001": dicom,
        "a.nii": dicom,
        "a.DCM": dicom,
        "a.mgz": "is a FreeSurfer file: convert it",
        "a.nrrd": "is a NRRD file",
        "a.mha": "is a MetaImage file",
        "a.nii.txt": "is no source of pictures",
    }.items():
        with pytest.raises(ValueError, match=said):
            open_dataset(tmp_path / name)
    nibabel.save(nibabel.AnalyzeImage(head(), PLAIN), tmp_path / "old.img")
    with pytest.raises(
        UnreadableError, match="is an Analyze file, which does not say its left from its right"
    ):
        open_dataset(tmp_path / "old.img")
    (tmp_path / "no.nii").write_bytes(b"x" * 400)
    with pytest.raises(UnreadableError, match="is not a NIfTI file: convert it"):
        read_volume(tmp_path / "no.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_header_that_promises_more_than_there_is_allocates_nothing(tmp_path: Path, name: str) -> None:
    raw = saved(tmp_path / "whole.nii", head(), dim=[3, 700, 700, 700, 1, 1, 1, 1]).read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    with pytest.raises(UnreadableError, match=r"is cut short \(its header promises 1372000000 bytes\)"):
        read_volume(tmp_path / name)


def test_a_file_without_a_place_says_what_was_assumed(tmp_path: Path, caplog) -> None:
    path = saved(tmp_path / "a.nii", head(), None)
    found = read_volume(path)
    assert torch.equal(found.values, torch.from_numpy(head()[::-1].copy()))  # the first axis runs to the left
    assert "its sform and qform codes are 0): its axes are taken to run to the left" in notes_of(caplog)


def test_forms_that_disagree_and_askew_volumes_are_said(tmp_path: Path, caplog) -> None:
    image = nibabel.Nifti1Image(head(), PLAIN)
    image.set_sform(PLAIN, 1)
    image.set_qform(np.array([[1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), 1)
    nibabel.save(image, tmp_path / "a.nii")
    assert np.array_equal(read_volume(tmp_path / "a.nii").affine, PLAIN)
    assert "a.nii: has an sform and a qform that place it differently: the sform is taken" in notes_of(caplog)
    caplog.clear()
    turn = np.radians(30)
    askew = np.array(
        [[np.cos(turn), -np.sin(turn), 0, 0], [np.sin(turn), np.cos(turn), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    read_volume(saved(tmp_path / "b.nii", head(), askew))
    assert notes_of(caplog).endswith(
        "b.nii: lies 30 degrees askew: its slices are those along its own axes, nearest to axial"
    )


def test_a_plain_volume_is_read_without_a_word(tmp_path: Path, caplog) -> None:
    open_dataset(saved(tmp_path / "a.nii.gz", head()), (1, SIDE, SIDE))
    image = nibabel.Nifti1Image(head(), np.diag([-0.94, 0.94, 3, 1]))
    image.set_qform(image.affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "b.nii.gz")
    open_dataset(tmp_path / "b.nii.gz", (1, SIDE, SIDE))
    said = [line for line in notes_of(caplog).splitlines() if "units of its own" not in line]
    assert said == []  # but what is black and white of it


@pytest.mark.parametrize(
    ("unit", "mm"), [("meter", 2000.0), ("micron", 0.002), ("mm", 2.0), ("unknown", 2.0)]
)
def test_units_of_length_are_respected(tmp_path: Path, caplog, unit: str, mm: float) -> None:
    image = nibabel.Nifti1Image(head(), np.diag([2.0, 2, 2, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(np.diag(read_volume(tmp_path / "a.nii").affine), [mm, mm, mm, 1])
    said = "gives voxels of 2000 x 2000 x 2000 mm: check the voxel size and unit" in notes_of(caplog)
    assert said == (unit == "meter")


def test_a_voxel_size_of_nothing_is_refused(tmp_path: Path, capfd) -> None:
    sizes = {"zero": [1, 0, 1, 1, 1, 0, 0, 0], "nan": [1, np.nan, 1, 1, 1, 0, 0, 0]}
    for name, pixdim in sizes.items():
        path = saved(tmp_path / f"{name}.nii", head(), None, pixdim=pixdim, vox_offset=352, magic=b"n+1")
        with pytest.raises(
            UnreadableError, match=r"voxels of (0|nan) x 1 x 1 mm that span no volume: set the voxel"
        ):
            read_volume(path)
    path = saved(tmp_path / "flat.nii", head(), None, vox_offset=352, magic=b"n+1", sform_code=1)
    with pytest.raises(UnreadableError, match="span no volume"):
        read_volume(path)
    path = saved(tmp_path / "ok.nii", head(), PLAIN, pixdim=sizes["zero"], vox_offset=352, magic=b"n+1")
    read_volume(path)  # its sform says all
    assert capfd.readouterr().err == ""  # nor does nibabel say anything


def test_a_slice_that_is_not_axial_and_empty_volumes_are_refused(tmp_path: Path, caplog) -> None:
    with pytest.raises(UnreadableError, match=r"is 1 x 7 x 5 voxels from left to right.*save that slice"):
        open_dataset(saved(tmp_path / "a.nii", head((1, 7, 5))))
    with pytest.raises(UnreadableError, match="is 0 everywhere: give another volume"):
        open_dataset(saved(tmp_path / "b.nii", np.zeros((4, 4, 4), np.float32)))
    open_dataset(saved(tmp_path / "c.nii", np.full((4, 4, 4), 7, np.float32)))
    assert "c.nii: is 7 everywhere, so that nothing can be seen in it" in notes_of(caplog)


def test_pixels_are_made_square_before_anything_is_cropped(tmp_path: Path, caplog) -> None:
    values = np.zeros((40, 20, 3), np.float32)
    values[10:30, 5:15] = 1  # 20 x 10 voxels of 1 x 2 mm: a square
    values[0, 0] = 2
    found = open_dataset(saved(tmp_path / "a.nii", values, np.diag([1.0, 2, 2, 1])), (1, 20, 20))[0][0]
    assert (
        "a.nii: has voxels of 1 x 2 mm in the plane: its slices are resampled from 40 x 20 to 40 x 40"
        in notes_of(caplog)
    )
    inside = found > (float(found[10, 10]) + float(found[0, 19])) / 2
    rows, columns = inside.any(1).sum(), inside.any(0).sum()
    assert (int(rows), int(columns)) == (10, 10)
    caplog.clear()
    open_dataset(saved(tmp_path / "b.nii", head((4, 4, 40)), np.diag([5.0, 5, 1, 1])))
    assert "voxels of 5 x 5 mm in axial slices that are 1 mm thick: another plane is finer" in notes_of(
        caplog
    )


def field(points: np.ndarray) -> np.ndarray:
    """A value for every place (..., 3) in millimetres that tells it from all others nearby."""
    return 400 + points @ np.array([3.0, 2.0, 0.5])


def places(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Millimetres (X, Y, Z, 3) of all voxels."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


AFFINES = {
    "upright": np.array([[1, 0, 0, -12], [0, 1, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1.0]]),
    "radiological": np.array([[-1, 0, 0, 12], [0, 1, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1.0]]),
    "sagittal": np.array([[0, 0, 1.0, -12], [1, 0, 0, -20], [0, -1, 0, 9], [0, 0, 0, 1]]),
    "oblique": np.array([[0.98, -0.2, 0, -12], [0.2, 0.98, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1.0]]),
    "not square": np.array([[1, 0, 0, -12], [0, 2.0, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1.0]]),
    "left-handed": np.array([[-1, 0, 0, 12], [0, -1, 0, 20], [0, 0, -3, 7], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("lie", AFFINES)
def test_results_are_a_volume_that_lies_over_the_input(tmp_path: Path, lie: str) -> None:
    shape = (41, 4, 32) if lie == "sagittal" else (32, 41, 4)
    volume = field(places(AFFINES[lie], shape)).astype(np.float32)
    path, out = saved(tmp_path / "head.nii.gz", volume, AFFINES[lie]), tmp_path / "out"
    assert main(["apply", "look", "--image", str(path), "--out", str(out), "--device", "cpu", "--json"]) == 0
    white = float(np.quantile(volume, 0.995))
    level, image = (nibabel.load(out / key / "head.nii.gz") for key in ("level", "image"))
    wanted = field(places(level.affine, level.shape))
    assert level.shape[:2] == (SIDE, SIDE)
    # Edges are left out: what lies beyond them is not linear. The brightest values are clipped.
    inside = np.zeros(level.shape, bool)
    inside[2:-2, 2:-2] = True
    inside &= wanted < white - 5
    assert inside.sum() > 100
    found = (level.get_fdata() + 1) / 2 * white
    np.testing.assert_allclose(found[inside], wanted[inside], atol=0.02)
    np.testing.assert_allclose(image.get_fdata()[inside], wanted[inside], atol=white / 255)
    assert np.array_equal(image.affine, level.affine)
    assert image.header.get_xyzt_units()[0] == "mm"
    bright, part = (np.asarray(nibabel.load(out / k / "head.nii.gz").dataobj) for k in ("bright", "part"))
    assert bright.dtype == part.dtype == np.uint8
    np.testing.assert_array_equal(bright, level.get_fdata() > 0)
    np.testing.assert_array_equal(part, bright)


def test_volumes_are_recorded_are_there_after_resume_and_are_the_same_again(
    tmp_path: Path, monkeypatch
) -> None:
    path = saved(tmp_path / "head.nii.gz", head((20, 20, 5)), np.diag([2.0, 2, 2, 1]))
    words = ["apply", "look", "--image", str(path), "--device", "cpu", "--batch", "2", "--json", "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    monkeypatch.setattr(Look, "stops", True)
    assert main([*words, str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out/image/head.nii.gz").exists()
    monkeypatch.setattr(Look, "stops", False)
    assert main([*words, str(tmp_path / "out"), "--resume"]) == 0
    outputs = yaml.safe_load((tmp_path / "out/run.yaml").read_text())["outputs"]
    for key in ("image", "bright", "part", "level"):
        one, other = ((tmp_path / o / key / "head.nii.gz").read_bytes() for o in ("whole", "out"))
        assert one == other
        assert outputs[f"{key}/head.nii.gz"] == hashlib.sha256(one).hexdigest()
    assert main(["rerun", str(tmp_path / "out"), "--json"]) == 0


def test_pictures_of_no_volume_make_none(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 20, 20), np.uint8))
    assert (
        main(["apply", "look", "--image", str(tmp_path / "a.npy"), "--out", str(tmp_path / "out"), "--json"])
        == 0
    )
    assert not list((tmp_path / "out").rglob("*.nii*"))


def test_python_users_get_the_place_of_slices(tmp_path: Path) -> None:
    path = saved(tmp_path / "head.nii", head((24, 30, 4)), AFFINES["upright"])
    found = open_dataset(path, (1, 8, 8))
    assert found.grid is not None
    # 24 of 30 rows are kept, from the fourth on, and three by three become one.
    np.testing.assert_allclose(found.grid.affine @ [0, 0, 0, 1], [-12 + 1, -20 + 3 + 1, 7, 1])
    np.testing.assert_allclose(found.grid.affine @ [7, 7, 3, 1], [-12 + 22, -20 + 3 + 22, 16, 1])
    stored = open_magnitude(path)
    np.testing.assert_allclose(stored.affine(2) @ [1, 2, 0, 1], AFFINES["upright"] @ [1, 2, 2, 1])


def test_a_folder_of_volumes_is_all_their_slices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = tmp_path / "scans"
    (scans / "more").mkdir(parents=True)
    first = saved(scans / "b.nii.gz", head((20, 20, 6)))
    second = saved(scans / "more/a.nii", head((24, 20, 5), 1))
    found = open_dataset(scans, (1, 16, 16), slices=(2, 4))
    assert len(found) == 6
    assert [found.name(i) for i in (0, 2, 5)] == ["b-00002", "b-00004", "more/a-00004"]
    for i, path in ((1, first), (4, second)):
        assert torch.equal(found[i], open_dataset(path, (1, 16, 16), slices=(2, 4))[1])
    assert open_dataset(first, slices=(3, 3)).grid.affine[2, 3] == 3  # pyright: ignore
    with pytest.raises(UserError, match=r"a\.nii has slices 0 to 4, not 2 to 5"):
        open_dataset(scans, (1, 16, 16), slices=(2, 5))
    (scans / "c.nii").write_bytes(b"no volume")
    with pytest.raises(UserError, match=r"c\.nii"):
        open_dataset(scans, (1, 16, 16))
    kept = open_dataset(scans, (1, 16, 16), on_error="skip")
    assert (len(kept), [one.name for one in kept.skipped]) == (11, ["c.nii"])
    (scans / "c.nii").unlink()
    words = ["apply", "look", "--image", str(scans), "--slices", "2", "3", "--out", str(tmp_path / "out")]
    assert main([*words, "--json"]) == 0
    made = {p.relative_to(tmp_path / "out/image").as_posix() for p in (tmp_path / "out/image").rglob("*.png")}
    assert made == {"b-00002.png", "b-00003.png", "more/a-00002.png", "more/a-00003.png"}
    assert main(["rerun", str(tmp_path / "out"), "--json"]) == 0
    saved(second, head((24, 20, 5), 2))
    capsys.readouterr()
    assert main(["rerun", str(tmp_path / "out")]) != 0
    said = capsys.readouterr()
    assert "a.nii" in said.out + said.err
    pictures = gather(Recipe(str(scans), shape=(1, 16, 16), slices=(2, 3)))
    assert len(pictures.images) == 4


def test_colours_slices_left_out_and_other_shapes(tmp_path: Path, caplog) -> None:
    grid = Grid("head", AFFINES["upright"], (4, 6), 0.0, 510.0)
    names, kind = ["head-00000", "head-00001"], Kind("images", "")
    pixels = torch.rand(3, 4, 6) * 2 - 1
    save_picture(pixels, tmp_path / "image/head-00001.png")
    save_labels(torch.full((4, 6), 3), tmp_path / "part/head-00000.png")
    save_picture(torch.zeros(1, 4, 4), tmp_path / "other/head-00000.png")
    outputs = {"image": kind, "part": Kind("labels", ""), "other": kind}
    write_volumes(tmp_path, outputs, names, grid)
    found = np.asarray(nibabel.load(tmp_path / "image/head.nii.gz").dataobj)
    assert (found.shape, found.dtype.names) == ((6, 4, 2), ("R", "G", "B"))
    wanted = ((pixels + 1) * 127.5).round().byte().numpy()
    np.testing.assert_array_equal(found["G"][:, ::-1, 1].T, wanted[1])
    assert found["R"][..., 0].max() == 0
    part = np.asarray(nibabel.load(tmp_path / "part/head.nii.gz").dataobj)
    assert (part[0, 0].tolist(), part.dtype) == ([3, 255], np.uint8)
    assert "head: other has not the shape of the input: no volume is made of it" in notes_of(caplog)


def test_a_sheared_place_is_kept(tmp_path: Path, caplog) -> None:
    sheared = np.array([[1, 0.1, 0, 3], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1.0]])
    (tmp_path / "a.nii.gz").write_bytes(nifti(head(), sheared))
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").affine, sheared, atol=1e-6)
    assert notes_of(caplog) == ""


def test_a_volume_is_no_kspace(tmp_path: Path) -> None:
    with pytest.raises(
        UnreadableError, match=r"a\.nii is a NIfTI file, which holds pictures: save k-space as"
    ):
        open_kspace(saved(tmp_path / "a.nii", head().astype(np.complex64)))
