"""Write the page of the demo and the files that it shows."""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

import cv2
import numpy as np
from numpy.typing import NDArray

from synergy.app.words import describe_pose
from synergy.demo.clip import Track, rendered_person, track_clip, write_clip
from synergy.demo.rendered import demo_photo, rendered_picture
from synergy.draw import draw_picture, overlay
from synergy.errors import UserError
from synergy.export import write_csv, write_json, write_mesh
from synergy.face import Face, resize_face
from synergy.faces import Faces
from synergy.images import write_image
from synergy.outputs import require_writable_folder
from synergy.predictor import FacePredictor
from synergy.result_formats import PICTURE_FORMATS

Image = NDArray[np.uint8]

# Corner and side of the square of the photo that is shown enlarged, and its side on the page.
_PORTRAIT = (72, 0, 304)
_PORTRAIT_SIDE = 760
# Pitch, yaw, roll in degrees of the rendered faces, with one random person and expression each.
_POSES = ((0, 0, 0), (0, 30, 0), (0, -60, 0), (20, 15, 10), (-20, -30, -15), (0, 10, 120))
_CLIP_LAYERS = ("overlay", "wireframe")
# Number of blendshapes whose weights are shown.
_N_BLENDSHAPES = 6


def build_demo(out: Path) -> Path:
    """Write the demo's files into a folder.

    Args:
        out: the folder, which is created.

    Returns:
        The path of its index.html.

    Raises:
        UserError: the folder cannot be written to, or scikit-image, which has the photo, is not installed.
    """
    start = time.monotonic()
    require_writable_folder(out)
    photo = demo_photo()
    predictor = FacePredictor()
    faces = predictor(photo)
    write_json(out / "predictions.json", {"astronaut.png": faces})
    write_csv(out / "predictions.csv", {"astronaut.png": faces})
    for kind in ("glb", "obj", "ply"):
        write_mesh(out / f"face.{kind}", faces[0], photo)
    layers = _write_layers(out, *portrait(photo, faces))
    rendered = _write_rendered(out, predictor)
    for old in out.glob("clip_*.glb"):
        old.unlink()  # the page lists these files
    video, chart = _write_clip(out, predictor)
    page = out / "index.html"
    template = (files("synergy.demo") / "page.html").read_text(encoding="utf-8")
    content = Template(template).substitute(
        layers=_layer_choice("photo", layers),
        facts=_facts(faces[0]),
        video=video,
        chart=chart,
        rendered=rendered,
        files=_file_list(out),
        seconds=f"{time.monotonic() - start:.0f}",
    )
    page.write_text(content, encoding="utf-8")
    return page


