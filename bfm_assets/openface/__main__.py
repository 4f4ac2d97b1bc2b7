"""Build the open face: `python -m bfm_assets.openface --out bfm_assets/data/open_face.npz`."""

from __future__ import annotations

import argparse
from pathlib import Path

from bfm_assets.openface.model import open_face


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bfm_assets.openface", description="Build the open face model.")
    parser.add_argument("--out", type=Path, default=Path("bfm_assets/data/open_face.npz"))
    out = parser.parse_args().out
    model = open_face()
    out.parent.mkdir(parents=True, exist_ok=True)
    model.save(out)
    print(
        f"{out}: {model.n_vertices} vertices, {len(model.triangles)} triangles, {model.n_shape} shape and "
        f"{model.n_expression} expression modes, {out.stat().st_size / 1e6:.2f} MB, digest {model.digest}"
    )


if __name__ == "__main__":
    main()
