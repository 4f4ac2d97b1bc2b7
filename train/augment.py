"""Random augmentation of batches of face crops. Image, landmarks, visibility and parameters change together.

The functions work on whole batches in torch, on the device of the batch. They draw from torch's global random
generator, which the training step seeds. docs/journal.md has the measured times.

Frames. The geometric change of a sample is an affine map (B, 2, 3) from pixels of the stored crop to pixels of the
augmented crop. Both crops are `side` x `side` pixels with pixel centres at integers. The map is a rotation, a uniform
scaling and a shift, possibly with a mirroring. The image may be resampled at another resolution `size` at no extra
cost: pixel u of the image then shows crop coordinate (u + 0.5) * side / size - 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import kornia
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from bfm_assets import MorphableModel
from synergy.crop import transform_points
from synergy.data.sample import OCCLUDED, VISIBLE
from synergy.geometry import transform_pose
from synergy.landmarks import FLIP68
from synergy.mirror import MirrorCoefficients
from synergy.parameters import join_parameters, split_pose
from train.batch import Batch

# Indices of the 68 landmarks: both brows, the top of the bridge of the nose, and the point below the tip of the nose.
_BROWS, _NASION, _SUBNASALE = slice(17, 27), 27, 33


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths and probabilities of the random changes.

    Attributes:
        scale: standard deviation of the logarithm of the scale.
        limit: values of scale, shift and rotation are limited to so many standard deviations.
        shift: standard deviation of the shift along each axis, as a fraction of the crop's side.
        rotation: standard deviation of the in-plane rotation in degrees.
        rotated: probability of the rotation with the standard deviation `rotation`; otherwise the angle is 0.
        wide_rotation: probability of a rotation drawn evenly from -180 to 180 degrees instead.
        mirror: probability of mirroring.
        colour: probability of a change of contrast, brightness, saturation, hue and white balance.
        channels: largest shift of each colour channel alone, of 255; its sign and size are random in every image.
        gray: probability of an image without colours. A change of white balance may still tint it.
        gamma: probability of a change of gamma.
        blur: probability of a Gaussian blur.
        low_resolution: probability of reducing the image to a lower resolution and enlarging it again.
        jpeg: probability of JPEG compression.
        noise: probability of Gaussian noise.
        background: probability of another background (`replace_background`).
        occlude: probability of an object in front of the face (`occlude`).
    """

    scale: float = 0.07
    limit: float = 2.5
    shift: float = 0.035
    rotation: float = 15.0
    rotated: float = 1.0
    wide_rotation: float = 0.05
    mirror: float = 0.5
    colour: float = 0.8
    channels: float = 0.0
    gray: float = 0.1
    gamma: float = 0.3
    blur: float = 0.15
    low_resolution: float = 0.15
    jpeg: float = 0.1
    noise: float = 0.1
    background: float = 0.1
    occlude: float = 0.25


class Augment:
    """Random augmentation of batches.

    Args:
        model: morphable model of the parameters, for mirroring shape and expression coefficients.
        side: side in pixels of the crop that the labels refer to.
        config: strengths and probabilities.
        zoom: mean scale of the augmented crop, for networks whose crop is narrower than the stored one.
    """

    def __init__(
        self, model: MorphableModel, side: int = 120, config: AugmentConfig | None = None, zoom: float = 1.0
    ) -> None:
        self.side, self.zoom = side, zoom
        self.config = config or AugmentConfig()
        self.mirror = MirrorCoefficients(model)

    def __call__(self, batch: Batch, size: int | None = None) -> Batch:
        """Augment a batch.

        Args:
            batch: the stored crops and their labels.
            size: side in pixels of the images in the result, `side` by default.

        Returns:
            A batch with images (B, 3, size, size), float in 0..255. Its labels are still in pixels of a crop of `side`
            pixels.
        """
        config, n = self.config, len(batch)
        mirrored = torch.rand(n, device=batch.image.device) < config.mirror
        affine = random_affine(n, self.side, config, mirrored, self.zoom)
        batch = transform_batch(batch, affine, mirrored, self.mirror, self.side, size or self.side)
        visibility = batch.visibility
        image = photometric(batch.image, config)
        image = replace_background(image, batch.landmarks, self.side, config.background)
        image, covered = occlude(image, batch.landmarks, self.side, config.occlude)
        visibility = torch.where(covered & (visibility == VISIBLE), OCCLUDED, visibility)
        return replace(batch, image=image.clamp(0, 255), visibility=visibility)


