"""One lazy, map-style view of every kind of picture source: folder, array file, shipped set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from headwater.errors import UserError

from . import augment, shipped
from .arrays import picture_stack, read_npy, read_npz
from .formats import array_kind
from .levels import Window, check_window
from .listing import files_below
from .nifti import is_volume, other_scan, read_volume, refused_scan
from .pictures import SUFFIXES, Limits, UnreadableError, centre_box, list_pictures, read_picture
from .resize import area
from .volumes import Grid, Volume, pictures_of

# Decoded pictures are kept up to this many bytes, so that later epochs read no files.
CACHE_BYTES = 1024**3


@dataclass(frozen=True)
class Skipped:
    """An input that was left out, and the sentence that says why."""

    name: str
    reason: str


class Dataset(ABC):
    """Pictures of one shape, addressed by index; fits torch's DataLoader.

    Attributes:
        shape: (C, H, W) of every picture.
        classes: names of the class labels, empty if there are none.
        skipped: inputs that were left out because `on_error` was "skip".
    """

    shape: tuple[int, int, int]
    classes: list[str]
    skipped: list[Skipped]

    @abstractmethod
    def __len__(self) -> int:
        """Number of pictures."""

    @abstractmethod
    def __getitem__(self, index: int) -> Tensor:
        """Picture `index`: float32 (C, H, W) in [-1, 1].

        Raises:
            UnreadableError: if its file cannot be used.
            IndexError: if there is no such picture.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """What to call picture `index` in reports and output files."""

    @abstractmethod
    def label(self, index: int) -> int | None:
        """Class of picture `index`, or None in a set without classes."""

    @abstractmethod
    def draw(self, index: int, generator: torch.Generator) -> Tensor:
        """Picture `index` as training sees it: augmented where the set calls for it."""


@dataclass
class FolderDataset(Dataset):
    """Pictures below a folder, decoded when asked for and then kept in memory.

    With `labels="folders"` the class is the first folder on the way to the picture.
    """

    root: Path
    paths: list[Path]
    shape: tuple[int, int, int]
    classes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    window: Window | None = None
    bands: tuple[int, ...] = ()
    _kept: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        index = _position(index, len(self.paths))
        if index not in self._kept:
            image = read_picture(self.paths[index], self.shape, self.limits, self.window, self.bands)
            if (len(self._kept) + 1) * image.nbytes > CACHE_BYTES:
                return image
            self._kept[index] = image
        return self._kept[index].clone()

    def name(self, index: int) -> str:
        return self.paths[index].relative_to(self.root).as_posix()

    def label(self, index: int) -> int | None:
        if not self.classes:
            return None
        return self.classes.index(self.paths[index].relative_to(self.root).parts[0])

    def draw(self, index: int, generator: torch.Generator) -> Tensor:
        return self[index]


@dataclass
class TensorDataset(Dataset):
    """Pictures already in memory: float32 (N, C, H, W) in [-1, 1]."""

    images: Tensor
    names: list[str]
    labels: Tensor | None = None
    classes: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    augmentation: Literal["none", "brain"] = "none"
    grid: Grid | None = None
    """Where the pictures lie in the volume that they are slices of."""
    files: list[Path] = field(default_factory=list)
    """The file of each picture, where they are from several."""

    def __post_init__(self) -> None:
        channels, height, width = self.images.shape[1:]
        self.shape = (channels, height, width)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[_position(index, len(self.images))].clone()

    def name(self, index: int) -> str:
        return self.names[index]

    def label(self, index: int) -> int | None:
        return None if self.labels is None else int(self.labels[index])

    def draw(self, index: int, generator: torch.Generator) -> Tensor:
        image = self[index]
        return augment.brain(image, generator) if self.augmentation == "brain" else image


