"""Random views of a batch of face crops: image, landmarks, visibility and parameters move together.

Runs on the batch in torch, on whatever device the batch is. Measured for 64 crops of 120 px on 2 CPU cores: warp 43 ms
(one `grid_sample`; kornia's `warp_affine` is 51 and composes no mirror), everything else together about 25.
All randomness comes from torch's global generator, which the training step seeds.

Frames. A view is an affine map (B, 2, 3) from pixels of the stored crop to pixels of the augmented crop, both side x
side with centres at integers: an in-plane similarity, possibly with a mirror. The image may be resampled at any other
size at no extra cost: output pixel u of `size` shows crop coordinate (u + 0.5) * side / size - 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import kornia
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from bfm_assets import MorphableModel
from synergy.data.sample import OCCLUDED, VISIBLE
from synergy.geometry import transform_pose
from synergy.landmarks import FLIP68
from synergy.mirror import MirrorCoefficients
from synergy.parameters import join_parameters, split_pose
from train.batch import Batch

# Of the 68: both brows, the top of the nose's bridge, the point below its tip.
_BROWS, _NASION, _SUBNASALE = slice(17, 27), 27, 33


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths (in crop sides, degrees or factors) and probabilities of the random changes.

    Attributes:
        scale: standard deviation of the log of the scale, clipped at 2.5 of them.
        shift: standard deviation of the shift in crop sides, each axis, clipped at 2.5 of them.
        rotation: standard deviation of the in-plane rotation in degrees.
        wide_rotation: probability of a rotation uniform in +-90 degrees instead.
        mirror, colour, gray, gamma, blur, low_resolution, jpeg, noise, background, occlude: probabilities.
    """

    scale: float = 0.07
    shift: float = 0.035
    rotation: float = 15.0
    wide_rotation: float = 0.05
    mirror: float = 0.5
    colour: float = 0.8
    gray: float = 0.1
    gamma: float = 0.3
    blur: float = 0.15
    low_resolution: float = 0.15
    jpeg: float = 0.1
    noise: float = 0.1
    background: float = 0.1
    occlude: float = 0.25


class Augment:
    """Callable `Batch -> Batch`; the result's image is float in 0..255 at `size` pixels.

    Args:
        model: morphable model of the batch's parameters, for mirroring its coefficients.
        side: side in pixels of the crop that labels refer to.
        config: strengths and probabilities.
    """

    def __init__(self, model: MorphableModel, side: int = 120, config: AugmentConfig | None = None) -> None:
        self.side = side
        self.config = config or AugmentConfig()
        self.mirror = MirrorCoefficients(model)

    def __call__(self, batch: Batch, size: int | None = None) -> Batch:
        config, n = self.config, len(batch)
        device = batch.image.device
        mirrored = torch.rand(n, device=device) < config.mirror
        view = random_view(n, self.side, config, mirrored)
        batch = transform(batch, view, mirrored, self.mirror, self.side, size or self.side)
        visibility = batch.visibility
        image = photometric(batch.image, config)
        image = replace_background(image, batch.landmarks, self.side, config.background)
        image, covered = occlude(image, batch.landmarks, self.side, config.occlude)
        visibility = torch.where(covered & (visibility == VISIBLE), OCCLUDED, visibility)
        return replace(batch, image=image.clamp(0, 255), visibility=visibility)


def random_view(n: int, side: int, config: AugmentConfig, mirrored: Tensor) -> Tensor:
    """Affine maps (n, 2, 3): mirror, then rotation and scaling about the crop's centre, then shift."""
    device = mirrored.device

    def normal(sigma: float, *shape: int) -> Tensor:
        return sigma * torch.randn(n, *shape, device=device).clamp(-2.5, 2.5)

    angle = normal(math.radians(config.rotation))
    wide = torch.rand(n, device=device) < config.wide_rotation
    angle = torch.where(wide, (torch.rand(n, device=device) - 0.5) * math.pi, angle)
    scale = normal(config.scale).exp()
    c, s = scale * angle.cos(), scale * angle.sin()
    sign = 1.0 - 2.0 * mirrored.to(scale.dtype)
    linear = torch.stack([c * sign, -s, s * sign, c], -1).unflatten(-1, (2, 2))
    centre = torch.full((2,), (side - 1) / 2, device=device)
    offset = centre - linear @ centre + normal(config.shift * side, 2)
    return torch.cat([linear, offset[..., None]], -1)


def transform(batch: Batch, view: Tensor, mirrored: Tensor, mirror: MirrorCoefficients, side: int, size: int) -> Batch:
    """The batch seen through views (B, 2, 3), its image resampled at size x size. Exact but for image interpolation.

    Mirrored shape and expression coefficients are the model's best approximation (`MirrorCoefficients`).
    """
    flip = torch.from_numpy(FLIP68).to(view.device)
    landmarks = torch.where(mirrored[:, None, None], batch.landmarks[:, flip], batch.landmarks)
    visibility = torch.where(mirrored[:, None], batch.visibility[:, flip], batch.visibility)
    params = torch.where(mirrored[:, None], mirror(batch.params), batch.params)
    pose, coefficients = split_pose(params)
    params = join_parameters(transform_pose(pose, view, side), coefficients)
    return replace(
        batch,
        image=warp(batch.image, view, side, size),
        landmarks=transform_landmarks(landmarks, view),
        visibility=visibility,
        params=params,
    )


