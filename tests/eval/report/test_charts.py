import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from eval.report import charts

RNG = np.random.default_rng(0)
ERRORS = RNG.gamma(4, 1, 80)
VOLUME = RNG.random((64, 64, 64))


@pytest.mark.parametrize(
    ("svg", "says"),
    [
        (charts.ced_curves({"original": ERRORS, "reannotated": ERRORS / 2}), "reannotated"),
        (charts.yaw_scatter(ERRORS, RNG.uniform(-95, 95, 80)), "|yaw| (degrees"),
        (charts.yaw_scatter(ERRORS[:2], np.array([5.0, 7.0])), "mean"),
        (charts.landmark_errors(RNG.random((80, 68))), ":"),
        (charts.landmark_errors(np.where(np.arange(68) < 17, np.nan, RNG.random((80, 68)))), ":"),
        (charts.pose_histograms(RNG.random((80, 3)) * 9), "roll: mean"),
        (charts.projections([("Best", VOLUME, VOLUME)]), "side, predicted"),
    ],
)
def test_charts_are_themed_svg(svg: str, says: str) -> None:
    ET.fromstring(svg)
    assert says in svg
    assert "var(--ink)" in svg or "var(--muted)" in svg
    assert not any(colour in svg for colour in (charts.INK, charts.PREDICTED, charts.TRUE))
    assert "viewBox" in svg
    links = re.findall(r'(?:href|src)="([^"]*)"', svg)
    assert all(link.startswith(("#", "data:")) for link in links)  # nothing is loaded


def test_a_yaw_beyond_the_axes_does_not_stretch_the_chart() -> None:
    """AFLW2000-3D has one label of 351 degrees."""
    yaw = np.append(RNG.uniform(-90, 90, 79), 351)
    root = ET.fromstring(charts.yaw_scatter(ERRORS, yaw))
    texts = [element for element in root.iter() if element.tag.endswith("text")]
    means = [element for element in texts if (element.text or "").startswith("mean ")]
    assert len(means) == 3
    x = sorted(float(element.get("x", "nan")) for element in means)
    width = float(root.get("viewBox", "").split()[2])
    assert min(np.diff(x)) > 0.2 * width  # "mean 12.34" takes less than that
    said = " ".join("".join(element.itertext()) for element in texts)
    assert "1 beyond 100 at the edge" in said
    assert "200" not in said


def test_ids_of_two_charts_do_not_clash() -> None:
    first, second = (set(re.findall(r'id="([^"]*)"', charts.yaw_scatter(ERRORS, ERRORS))),
                     set(re.findall(r'id="([^"]*)"', charts.ced_curves({"a": ERRORS}))))  # fmt: skip
    assert not first & second


def test_point_means_leave_out_unknown_points() -> None:
    errors = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    assert np.array_equal(charts.point_means(errors), [2, 5, np.nan], equal_nan=True)
