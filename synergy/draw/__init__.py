"""Draw predictions over an image.

Every public function takes an (H, W, 3) uint8 RGB image and returns a new one. Only the pixels near a face are
computed: the rest of the image is copied once. Coordinates are those of `synergy.geometry`. A colour is a tuple of red,
green and blue in 0..255.

`draw_layer` draws all faces in one of the styles of `synergy predict --format`. The other functions draw one thing.
"""

from synergy.draw.landmarks import draw_contours, draw_points, uncertain_points
from synergy.draw.layers import draw_layer, draw_picture, mesh_overlay, overlay
from synergy.draw.mesh import draw_mesh, draw_wireframe
from synergy.draw.pose import draw_axes, draw_pose_box

__all__ = [
    "draw_axes",
    "draw_contours",
    "draw_layer",
    "draw_mesh",
    "draw_picture",
    "draw_points",
    "draw_pose_box",
    "draw_wireframe",
    "mesh_overlay",
    "overlay",
    "uncertain_points",
]