def transform_landmarks(landmarks: Tensor, view: Tensor) -> Tensor:
    """Landmarks (B, N, 3) through views (B, 2, 3); depth scales with the image."""
    xy = landmarks[..., :2] @ view[..., :2].transpose(-1, -2) + view[:, None, :, 2]
    scale = torch.linalg.det(view[..., :2]).abs().sqrt()
    return torch.cat([xy, landmarks[..., 2:] * scale[:, None, None]], -1)


def warp(image: Tensor, view: Tensor, side: int, size: int) -> Tensor:
    """Images (B, 3, H, W) in 0..255 through views (B, 2, 3), as float (B, 3, size, size), bilinear.

    Outside the stored crop lies black, the border's colour or the reflected image, one of them per batch.
    """
    linear = torch.linalg.inv(view[..., :2])
    offset = -(linear @ view[..., 2:])[..., 0]
    # In the normalised coordinates of align_corners=False, n = (2 x + 1) / side - 1, whatever the resolution.
    offset = ((side - 1) * linear.sum(-1) + 2 * offset + 1) / side - 1
    grid = affine_grid(torch.cat([linear, offset[..., None]], -1), [len(image), 3, size, size], align_corners=False)
    padding = ("zeros", "border", "reflection")[int(torch.randint(3, (1,)))]
    return grid_sample(image.float(), grid, padding_mode=padding, align_corners=False)


def photometric(image: Tensor, config: AugmentConfig) -> Tensor:
    """Colour, gamma, blur, low resolution, JPEG and noise on images (B, 3, H, W) in 0..255."""
    n = len(image)
    image = colour_jitter(image, config.colour, config.gray)

    def chosen(probability: float) -> Tensor:
        return (torch.rand(n, device=image.device) < probability).nonzero()[:, 0]

    if len(at := chosen(config.gamma)):
        exponent = _uniform(len(at), -0.5, 0.5, image).exp()[:, None, None, None]
        image[at] = (image[at].clamp(1, 255) / 255) ** exponent * 255
    if len(at := chosen(config.blur)):
        sigma = _uniform(len(at), 0.3, 2.0, image)[:, None].expand(-1, 2) * image.shape[-1] / 120
        image[at] = kornia.filters.gaussian_blur2d(image[at], (7, 7), sigma)
    if len(at := chosen(config.low_resolution)):
        small = int(image.shape[-1] * float(torch.empty(()).uniform_(0.25, 0.7)))
        reduced = interpolate(image[at], size=(small, small), mode="bilinear", antialias=True)
        image[at] = interpolate(reduced, size=image.shape[-2:], mode="bilinear")
    if len(at := chosen(config.jpeg)):
        image[at] = _jpeg(image[at], _uniform(len(at), 15, 80, image))
    if len(at := chosen(config.noise)):
        sigma = _uniform(len(at), 2, 12, image)[:, None, None, None]
        image[at] = image[at] + sigma * torch.randn_like(image[at])
    return image


def colour_jitter(image: Tensor, probability: float, gray: float) -> Tensor:
    """Contrast, brightness, saturation, hue and white balance as one 3x4 colour map per image."""
    n = len(image)
    strength = (torch.rand(n, device=image.device) < probability).float()
    is_gray = torch.rand(n, device=image.device) < gray
    contrast = (strength * _uniform(n, -0.4, 0.35, image)).exp()
    saturation = (1 + strength * _uniform(n, -0.6, 0.4, image)).masked_fill(is_gray, 0)
    hue = strength * _uniform(n, -0.15, 0.15, image)
    balance = 1 + strength[:, None] * torch.empty(n, 3, device=image.device).uniform_(-0.12, 0.12)
    brightness = strength * _uniform(n, -40, 40, image)
    luma = torch.tensor([0.299, 0.587, 0.114], device=image.device).expand(3, 3)
    eye = torch.eye(3, device=image.device)
    # A rotation about the gray axis by the angle `hue` (Rodrigues).
    k = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=image.device) / 3**0.5
    c, s = hue.cos()[:, None, None], hue.sin()[:, None, None]
    turn = c * eye + s * k + (1 - c) / 3
    mix = luma + saturation[:, None, None] * ((eye - luma) @ turn)
    matrix = contrast[:, None, None] * balance[:, :, None] * mix
    offset = 110 * (1 - contrast) + brightness
    flat = torch.baddbmm(offset[:, None, None], matrix, image.flatten(2))
    return flat.clamp(0, 255).unflatten(2, image.shape[2:])