def open_dataset(
    where: str | Path,
    shape: tuple[int, int, int] | None = None,
    *,
    on_error: Literal["stop", "skip"] = "stop",
    labels: Literal["auto", "folders", "none"] = "auto",
    limits: Limits | None = None,
    window: Window | None = None,
    bands: tuple[int, ...] = (),
    slices: tuple[int, int] | None = None,
) -> Dataset:
    """Open pictures by the name of a shipped set, a folder, an .npz/.npy or a NIfTI file.

    Args:
        where: a shipped set (`digits`, `brain:colin`: `name:split`, train by default), a folder of
            PNG, JPEG, WebP and TIFF files (`./digits` for a folder that is called like a set), an
            .npz with `images` and, if there are classes, `labels`, an .npy, or a NIfTI volume,
            whose axial slices are the pictures; a folder without a picture may hold such volumes,
            which are all read now.
        shape: (C, H, W) to bring every picture to: centre crop, then area averaging (bicubic when
            growing), gray to RGB or back. Folders need it; None keeps the stored shape elsewhere.
        on_error: what a corrupt picture in a folder does: "stop" raises when it is read; "skip"
            reads every picture once now and lists the bad ones in `skipped`.
        labels: "folders" takes the first folder below `where` as the class; "auto" uses the
            labels that an .npz or a shipped set brings; "none" ignores them.
        limits: caps on file size, pixels and array bytes.
        window: the values that become black and white where pictures have units of their own, such
            as (-1000, 400) of a CT; what lies beyond is cut. Shipped sets need none.
        bands: of TIFF files of more than four bands those to read, counted from 1, one for each channel.
        slices: of volumes the first and the last axial slice to read, counted from 0 at the feet.

    Raises:
        UserError: if the window is none, nothing is there, a folder has no picture, every picture is
            bad, or a file is unreadable; the sentence says what to do.
    """
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error must be 'stop' or 'skip', not {on_error!r}")
    limits, window = limits or Limits(), check_window(window)
    if is_shipped(str(where)):
        return _shipped(str(where), shape, labels)
    path = Path(where)
    if path.is_dir():
        if volumes := volumes_below(path):
            return _volumes(path, volumes, shape, on_error, limits, window, slices)
        return _folder(path, shape, on_error, labels, limits, window, bands)
    if not path.is_file():
        raise UserError(
            f"{where} is neither a folder nor a file nor a shipped set: check the path, or choose"
            f" one of {', '.join(shipped.names())}"
        )
    return _file(path, shape, labels, limits, window, slices)


