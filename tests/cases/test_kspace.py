"""k-space as scanners and programs write it: oversampled, of other layouts, damaged, or not there."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch
from torch import Tensor

from contract.specimens import exact_prior
from headwater.cli import main
from headwater.data import UnreadableError, open_kspace, open_magnitude
from headwater.data.stacking import cut, stack_kspace
from headwater.errors import UserError
from headwater.methods.medical.diffuse_recon.method import DiffuseRecon
from headwater.methods.medical.score_mri.method import ScoreMRI
from headwater.models import Prior, PriorConfig, ProcessConfig
from headwater.nets.adm import UNet, UNetConfig
from headwater.operators import Fourier

SIDE = 16
FOURIER = Fourier("centred")


def picture(height: int = SIDE, width: int = SIDE) -> Tensor:
    """A complex disc in the middle, (H, W)."""
    y, x = torch.meshgrid(torch.arange(height) - height // 2, torch.arange(width) - width // 2, indexing="ij")
    disc = ((y**2 + x**2) < 40).float() * (1 + 0.05 * y + 0.02 * x)
    return disc * torch.exp(0.1j * (x + y) + 0.3j)


def of(image: Tensor) -> Tensor:
    """Its k-space."""
    return FOURIER.forward(image[None, None])[0, 0]


def middle(image: Tensor, height: int = SIDE, width: int = SIDE) -> Tensor:
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


def lines(width: int = SIDE) -> Tensor:
    """Whole columns, True = measured, (width,)."""
    return (torch.arange(width) % 3 == 0) | ((torch.arange(width) - width // 2).abs() < 3)


@pytest.fixture(scope="session")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prior of 1 x 16 x 16 pictures with 20 levels; it draws noise."""
    network: dict[str, Any] = {"in_channels": 1, "out_channels": 1, "model_channels": 32, "num_res_blocks": 1}
    config = PriorConfig(
        {"kind": "adm", **network, "channel_mult": [1], "attention_resolutions": []},
        (1, SIDE, SIDE),
        ProcessConfig(T=20),
        predicts="v",
    )
    folder = tmp_path_factory.mktemp("prior") / "tiny"
    built = UNet(UNetConfig(**network, channel_mult=(1,), attention_resolutions=()))
    Prior(built.eval(), config).save_pretrained(folder)
    return folder


