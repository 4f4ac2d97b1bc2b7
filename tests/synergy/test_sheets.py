"""Contact sheets by what must be in them."""

from __future__ import annotations

import numpy as np
import pytest

from bfm_assets import open_face
from synergy.sheets import SIGMA, VIEWS, Person, Sheet, draw_sheet, draw_view, sheets


def _is_drawn(image: np.ndarray) -> np.ndarray:
    return (np.abs(image.astype(int) - image[0, -1]).max(-1) > 12).astype(bool)


def test_what_is_on_the_sheets() -> None:
    model = open_face()
    mean, shape, expression, people = sheets(model)
    assert [sheet.name for sheet in (mean, shape, expression, people)] == ["mean", "shape", "expression", "people"]
    assert len(mean.people) == 1
    assert len(shape.people) == 24
    assert len(people.people) == 30
    np.testing.assert_allclose(shape.people[3].shape[1], SIGMA * model.shape_std[1])
    assert np.count_nonzero(shape.people[3].shape) == 1
    assert [person.label for person in expression.people] == list(model.expression_names)
    assert all(person.expression.max() == 1 for person in expression.people)
    again = sheets(model)[3]
    np.testing.assert_array_equal(people.people[5].shape, again.people[5].shape)
    assert not np.array_equal(people.people[5].shape, sheets(model, seed=1)[3].people[5].shape)


@pytest.mark.parametrize("yaw", VIEWS.values())
def test_a_view_shows_the_face_in_its_middle(yaw: float) -> None:
    model = open_face()
    image = draw_view(model, model.mean, yaw, 120)
    assert image.shape == (120, 120, 3)
    drawn = _is_drawn(image)
    assert 0.2 < drawn.mean() < 0.8
    assert drawn[60:70, 45:75].all()


def test_a_profile_looks_to_the_left() -> None:
    model = open_face()
    drawn = _is_drawn(draw_view(model, model.mean, 90, 200))
    nose_row = np.flatnonzero(drawn.sum(1))[0] + np.ptp(np.flatnonzero(drawn.sum(1))) // 2
    middle_third = drawn[nose_row - 30 : nose_row + 30]
    first = middle_third.argmax(1)
    assert first.min() < first[[0, -1]].min() - 3  # the nose stands out on the left


def test_a_basis_of_landmarks_is_drawn_as_contours() -> None:
    points = open_face().landmark_model()
    drawn = _is_drawn(draw_view(points, points.mean, 0, 200))
    assert 0.01 < drawn.mean() < 0.2


def test_a_sheet_is_a_grid() -> None:
    model = open_face()
    zero = Person("label", np.zeros(model.n_shape, np.float32), np.zeros(model.n_expression, np.float32))
    seen: list[Person] = []

    def track(people: list[Person]) -> list[Person]:
        seen.extend(people)
        return people

    image = draw_sheet(model, Sheet("a", (zero,) * 3, 2, 40), track)
    assert image.shape == (2 * 40, 2 * 3 * 40, 3)
    assert len(seen) == 3
    assert not _is_drawn(image[45:, 125:]).any()  # no fourth face
