"""Make the drawings of the site: `python docs/scripts/drawings.py` writes docs/pictures/*.svg.

The faces in the drawings are the 68 landmarks of the open face, moved by the functions that the drawings explain. Text
and lines have the colour of the page (`currentColor`), and the other colours can be read on light and dark pages.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import open_face
from synergy.crop import square_crop, transform_points
from synergy.geometry import euler_to_matrix, flip_y
from synergy.landmarks import CONTOURS

Points = NDArray[np.float64]

PICTURES = Path(__file__).parents[1] / "pictures"
RED, GREEN, BLUE, ORANGE = "#e0503a", "#2a9d5c", "#3b82f6", "#d97706"
# The colour of an SVG file that is opened alone. The rule matches nothing where the drawing is part of a page.
_ALONE = "<style>svg:root{color:#222}@media(prefers-color-scheme:dark){svg:root{color:#ddd}}</style>"


class Drawing:
    """An SVG drawing of a size in pixels, y down."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def line(self, points: Iterable[Points], colour: str = "currentColor", width: float = 1.5, closed: bool = False,
             fill: str = "none", dash: str = "", opacity: float = 1.0) -> None:  # fmt: skip
        """Draw a polyline or a polygon."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<{"polygon" if closed else "polyline"} points="{path}" fill="{fill}" fill-opacity="{opacity}" '
            f'stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"{dashes}/>'
        )

    def arrow(self, start: Points, end: Points, colour: str, width: float = 2.5) -> None:
        """Draw a line with a head at its end."""
        direction = (end - start) / np.linalg.norm(end - start)
        side = np.array([-direction[1], direction[0]])
        base = end - 10 * direction
        self.line([start, base], colour, width)
        self.line([end, base + 4.5 * side, base - 4.5 * side], colour, 0.5, closed=True, fill=colour)

    def dot(self, point: Points, colour: str = "currentColor", radius: float = 2.5) -> None:
        """Draw a filled circle."""
        self.parts.append(f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="{radius}" fill="{colour}"/>')

    def text(self, x: float, y: float, text: str, colour: str = "currentColor", size: int = 14, anchor: str = "middle",
             bold: bool = False) -> None:  # fmt: skip
        """Write a line of text with its baseline at y."""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}"{weight}>'
            f"{text}</text>"
        )

    def rectangle(self, low: Points, high: Points, colour: str = "currentColor", width: float = 1.5, fill: str = "none",
                  dash: str = "", opacity: float = 0.12) -> None:  # fmt: skip
        """Draw a rectangle between two corners."""
        corners = [low, [high[0], low[1]], high, [low[0], high[1]]]
        self.line(np.asarray(corners, float), colour, width, True, fill, dash, opacity)

    def face(self, points: Points, colour: str = "currentColor", width: float = 1.5) -> None:
        """Draw the nine curves of 68 landmarks (68, 2)."""
        for first, last, closed in CONTOURS.values():
            self.line(points[first:last], colour, width, closed)

    def svg(self) -> str:
        """Return the drawing as a file."""
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'font-family="system-ui, sans-serif">\n{_ALONE}\n{body}\n</svg>\n'
        )


def mean_landmarks(jaw_open: float = 0.0) -> Points:
    """Return the landmarks (68, 3) of the mean open face in model space, centred, with a height of 2.

    Args:
        jaw_open: weight of the expression jawOpen.
    """
    model = open_face()
    expression = np.zeros(model.n_expression)
    expression[model.expression_names.index("jawOpen")] = jaw_open
    points = model.vertices(np.zeros(0), expression)[model.landmarks].astype(float)
    points -= (points.max(0) + points.min(0)) / 2
    return points * 2 / np.ptp(points[:, 1])


def rotate(points: Points, pitch: float, yaw: float, roll: float) -> Points:
    """Rotate points (..., 3) in model space by angles in degrees, in the convention of `synergy.geometry`."""
    matrix = euler_to_matrix(torch.tensor(np.radians([pitch, yaw, roll]))).numpy()
    return points @ matrix.T


def place(points: Points, centre: tuple[float, float], scale: float) -> Points:
    """Return image points (..., 2) of points (..., 3) in the camera's frame."""
    return flip_y(points)[..., :2] * scale + np.array(centre)


