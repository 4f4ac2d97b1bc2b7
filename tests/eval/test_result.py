import numpy as np
import pytest

from eval.result import YAW_COLUMNS, format_value, summarize, summarize_by_yaw, yaw_row


def test_summary_in_percent() -> None:
    assert summarize(np.array([1.0, 2, 7, 9])) == pytest.approx(
        {"mean": 4.75, "median": 4.5, "auc7": 100 * 11 / 28, "failure7": 25}
    )


def test_the_mean_of_a_binned_summary_is_that_of_the_bins() -> None:
    binned = summarize_by_yaw(np.array([1.0, 3, 5, 12]), np.array([0, 10, 45, 80]))
    assert binned["bins"] == [2, 5, 12]
    assert binned["counts"] == [2, 1, 1]
    assert binned["mean"] == pytest.approx(19 / 3)
    assert binned["sample_mean"] == pytest.approx(21 / 4)
    assert len(yaw_row("x", binned)) == 1 + len(YAW_COLUMNS)


def test_unknown_is_a_dash() -> None:
    assert (format_value(float("nan")), format_value(1.005)) == ("-", "1.00")
