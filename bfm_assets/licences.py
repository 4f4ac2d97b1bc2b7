"""What the public models' owners allow, in one line each; `docs/morphable-models.md` says more."""

from __future__ import annotations

BFM_2009 = "Basel Face Model 2009: non-commercial research under signed terms, https://faces.dmi.unibas.ch/bfm/"
BFM_2017 = (
    "Basel Face Model 2017/2019: non-commercial research under its terms, https://faces.dmi.unibas.ch/bfm/bfm2019.html"
)
ICT_FACEKIT = "MIT"
