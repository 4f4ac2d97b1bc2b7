"""The demo: a page about one public-domain photo, rendered faces of the open model, and a tracked clip of both."""

from synergy.demo.build import build_demo, portrait
from synergy.demo.rendered import animated_face, demo_photo, random_face, rendered_picture

__all__ = ["animated_face", "build_demo", "demo_photo", "portrait", "random_face", "rendered_picture"]