def wrote(path: Path, **data: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[name] = values
    return path


def notes_of(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.getMessage() for record in caplog.records if record.name == "headwater")


@pytest.mark.parametrize("size", [(32, 16), (16, 32), (32, 32), (31, 16), (30, 21)])
def test_whole_lines_are_cut_in_the_picture(caplog, size: tuple[int, int]) -> None:
    image = picture(*size)
    y, mask = stack_kspace([of(image), of(image)[None]], None, (SIDE, SIDE), "cpu")
    assert y.shape == (2, 1, SIDE, SIDE)
    assert bool(mask.all())
    torch.testing.assert_close(FOURIER.pseudo_inverse(y)[0, 0], middle(image), atol=1e-5, rtol=1e-5)
    both = "both axes" if min(size) > SIDE else f"its {'first' if size[0] > SIDE else 'second'} axis"
    said = f"k-space: is {size[0]} x {size[1]} and the prior draws 16 x 16: the picture is cut to its middle "
    assert f"{said}along {both}" in notes_of(caplog)


@pytest.mark.parametrize("given", ["zeros", "mask of k-space", "mask of the prior"])
@pytest.mark.parametrize("turned", [False, True])
def test_the_readout_is_cut_and_lines_that_were_left_out_stay_so(given: str, turned: bool) -> None:
    image, measured = picture(32, SIDE), lines()
    k, known = of(image), None
    if given == "zeros":
        k = k * measured
    else:
        known = measured.expand(1, 1, 32 if given == "mask of k-space" else SIDE, SIDE)
    wanted = of(middle(image)) * measured
    if turned:
        k, known, wanted = k.T, None if known is None else known.mT, wanted.T
    y, mask = stack_kspace([k], known, (SIDE, SIDE), "cpu")
    torch.testing.assert_close(y[0, 0], wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(mask[0, 0], (measured[:, None] if turned else measured).expand(SIDE, SIDE))


def test_cutting_keeps_every_coil_and_commutes_with_leaving_out_lines() -> None:
    k = torch.randn(3, 20, 12, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cut(k * lines(12), -2, 10), cut(k, -2, 10) * lines(12))
    images = FOURIER.pseudo_inverse(k[None])[0, :, 5:15]
    torch.testing.assert_close(cut(k, -2, 10), FOURIER.forward(images[None])[0], atol=1e-5, rtol=1e-5)


def test_what_cannot_be_cut_is_refused_and_the_advice_works() -> None:
    image = picture(32, 20)
    said = (
        "k-space is 32 x 20 and this prior draws 16 x 16: its second axis was not measured in whole lines, "
        "so that no part of the picture can be cut out: take a prior of 16 x 20, or cut the fully measured "
        "picture to 16 along this axis and leave out lines after that"
    )
    with pytest.raises(UserError) as refused:
        ScoreMRI(steps=4, brightness=1.0).apply(
            exact_prior((1, SIDE, SIDE)), [of(image) * lines(20)], progress=False
        )
    assert str(refused.value) == said
    stack_kspace([of(image) * lines(20)], None, (16, 20), "cpu")
    y, _ = stack_kspace([cut(of(image), -1, 16) * lines()], None, (SIDE, SIDE), "cpu")
    torch.testing.assert_close(y[0, 0], of(middle(image)) * lines(), atol=1e-5, rtol=1e-5)
    points = torch.rand(32, 20, generator=torch.Generator().manual_seed(0)) < 0.5
    with pytest.raises(UserError, match="its first axis was not measured in whole lines"):
        stack_kspace([of(image) * points], None, (SIDE, SIDE), "cpu")
    with pytest.raises(UserError, match="its first axis was not measured in whole lines"):
        stack_kspace([of(image)], points[None, None], (SIDE, SIDE), "cpu")


def test_too_few_points_are_refused_and_the_advice_works() -> None:
    k = of(picture(16, 10))
    with pytest.raises(
        UserError, match="its second axis has 10 points, too few for 16: take a prior of 16 x 10, or lay"
    ):
        stack_kspace([k], None, (SIDE, SIDE), "cpu")
    stack_kspace([k], None, (16, 10), "cpu")
    _, mask = stack_kspace([torch.nn.functional.pad(k, (3, 3))], None, (SIDE, SIDE), "cpu")
    assert mask[0, 0].all(0).tolist() == [False] * 3 + [True] * 10 + [False] * 3


def test_neighbouring_slices_are_cut_too() -> None:
    volume = torch.stack([of(picture(32, SIDE)) * lines()] * 3)
    method = DiffuseRecon(samples=1, steps=2, refine_steps=1, brightness=1.0)
    found = method.apply(exact_prior((4, SIDE, SIDE)), [volume], device="cpu", progress=False)
    assert found.magnitude[0].shape == (3, SIDE, SIDE)


def test_an_oversampled_file_reaches_its_own_truth(prior: Path, tmp_path: Path, capfd) -> None:
    images = torch.stack([picture(32, SIDE), 2 * picture(32, SIDE)])
    coils = torch.stack([images, 0.5 * images], 1)
    header = (
        "<ismrmrdHeader><encoding><encodedSpace><matrixSize><x>32</x><y>16</y><z>1</z></matrixSize>"
        "<fieldOfView_mm><x>64</x><y>48.0</y><z>5</z></fieldOfView_mm></encodedSpace></encoding></ismrmrdHeader>"
    )
    path = wrote(
        tmp_path / "SCAN.H5",
        kspace=np.stack([np.stack([of(c).numpy() for c in s]) for s in coils]),
        reconstruction_rss=np.stack([middle(i).abs().numpy() * 1.25**0.5 for i in images]),
        ismrmrd_header=np.bytes_(header),
    )
    known = tmp_path / "known.npy"
    np.save(known, np.ones((32, SIDE), bool))
    words = ["--prior", str(prior), "--kspace", str(path), "--steps", "4", "--brightness", "1"]
    words += ["--image", "complex", "--combine", "ssos", "--device", "cpu", "--json"]
    for more in ([], ["--known", str(known)]):
        out = tmp_path / f"out{len(more)}"
        assert main(["apply", "score-mri", *words, *more, "--out", str(out)]) == 0
        assert "is 32 x 16 and the prior draws 16 x 16" in capfd.readouterr().err
        assert "is 32 x 16" in (out / "run.yaml").read_text()
        found = nibabel.load(out / "magnitude/SCAN-00001.nii.gz")
        wanted = 2 * middle(images[0]).abs() * 1.25**0.5
        np.testing.assert_allclose(found.get_fdata()[:, ::-1, 0].T, wanted, atol=1e-4)
        # Columns are 3 mm apart, rows 2 mm.
        np.testing.assert_allclose(np.diag(found.affine), [3, 2, 5, 1])
        assert main(["evaluate", "score-mri", "--result", str(out), "--truth", str(path)]) == 0
        assert float(capfd.readouterr().out.split()[1]) > 80


@pytest.mark.parametrize("axes", [(-2, -1), (-2,), (-1,)])
def test_an_origin_that_is_not_in_the_middle_is_refused_and_the_advice_works(axes: tuple[int, ...]) -> None:
    image = picture()
    moved = torch.fft.ifftshift(of(image), axes) * lines()
    with pytest.raises(
        UserError, match=r"has its origin (in the corner|at the edge), where .* of its energy"
    ) as said:
        stack_kspace([moved], None, (SIDE, SIDE), "cpu")
    assert f"give np.fft.fftshift(k, axes={axes})" in str(said.value)
    stack_kspace([torch.fft.fftshift(moved, axes)], None, (SIDE, SIDE), "cpu")


def test_signs_turn_the_picture_that_numpy_transformed() -> None:
    image = picture()
    k = torch.fft.fftshift(torch.fft.fft2(image, norm="ortho"))
    signs = (-1.0) ** (torch.arange(SIDE)[:, None] + torch.arange(SIDE))
    torch.testing.assert_close(
        FOURIER.pseudo_inverse((k * signs)[None, None])[0, 0].abs(), image.abs(), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("by", "said"), [(1e19, "1e+19"), (1e30, "1e+30"), (1e-20, "1e-20")])
def test_numbers_beyond_32_bits_are_refused_and_the_advice_works(
    tmp_path: Path, by: float, said: str
) -> None:
    k = of(picture()) * (3 / of(picture()).abs().max())
    np.save(tmp_path / "a.npy", k.numpy().astype(np.complex128) * by)
    with pytest.raises(
        UnreadableError, match=rf"a\.npy has values up to 3e.*: divide them by {said[:2]}.?{said[3:]}"
    ):
        open_kspace(tmp_path / "a.npy")[0]
    with pytest.raises(UserError, match="slice 1 of k-space has values up to 3e"):
        stack_kspace([(k.to(torch.complex128) * by).to(torch.complex64)], None, (SIDE, SIDE), "cpu")
    np.save(tmp_path / "a.npy", k.numpy().astype(np.complex128) * by / float(said))
    torch.testing.assert_close(open_kspace(tmp_path / "a.npy")[0], k)
    with pytest.raises(UserError, match="slice 1 of k-space holds values that are not finite"):
        stack_kspace([k * np.nan], None, (SIDE, SIDE), "cpu")


def test_complex_numbers_of_every_kind(tmp_path: Path, caplog) -> None:
    k = of(picture()).numpy()
    wanted = torch.from_numpy(k)
    for name, values in {
        "double": k.astype(np.complex128),
        "big": k.astype(">c8"),
        "fortran": np.asfortranarray(k),
    }.items():
        with (tmp_path / f"{name}.NPY").open("wb") as file:
            np.save(file, values)
        assert torch.equal(open_kspace(tmp_path / f"{name}.NPY")[0], wanted), name
    assert notes_of(caplog) == ""
    halves = np.stack([k.real, k.imag], -1)
    np.save(tmp_path / "halves.npy", halves)
    assert torch.equal(open_kspace(tmp_path / "halves.npy")[0], wanted)
    assert "halves.npy: holds real numbers: the two of its last axis are taken for real and" in notes_of(
        caplog
    )
    wrote(tmp_path / "halves.h5", kspace=halves[None].repeat(2, 0))
    found = open_kspace(tmp_path / "halves.h5")
    assert [torch.equal(k, wanted) for k in found] == [True, True]
    pairs = np.zeros((2, SIDE, SIDE), [("re", "f4"), ("im", "f4")])
    pairs["re"], pairs["im"] = k.real, k.imag
    wrote(tmp_path / "pairs.h5", kspace=pairs)
    assert torch.equal(open_kspace(tmp_path / "pairs.h5")[1], wanted)
    assert "holds pairs (re, im): taken for real and imaginary part" in notes_of(caplog)


def test_sinograms_stay_real(tmp_path: Path, caplog) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 20, 16), np.float32))
    assert len(open_kspace(tmp_path)) == 3
    assert not open_kspace(tmp_path)[0].is_complex()
    assert notes_of(caplog) == ""


