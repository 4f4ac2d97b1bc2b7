"""FaceSynthetics as published: `ID.png`, `ID_ldmks.txt`, `ID_seg.png` (Wood et al., ICCV 2021).

The text file has 70 lines `x y` in pixels with y down: 68 points in iBUG order, then the two pupils, which are not
read. The points are projections of 3D points. Hidden points are therefore annotated too.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from synergy.data.pairs import pair_up
from synergy.data.reader import FaceReader, SampleError, checked_points, stem
from synergy.data.sample import FaceSample

_ENDING = "_ldmks.txt"


class FaceSyntheticsReader(FaceReader):
    """Read FaceSynthetics. Landmarks are (68, 2), and all of them count as visible.

    Args:
        path: folder, tar or zip of the data set.
    """

    source = "facesynthetics"
    licence = "FaceSynthetics: research only, see https://github.com/microsoft/FaceSynthetics"

    def _find(self) -> list[str]:
        return pair_up(self, _ENDING, ignored="_seg.png")

    def _wanted(self) -> str:
        return "pairs of images ID.png and ID_ldmks.txt"

    def _label_files(self) -> list[str]:
        return [stem(name) + _ENDING for name in self.names]

    def _read(self, name: str, image: bool) -> FaceSample:
        file = stem(name) + _ENDING
        try:
            rows = [line.split() for line in self.tree.read(file).decode("latin-1").splitlines() if line.strip()]
            points = np.array([[float(value) for value in row] for row in rows])
        except ValueError:
            raise SampleError(f"{file} has a line that is not a point 'x y'") from None
        landmarks = checked_points(points, 70, 2, file)[:68]
        content = self.tree.read(name)
        try:
            with Image.open(BytesIO(content)) as header:  # reads no pixels
                size = header.size
        # Damaged files, and those that state too many pixels, make Pillow raise several kinds of errors.
        except Exception:
            raise SampleError(f"{name} is not a readable image") from None
        return self._sample(name, self._image(name, image), landmarks, image_size=size)