def axes_image() -> str:
    """The frame of images."""
    drawing, face = Drawing(330, 300), mean_landmarks()
    drawing.text(165, 20, "image", bold=True)
    low, high = np.array([40.0, 45.0]), np.array([290.0, 255.0])
    drawing.rectangle(low, high)
    drawing.face(place(face, (185, 160), 75))
    drawing.arrow(low, low + [95, 0], RED)
    drawing.arrow(low, low + [0, 95], GREEN)
    drawing.text(low[0] + 108, low[1] + 18, "x", RED, 16, bold=True)
    drawing.text(low[0] + 16, low[1] + 110, "y", GREEN, 16, bold=True)
    drawing.text(165, 282, "pixels; z is larger nearer to the camera", size=13)
    return drawing.svg()


def axes_model() -> str:
    """The frame of morphable models."""
    drawing, face = Drawing(330, 300), mean_landmarks()
    drawing.text(165, 20, "morphable model", bold=True)
    view = {"pitch": -18.0, "yaw": -32.0, "roll": 0.0}
    centre = (145.0, 155.0)
    drawing.face(place(rotate(face, **view), centre, 75))
    start = place(rotate(np.zeros(3), **view), centre, 75)
    for axis, (name, colour) in enumerate((("x", RED), ("y", GREEN), ("z", BLUE))):
        tip = place(rotate(np.eye(3)[axis] * (1.75, 1.45, 1.9)[axis], **view), centre, 75)
        drawing.arrow(start, tip, colour)
        beyond = tip + (tip - start) / np.linalg.norm(tip - start) * 14
        drawing.text(beyond[0], beyond[1] + 5, name, colour, 16, bold=True)
    drawing.text(165, 282, "units of the model: mm_per_unit", size=13)
    return drawing.svg()


def head(title: str, meaning: str, pitch: float = 0, yaw: float = 0, roll: float = 0) -> str:
    """Draw a head at some angles in degrees, with the direction of the nose or the line through the eyes."""
    drawing, face = Drawing(168, 225), mean_landmarks()
    nose, centre = face[30], (84.0, 112.0)

    def moved(points: Points) -> Points:
        return place(rotate(points, pitch, yaw, roll), centre, 60)

    drawing.face(moved(face))
    tip, base = moved(nose + [0, 0, 1.1]), moved(nose)
    if np.linalg.norm(tip - base) > 12:
        drawing.arrow(base, tip, BLUE)
    if roll:
        drawing.line(moved(face[[36, 45]]), RED, 2)
    drawing.text(centre[0], 20, title, bold=True)
    drawing.text(centre[0], 212, meaning, size=13)
    return drawing.svg()


def pixels() -> str:
    """Pixel centres at integers."""
    drawing, side = Drawing(400, 255), 60
    corner = np.array([60.0, 38.0])
    for row in range(3):
        for column in range(5):
            low = corner + np.array([column, row]) * side
            drawing.rectangle(low, low + side, width=1, fill=BLUE if row == column == 0 else "none", opacity=0.25)
            drawing.dot(low + side / 2, RED)
            drawing.text(low[0] + side / 2, low[1] + side / 2 - 8, f"{column}, {row}", size=13)
    drawing.text(corner[0], 28, "-0.5", size=13)
    drawing.text(corner[0] + 5 * side, 28, "4.5", size=13)
    drawing.text(50, corner[1] + 5, "-0.5", size=13, anchor="end")
    drawing.text(50, corner[1] + 3 * side + 5, "2.5", size=13, anchor="end")
    drawing.text(210, 244, "an image of 5 x 3 pixels: centres and edges", size=13)
    return drawing.svg()


