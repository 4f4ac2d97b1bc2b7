"""300-W and every set in its format: images with `.pts` files beside them (Sagonas et al., ICCV-W 2013).

AFW, HELEN, IBUG, LFPW, XM2VTS, 300-VW frames and this project's tars. Points are 68 in iBUG order, 1-based.
"""

from __future__ import annotations

from synergy.data.pairs import pair_up
from synergy.data.ptsfile import read_pts
from synergy.data.reader import FaceReader, stem, visibility_of
from synergy.data.sample import FaceSample


class PtsReader(FaceReader):
    """Samples with (68, 2) landmarks, all of them taken as visible: the format does not say."""

    source = "300w"
    licence = "300-W annotations: research only, see https://ibug.doc.ic.ac.uk/resources/facial-point-annotations/"

    def _find(self) -> list[str]:
        return pair_up(self, ".pts")

    def _wanted(self) -> str:
        return "images with .pts files beside them"

    def _read(self, name: str, image: bool) -> FaceSample:
        file = stem(name) + ".pts"
        landmarks = read_pts(self.tree.read(file), file)
        return FaceSample(
            name=name,
            image=self._image(name, image),
            landmarks68=landmarks,
            visibility68=visibility_of(landmarks),
            source=self.source,
            licence=self.licence,
        )
