"""Label packs as training data, held in memory and drawn in an order that depends only on the seed and the step."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler, SequentialSampler
from typing_extensions import override

from bfm_assets import MorphableModel, read_model
from synergy.data.sample import VISIBLE
from synergy.device import require_device
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.parameters import split_pose
from train.batch import Batch
from train.packs.pack import CROP_SIZE, MIN_WEIGHT, Pack, photo_name
from train.relabel import fit_coefficients

_VALIDATION_BATCH = 128


class BatchDataset(Dataset[Batch]):
    """A dataset that is indexed by a list of indices and returns a whole batch."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def __getitem__(self, indices: list[int]) -> Batch:
        """Return the samples with these indices."""


class FaceDataset(BatchDataset):
    """Decoded crops and their labels, in memory.

    Args:
        images: (N, side, side, 3) uint8 RGB. A tensor may be on any device; batches are made there.
        labels: the other fields of `Batch` by name, each (N, ...), on the device of the images.
        rows: (M,) which of the N faces the dataset has, in its order; all by default.
    """

    def __init__(
        self, images: NDArray[np.uint8] | Tensor, labels: Mapping[str, Tensor], rows: NDArray[np.integer] | None = None
    ) -> None:
        self.images, self.labels = torch.as_tensor(images), dict(labels)
        self.rows = np.arange(len(images)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: list[int]) -> Batch:
        rows = torch.from_numpy(self.rows[indices]).to(self.images.device)
        image = self.images.index_select(0, rows).permute(0, 3, 1, 2)
        return Batch(image, **{name: label[rows] for name, label in self.labels.items()})

    def to(self, device: str) -> FaceDataset:
        """Return the dataset on a device."""
        labels = {name: label.to(device) for name, label in self.labels.items()}
        return FaceDataset(self.images.to(device), labels, self.rows)

    def label(self, name: str) -> Tensor:
        """Return one label (M, ...) of all faces, by its name in `Batch`."""
        return self.labels[name][self.rows]