def crop_square() -> str:
    """The square around the box of the landmarks."""
    drawing = Drawing(380, 290)
    points = place(rotate(mean_landmarks(), -5, 25, 8), (170, 140), 62)
    drawing.rectangle(np.array([10.0, 10.0]), np.array([370.0, 275.0]))
    drawing.text(20, 30, "image", anchor="start", bold=True)
    box = np.concatenate([points.min(0), points.max(0)])
    centre = (box[:2] + box[2:]) / 2
    half = 100 / square_crop(box, 200)[0, 0]
    drawing.face(points)
    drawing.rectangle(box[:2], box[2:], ORANGE, 2)
    drawing.text(centre[0], box[1] - 7, "box of the landmarks", ORANGE, 13)
    drawing.rectangle(centre - half, centre + half, BLUE, 2, BLUE, opacity=0.08)
    drawing.text(centre[0], centre[1] + half + 17, "side: 1.414 times the longer side", BLUE, 13)
    return drawing.svg()


def crop_result() -> str:
    """The crop that the network sees."""
    drawing, size = Drawing(240, 290), 200
    points = place(rotate(mean_landmarks(), -5, 25, 8), (170, 140), 62)
    affine = square_crop(np.concatenate([points.min(0), points.max(0)]), size)
    corner = np.array([20.0, 42.0])
    drawing.rectangle(corner, corner + size, BLUE, 2, BLUE, opacity=0.08)
    drawing.face(transform_points(affine, points) + corner)
    drawing.text(120, 30, "crop", bold=True)
    drawing.text(120, 264, "120 x 120 pixels", size=13)
    return drawing.svg()


def landmarks68() -> str:
    """The order of the 68 landmarks."""
    drawing, colours = Drawing(620, 600), (BLUE, ORANGE, RED, GREEN)
    points = place(mean_landmarks(jaw_open=0.45), (310, 300), 272)
    for i, (first, last, closed) in enumerate(CONTOURS.values()):
        drawing.line(points[first:last], colours[i % 4], 1.2, closed)
    middle = {name: points[first:last].mean(0) for name, (first, last, _) in CONTOURS.items()}
    for i, (name, (first, last, closed)) in enumerate(CONTOURS.items()):
        for index in range(first, last):
            point = points[index]
            away = np.array([0.0, -1.0]) if not closed and name != "jaw" else point - middle[name]
            if name == "jaw":
                away = point - points[27:36].mean(0)
            if name == "nose bridge":
                away = np.array([1.0, 0.0])
            if name == "nostrils":
                away = np.array([0.0, 1.0])
            if name == "inner lips":
                away = -away * [0.6, 1]
            away = away / np.linalg.norm(away) * 13
            drawing.dot(point, colours[i % 4], 3)
            drawing.text(point[0] + away[0], point[1] + away[1] + 4, str(index), size=13)
    return drawing.svg()


def yaw_bins() -> str:
    """The yaw bins of evaluation, seen from above."""
    drawing, centre, radius = Drawing(420, 260), np.array([210.0, 56.0]), 155

    def towards(yaw: float, r: float) -> Points:
        """Return the direction of the nose at a yaw; positive yaw points to the image's left."""
        return centre + r * np.array([-np.sin(np.radians(yaw)), np.cos(np.radians(yaw))])

    for (low, high), colour in (((0, 30), GREEN), ((30, 60), ORANGE), ((60, 90), RED)):
        for sign in (-1, 1):
            arc = [towards(sign * yaw, radius) for yaw in np.linspace(low, high, 16)]
            drawing.line([centre, *arc], colour, 1, True, colour, opacity=0.25)
            label = towards(sign * (low + high) / 2, radius * 0.72)
            drawing.text(label[0], label[1] + 5, f"{low}-{high}", size=13)
    drawing.dot(centre, radius=22)
    drawing.arrow(centre, centre + [0, 50], "currentColor", 4)
    for yaw in (-90, -60, -30, 30, 60, 90):
        label = towards(yaw, radius + 24)
        drawing.text(label[0], label[1] + 5, f"{yaw:+d}", size=13)
    drawing.text(210, 20, "the head from above", bold=True)
    drawing.text(210, 234, "camera: yaw 0", size=13)
    return drawing.svg()


