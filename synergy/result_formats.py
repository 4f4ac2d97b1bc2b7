"""The formats of `synergy predict --format`: their names, files and functions.

This is the only list of them. The command line, the documentation and the web page read it. It imports nothing else of
the package, so that `synergy --help` stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["table", "picture", "landmarks", "mesh"]


@dataclass(frozen=True)
class ResultFormat:
    """One format of results.

    Attributes:
        name: what `--format` calls it.
        kind: "table" is one file for all inputs. "picture" is one file per image, and a video for a video. "landmarks"
            and "mesh" are one file per face.
        suffix: of the file, with the dot.
        description: one line for the help.
        function: module and name of the function that makes it, for `pkgutil.resolve_name`.
        needs_mesh: whether the morphable model must have a mesh. The function of a picture then takes a rasteriser.
        is_map: whether the picture holds numbers as colours. It is drawn over black and stored without loss.
    """

    name: str
    kind: Kind
    suffix: str
    description: str
    function: str
    needs_mesh: bool = False
    is_map: bool = False


def _table(name: str, description: str) -> ResultFormat:
    return ResultFormat(name, "table", f".{name}", description, f"synergy.export:write_{name}_rows")


def _picture(name: str, function: str, description: str, needs_mesh: bool = False) -> ResultFormat:
    return ResultFormat(name, "picture", ".jpg", description, f"synergy.draw.layers:{function}", needs_mesh)


def _map(name: str, function: str, description: str) -> ResultFormat:
    return ResultFormat(name, "picture", ".png", description, f"synergy.draw.layers:{function}", True, is_map=True)


def _mesh(name: str, description: str) -> ResultFormat:
    return ResultFormat(name, "mesh", f".{name}", description, "synergy.export:write_mesh", needs_mesh=True)


RESULT_FORMATS = {
    one.name: one
    for one in (
        _table("json", "all numbers of all faces, in predictions.json"),
        _table("csv", "a table with one row per face, in predictions.csv"),
        _table("parquet", "the same numbers as json with one row per face, in predictions.parquet"),
        ResultFormat("pts", "landmarks", ".pts", "68 landmarks of each face, as in 300-W", "synergy.export:write_pts"),
        _picture("overlay", "overlay", "contours, points and pose axes over the photo"),
        _picture("points", "points_overlay", "the 68 landmarks over the photo"),
        _picture("contours", "contours_overlay", "jaw, brows, nose, eyes and lips as curves over the photo"),
        _picture("pose", "pose_overlay", "axes and box of the head, and its direction in degrees"),
        _picture("wireframe", "wireframe_overlay", "edges of the face's mesh over the photo", needs_mesh=True),
        _picture("mesh", "mesh_overlay", "the shaded face over the photo", needs_mesh=True),
        _picture("head", "head_overlay", "the shaded whole head over the photo", needs_mesh=True),
        _map("depth", "depth_map", "depth of the face in grey, nearer is brighter, over black"),
        _map("normals", "normal_map", "normals of the face as colours, over black"),
        _map("pncc", "pncc_map", "for each pixel its place on the mean face as a colour (PNCC), over black"),
        _mesh("obj", "mesh of each face with a texture: OBJ, MTL and PNG"),
        _mesh("glb", "mesh with a texture, and expressions as named morph targets"),
        _mesh("ply", "mesh with a colour per vertex"),
        _mesh("stl", "mesh without colours, for 3D printers"),
        _mesh("npz", "vertices, triangles, texture coordinates and landmark indices as numpy arrays"),
    )
}
TABLE_FORMATS = {name: one for name, one in RESULT_FORMATS.items() if one.kind == "table"}
PICTURE_FORMATS = {name: one for name, one in RESULT_FORMATS.items() if one.kind == "picture"}
MESH_FORMATS = {name: one for name, one in RESULT_FORMATS.items() if one.kind == "mesh"}
DEFAULT_FORMATS = "json,overlay,mesh"