def random_affine(n: int, side: int, config: AugmentConfig, mirrored: Tensor, zoom: float = 1.0) -> Tensor:
    """Draw affine maps: mirroring first, then rotation and scaling about the centre of the crop, then the shift.

    Args:
        n: number of maps B.
        side: side of the crop in pixels.
        config: strengths and probabilities.
        mirrored: (B,) bool, which maps mirror.
        zoom: mean scale.

    Returns:
        Affine maps (B, 2, 3) from the stored to the augmented crop, in pixels.
    """
    device = mirrored.device

    def normal(sigma: float, *shape: int) -> Tensor:
        return sigma * torch.randn(n, *shape, device=device).clamp(-config.limit, config.limit)

    angle = normal(math.radians(config.rotation))
    if config.rotated < 1:
        angle = angle * (torch.rand(n, device=device) < config.rotated)
    wide = torch.rand(n, device=device) < config.wide_rotation
    angle = torch.where(wide, (torch.rand(n, device=device) - 0.5) * 2 * math.pi, angle)
    scale = zoom * normal(config.scale).exp()
    c, s = scale * angle.cos(), scale * angle.sin()
    sign = 1.0 - 2.0 * mirrored.to(scale.dtype)
    linear = torch.stack([c * sign, -s, s * sign, c], -1).unflatten(-1, (2, 2))
    centre = torch.full((2,), (side - 1) / 2, device=device)
    offset = centre - linear @ centre + normal(config.shift * side, 2)
    return torch.cat([linear, offset[..., None]], -1)


def transform_batch(
    batch: Batch, affine: Tensor, mirrored: Tensor, mirror: MirrorCoefficients, side: int, size: int
) -> Batch:
    """Apply affine maps to a batch.

    Landmarks and poses are exact. Mirrored shape and expression coefficients are the best approximation that the
    morphable model has (`synergy.mirror.MirrorCoefficients`).

    Args:
        batch: B samples.
        affine: (B, 2, 3) from the stored to the augmented crop, in pixels.
        mirrored: (B,) bool, which maps mirror. Their landmarks change places with those of the other side of the face.
        mirror: mirrors the coefficients.
        side: side in pixels of the crop that the labels refer to.
        size: side in pixels of the resampled images.

    Returns:
        The transformed batch with float images (B, 3, size, size).
    """
    order = torch.from_numpy(FLIP68).to(affine.device)
    landmarks = torch.where(mirrored[:, None, None], batch.landmarks[:, order], batch.landmarks)
    visibility = torch.where(mirrored[:, None], batch.visibility[:, order], batch.visibility)
    params = torch.where(mirrored[:, None], mirror(batch.params), batch.params)
    pose, coefficients = split_pose(params)
    params = join_parameters(transform_pose(pose, affine, side), coefficients)
    return replace(
        batch,
        image=resample(batch.image, affine, side, size),
        landmarks=transform_points(affine, landmarks),
        visibility=visibility,
        params=params,
    )


def resample(image: Tensor, affine: Tensor, side: int, size: int) -> Tensor:
    """Resample images through affine maps, bilinear, on the device of the images.

    Outside the stored crop, the result is black, has the colour of the crop's border, or shows the reflected image.
    One of the three is drawn for the whole batch.

    Args:
        image: (B, 3, H, W) in 0..255.
        affine: (B, 2, 3) from the stored to the augmented crop, in pixels of a crop of `side` pixels.
        side: side of the crop in pixels.
        size: side of the result in pixels.

    Returns:
        Float images (B, 3, size, size) in 0..255.
    """
    linear = torch.linalg.inv(affine[..., :2])
    offset = -(linear @ affine[..., 2:])[..., 0]
    # grid_sample with align_corners=False uses the coordinate n = (2 x + 1) / side - 1 for pixel x.
    offset = ((side - 1) * linear.sum(-1) + 2 * offset + 1) / side - 1
    grid = affine_grid(torch.cat([linear, offset[..., None]], -1), [len(image), 3, size, size], align_corners=False)
    padding = ("zeros", "border", "reflection")[int(torch.randint(3, (1,)))]
    return grid_sample(image.float(), grid, padding_mode=padding, align_corners=False)