def test_coils_on_the_last_axis_are_asked_about_and_the_advice_works(tmp_path: Path) -> None:
    k = torch.stack([of(picture())] * 4, -1).numpy()
    np.save(tmp_path / "a.npy", k)
    said = r"looks like 4 coils or slices on the last axis: save it as \(coils, H, W\), such as np.moveaxis"
    with pytest.raises(UnreadableError, match=said):
        open_kspace(tmp_path / "a.npy")[0]
    np.save(tmp_path / "a.npy", np.moveaxis(k, -1, -3))
    assert open_kspace(tmp_path / "a.npy")[0].shape == (4, SIDE, SIDE)
    wrote(tmp_path / "b.h5", kspace=k[None])
    with pytest.raises(UnreadableError, match=r"b\.h5 .*save it as \(slices, coils, H, W\)"):
        open_kspace(tmp_path / "b.h5")[0]
    wrote(tmp_path / "b.h5", kspace=np.moveaxis(k[None], -1, -3))
    assert open_kspace(tmp_path / "b.h5")[0].shape == (4, SIDE, SIDE)


def test_a_slice_of_zeros_is_skipped_by_name(prior: Path, tmp_path: Path, capfd) -> None:
    k = np.stack([of(picture()).numpy()] * 3)
    k[1] = 0
    path = wrote(tmp_path / "scan.h5", kspace=k)
    words = ["apply", "score-mri", "--prior", str(prior), "--kspace", str(path), "--steps", "4"]
    words += ["--brightness", "1", "--device", "cpu", "--json", "--out"]
    assert main([*words, str(tmp_path / "a")]) == 1
    said = f"slice 1 of {path} is 0 everywhere, so that nothing was measured: leave it out, or add --on-error"
    assert said in capfd.readouterr().err
    assert main([*words, str(tmp_path / "b"), "--on-error", "skip"]) == 0
    assert sorted(p.name for p in (tmp_path / "b/magnitude").glob("*.png")) == [
        "scan-00000.png",
        "scan-00002.png",
    ]


