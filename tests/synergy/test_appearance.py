"""Colours by region."""

from __future__ import annotations

import numpy as np
import pytest

from bfm_assets import MorphableModel, open_face
from synergy.appearance import HAIR_COLOURS, IRIS_COLOURS, SKIN_TONES, random_colours, region_colours


def _at(colours: np.ndarray, region: str) -> np.ndarray:
    model = open_face()
    assert model.region_weights is not None
    return colours[model.region_weights[:, model.region_names.index(region)] == 255]


def test_each_region_takes_its_colour() -> None:
    skin, hair, iris = SKIN_TONES["monk-7"], HAIR_COLOURS["red"], IRIS_COLOURS["green"]
    colours = region_colours(open_face(), skin, hair, iris)
    for region, colour in (("skin", skin), ("hair", hair), ("iris", iris)):
        assert len(_at(colours, region)) > 20
        assert (_at(colours, region) == colour).all()


def test_only_the_chosen_colour_changes() -> None:
    one, two = (region_colours(open_face(), iris=IRIS_COLOURS[name]) for name in ("blue", "brown"))
    assert (_at(one, "iris") != _at(two, "iris")).any()
    for region in ("skin", "hair", "teeth", "sclera"):
        assert np.array_equal(_at(one, region), _at(two, region))


def test_the_shipped_colours_are_the_defaults() -> None:
    assert np.array_equal(open_face().colours, region_colours(open_face()))


def test_models_without_regions_are_refused(tiny_model: MorphableModel) -> None:
    with pytest.raises(ValueError, match="has no regions"):
        region_colours(tiny_model)


def test_random_colours_vary_and_stay_plausible() -> None:
    drawn = [random_colours(np.random.default_rng(i)) for i in range(200)]
    skins = np.array([colours["skin"] for colours in drawn])
    assert skins.mean(1).max() > 200
    assert skins.mean(1).min() < 60
    for colours in drawn:
        if colours["skin"].mean() < 100:
            assert colours["iris"][2] < 60  # no blue eyes in dark faces