def photometric(image: Tensor, config: AugmentConfig) -> Tensor:
    """Change colours, gamma, sharpness, resolution, compression and noise of random images.

    Args:
        image: (B, 3, H, W) in 0..255, float.
        config: probabilities.

    Returns:
        Images of the same shape.
    """
    n = len(image)
    image = colour_jitter(image, config.colour, config.gray)
    if config.channels:
        shift = torch.empty(n, 3, 1, 1, device=image.device).uniform_(-1, 1)
        image = (image + 255 * config.channels * shift).clamp(0, 255)

    def chosen(probability: float) -> Tensor:
        return (torch.rand(n, device=image.device) < probability).nonzero()[:, 0]

    if len(rows := chosen(config.gamma)):
        exponent = uniform(len(rows), -0.5, 0.5, image).exp()[:, None, None, None]
        image[rows] = (image[rows].clamp(1, 255) / 255) ** exponent * 255
    if len(rows := chosen(config.blur)):
        sigma = uniform(len(rows), 0.3, 2.0, image)[:, None].expand(-1, 2) * image.shape[-1] / 120
        image[rows] = kornia.filters.gaussian_blur2d(image[rows], (7, 7), sigma)
    if len(rows := chosen(config.low_resolution)):
        small = int(image.shape[-1] * float(torch.empty(()).uniform_(0.25, 0.7)))
        reduced = interpolate(image[rows], size=(small, small), mode="bilinear", antialias=True)
        image[rows] = interpolate(reduced, size=image.shape[-2:], mode="bilinear")
    if len(rows := chosen(config.jpeg)):
        image[rows] = _jpeg(image[rows], uniform(len(rows), 15, 80, image))
    if len(rows := chosen(config.noise)):
        sigma = uniform(len(rows), 2, 12, image)[:, None, None, None]
        image[rows] = image[rows] + sigma * torch.randn_like(image[rows])
    return image


def colour_jitter(image: Tensor, probability: float, gray: float) -> Tensor:
    """Change contrast, brightness, saturation, hue and white balance of random images.

    All changes of an image are one 3x4 matrix, which is applied once. docs/journal.md compares the time with kornia's.

    Args:
        image: (B, 3, H, W) in 0..255, float.
        probability: of a change.
        gray: probability of a grayscale image.

    Returns:
        A new tensor of the same shape.
    """
    n = len(image)
    strength = (torch.rand(n, device=image.device) < probability).float()
    is_gray = torch.rand(n, device=image.device) < gray
    contrast = (strength * uniform(n, -0.4, 0.35, image)).exp()
    saturation = (1 + strength * uniform(n, -0.6, 0.4, image)).masked_fill(is_gray, 0)
    hue = strength * uniform(n, -0.15, 0.15, image)
    balance = 1 + strength[:, None] * torch.empty(n, 3, device=image.device).uniform_(-0.12, 0.12)
    brightness = strength * uniform(n, -40, 40, image)
    luma = torch.tensor([0.299, 0.587, 0.114], device=image.device).expand(3, 3)
    eye = torch.eye(3, device=image.device)
    # The hue is a rotation about the gray axis, by Rodrigues' formula. k is the cross product matrix of the axis.
    k = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]], device=image.device) / 3**0.5
    c, s = hue.cos()[:, None, None], hue.sin()[:, None, None]
    rotation = c * eye + s * k + (1 - c) / 3
    mix = luma + saturation[:, None, None] * ((eye - luma) @ rotation)
    matrix = contrast[:, None, None] * balance[:, :, None] * mix
    offset = 110 * (1 - contrast) + brightness
    flat = torch.baddbmm(offset[:, None, None], matrix, image.flatten(2))
    return flat.clamp(0, 255).unflatten(2, image.shape[2:])