def replace_background(image: Tensor, landmarks: Tensor, side: int, probability: float) -> Tensor:
    """Put random heads before a flat, noisy or blurred other picture, with a soft edge; the landmarks stay visible.

    The head is what lies near a landmark, between one and their middle, or near the forehead: the brows moved up along
    the bridge of the nose.
    """
    n, size = len(image), image.shape[-1]
    at = (torch.rand(n, device=image.device) < probability).nonzero()[:, 0]
    if not len(at):
        return image
    m, points = len(at), landmarks[at, :, :2].nan_to_num(1e4)
    up = points[:, _NASION] - points[:, _SUBNASALE]
    forehead = points[:, None, _BROWS] + up[:, None, None] * torch.linspace(0.4, 1.2, 3).to(up)[:, None, None]
    inside = points.mean(1, keepdim=True).lerp(points, 0.5)
    head = torch.cat([points, inside, forehead.flatten(1, 2)], 1)
    coarse = size // 4
    ticks = (torch.arange(coarse, device=image.device) + 0.5) * side / coarse - 0.5
    pixels = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).flatten(0, 1)
    distance = torch.cdist(pixels.expand(m, -1, -1), head).amin(-1).unflatten(1, (1, coarse, coarse))
    margin = _uniform(m, 0.08, 0.16, image)[:, None, None, None] * side
    mask = ((margin - distance) / (0.03 * side) + 0.5).clamp(0, 1)
    mask = interpolate(mask, size=(size, size), mode="bilinear")
    fill = torch.empty(m, 3, 1, 1, device=image.device).uniform_(0, 255)
    grain = _uniform(m, 0, 60, image)[:, None, None, None] * torch.randn(m, 1, size, size, device=image.device)
    other = image[torch.randint(n, (m,), device=image.device)].flip(-2)
    other = interpolate(other, size=(size // 8, size // 8), mode="area")
    other = interpolate(other, size=(size, size), mode="bilinear")
    behind = torch.where(torch.rand(m, 1, 1, 1, device=image.device) < 0.5, other, (fill + grain).clamp(0, 255))
    return image.index_copy(0, at, mask * image[at] + (1 - mask) * behind)


def occlude(image: Tensor, landmarks: Tensor, side: int, probability: float) -> tuple[Tensor, Tensor]:
    """Cover random faces by a rotated rectangle or ellipse of flat or noisy colour or another face's pixels.

    Returns the images and (B, 68) bool, which landmarks are covered.
    """
    n, size = len(image), image.shape[-1]
    covered = torch.zeros(landmarks.shape[:2], dtype=torch.bool, device=image.device)
    at = (torch.rand(n, device=image.device) < probability).nonzero()[:, 0]
    if not len(at):
        return image, covered
    m = len(at)
    centre = torch.empty(m, 2, device=image.device).uniform_(0.15, 0.85) * side
    radius = torch.empty(m, 2, device=image.device).uniform_(0.05, 0.25) * side
    angle = _uniform(m, 0, math.pi, image)
    is_box = torch.rand(m, device=image.device) < 0.5

    def inside(points: Tensor) -> Tensor:
        x, y = (points - centre[:, None]).unbind(-1)
        c, s = angle.cos()[:, None], angle.sin()[:, None]
        u, v = (c * x + s * y) / radius[:, :1], (c * y - s * x) / radius[:, 1:]
        return torch.where(is_box[:, None], torch.maximum(u.abs(), v.abs()), (u * u + v * v).sqrt()) < 1

    ticks = (torch.arange(size, device=image.device) + 0.5) * side / size - 0.5
    pixels = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).flatten(0, 1)
    mask = inside(pixels.expand(m, -1, -1)).unflatten(1, (1, size, size))
    fill = torch.empty(m, 3, 1, 1, device=image.device).uniform_(0, 255)
    grain = _uniform(m, 0, 60, image)[:, None, None, None] * torch.randn(m, 1, size, size, device=image.device)
    other = image[torch.randint(n, (m,), device=image.device)].flip(-2)
    use_other = torch.rand(m, 1, 1, 1, device=image.device) < 0.4
    fill = torch.where(use_other, other, (fill + grain).clamp(0, 255))
    image = image.index_copy(0, at, torch.where(mask, fill, image[at]))
    covered[at] = inside(landmarks[at, :, :2])
    return image, covered


def _jpeg(image: Tensor, quality: Tensor) -> Tensor:
    """Images (B, 3, H, W) in 0..255 through JPEG at qualities (B,); kornia's codec wants multiples of 16."""
    height, width = image.shape[-2:]
    padded = torch.nn.functional.pad(image / 255, (0, -width % 16, 0, -height % 16), mode="replicate")
    coded: Tensor = kornia.enhance.jpeg_codec_differentiable(padded.clamp(0, 1), quality)
    return coded[..., :height, :width] * 255


def _uniform(n: int, low: float, high: float, like: Tensor) -> Tensor:
    return torch.empty(n, device=like.device).uniform_(low, high)
