"""300-W and other data sets in its format: images with `.pts` files (Sagonas et al., ICCV-W 2013).

These are for example AFW, HELEN, IBUG, LFPW, XM2VTS and the frames of 300-VW. A file has 68 points in iBUG order in
pixels that count from 1.
"""

from __future__ import annotations

from synergy.data.pairs import pair_up
from synergy.data.ptsfile import read_pts
from synergy.data.reader import FaceReader, stem
from synergy.data.sample import FaceSample


class PtsReader(FaceReader):
    """Read images with `.pts` files. Landmarks are (68, 2). All count as visible: the format has no visibility.

    Args:
        path: folder, tar or zip of the data set.
    """

    source = "300w"
    licence = "300-W annotations: research only, see https://ibug.doc.ic.ac.uk/resources/facial-point-annotations/"

    def _find(self) -> list[str]:
        return pair_up(self, ".pts")

    def _wanted(self) -> str:
        return "pairs of images and .pts files"

    def _read(self, name: str, image: bool) -> FaceSample:
        file = stem(name) + ".pts"
        landmarks = read_pts(self.tree.read(file), file)
        return self._sample(name, self._image(name, image), landmarks)
