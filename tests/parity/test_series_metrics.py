"""Scores of series against those of CSDI's code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headwater.metrics import series as metrics

OUT = pytest.mark.parametrize(("out", "rel"), [("out", 1e-5), ("out64", 1e-7)])


@OUT
def test_metrics(golden: Any, out: str, rel: float) -> None:
    ref = golden("csdi/metrics")
    mean, scale = ref["in/mean"].double().numpy(), ref["in/scale"].double().numpy()
    draws, target = ref["in/forecast"].double().transpose(0, 1).numpy(), ref["in/target"].double().numpy()
    where = ref["in/eval_points"].numpy()
    plain = metrics.crps(metrics.quantiles(draws, positions="linear"), target, where)
    assert plain == pytest.approx(float(ref[f"{out}/crps_unscaled"]), rel=rel)
    losses = [metrics.quantile_loss(draws[0], target, where, q) for q in (0.05, 0.5, 0.95)]
    assert losses == pytest.approx(ref[f"{out}/quantile_loss"].tolist(), rel=rel)
    draws, target = draws * scale + mean, target * scale + mean
    scaled = metrics.crps(metrics.quantiles(draws, positions="linear"), target, where)
    assert scaled == pytest.approx(float(ref[f"{out}/crps"]), rel=rel)
    summed = metrics.crps_sum(draws, target, where)
    assert summed == pytest.approx(float(ref[f"{out}/crps_sum"]), rel=rel)


@OUT
@pytest.mark.parametrize("name", ["tiny_quad", "tiny_feature1", "tiny_linear_uncond"])
def test_scores_of_what_the_reference_drew(golden: Any, name: str, out: str, rel: float) -> None:
    ref = golden(f"csdi/{name}")
    target, where = ref["in/observed_data"].transpose(1, 2).numpy(), ref[f"{out}/eval_target_mask"].numpy()
    draws = ref[f"{out}/impute_samples"].transpose(0, 1).double().numpy()  # drifted cells enter its sums
    # The reference scores the lower of two middle draws.
    lower = np.sort(draws, 0)[(len(draws) - 1) // 2]
    for score, value, limit in (
        ("crps", metrics.crps(metrics.quantiles(draws, positions="linear"), target, where), rel),
        ("crps_sum", metrics.crps_sum(draws, target, where, axis=1), 10 * rel),
        ("mae", metrics.mae(lower, target, where), rel),
        ("rmse", metrics.rmse(lower, target, where), rel),
    ):
        assert value == pytest.approx(float(ref[f"{out}/{score}"]), rel=limit), score