def portrait(photo: Image, faces: Sequence[Face]) -> tuple[Image, Faces]:
    """Enlarge the part of the demo photo around the face, and move the faces with it.

    Args:
        photo: the demo photo.
        faces: its faces.

    Returns:
        The picture (760, 760, 3) and the faces in its pixels.
    """
    x, y, side = _PORTRAIT
    part = photo[y : y + side, x : x + side]
    large = cv2.resize(part, (_PORTRAIT_SIDE, _PORTRAIT_SIDE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.uint8), Faces(resize_face(face, _PORTRAIT_SIDE / side, (x, y)) for face in faces)


def _write_layers(out: Path, picture: Image, faces: Faces) -> dict[str, tuple[str, str]]:
    """Draw faces in all styles.

    Returns:
        Name of the style to its file and its description.
    """
    write_image(out / "photo.jpg", picture)
    shown = {"photo": ("photo.jpg", "the photo")}
    for name, style in PICTURE_FORMATS.items():
        file = f"photo_{name}.jpg"
        write_image(out / file, draw_picture(picture, faces, name))
        shown[name] = file, style.description
    return shown


def _layer_choice(group: str, layers: dict[str, tuple[str, str]], chosen: str = "overlay") -> str:
    """Return buttons that choose one of several pictures, and the pictures."""
    choices = "".join(
        f'<label><input type="radio" name="{group}" value="{name}"{" checked" if name == chosen else ""}>'
        f"<span>{html.escape(name)}</span></label>"
        for name in layers
    )
    figures = "".join(
        f'<figure data-name="{name}"{"" if name == chosen else " hidden"}>'
        f'<img src="{file}" alt="{html.escape(label)}" width="{_PORTRAIT_SIDE}" height="{_PORTRAIT_SIDE}">'
        f"<figcaption>{html.escape(label)}</figcaption></figure>"
        for name, (file, label) in layers.items()
    )
    return f'<div class="choice" data-group="{group}"><div class="buttons">{choices}</div>{figures}</div>'


def _facts(face: Face) -> str:
    """Return what is known of the photo's face: the pose in words and numbers, and the strongest expressions."""
    azimuth, elevation = face.direction
    angles = {"pitch": face.pose.pitch, "yaw": face.pose.yaw, "roll": face.pose.roll}
    angles |= {"azimuth of the nose (positive: to your left)": azimuth, "elevation of the nose": elevation}
    rows = "".join(f"<tr><th>{name}</th><td>{angle:+.1f}°</td></tr>" for name, angle in angles.items())
    weights = sorted(face.blendshapes.items(), key=lambda item: -item[1])[:_N_BLENDSHAPES]
    bars = "".join(
        f"<tr><th>{name}</th><td><meter min=0 max=1 value={weight:.2f}></meter> {weight:.2f}</td></tr>"
        for name, weight in weights
    )
    return (
        f'<p class="words">{html.escape(describe_pose(face))}</p><table>{rows}</table>'
        f"<h3>Strongest expressions</h3><table>{bars}</table>"
    )


def _write_rendered(out: Path, predictor: FacePredictor) -> str:
    """Render random people in known poses, predict them, and return figures that compare both."""
    figures = []
    for i, angles in enumerate(_POSES):
        picture = rendered_picture(angles, seed=i)
        faces = predictor(picture)
        file = f"rendered_{i}.jpg"
        write_image(out / file, np.concatenate([picture, overlay(picture, faces)], 1))
        known = _angles(angles)
        predicted = _angles((faces[0].pose.pitch, faces[0].pose.yaw, faces[0].pose.roll)) if faces else "no face found"
        label = f"rendered with {known}<br>predicted {predicted}"
        alt = f"a rendered face with {known}, and its predicted landmarks"
        image = f'<img src="{file}" alt="{alt}" width=512 height=256>'
        figures.append(f"<figure>{image}<figcaption>{label}</figcaption></figure>")
    return "".join(figures)


def _angles(angles: Iterable[float]) -> str:
    """Return pitch, yaw and roll in words."""
    return "pitch {:.0f}°, yaw {:.0f}°, roll {:.0f}°".format(*(round(angle) + 0 for angle in angles))


def _write_clip(out: Path, predictor: FacePredictor) -> tuple[str, str]:
    """Write and track the clip, and return the video and the chart of the page, or why there are none."""
    try:
        write_clip(out / "clip.mp4")
    except UserError as error:
        return f"<p>{html.escape(str(error))}</p>", ""
    tracks = track_clip(out / "clip.mp4", predictor, _CLIP_LAYERS)
    names = {"overlay": "clip_overlay.mp4", "wireframe": "clip_wireframe.mp4", "clip": "clip.mp4"}
    choices = "".join(
        f'<label><input type="radio" name="clip" value="{file}"{" checked" if name == "overlay" else ""}>'
        f"<span>{name}</span></label>"
        for name, file in names.items()
    )
    video = (
        f'<div class="buttons" data-video="clip">{choices}</div>'
        '<video id="clip" src="clip_overlay.mp4" width=640 height=360 autoplay loop muted playsinline controls></video>'
    )
    return video, _chart(tracks)


def _chart(tracks: Sequence[Track]) -> str:
    """Draw the yaw of each track over time, and the true yaw of the rendered person, as SVG."""
    width, height, left, limit = 640, 220, 44, 60.0
    end = max(track.seconds[-1] for track in tracks)

    def line(seconds: Sequence[float], yaw: Sequence[float], style: str) -> str:
        points = " ".join(
            f"{left + (width - left - 8) * t / end:.1f},{height / 2 - (height / 2 - 14) * angle / limit:.1f}"
            for t, angle in zip(seconds, yaw, strict=True)
        )
        return f'<polyline class="{style}" points="{points}"/>'

    ticks = "".join(
        f'<line class="grid" x1="{left}" x2="{width - 8}" y1="{y}" y2="{y}"/>'
        f'<text x="{left - 6}" y="{y + 4}">{angle:+d}°</text>'
        for angle, y in ((a, round(height / 2 - (height / 2 - 14) * a / limit, 1)) for a in (-60, -30, 0, 30, 60))
    )
    times = [end * i / 120 for i in range(121)]
    lines = line(times, [rendered_person(t).pose.yaw for t in times], "true")
    # A gap in a track is a gap in its line.
    for track in tracks:
        gaps = [i for i in range(1, len(track.seconds)) if track.seconds[i] - track.seconds[i - 1] > 0.1]
        for a, b in zip([0, *gaps], [*gaps, len(track.seconds)], strict=True):
            lines += line(track.seconds[a:b], track.yaw[a:b], f"track{(track.number - 1) % 4 + 1}")
    keys = "".join(f'<span class="key track{(t.number - 1) % 4 + 1}">person {t.number}</span>' for t in tracks)
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="yaw of each person over time">'
        f"{ticks}{lines}</svg>"
        f'<figcaption>{keys}<span class="key true">rendered person, known</span><br>Yaw over {end:.0f} seconds. A line '
        "ends while the person is covered. Just before that, half of the face is covered and the yaw can be wrong."
        "</figcaption></figure>"
    )


def _file_list(out: Path) -> str:
    """Return links to the files of numbers and meshes, with their sizes."""
    kinds = {
        "predictions.json": "all numbers of the photo",
        "predictions.csv": "the same as a table",
        "face.glb": "the textured mesh for Blender and any glTF viewer",
        "face.obj": "the same as OBJ, with its texture",
        "face.ply": "the same with a colour per vertex",
    }
    kinds |= {path.name: "an animated mesh of one person of the clip" for path in sorted(out.glob("clip_*.glb"))}
    return "".join(
        f'<li><a href="{name}" download>{name}</a> {text}, {(out / name).stat().st_size / 1024:,.0f} kB</li>'
        for name, text in kinds.items()
    )
