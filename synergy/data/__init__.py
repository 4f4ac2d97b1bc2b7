"""Readers of the public data sets. Each yields `FaceSample`s in the conventions of `synergy.geometry`."""

from synergy.data.aflw2000 import AFLW2000Reader
from synergy.data.annotated_crops import AnnotatedCropsReader
from synergy.data.ddfa import DDFAReader
from synergy.data.facesynthetics import FaceSyntheticsReader
from synergy.data.jvcr import JVCRReader
from synergy.data.opening import open_reader
from synergy.data.pts300w import PtsReader
from synergy.data.reader import FaceReader, Problem, SampleError
from synergy.data.sample import FaceSample
from synergy.data.w300lp import W300LPReader

__all__ = [
    "AFLW2000Reader",
    "AnnotatedCropsReader",
    "DDFAReader",
    "FaceReader",
    "FaceSample",
    "FaceSyntheticsReader",
    "JVCRReader",
    "Problem",
    "PtsReader",
    "SampleError",
    "W300LPReader",
    "open_reader",
]
