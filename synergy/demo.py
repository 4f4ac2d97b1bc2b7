"""The demo: predictions of one public-domain photo, the open face rendered at several poses, and a page of both."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets import open_face
from synergy.appearance import random_colours, region_colours
from synergy.draw import draw_mesh, draw_pose_box, draw_wireframe, mesh_overlay, overlay
from synergy.export import write_csv, write_json, write_mesh
from synergy.extras import needs_extra
from synergy.face import Face, pose_from_params
from synergy.geometry import compose_pose, euler_to_matrix
from synergy.images import read_image, write_image
from synergy.outputs import require_writable_folder
from synergy.parameters import join_parameters
from synergy.predictor import FacePredictor

_SIZE = 256
# Height of the 68 landmarks in a rendered picture, as a fraction of its height. The whole head is then visible.
_LANDMARK_HEIGHT = 0.42
# Pitch, yaw, roll in degrees of the rendered faces, with one random person and expression each.
_POSES = ((0, 0, 0), (0, 30, 0), (0, -60, 0), (20, 15, 10), (-20, -30, -15))


def build_demo(out: Path) -> Path:
    """Write the demo's files into a folder.

    Args:
        out: the folder, which is created.

    Returns:
        The path of its index.html.

    Raises:
        UserError: the folder cannot be written to.
    """
    require_writable_folder(out)
    # Eileen Collins, NASA, public domain; scikit-image's wheel carries it.
    with needs_extra("demo", "the demo"):
        photo = read_image(str(files("skimage") / "data" / "astronaut.png"))
    faces = FacePredictor()(photo)
    pictures = {
        "landmarks.jpg": ("68 landmarks and pose axes", overlay(photo, faces)),
        "mesh.jpg": ("the fitted mesh", mesh_overlay(photo, faces)),
        "wireframe.jpg": ("its wireframe and pose box", _wireframes(photo, faces)),
    }
    for i, angles in enumerate(_POSES):
        face = random_face(angles, seed=i)
        model = face.morphable_model
        colours = region_colours(model, **random_colours(np.random.default_rng(i)))
        picture = draw_mesh(_backdrop(), face.vertices(), model.triangles, colours)
        label = "rendered: pitch {}°, yaw {}°, roll {}°".format(*angles)
        pictures[f"rendered_{i}.jpg"] = (label, np.concatenate([picture, overlay(picture, [face])], 1))
    for name, (_, picture) in pictures.items():
        write_image(out / name, picture)
    for face in faces[:1]:
        write_mesh(out / "face.glb", face, photo)
    write_json(out / "predictions.json", {"astronaut.png": faces})
    write_csv(out / "predictions.csv", {"astronaut.png": faces})
    page = out / "index.html"
    page.write_text(_page({name: label for name, (label, _) in pictures.items()}, faces), encoding="utf-8")
    return page


def random_face(angles_deg: tuple[float, float, float], seed: int) -> Face:
    """Make a random person of the open face with a random expression, in the middle of a 256 px image.

    Args:
        angles_deg: pitch, yaw and roll in degrees.
        seed: of shape and expression.
    """
    model = open_face()
    rng = np.random.default_rng(seed)
    shape = (rng.standard_normal(model.n_shape) * model.shape_std).astype(np.float32)
    expression = np.zeros(model.n_expression, np.float32)
    expression[rng.permutation(model.n_expression)[:3]] = rng.uniform(0.2, 0.6, 3)
    points = model.vertices(shape, expression)[model.landmarks]
    scale = torch.tensor(_SIZE * _LANDMARK_HEIGHT / float(np.ptp(points[:, 1])))
    rotation = euler_to_matrix(torch.tensor(np.radians(angles_deg), dtype=torch.float32))
    centre = rotation @ torch.from_numpy(points.mean(0)) * scale
    pose = compose_pose(scale, rotation, torch.tensor([_SIZE / 2, _SIZE / 2, 0.0]) - centre).numpy()
    params = join_parameters(pose, shape, expression).astype(np.float32)
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])

    def face(landmarks68: NDArray[np.float32]) -> Face:
        return Face(
            box=np.array([0, 0, _SIZE - 1, _SIZE - 1], np.float32),
            score=1.0,
            landmarks68=landmarks68,
            pose=pose_from_params(params, identity),
            params=params,
            crop=identity,
            crop_size=_SIZE,
            model_id="rendered",
            morphable_model=model,
        )

    return face(face(np.zeros((68, 3), np.float32)).vertices()[model.landmarks])


def _backdrop() -> NDArray[np.uint8]:
    """Make a vertical gradient to render on."""
    ramp = np.linspace(70, 25, _SIZE)[:, None, None] * np.array([0.9, 1.0, 1.15])
    return np.broadcast_to(ramp, (_SIZE, _SIZE, 3)).astype(np.uint8)


def _wireframes(image: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.uint8]:
    for face in faces:
        image = draw_wireframe(image, face.vertices(), face.morphable_model.face_triangles)
        image = draw_pose_box(image, face.pose, face.landmarks68)
    return image


def _page(pictures: dict[str, str], faces: Sequence[Face]) -> str:
    rows = "".join(
        f"<tr><td>{i}</td><td>{face.score:.2f}</td><td>{face.pose.pitch:+.1f}°</td><td>{face.pose.yaw:+.1f}°</td>"
        f"<td>{face.pose.roll:+.1f}°</td></tr>"
        for i, face in enumerate(faces)
    )
    figures = "".join(
        f'<figure><img src="{name}" alt="{html.escape(label)}"><figcaption>{html.escape(label)}</figcaption></figure>'
        for name, label in pictures.items()
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Synergy demo</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }}
.grid {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }}
figure {{ margin: 0; }} img {{ width: 100%; border-radius: 8px; }}
figcaption {{ opacity: .75; }} td, th {{ padding: .2rem 1rem .2rem 0; text-align: left; }}
</style>
<h1>Synergy</h1>
<p>One photo in; 68 three-dimensional landmarks, head pose and a mesh out. The photo is Eileen Collins, NASA, public
domain. The rendered faces are the bundled open face model with random people and expressions, drawn with their exact
landmarks.</p>
<table><tr><th>face</th><th>score</th><th>pitch</th><th>yaw</th><th>roll</th></tr>{rows}</table>
<p>Positive pitch looks up, positive yaw turns the nose to the image's left, positive roll lowers the eye on the image's
right. Numbers: <a href="predictions.json">predictions.json</a>, <a href="predictions.csv">predictions.csv</a>;
textured mesh for Blender or any glTF viewer: <a href="face.glb">face.glb</a>.</p>
<div class="grid">{figures}</div>
</html>
"""
