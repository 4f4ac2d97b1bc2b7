"""Label packs in memory, drawn in an order that depends on seed and step only, so that a run resumes exactly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bfm_assets import MorphableModel, read_model
from synergy.data.sample import VISIBLE
from synergy.errors import UserError
from synergy.geometry import decompose_pose
from synergy.parameters import split_pose
from train.batch import Batch
from train.packs.pack import CROP_SIZE, Pack
from train.relabel import fit_coefficients

# Labels that are trusted less are gross failures of the fit.
_LEAST_WEIGHT = 0.05


class FaceDataset(Dataset[Batch]):
    """Decoded crops with their labels in memory; `__getitems__` gathers a whole batch at once.

    Args:
        images: (N, side, side, 3) uint8 RGB.
        labels: the other fields of `Batch`, each (M, ...).
        rows: (M,) which image each label belongs to.
    """

    def __init__(self, images: NDArray[np.uint8], labels: Sequence[Tensor], rows: NDArray[np.integer]) -> None:
        self.images, self.labels, self.rows = images, tuple(labels), rows
        self.yaw = self.labels[-1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        image = torch.from_numpy(self.images[self.rows[indices]]).permute(0, 3, 1, 2)
        return Batch(image, *(label[indices] for label in self.labels))


class StepSampler(Sampler[list[int]]):
    """Batches of indices from step `start()` to the end of its epoch; every epoch draws its own order.

    Args:
        frequency: (N,) relative frequency of each sample; in each epoch of N draws it comes up its expected number of
            times, rounded down or up (systematic resampling).
        batch_size: per process; process `rank` of `world` takes its share of every global batch.
        seed: with the epoch's number it decides the permutation.
        start: the number of optimiser steps taken so far, asked whenever an epoch begins.
    """

    def __init__(
        self, frequency: NDArray[np.floating], batch_size: int, seed: int, start: Callable[[], int],
        rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        self.n, self.frequency = len(frequency), np.asarray(frequency)
        self.batch_size, self.seed, self.start, self.rank, self.world = batch_size, seed, start, rank, world
        if len(self) == 0:
            raise ValueError(f"{self.n} training samples do not fill one batch of {batch_size} x {world}")

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
            at = (batch * self.world + self.rank) * self.batch_size
            yield order[at : at + self.batch_size].tolist()


class FaceDataModule(pl.LightningDataModule):
    """Loaders over face sets held in memory: `train_set` and `validation_sets` by name, which subclasses fill.

    Args:
        batch_size: samples per process and step.
        seed: of the order of samples.
        large_poses: a sample is drawn with frequency 1 + large_poses * |yaw| / 60 degrees; unknown yaw counts as 0.

    A subclass may also fill `train_share` (N,), a factor of each sample's frequency.
    """

    train_set: FaceDataset
    train_share: NDArray[np.floating] | float = 1.0
    validation_sets: dict[str, FaceDataset]

    def __init__(self, batch_size: int, seed: int, large_poses: float) -> None:
        super().__init__()
        self.batch_size, self.seed, self.large_poses = batch_size, seed, large_poses

    def train_dataloader(self) -> DataLoader[Batch]:
        trainer = self.trainer
        assert trainer is not None
        frequency = self.train_share * (1 + self.large_poses * self.train_set.yaw.nan_to_num().abs().numpy() / 60)
        sampler = StepSampler(
            frequency, self.batch_size, self.seed, lambda: trainer.global_step,
            trainer.global_rank, trainer.world_size,
        )  # fmt: skip
        return DataLoader(self.train_set, batch_sampler=sampler, collate_fn=as_is)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        return [DataLoader(faces, batch_size=128, collate_fn=as_is) for faces in self.validation_sets.values()]


class PackData(FaceDataModule):
    """Training and validation batches of one pack.

    Args:
        pack: the pack's directory (`train.packs`).
        model: name or file of the network's morphable model; labels of another one are refitted (train/relabel.py).
        batch_size: samples per process and step.
        seed: of the order of samples.
        large_poses: a sample is drawn with frequency 1 + large_poses * |yaw| / 60 degrees.
        shares: factors of the frequency by the pack's source; 0 leaves a source out.
        more: directories of further packs, for training only.
        limit: use only the first so many training samples (overfitting and tests); 0 uses all.
    """

    def __init__(
        self,
        pack: Path,
        model: str = "open_face",
        batch_size: int = 64,
        seed: int = 0,
        large_poses: float = 1.0,
        shares: dict[str, float] | None = None,
        more: list[Path] | None = None,
        limit: int = 0,
    ) -> None:
        super().__init__(batch_size, seed, large_poses)
        packs = [Pack.open(path) for path in (pack, *(more or ()))]
        morphable_model = read_model(model)
        images = np.empty((sum(map(len, packs)), CROP_SIZE, CROP_SIZE, 3), np.uint8)
        for opened, part in zip(packs, np.split(images, np.cumsum([len(p) for p in packs])[:-1]), strict=True):
            opened.images(part)
        per_pack = [_labels(opened, morphable_model) for opened in packs]
        labels = [torch.from_numpy(np.concatenate(column)) for column in zip(*per_pack, strict=True)]
        sources = np.concatenate([opened.sources for opened in packs])
        trains = np.concatenate([opened.split == "train" for opened in packs])
        held_out = np.flatnonzero(packs[0].split == "val")

        shares = shares or {}
        if unknown := sorted(set(shares) - set(sources[trains])):
            known = ", ".join(np.unique(sources[trains]))
            raise UserError(f"data.shares: {pack} has no source {unknown[0]}, only {known} (null: all alike)")
        share = np.array([shares.get(str(source), 1.0) for source in sources])
        weight = np.concatenate([opened.weight for opened in packs])
        rows = np.flatnonzero(trains & (weight >= _LEAST_WEIGHT) & (share > 0))
        rows = rows[:limit] if limit else rows

        def faces(rows: NDArray[np.integer]) -> FaceDataset:
            return FaceDataset(images, [label[rows] for label in labels], rows)

        self.train_set, self.train_share = faces(rows), share[rows]
        self.validation_sets = {
            str(source): faces(held_out[sources[held_out] == source]) for source in np.unique(sources[held_out])
        }
        digests = json.dumps([opened.manifest.get("sha256") for opened in packs], sort_keys=True)
        self.facts = {
            "hash": hashlib.sha256(digests.encode()).hexdigest()[:16],
            "train": len(rows),
            "validation": len(held_out),
        }


def _labels(pack: Pack, model: MorphableModel) -> list[NDArray[np.generic]]:
    """The labels of a pack's samples in the order of `Batch`, with parameters of `model`."""
    visible = (pack.visibility68 == VISIBLE)[..., None]
    hand = np.where(visible, pack.annotated68, np.float32(np.nan))
    parameters = _params_for(model, pack)
    return [pack.landmarks68, pack.visibility68, parameters, pack.weight, hand, pack.pose_deg[:, 1]]


def as_is(batch: Any) -> Any:
    """What `__getitems__` gathered is the batch already."""
    return batch


def _params_for(model: MorphableModel, pack: Pack) -> NDArray[np.float32]:
    """The pack's parameters (N, 12 + S + E), refitted where they are another model's."""
    if pack.manifest["model_digest"] == model.digest:
        return np.asarray(pack.params)
    rotation = decompose_pose(torch.from_numpy(np.array(split_pose(pack.params)[0])))[1]
    return fit_coefficients(model, np.asarray(pack.landmarks68), rotation.numpy())
