from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from sklearn.metrics import confusion_matrix, jaccard_score

from headwater.metrics.segmentation import (
    boundary_f1,
    confusion,
    dice,
    iou,
    mean_iou,
    mean_iou_ddpm_seg,
)


def _labels(top: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    truth = torch.randint(0, top, (2, 9, 7), generator=g)
    noise = torch.randint(0, top, truth.shape, generator=g)
    return torch.where(torch.rand(truth.shape, generator=g) < 0.4, noise, truth), truth


def test_confusion_and_iou_are_those_of_scikit_learn() -> None:
    p, t = _labels()
    counts = confusion(p, t, 4)
    np.testing.assert_array_equal(counts, confusion_matrix(t.flatten(), p.flatten()))
    expected = jaccard_score(t.flatten(), p.flatten(), average=None)
    np.testing.assert_allclose(iou(counts), expected, rtol=1e-12)
    assert mean_iou(p, t, 4) == pytest.approx(expected.mean())


def test_absent_classes_do_not_enter_the_standard_mean() -> None:
    p, t = _labels()
    assert iou(confusion(p, t, 6))[4:].isnan().all()
    assert mean_iou(p, t, 6) == pytest.approx(mean_iou(p, t, 4))


def test_ignored_pixels_leave_the_standard_rule_but_not_the_reference_rule() -> None:
    truth = torch.tensor([[0, 0, 1, 1]])
    prediction = torch.tensor([[1, 1, 1, 1]])
    assert mean_iou(prediction, truth, 3, ignore=0) == 1.0
    # Two of four predicted pixels are ignored truth, and class 2 occurs nowhere: (2/4 + 0) / 2.
    found = mean_iou_ddpm_seg(prediction, truth, 3, ignore=0)
    assert found == pytest.approx(0.25, abs=1e-8)


def test_ignore_label_outside_the_classes() -> None:
    truth = torch.tensor([[255, 0, 1, 1]])
    prediction = torch.tensor([[0, 0, 1, 0]])
    assert mean_iou(prediction, truth, 2, ignore=255) == pytest.approx(0.5)
    assert mean_iou_ddpm_seg(prediction, truth, 2, ignore=255) == pytest.approx((1 / 3 + 1 / 2) / 2, abs=1e-8)
    with pytest.raises(ValueError, match="labels from 0 to 1"):
        confusion(prediction, truth, 2)


def test_dice_per_image_and_of_empty_masks() -> None:
    p = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    t = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    assert dice(p, t).tolist() == pytest.approx([2 / 3, 1.0, 0.0])
    with pytest.raises(ValueError, match="bool masks"):
        dice(p.float(), t)


def _f1_by_distance(p: np.ndarray, t: np.ndarray, tolerance: float) -> float:
    def outline(m: np.ndarray) -> np.ndarray:
        padded = np.pad(m, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return m & ~inner

    a, b = outline(p), outline(t)
    precision = (distance_transform_edt(~b)[a] <= tolerance).mean()
    recall = (distance_transform_edt(~a)[b] <= tolerance).mean()
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("tolerance", [1.0, 1.5, 2.9])
def test_boundary_f1_is_that_of_a_distance_transform(tolerance: float) -> None:
    y, x = np.mgrid[:24, :30]
    p = (y - 11) ** 2 + (x - 14) ** 2 < 60
    t = (y - 13) ** 2 + (x - 12) ** 2 < 75
    found = boundary_f1(torch.tensor(p)[None], torch.tensor(t)[None], tolerance)
    assert found.item() == pytest.approx(_f1_by_distance(p, t, tolerance))


def test_boundary_f1_of_empty_masks() -> None:
    empty, full = torch.zeros(1, 1, 5, 5).bool(), torch.ones(1, 1, 5, 5).bool()
    assert boundary_f1(empty, empty).item() == 1.0
    assert boundary_f1(empty, full).item() == 0.0
    assert boundary_f1(full, full).item() == 1.0
