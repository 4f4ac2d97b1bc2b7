"""What tests of all packages share: a small model and network, where the real data lies, and a file that runs code."""

import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bfm_assets import MorphableModel, open_face
from synergy.camera import has_pytorch3d
from synergy.models import SynergyNet

# Scripts that tests start in other processes. They have no examples, and cannot be imported without their arguments.
collect_ignore = ["train/ddp_run.py", "train/resume_run.py", "train/torchrun_run.py"]

# pytest-xdist sets COLUMNS in its workers. The command line would fit its tables into so many characters.
os.environ.pop("COLUMNS", None)

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `pytorch3d` where it is not installed."""
    if item.get_closest_marker("pytorch3d") and not has_pytorch3d():
        pytest.skip("pytorch3d is not installed: make pytorch3d SRC=...")


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Seed torch, so that a test draws the same numbers whichever tests run before it."""
    torch.manual_seed(0)


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data; tests that ask for it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the real data next to the project (../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def tiny_model() -> MorphableModel:
    """A dense model of 100 vertices with 4 shape and 3 expression modes."""
    rng = np.random.default_rng(0)
    v = 100
    return MorphableModel(
        name="tiny",
        licence="MIT",
        mean=(rng.normal(size=(v, 3)) * 50).astype(np.float32),
        shape_basis=rng.normal(size=(v, 3, 4)).astype(np.float32),
        shape_std=np.array([4, 3, 2, 1], np.float32),
        expression_basis=rng.normal(size=(v, 3, 3)).astype(np.float32),
        expression_std=np.ones(3, np.float32),
        triangles=rng.permuted(np.tile(np.arange(v, dtype=np.int32), (60, 1)), axis=1)[:, :3].copy(),
        landmarks=rng.permutation(v)[:68].astype(np.int32),
        expression_names=("a", "b", "c"),
    )


@pytest.fixture(scope="session")
def tiny_bfm(tiny_model: MorphableModel) -> MorphableModel:
    """The tiny model under a name that stands for 3DDFA's modes."""
    return replace(tiny_model, name="bfm-3ddfa")


@pytest.fixture(scope="session")
def small_net() -> SynergyNet:
    """An untrained quarter-width network on the open face, whitened so that its faces lie in the crop."""
    torch.manual_seed(0)
    model = open_face()
    net = SynergyNet(model, "mobilenet_v1", 0.25)
    mean, std = torch.zeros_like(net.param_mean), torch.full_like(net.param_std, 1e-3)
    mean[[0, 5, 10]] = 0.45
    mean[[3, 7]] = 60.0
    std[12:] = torch.from_numpy(np.concatenate([model.shape_std, model.expression_std])) * 0.1
    net.set_whitening(mean, std)
    return net.eval()


class _Payload:
    """An object whose pickle makes a folder when it is read by the plain unpickler."""

    def __init__(self, trap: Path) -> None:
        self.trap = trap

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trap),)


@dataclass
class Planted:
    """Writer of files that run code when they are unpickled.

    Attributes:
        trap: the folder that the code makes.
    """

    trap: Path

    def __call__(self, path: Path, content: dict[str, object] | None = None) -> Path:
        """Write a checkpoint of `content` with the payload in it; a bare pickle of the payload without content."""
        if content is None:
            path.write_bytes(pickle.dumps(_Payload(self.trap), 2))
        else:
            torch.save({**content, "epoch": _Payload(self.trap)}, path)
        return path

    @property
    def ran(self) -> bool:
        """Whether the code was run."""
        return self.trap.exists()


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    return Planted(tmp_path / "the payload ran")