class StepSampler(Sampler[list[int]]):
    """Batches of indices from the current step to the end of its epoch. Every epoch has its own order.

    Args:
        frequency: (N,) relative sampling frequency of each sample. In an epoch of N draws a sample occurs as often as
            expected, rounded down or up (systematic resampling).
        batch_size: number of samples per process and step.
        seed: decides the order, together with the number of the epoch.
        start: returns the number of optimiser steps so far. It is called at the beginning of each epoch.
        rank: index of this process. The samples of a step are divided among the processes.
        world: number of processes.

    Raises:
        UserError: there are fewer samples than one step needs.
    """

    def __init__(
        self, frequency: NDArray[np.floating], batch_size: int, seed: int, start: Callable[[], int],
        rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        self.n, self.frequency = len(frequency), np.asarray(frequency)
        self.batch_size, self.seed, self.start, self.rank, self.world = batch_size, seed, start, rank, world
        if len(self) == 0:
            batch = f"{batch_size} x {world}; add samples or lower --data.batch_size"
            raise UserError(f"{self.n} training samples are fewer than one batch of {batch}")

    def __len__(self) -> int:
        return self.n // (self.batch_size * self.world)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first = divmod(self.start(), len(self))
        rng = np.random.default_rng([self.seed, epoch])
        shuffled = rng.permutation(self.n)
        cumulative = np.cumsum(self.frequency[shuffled], dtype=np.float64)
        draws = (np.arange(self.n) + rng.random()) * (cumulative[-1] / self.n)
        order = rng.permutation(shuffled[np.searchsorted(cumulative, draws, side="right")])
        for batch in range(first, len(self)):
            begin = (batch * self.world + self.rank) * self.batch_size
            yield order[begin : begin + self.batch_size].tolist()


class FaceDataModule(pl.LightningDataModule):
    """Data loaders over datasets that return whole batches. A subclass sets the attributes.

    Args:
        batch_size: number of samples per process and step.
        seed: of the order of the training samples.
        workers: number of processes that load training batches; 0 loads them in the training process.

    Attributes:
        train_set: the training samples.
        frequency: (N,) relative sampling frequency of each training sample.
        calibration_set: samples that were not used for training, to calibrate uncertainties (`train.uncertainty`).
        validation_sets: the validation samples by the name of their data set. Every process scores all of them.
        facts: what identifies the data, for the logger and the description of exported weights.
    """

    train_set: BatchDataset
    frequency: NDArray[np.floating]
    calibration_set: BatchDataset
    validation_sets: Mapping[str, BatchDataset]
    facts: dict[str, Any]

    def __init__(self, batch_size: int, seed: int, workers: int = 0) -> None:
        super().__init__()
        self.batch_size, self.seed, self.workers = batch_size, seed, workers

    @override
    def train_dataloader(self) -> DataLoader[Batch]:
        """Return a loader that begins at the current step.

        Raises:
            UserError: a step would consist of several batches. The sampler takes optimiser steps for batches.
        """
        trainer = self.trainer
        assert trainer is not None
        if trainer.accumulate_grad_batches != 1:
            raise UserError("--trainer.accumulate_grad_batches: a step is always one batch; raise --data.batch_size")
        sampler = StepSampler(
            self.frequency, self.batch_size, self.seed, lambda: trainer.global_step,
            trainer.global_rank, trainer.world_size,
        )  # fmt: skip
        # Workers that stay keep the faces that they have rendered.
        stay = self.workers > 0
        return DataLoader(
            self.train_set, batch_size=None, sampler=sampler, num_workers=self.workers, persistent_workers=stay
        )

    @override
    def val_dataloader(self) -> list[DataLoader[Batch]]:
        return [validation_loader(faces) for faces in self.validation_sets.values()]


def validation_loader(faces: BatchDataset) -> DataLoader[Batch]:
    """Return a loader of all samples of a dataset in their order."""
    sampler = BatchSampler(SequentialSampler(faces), _VALIDATION_BATCH, drop_last=False)
    return DataLoader(faces, batch_size=None, sampler=sampler)


def yaw_frequency(yaw: Tensor, large_poses: float) -> NDArray[np.floating]:
    """Return relative sampling frequencies 1 + large_poses * |yaw| / 60.

    Args:
        yaw: (N,) in degrees. An unknown yaw (NaN) counts as 0.
        large_poses: 0 draws all samples equally often; 1 draws a face at 60 degrees twice as often as a frontal face.

    Returns:
        (N,).
    """
    return np.asarray(1 + large_poses * yaw.nan_to_num().abs().cpu().numpy() / 60)


class PackData(FaceDataModule):
    """Training and validation samples of label packs.

    Args:
        pack: directory of the pack (`train.packs`).
        model: name or file of the network's morphable model. Labels of another one are refitted (`train.relabel`).
        batch_size: number of samples per process and step.
        seed: of the order of the training samples.
        large_poses: see `yaw_frequency`.
        sampling_weights: factor of the sampling frequency by the name of a source in the pack; 0 leaves a source out,
            sources that are not named have 1.
        extra_packs: directories of further packs. Only their training samples are used.
        limit: use only the first so many training samples, for tests; 0 uses all.
        calibration: fraction of the photos that are left out of the training samples and form the calibration set. The
            same photos are chosen in every run.
        device: where the faces are kept. With "cuda" the decoded images stay in the memory of the GPU (43 kB each), and
            sampling and augmentation run there. The GPU is that of this process, by the number that torchrun and
            Lightning write to the environment (LOCAL_RANK).

    Raises:
        UserError: a directory holds no complete pack, or `sampling_weights` names an unknown source.
    """

    def __init__(
        self,
        pack: Path,
        model: str = "open_face",
        batch_size: int = 64,
        seed: int = 0,
        large_poses: float = 1.0,
        sampling_weights: dict[str, float] | None = None,
        extra_packs: list[Path] | None = None,
        limit: int = 0,
        calibration: float = 0.0,
        device: str = "cpu",
    ) -> None:
        super().__init__(batch_size, seed)
        if device == "cuda" and "LOCAL_RANK" in os.environ:
            device = f"cuda:{os.environ['LOCAL_RANK']}"
        require_device(device)
        packs = [Pack.open(path) for path in (pack, *(extra_packs or ()))]
        morphable_model = read_model(model)
        factors = sampling_weights or {}

        def factors_of(opened: Pack, rows: NDArray[np.integer]) -> NDArray[np.float64]:
            return np.array([factors.get(str(source), 1.0) for source in opened.sources[rows]], np.float64)

        known = {str(source) for opened in packs for source in np.unique(opened.sources[opened.split == "train"])}
        if unknown := sorted(set(factors) - known):
            sources = ", ".join(sorted(known))
            raise UserError(
                f"data.sampling_weights: {pack} has no source {unknown[0]}, only {sources}; null draws all alike"
            )
        candidates = [(opened, _training_rows(opened)) for opened in packs]
        chosen = [(opened, rows[factors_of(opened, rows) > 0]) for opened, rows in candidates]
        factor = np.concatenate([factors_of(opened, rows) for opened, rows in chosen])
        faces = load_faces(chosen, morphable_model).to(device)
        names = [str(name) for opened, rows in chosen for name in opened.names[rows]]
        is_held_out = np.array([_is_held_out(name, calibration) for name in names], bool)
        used = np.flatnonzero(~is_held_out)[: limit or None]
        self.train_set = FaceDataset(faces.images, faces.labels, used)
        self.frequency = factor[used] * yaw_frequency(self.train_set.label("yaw"), large_poses)
        is_photo = np.array([photo_name(name) == name for name in names], bool)
        self.calibration_set = FaceDataset(faces.images, faces.labels, np.flatnonzero(is_held_out & is_photo))
        self.validation_sets = load_validation_sets(packs[0], morphable_model)
        self.facts = {
            "packs": [opened.manifest["hash"] for opened in packs],
            "train": len(used),
            "validation": sum(map(len, self.validation_sets.values())),
        }


def _is_held_out(name: str, fraction: float) -> bool:
    """Return whether a photo, and its profiled images ("photo#yaw+45"), belong to a fraction of all photos."""
    return crc32(photo_name(name).encode()) < fraction * 2**32


def load_training_faces(pack: Pack, model: MorphableModel) -> FaceDataset:
    """Return the training samples of a pack whose labels are good enough, with parameters of a morphable model."""
    return load_faces([(pack, _training_rows(pack))], model)


def _training_rows(pack: Pack) -> NDArray[np.intp]:
    """Return the rows of the training samples whose labels are good enough."""
    return np.flatnonzero((pack.split == "train") & (pack.weight >= MIN_WEIGHT))


def load_validation_sets(pack: Pack, model: MorphableModel) -> dict[str, FaceDataset]:
    """Return the validation samples of a pack by their source, with parameters of a morphable model.

    Landmarks and parameters of labels whose fit has failed are NaN. Their annotations stay.
    """
    is_validation = pack.split == "val"
    sets = {
        str(source): load_faces([(pack, np.flatnonzero(is_validation & (pack.sources == source)))], model)
        for source in np.unique(pack.sources[is_validation])
    }
    for faces in sets.values():
        for name in ("landmarks", "params"):
            faces.labels[name][faces.labels["weight"] < MIN_WEIGHT] = torch.nan
    return sets


def load_faces(chosen: Sequence[tuple[Pack, NDArray[np.integer]]], model: MorphableModel) -> FaceDataset:
    """Decode faces of packs into one dataset.

    Args:
        chosen: packs, each with the rows to load.
        model: morphable model of the parameters. Labels of another one are refitted (`train.relabel`).
    """
    images = np.empty((sum(len(rows) for _, rows in chosen), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for image, (pack, row) in zip(images, ((pack, row) for pack, rows in chosen for row in rows), strict=True):
        image[:] = pack.image(row)
    parts = [_labels(pack, rows, model) for pack, rows in chosen]
    labels = {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}
    return FaceDataset(images, labels)


def _labels(pack: Pack, rows: NDArray[np.integer], model: MorphableModel) -> dict[str, NDArray[np.generic]]:
    """Return the labels of rows of a pack by their names in `Batch`, with parameters of `model`."""
    landmarks, visibility, params = pack.landmarks68[rows], pack.visibility68[rows], pack.params[rows]
    if pack.manifest["model_digest"] != model.digest:
        rotation = decompose_pose(torch.from_numpy(split_pose(params)[0]))[1]
        params = fit_coefficients(model, landmarks, rotation.numpy(), scores=pack.blendshapes[rows])
    return {
        "landmarks": landmarks,
        "visibility": visibility,
        "params": params,
        "weight": pack.weight[rows],
        "annotated68": np.where((visibility == VISIBLE)[..., None], pack.annotated68[rows], np.float32(np.nan)),
        "yaw": pack.pose_deg[rows, 1],
    }
