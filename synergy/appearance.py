"""Colours of skin, hair and eyes for morphable models whose vertices are assigned to regions.

Everything is sRGB in 0..255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bfm_assets import MorphableModel

SKIN_TONES: dict[str, tuple[int, int, int]] = {
    "monk-1": (246, 237, 228),
    "monk-2": (243, 231, 219),
    "monk-3": (247, 234, 208),
    "monk-4": (234, 218, 186),
    "monk-5": (215, 189, 150),
    "monk-6": (160, 126, 86),
    "monk-7": (130, 92, 67),
    "monk-8": (96, 65, 52),
    "monk-9": (58, 49, 42),
    "monk-10": (41, 36, 32),
}
"""The ten tones of the Monk Skin Tone Scale, from light to dark (https://en.wikipedia.org/wiki/Monk_Skin_Tone_Scale)."""
HAIR_COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (30, 26, 25),
    "dark brown": (62, 43, 33),
    "brown": (92, 64, 46),
    "red": (132, 66, 38),
    "blond": (176, 140, 92),
    "grey": (146, 143, 140),
    "white": (214, 211, 206),
}
IRIS_COLOURS: dict[str, tuple[int, int, int]] = {
    "dark brown": (58, 38, 26),
    "brown": (98, 68, 42),
    "hazel": (118, 96, 56),
    "green": (98, 116, 78),
    "grey": (122, 130, 134),
    "blue": (92, 124, 156),
}
DEFAULT_SKIN, DEFAULT_HAIR, DEFAULT_IRIS = (214, 170, 144), HAIR_COLOURS["dark brown"], IRIS_COLOURS["brown"]

_DARK_SKIN = 120.0
_BROWN = ("dark brown", "brown")
_SHAVED = 1 / 7
# Regions whose colour is the skin's or the hair's times a factor per channel.
_OF_SKIN = {"skin": (1.0, 1.0, 1.0), "blush": (0.94, 0.68, 0.68), "lips": (0.84, 0.62, 0.66), "lids": (0.5, 0.44, 0.42)}
_OF_HAIR = {"hair": (1.0, 1.0, 1.0), "brows": (0.95, 0.95, 0.95)}
_FIXED = {
    "sclera": (236, 232, 228),
    "pupil": (14, 11, 11),
    "eye lining": (190, 124, 116),
    "mouth": (88, 30, 32),
    "gums": (172, 88, 88),
    "teeth": (232, 226, 210),
}


def region_colours(
    model: MorphableModel,
    skin: ArrayLike = DEFAULT_SKIN,
    hair: ArrayLike = DEFAULT_HAIR,
    iris: ArrayLike = DEFAULT_IRIS,
) -> NDArray[np.uint8]:
    """Colour a model by its regions.

    Args:
        model: a model with `region_weights`.
        skin: colour of the skin, for example one of `SKIN_TONES`.
        hair: colour of hair and brows, for example one of `HAIR_COLOURS`. The skin's colour makes a shaved head.
        iris: colour of the irises, for example one of `IRIS_COLOURS`.

    Returns:
        (V, 3) uint8 colours of the vertices.

    Raises:
        ValueError: The model has no regions, or one whose colour is not known.

    Example:
        >>> from bfm_assets import open_face
        >>> region_colours(open_face(), skin=SKIN_TONES["monk-7"], hair=HAIR_COLOURS["black"]).shape[1]
        3
    """
    if model.region_weights is None:
        raise ValueError(f"morphable model '{model.name}' has no regions to colour")
    palette = {
        **{name: np.multiply(skin, factor) for name, factor in _OF_SKIN.items()},
        **{name: np.multiply(hair, factor) for name, factor in _OF_HAIR.items()},
        **{name: np.asarray(colour, np.float64) for name, colour in _FIXED.items()},
        "iris": np.asarray(iris, np.float64),
    }
    if unknown := [name for name in model.region_names if name not in palette]:
        raise ValueError(f"morphable model '{model.name}' has the unknown region '{unknown[0]}'")
    colours = np.zeros((model.n_vertices, 3))
    for weight, name in zip(model.region_weights.T, model.region_names, strict=True):
        colours += weight[:, None] / 255 * palette[name]
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)


def random_colours(rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Draw colours of a person, as keyword arguments of `region_colours`.

    Skin lies between the second and the ninth Monk tone. Dark skin goes with dark, grey or white hair and brown irises.
    One head in seven is shaved.
    """
    tones = np.array(list(SKIN_TONES.values()), np.float64)
    place = rng.uniform(1, len(tones) - 2)
    skin = tones[int(place)] + (place - int(place)) * (tones[int(place) + 1] - tones[int(place)])
    is_dark = skin.mean() < _DARK_SKIN
    hair = _drawn(HAIR_COLOURS, ("black", "dark brown", "grey", "white") if is_dark else tuple(HAIR_COLOURS), rng)
    if rng.uniform() < _SHAVED:
        hair = 0.8 * skin
    return {"skin": skin, "hair": hair, "iris": _drawn(IRIS_COLOURS, _BROWN if is_dark else tuple(IRIS_COLOURS), rng)}


def _drawn(
    palette: dict[str, tuple[int, int, int]], names: tuple[str, ...], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return one of the named colours of a palette, a little lighter or darker."""
    return np.array(palette[names[rng.integers(len(names))]]) * rng.uniform(0.85, 1.15)
