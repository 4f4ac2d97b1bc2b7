"""A small sparse local patch transformer (SLPT; Xia et al. 2022, arXiv 2203.06541): patches around each landmark.

It differs from the paper in its backbone (MobileNetV1 with a feature pyramid instead of HRNet), its width, and in the
depth of landmarks, which the paper does not predict.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample, interpolate

from bfm_assets import MorphableModel
from bfm_assets.schema import N_LANDMARKS
from synergy.models.landmark_net import LandmarkNet, LandmarkOutput
from synergy.models.mobilenet import MobileNetV1

# Side of the patches in each stage, as a fraction of the crop's side.
_PATCH_SIDES = (0.25, 0.125, 0.0625)
# Modules of `MobileNetV1` after which the image is reduced 4-fold, 8-fold, 16-fold and 32-fold: the first convolution
# has 3 modules and each block 6.
_MAP_ENDS = (3 + 6 * 3, 3 + 6 * 5, 3 + 6 * 11, 3 + 6 * 13)


class Attention(nn.Module):
    """Multi-head attention. torch's own layer cannot be exported to ONNX in evaluation mode.

    Args:
        features: length of the vectors.
        heads: number of heads.
    """

    def __init__(self, features: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(features, features) for _ in range(4))

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Return for each of the queries (B, N, F) a weighted mean of the memory (B, M, F): (B, N, F)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, queries), (self.key, memory), (self.value, memory))
        )
        weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        attended: Tensor = self.out((weights @ value).transpose(1, 2).flatten(2))
        return attended


class RelationLayer(nn.Module):
    """Self-attention among the landmarks, attention to their patches, and a small network, each added to its input.

    Args:
        features: length of the vectors.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(features) for _ in range(3))
        self.among, self.to_patches = Attention(features), Attention(features)
        self.mlp = nn.Sequential(nn.Linear(features, 4 * features), nn.ReLU(), nn.Linear(4 * features, features))

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Update queries (B, 68, F) with patches (B, 68, F)."""
        normed = self.norms[0](queries)
        queries = queries + self.among(normed, normed)
        queries = queries + self.to_patches(self.norms[1](queries), patches)
        updated: Tensor = queries + self.mlp(self.norms[2](queries))
        return updated


class Network(LandmarkNet):
    """Refine landmarks from coarse to fine, from features of local patches and their relations.

    In each of three stages a patch of the feature map is sampled around each landmark and becomes one vector.
    Transformer layers, shared by the stages, relate the vectors of all landmarks: their queries are a learned structure
    encoding of each landmark. A linear layer predicts the landmark's place in its patch. The patches of the first stage
    lie around the landmarks of the mean face.

    Args:
        model: morphable model for head pose and mesh.
        width: width multiplier of the backbone.
        size: side of the square input crop in pixels.
        dims: 2 or 3 coordinates per landmark.
        features: length of the vectors.
        layers: number of transformer layers.
        samples: samples along each side of a patch.
    """

    structure: Tensor
    grid: Tensor

    def __init__(
        self,
        model: MorphableModel,
        width: float = 0.5,
        size: int = 128,
        dims: int = 3,
        features: int = 64,
        layers: int = 3,
        samples: int = 5,
    ) -> None:
        options = {
            "width": width,
            "size": size,
            "dims": dims,
            "features": features,
            "layers": layers,
            "samples": samples,
        }
        super().__init__(model, size, dims, architecture=options)
        backbone = MobileNetV1(width)
        modules = list(backbone.children())
        starts = (0, *_MAP_ENDS[:-1])
        self.parts = nn.ModuleList(
            nn.Sequential(*modules[start:end]) for start, end in zip(starts, _MAP_ENDS, strict=True)
        )
        channels = [backbone.channels[(end - 3) // 6] for end in _MAP_ENDS]
        self.lateral = nn.ModuleList(nn.Conv2d(n, features, 1) for n in channels)
        self.patch = nn.Linear(features * samples**2, features)
        self.structure = nn.Parameter(0.5 * torch.randn(N_LANDMARKS, features))
        self.layers = nn.ModuleList(RelationLayer(features) for _ in range(layers))
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, dims)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        ticks = (torch.arange(samples) + 0.5) / samples - 0.5
        self.register_buffer("grid", torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1), persistent=False)

    def predict(self, images: Tensor) -> LandmarkOutput:
        """Predict crops (B, 3, size, size), float, RGB in about -1..1."""
        features = self._feature_map(images)
        landmarks = self.mean_landmarks.expand(images.shape[0], -1, -1)
        stages = []
        for side in _PATCH_SIDES:
            start = landmarks.detach()
            patches = self.patch(self._sample(features, start[..., :2], side)) + self.structure
            related = self.structure.repeat(images.shape[0], 1, 1)
            for layer in self.layers:
                related = layer(related, patches)
            landmarks = start + self.head(self.norm(related)).float() * (side * self.size)
            stages.append(landmarks)
        return LandmarkOutput(tuple(stages))

    def _feature_map(self, images: Tensor) -> Tensor:
        """Return one map (B, features, H / 4, W / 4) from the four maps of the backbone, added from coarse to fine."""
        maps = []
        for part, lateral in zip(self.parts, self.lateral, strict=True):
            images = part(images)
            maps.append(lateral(images))
        merged = maps[-1]
        for finer in reversed(maps[:-1]):
            merged = finer + interpolate(merged, size=finer.shape[-2:], mode="nearest")
        return merged

    def _sample(self, features: Tensor, centres: Tensor, side: float) -> Tensor:
        """Sample patches around points.

        Args:
            features: (B, C, H, W).
            centres: (B, 68, 2) in crop pixels.
            side: side of the patches as a fraction of the crop's side.

        Returns:
            (B, 68, C * samples * samples).
        """
        # grid_sample with align_corners=False uses the coordinate n = (2 x + 1) / size - 1 for pixel x.
        centres = (2 * centres + 1) / self.size - 1
        grid = centres[:, :, None] + 2 * side * self.grid.reshape(-1, 2)
        sampled = grid_sample(features, grid.to(features.dtype), align_corners=False)
        return sampled.transpose(1, 2).flatten(2)