def nme() -> str:
    """The normalised mean error: distances of points, and the size of the box."""
    drawing, rng = Drawing(400, 400), np.random.default_rng(3)
    true = place(mean_landmarks(), (190, 150), 130)
    predicted = true + rng.normal(0, 4.5, true.shape)
    low, high = true.min(0), true.max(0)
    drawing.rectangle(low, high, ORANGE, 2)
    drawing.text((low[0] + high[0]) / 2, high[1] + 18, "w", ORANGE, 15, bold=True)
    drawing.text(high[0] + 14, (low[1] + high[1]) / 2, "h", ORANGE, 15, bold=True)
    for a, b in zip(true, predicted, strict=True):
        drawing.line([a, b], RED, 1.5)
        drawing.dot(a, radius=2.2)
        drawing.dot(b, BLUE, 2.2)
    for x, colour, label in (
        (20, "currentColor", "true point"),
        (125, BLUE, "predicted point"),
        (270, RED, "distance"),
    ):
        drawing.dot(np.array([x, 335.0]), colour, 5)
        drawing.text(x + 12, 340, label, anchor="start")
    drawing.text(200, 378, "NME = mean distance / sqrt(w h)", size=14, bold=True)
    return drawing.svg()


def error_curve() -> str:
    """The cumulative error curve with AUC@7 and fail@7. Its errors are made up."""
    drawing, corner, width, height = Drawing(450, 285), np.array([55.0, 235.0]), 340, 195
    errors = np.sort(np.random.default_rng(0).lognormal(1.3, 0.5, 400))
    limit = 7.0

    def at(error: float, fraction: float) -> Points:
        return corner + [error / 10 * width, -fraction * height]

    curve = [at(error, (i + 1) / len(errors)) for i, error in enumerate(errors) if error <= 10]
    below = [at(error, (i + 1) / len(errors)) for i, error in enumerate(errors) if error <= limit]
    fraction = float((errors <= limit).mean())
    drawing.line([corner, *below, at(limit, fraction), at(limit, 0)], "none", 0, True, BLUE, opacity=0.22)
    drawing.line([corner, *curve], BLUE, 2.5)
    drawing.arrow(corner, corner + [width + 20, 0], "currentColor", 1.5)
    drawing.arrow(corner, corner - [0, height + 25], "currentColor", 1.5)
    drawing.line([at(limit, 0), at(limit, 1)], RED, 1.5, dash="5 4")
    drawing.line([at(limit, fraction), at(limit, 1)], RED, 4)
    drawing.line([at(0, 1), at(10, 1)], "currentColor", 0.8, dash="3 4")
    drawing.text(*at(limit, 1) + [0, -9], "fail@7: above 7 %", RED, 13)
    drawing.text(*at(4.7, 0.3), "AUC@7", BLUE, 15, bold=True)
    for error in (0, 2, 4, 6, 7, 8, 10):
        drawing.text(*at(error, 0) + [0, 18], str(error), size=13)
    drawing.text(*at(5, 0) + [0, 38], "NME of an image in %", size=13)
    drawing.text(50, corner[1] - height + 5, "100 %", size=13, anchor="end")
    drawing.text(50, corner[1] + 5, "0", size=13, anchor="end")
    return drawing.svg()


DRAWINGS = {
    "axes-image": axes_image,
    "axes-model": axes_model,
    "angles-zero": partial(head, "all 0", "looks at the camera"),
    "angles-yaw": partial(head, "yaw +35", "nose to the image's left", yaw=35),
    "angles-pitch": partial(head, "pitch +25", "looks up", pitch=25),
    "angles-roll": partial(head, "roll +25", "eye on the right is lower", roll=25),
    "pixels": pixels,
    "crop-square": crop_square,
    "crop-result": crop_result,
    "landmarks68": landmarks68,
    "yaw-bins": yaw_bins,
    "nme": nme,
    "error-curve": error_curve,
}


def main() -> None:
    """Write all drawings."""
    PICTURES.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        (PICTURES / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