def test_nothing_outside_the_file_is_read(tmp_path: Path) -> None:
    k = np.stack([of(picture()).numpy()] * 2)
    other = wrote(tmp_path / "other.h5", kspace=k)
    (tmp_path / "raw").write_bytes(k.tobytes())
    for name in ("link", "hop", "raw_h5", "virtual", "soft", "lost"):
        with h5py.File(tmp_path / f"{name}.hdf5", "w") as file:
            if name == "link":
                file["kspace"] = h5py.ExternalLink(str(other), "/kspace")
            elif name == "hop":
                file["there"] = h5py.ExternalLink(str(other), "/")
                file["kspace"] = h5py.SoftLink("/there/kspace")
            elif name == "raw_h5":
                file.create_dataset(
                    "kspace", k.shape, k.dtype, external=[(str(tmp_path / "raw"), 0, k.nbytes)]
                )
            elif name == "virtual":
                layout = h5py.VirtualLayout(k.shape, k.dtype)
                layout[:] = h5py.VirtualSource(str(other), "kspace", k.shape)
                file.create_virtual_dataset("kspace", layout)
            elif name == "soft":
                file["data/measured"] = k
                file["kspace"] = h5py.SoftLink("/data/measured")
            else:
                file["kspace"] = h5py.SoftLink("/nowhere")
    for name in ("link", "hop", "raw_h5", "virtual"):
        with pytest.raises(
            UnreadableError, match=rf"{name}\.hdf5 points to another file for kspace: put the data"
        ):
            open_kspace(tmp_path / f"{name}.hdf5")[0]
    assert torch.equal(open_kspace(tmp_path / "soft.hdf5")[1], torch.from_numpy(k[1]))
    with pytest.raises(UnreadableError, match="holds kspace: the dataset must be called kspace"):
        open_kspace(tmp_path / "lost.hdf5")[0]