def conform(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Bring float (N, C, H, W) in [-1, 1] to another (C, H, W) by the rules of `read_picture`."""
    channels, height, width = shape
    left, top, right, bottom = centre_box(images.shape[-1], images.shape[-2], width / height)
    images = images[..., top:bottom, left:right]
    if images.shape[-2] >= height and images.shape[-1] >= width:
        images = area(images, height, width)
    else:
        images = F.interpolate(images, (height, width), mode="bicubic", align_corners=False)
        images = images.clamp(-1, 1)
    if images.shape[1] == channels:
        return images
    if images.shape[1] == 1 and channels == 3:
        return images.expand(-1, 3, -1, -1).contiguous()
    if images.shape[1] == 3 and channels == 1:
        luma = torch.tensor([0.299, 0.587, 0.114], dtype=images.dtype)
        return (images * luma.view(1, 3, 1, 1)).sum(1, keepdim=True)
    raise UserError(
        f"pictures of {images.shape[1]} channels were given where {channels} are wanted: give an array of "
        f"{channels} channels, (N, {channels}, H, W)"
    )


def _loaded(where: str) -> shipped.Set:
    """A shipped set by `name:split`. Raises UserError for a split that it has not."""
    name, _, split = where.partition(":")
    try:
        return shipped.load(name, split or "train")
    except ValueError as error:
        raise UserError(str(error)) from None


def is_shipped(where: str) -> bool:
    """Whether this names pictures that ship, `name` or `name:split`."""
    return where.partition(":")[0].removesuffix("-hue") in shipped.names()


def _names(found: shipped.Set) -> list[str]:
    return [f"{found.name}-{found.split}-{i:05d}" for i in range(len(found))]


def shipped_maps(where: str) -> tuple[list[str], Tensor]:
    """The label maps int64 (N, H, W) of a shipped set by `name:split`, named as its pictures are.

    Raises UserError for a set that has none.
    """
    found = _loaded(where)
    if found.labels is None or found.labels.ndim != 3:
        raise UserError(f"{where} has no label maps: give a folder of them, or emoji-parts")
    return _names(found), found.labels


def _shipped(where: str, shape: tuple[int, int, int] | None, labels: str) -> TensorDataset:
    found = _loaded(where)
    classes = found.labels if found.labels is not None and found.labels.ndim == 1 else None
    use = labels != "none" and classes is not None
    return TensorDataset(
        images=conform(found.images, shape) if shape else found.images,
        names=_names(found),
        labels=classes if use else None,
        classes=found.classes if use else [],
        augmentation="brain" if found.name == "brain" else "none",
    )


def _folder(
    root: Path,
    shape: tuple[int, int, int] | None,
    on_error: str,
    labels: str,
    limits: Limits,
    window: Window | None,
    bands: tuple[int, ...],
) -> FolderDataset:
    if shape is None:
        raise UserError(f"{root} is a folder: say the shape (channels, height, width) to read at")
    paths = list_pictures(root)
    found = FolderDataset(root, paths, shape, limits=limits, window=window, bands=bands)
    if labels == "folders":
        parts = [path.relative_to(root).parts for path in paths]
        loose = next((path for path, p in zip(paths, parts, strict=True) if len(p) == 1), None)
        if loose is not None:
            raise UserError(f"{loose} is in no class folder: move it into one or drop the labels")
        found.classes = sorted({p[0] for p in parts})
    if on_error == "skip":
        _skip_bad(found)
    return found


def volumes_below(folder: Path) -> list[Path]:
    """The NIfTI files below a folder that holds no picture; none where it holds one."""
    if files_below(folder, SUFFIXES):
        return []
    return files_below(folder, (".nii", ".nii.gz", ".hdr"))


def _volumes(
    root: Path,
    paths: list[Path],
    shape: tuple[int, int, int] | None,
    on_error: str,
    limits: Limits,
    window: Window | None,
    slices: tuple[int, int] | None,
) -> TensorDataset:
    """The axial slices of all volumes, at the size of the first one where no shape is given."""
    parts, names, files, skipped = list[Tensor](), list[str](), list[Path](), list[Skipped]()
    for path in paths:
        place = path.relative_to(root)
        try:
            found = _file(path, shape, "none", limits, window, slices)
        except UnreadableError as error:
            if on_error == "stop":
                raise
            skipped.append(Skipped(place.as_posix(), str(error)))
            continue
        shape = shape or found.shape
        parts.append(found.images)
        names += [(place.parent / name).as_posix() for name in found.names]
        files += [path] * len(found)
    if not parts:
        raise UserError(
            f"{root} has no readable volume, {len(skipped)} were skipped: the first because "
            f"{skipped[0].reason}"
        )
    return TensorDataset(torch.cat(parts), names, skipped=skipped, files=files)


def _skip_bad(found: FolderDataset) -> None:
    """Leave out every picture that cannot be read, keeping what was decoded."""
    good, kept = [], {}
    for i, path in enumerate(found.paths):
        try:
            image = found[i]
        except UnreadableError as error:
            found.skipped.append(Skipped(found.name(i), str(error)))
            continue
        if i in found._kept:
            kept[len(good)] = image
        good.append(path)
    if not good:
        raise UserError(
            f"{found.root} has no readable picture, {len(found.skipped)} were skipped: the first"
            f" because {found.skipped[0].reason}"
        )
    found.paths, found._kept = good, kept


def _file(
    path: Path,
    shape: tuple[int, int, int] | None,
    labels: str,
    limits: Limits,
    window: Window | None,
    slices: tuple[int, int] | None = None,
) -> TensorDataset:
    classes, grid, first = None, None, 0
    if other := other_scan(path):
        raise refused_scan(path, other)
    # A volume may also be one file of a pair, which no suffix of an array tells.
    kind, wanted = "nii" if is_volume(path) else array_kind(path), shape[0] if shape else 0
    if kind == "nii":
        volume = read_volume(path, limits)
        if slices is not None:
            volume, first = _cut(volume, slices, path), slices[0]
        images, grid = pictures_of(volume, path, limits, window)
    elif kind == "npy":
        images = picture_stack(read_npy(path, limits), str(path), window, channels=wanted)
    else:
        arrays = read_npz(path, limits)
        if "images" not in arrays:
            held = ", ".join(arrays)
            raise UserError(f"{path} holds {held}: name the array of pictures images")
        images = picture_stack(arrays["images"], f"{path}[images]", window, channels=wanted)
        if labels == "auto" and "labels" in arrays:
            classes = _class_labels(arrays["labels"], len(images), path)
    count = int(classes.max()) + 1 if classes is not None else 0
    return TensorDataset(
        grid=grid.fitted(shape[1:]) if grid and shape else grid,
        images=conform(images, shape) if shape else images,
        names=[f"{path.name.split('.')[0]}-{first + i:05d}" for i in range(len(images))],
        labels=classes,
        classes=[str(i) for i in range(count)],
    )


def _cut(volume: Volume, slices: tuple[int, int], path: Path) -> Volume:
    """Some axial slices of a volume. UnreadableError where it has not all of them."""
    (first, last), count = slices, volume.values.shape[2]
    if not 0 <= first <= last < count:
        raise UnreadableError(f"{path} has slices 0 to {count - 1}, not {first} to {last}: give two of them")
    return volume.of_slices(first, last)


def _class_labels(array, count: int, path: Path) -> Tensor | None:
    if array.shape != (count,) or array.dtype.kind not in "iu":
        return None
    labels = torch.from_numpy(array.astype("int64"))
    if int(labels.min()) < 0:
        raise UserError(f"{path}[labels] has negative classes: number them from 0")
    return labels


def _position(index: int, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"picture {index} of {length}")
    return index % length