def replace_background(image: Tensor, landmarks: Tensor, side: int, probability: float) -> Tensor:
    """Replace the background of random images by a flat colour, noise or another blurred image, with a soft edge.

    The head is the area near the landmarks, near the points halfway between landmarks and their mean, and near the
    forehead. The forehead is found by moving the brows upwards along the bridge of the nose.

    Args:
        image: (B, 3, size, size) in 0..255, float.
        landmarks: (B, 68, 3) in pixels of a crop of `side` pixels, NaN where unknown.
        side: side of the crop in pixels.
        probability: of another background.

    Returns:
        Images of the same shape. The pixels at the landmarks are unchanged.
    """
    n, size = len(image), image.shape[-1]
    rows = (torch.rand(n, device=image.device) < probability).nonzero()[:, 0]
    if not len(rows):
        return image
    m, points = len(rows), landmarks[rows, :, :2].nan_to_num(1e4)
    up = points[:, _NASION] - points[:, _SUBNASALE]
    forehead = points[:, None, _BROWS] + up[:, None, None] * torch.linspace(0.4, 1.2, 3).to(up)[:, None, None]
    inside = points.mean(1, keepdim=True).lerp(points, 0.5)
    head = torch.cat([points, inside, forehead.flatten(1, 2)], 1)
    coarse = size // 4
    pixels = _pixel_centres(coarse, side, image)
    distance = torch.cdist(pixels.expand(m, -1, -1), head).amin(-1).unflatten(1, (1, coarse, coarse))
    margin = uniform(m, 0.08, 0.16, image)[:, None, None, None] * side
    mask = ((margin - distance) / (0.03 * side) + 0.5).clamp(0, 1)
    mask = interpolate(mask, size=(size, size), mode="bilinear")
    noise = _noise_images(m, size, image)
    other = image[torch.randint(n, (m,), device=image.device)].flip(-2)
    other = interpolate(other, size=(size // 8, size // 8), mode="area")
    other = interpolate(other, size=(size, size), mode="bilinear")
    behind = torch.where(torch.rand(m, 1, 1, 1, device=image.device) < 0.5, other, noise)
    return image.index_copy(0, rows, mask * image[rows] + (1 - mask) * behind)


def occlude(image: Tensor, landmarks: Tensor, side: int, probability: float) -> tuple[Tensor, Tensor]:
    """Cover a part of random images by a rotated rectangle or ellipse.

    Its colour is flat or noisy, or it shows pixels of another image.

    Args:
        image: (B, 3, size, size) in 0..255, float.
        landmarks: (B, 68, 3) in pixels of a crop of `side` pixels, NaN where unknown.
        side: side of the crop in pixels.
        probability: of covering a part.

    Returns:
        Images of the same shape, and (B, 68) bool, which landmarks are covered.
    """
    n, size = len(image), image.shape[-1]
    covered = torch.zeros(landmarks.shape[:2], dtype=torch.bool, device=image.device)
    rows = (torch.rand(n, device=image.device) < probability).nonzero()[:, 0]
    if not len(rows):
        return image, covered
    m = len(rows)
    centre = torch.empty(m, 2, device=image.device).uniform_(0.15, 0.85) * side
    radius = torch.empty(m, 2, device=image.device).uniform_(0.05, 0.25) * side
    angle = uniform(m, 0, math.pi, image)
    is_box = torch.rand(m, device=image.device) < 0.5

    def inside(points: Tensor) -> Tensor:
        x, y = (points - centre[:, None]).unbind(-1)
        c, s = angle.cos()[:, None], angle.sin()[:, None]
        u, v = (c * x + s * y) / radius[:, :1], (c * y - s * x) / radius[:, 1:]
        return torch.where(is_box[:, None], torch.maximum(u.abs(), v.abs()), (u * u + v * v).sqrt()) < 1

    mask = inside(_pixel_centres(size, side, image).expand(m, -1, -1)).unflatten(1, (1, size, size))
    noise = _noise_images(m, size, image)
    other = image[torch.randint(n, (m,), device=image.device)].flip(-2)
    fill = torch.where(torch.rand(m, 1, 1, 1, device=image.device) < 0.4, other, noise)
    image = image.index_copy(0, rows, torch.where(mask, fill, image[rows]))
    covered[rows] = inside(landmarks[rows, :, :2])
    return image, covered


def _pixel_centres(size: int, side: int, like: Tensor) -> Tensor:
    """Return x and y (size * size, 2), in pixels of a crop of `side` pixels, of the pixels of an image of that crop."""
    ticks = (torch.arange(size, device=like.device) + 0.5) * side / size - 0.5
    return torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).flatten(0, 1)


def _noise_images(n: int, size: int, like: Tensor) -> Tensor:
    """Draw images (n, 3, size, size) in 0..255 of one random colour each, with grey noise of a random strength."""
    colour = torch.empty(n, 3, 1, 1, device=like.device).uniform_(0, 255)
    grain = uniform(n, 0, 60, like)[:, None, None, None] * torch.randn(n, 1, size, size, device=like.device)
    return (colour + grain).clamp(0, 255)


def _jpeg(image: Tensor, quality: Tensor) -> Tensor:
    """Compress images (B, 3, H, W) in 0..255 by JPEG at qualities (B,). kornia needs sides that are multiples of 16."""
    height, width = image.shape[-2:]
    padded = torch.nn.functional.pad(image / 255, (0, -width % 16, 0, -height % 16), mode="replicate")
    coded: Tensor = kornia.enhance.jpeg_codec_differentiable(padded.clamp(0, 1), quality)
    return coded[..., :height, :width] * 255


def uniform(n: int, low: float, high: float, like: Tensor) -> Tensor:
    """Draw numbers (n,) evenly from low to high, on the device of a tensor."""
    return torch.empty(n, device=like.device).uniform_(low, high)
