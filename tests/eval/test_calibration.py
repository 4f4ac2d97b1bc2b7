import numpy as np
import pytest
from scipy.stats import chi2, multivariate_normal

from eval.calibration import (
    coverage,
    fit_temperature,
    landmark_squares,
    levels,
    reliability,
    rotation_squares,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_levels_are_the_chi_squared_distribution(dimensions):
    squares = RNG.uniform(0, 20, 50)
    np.testing.assert_allclose(levels(squares, dimensions), chi2.cdf(squares, dimensions), atol=1e-12)


def test_landmark_errors_in_units_of_their_standard_deviation():
    true = np.zeros((2, 68, 2))
    true[1, 3] = np.nan
    squares = landmark_squares(true + [3.0, 4.0], true, np.full((2, 68), 2.5))
    assert np.isnan(squares[1, 3])
    assert np.isfinite(squares).sum() == 2 * 68 - 1
    np.testing.assert_allclose(squares[0], 4)


def test_rotation_errors_are_mahalanobis_distances():
    factor = RNG.normal(size=(20, 3, 3))
    covariance = factor @ factor.swapaxes(1, 2) + 0.1 * np.eye(3)
    error = RNG.normal(size=(20, 3))
    squares = rotation_squares(error, covariance)
    for e, c, square in zip(error, covariance, squares, strict=True):
        density = multivariate_normal(np.zeros(3), c)
        assert square == pytest.approx(2 * (density.logpdf(np.zeros(3)) - density.logpdf(e)))


def draws(dimensions, scale=1.0):
    """Squared errors of 20,000 draws whose standard deviation is `scale` times the predicted one."""
    return (scale * RNG.normal(size=(20_000, dimensions))) ** 2 @ np.ones(dimensions)


@pytest.mark.parametrize(("dimensions", "nominal"), [(2, (39.35, 86.47)), (3, (19.87, 73.85))])
def test_coverage_of_a_calibrated_prediction_is_nominal(dimensions, nominal):
    observed, expected = coverage(draws(dimensions), dimensions)
    np.testing.assert_allclose(expected, nominal, atol=0.01)
    np.testing.assert_allclose(observed, nominal, atol=1.5)


def test_coverage_of_too_small_standard_deviations_is_too_small():
    observed, nominal = coverage(draws(2, scale=2.0), 2)
    assert observed[0] < nominal[0] - 10
    assert observed[1] < nominal[1] - 10


def test_reliability_curve():
    curve = reliability(np.append(draws(3), np.nan), 3)
    np.testing.assert_allclose(curve.observed, curve.predicted, atol=0.02)
    assert curve.error < 1
    assert reliability(draws(3, scale=3.0), 3).error > 20
    with pytest.raises(ValueError, match="no errors"):
        reliability([np.nan], 2)


@pytest.mark.parametrize(("dimensions", "scale"), [(2, 1.0), (2, 3.7), (3, 0.2)])
def test_temperature_is_the_factor_of_the_standard_deviations(dimensions, scale):
    assert fit_temperature(draws(dimensions, scale), dimensions) == pytest.approx(scale, rel=0.02)


def test_temperature_hardly_depends_on_gross_errors():
    squares = draws(2)
    squares[:200] = 1e6
    assert fit_temperature(squares, 2) == pytest.approx(1, rel=0.04)


def test_a_temperature_without_errors_is_refused():
    with pytest.raises(ValueError, match="there are no errors to calibrate with"):
        fit_temperature([np.nan, np.inf], 2)