@pytest.mark.parametrize("shape", [(10**9, 64, 64), (1, 20000, 20000), (0, 4, 4), None])
def test_what_is_declared_and_not_there_costs_nothing(tmp_path: Path, shape: Any) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        if shape is None:
            file["kspace"] = h5py.Empty("c8")
        else:
            file.create_dataset("kspace", shape, "c8", chunks=(1, 64, 64) if 0 not in shape else None)
    tracemalloc.start()
    with pytest.raises(
        UnreadableError, match=r"a\.h5 (declares kspace of shape|holds an empty kspace).*write its"
    ):
        open_kspace(path)[0]
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_damaged_files_are_a_sentence(tmp_path: Path) -> None:
    whole = wrote(tmp_path / "a.h5", kspace=np.stack([of(picture()).numpy()] * 9)).read_bytes()
    for length in (0, 8, 100, len(whole) // 2, len(whole) - 50):
        (tmp_path / "cut.h5").write_bytes(whole[:length])
        with pytest.raises(UnreadableError, match=r"cut\.h5 is no readable HDF5 file \(.*\): replace it"):
            open_kspace(tmp_path / "cut.h5")[0]
    overlapping = np.dtype(
        {"names": ["r", "i"], "formats": ["<f8", "<f4"], "offsets": [0, 4], "itemsize": 16}
    )
    for wrong in (
        np.zeros((2, 4, 4)),
        np.zeros((2, 4, 4), overlapping),
        np.array([b"text"]),
        np.zeros((2, 2, 2, 4, 4), np.complex64),
    ):
        with pytest.raises(UnreadableError, match=r"b\.h5 (holds|has shape)"):
            open_kspace(wrote(tmp_path / "b.h5", kspace=wrong))[0]
    np.save(tmp_path / "a.npy", of(picture()).numpy())
    header = (tmp_path / "a.npy").read_bytes().replace(b"}", b"(")
    (tmp_path / "a.npy").write_bytes(header)
    with pytest.raises(UnreadableError, match=r"a\.npy is corrupt"):
        open_kspace(tmp_path / "a.npy")[0]
    with pytest.raises(UnreadableError, match="must be called magnitude or"):
        open_magnitude(tmp_path / "a.h5")[0]
