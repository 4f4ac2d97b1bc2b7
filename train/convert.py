"""Conversion of a trained network to another morphable model.

The backbone stays. The heads of a `SynergyNet` are linear, and so is a change of morphable model that is done in model
space: the new heads are the old ones followed by one affine map of the parameters. The head pose stays the same. MAFA
reads the old coefficients, which are linear in the image feature, so its first layer computes them from then on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from bfm_assets import MorphableModel, read_model
from synergy.data import AnnotatedCropsReader, FaceReader, PtsReader
from synergy.errors import UserError
from synergy.models import SynergyNet
from synergy.parameters import N_POSE, split_pose
from synergy.registry import open_network
from synergy.weights import bundled_weights, save_weights
from train.readers import read_all

Array = NDArray[np.float64]

_NOISE_MM = 0.5
"""Standard deviation of a landmark coordinate about the new model in the fit of coefficients."""
_ALIGNMENTS = 5
_STEPS = 400


@dataclass(frozen=True, eq=False)
class ParameterMap:
    """An affine map from parameters of one morphable model to those of another: matrix @ params + offset.

    Attributes:
        matrix: (P', P).
        offset: (P',).
        residual: mean distance over faces and landmarks between the two models' landmarks, in percent of the mean
            face's size sqrt(width * height).
        below_zero: mean of what the mapped weights of named expressions are below 0, over faces and expressions.
    """

    matrix: Array
    offset: Array
    residual: float
    below_zero: float

    def __call__(self, params: Array) -> Array:
        """Map parameters (..., P) to (..., P')."""
        return params @ self.matrix.T + self.offset


def fit_parameter_map(old: MorphableModel, new: MorphableModel, coefficients: Array) -> ParameterMap:
    """Find the parameters of a new morphable model whose landmarks are those of an old one.

    The two models may differ in size and origin, but not in their axes: the rotation stays. For another origin the map
    is exact where the 3x3 part of the pose is a scaled rotation. Named expressions of the new model are fitted with
    weights between 0 and 1 to every face, and the affine map is the one nearest to these fits. What the new shape basis
    cannot explain of the old model's mean face is no expression, and is left out there. The shape then explains as much
    of what is left as its prior allows.

    Args:
        old: model of the parameters.
        new: model to change to.
        coefficients: (N, S + E) coefficients of the old model on typical faces, more of them than S + E.
    """
    source, target = old.landmark_model(), new.landmark_model()
    old_mean, old_basis = source.mean.astype(np.float64), source.basis.astype(np.float64)
    mean = target.mean.astype(np.float64)
    basis = target.basis.astype(np.float64).reshape(mean.size, -1) * target.coefficient_std.astype(np.float64)
    shape_basis, expression_basis = basis[:, : new.n_shape], basis[:, new.n_shape :]
    ratio: float = (_NOISE_MM / new.mm_per_unit) ** 2
    gram = shape_basis.T @ shape_basis + ratio * np.eye(new.n_shape)
    shape_solver = np.asarray(np.linalg.solve(gram, shape_basis.T), np.float64)

    faces = old_mean + np.einsum("vck,nk->nvc", old_basis, coefficients)
    scale, origin = 1.0, np.zeros(3)
    fitted = np.broadcast_to(mean, faces.shape)
    for _ in range(_ALIGNMENTS):
        scale, origin = _align(fitted, faces)
        rest = ((faces - origin) / scale - mean).reshape(len(faces), -1)
        neutral = ((old_mean - origin) / scale - mean).ravel()
        systematic = neutral - shape_basis @ (shape_solver @ neutral)
        weights = _bounded(rest - systematic, expression_basis, shape_basis, shape_solver, ratio, target)
        left = rest - weights @ expression_basis.T
        fitted = mean + ((left @ shape_solver.T) @ shape_basis.T + weights @ expression_basis.T).reshape(faces.shape)

    affine_expression = _regression(coefficients, weights)
    # The landmarks in the new model's frame, less its mean, as an affine function of the old coefficients.
    constant = ((old_mean - origin) / scale - mean).reshape(-1, 1)
    affine_rest = np.concatenate([old_basis.reshape(mean.size, -1) / scale, constant], 1)
    affine_shape = shape_solver @ (affine_rest - expression_basis @ affine_expression)
    affine = np.concatenate([affine_shape, affine_expression]) * target.coefficient_std.astype(np.float64)[:, None]

    mapped = coefficients @ affine[:, :-1].T + affine[:, -1]
    landmarks = scale * (mean + np.einsum("vck,nk->nvc", target.basis.astype(np.float64), mapped)) + origin
    size = np.sqrt(np.prod(np.ptp(old_mean[:, :2], axis=0)))
    below = np.maximum(-mapped[:, new.n_shape :], 0).mean() if new.expression_names else 0.0
    residual = float(100 * np.linalg.norm(landmarks - faces, axis=2).mean() / size)
    offset = np.concatenate([np.zeros(N_POSE), affine[:, -1]])
    return ParameterMap(_parameter_matrix(scale, origin, affine[:, :-1]), offset, residual, float(below))


def _regression(coefficients: Array, weights: Array) -> Array:
    """Return the affine map (E, K + 1) from coefficients (N, K) nearest to weights (N, E); the offset comes last."""
    spread = coefficients.std(0)
    spread[spread == 0] = 1.0
    middle = coefficients.mean(0)
    scaled = (coefficients - middle) / spread
    ridge = 1e-4 * len(scaled) * np.eye(len(spread))
    slope = (np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ weights) / spread[:, None]).T
    return np.concatenate([slope, (weights.mean(0) - slope @ middle)[:, None]], 1)


def _parameter_matrix(scale: float, origin: Array, coefficients: Array) -> Array:
    """Return the matrix (P', P) of the map of parameters.

    Args:
        scale: size of a unit of the new model in units of the old one.
        origin: (3,) origin of the new model in the old one.
        coefficients: (P' - 12, P - 12) matrix of the coefficients.
    """
    matrix = np.zeros((N_POSE + coefficients.shape[0], N_POSE + coefficients.shape[1]))
    for row in range(3):
        block = slice(4 * row, 4 * row + 3)
        matrix[block, block] = scale * np.eye(3)
        matrix[4 * row + 3, block] = origin
        matrix[4 * row + 3, 4 * row + 3] = 1
    matrix[N_POSE:, N_POSE:] = coefficients
    return matrix


def _align(points: Array, faces: Array) -> tuple[float, Array]:
    """Return the one scale and translation (3,) that bring all points (N, 68, 3) closest to faces (N, 68, 3)."""
    points_mean, faces_mean = points.mean((0, 1)), faces.mean((0, 1))
    centred = points - points_mean
    scale = float((centred * (faces - faces_mean)).sum() / (centred**2).sum())
    return scale, faces_mean - scale * points_mean


def _bounded(
    rest: Array, expression_basis: Array, shape_basis: Array, shape_solver: Array, ratio: float, target: MorphableModel
) -> Array:
    """Fit expression coefficients (N, E), in standard deviations, together with the shape to rest (N, 204).

    Weights of named expressions stay between 0 and 1. The shape is eliminated, which leaves one quadratic problem in
    the expression for every face, and accelerated projected gradients solve them together (Beck and Teboulle 2009).
    """
    reduced = expression_basis - shape_basis @ (shape_solver @ expression_basis)
    hessian = expression_basis.T @ reduced + ratio * np.eye(expression_basis.shape[1])
    linear = rest @ reduced
    if not target.expression_names:
        return np.asarray(np.linalg.solve(hessian, linear.T).T)
    low, high = np.zeros(len(hessian)), 1 / target.expression_std.astype(np.float64)
    step = 1 / np.linalg.eigvalsh(hessian)[-1]
    found = ahead = np.zeros_like(linear)
    momentum = 1.0
    for _ in range(_STEPS):
        moved = np.clip(ahead - step * (ahead @ hessian - linear), low, high)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / following * (moved - found)
        found, momentum = moved, following
    return found


@torch.no_grad()
def convert(net: SynergyNet, model: MorphableModel, crops: NDArray[np.uint8]) -> tuple[SynergyNet, ParameterMap]:
    """Make a network that predicts what another one does, with another morphable model.

    Args:
        net: a trained network.
        model: the new morphable model; its axes must be those of the old one.
        crops: (N, size, size, 3) uint8 RGB typical crops, a few thousand. Their faces say which coefficients occur.

    Returns:
        The new network, in evaluation mode, with the same head poses; and the map of the parameters.
    """
    starts = track(range(0, len(crops), 64), "running the backbone", transient=True)
    feature = torch.cat([net.features(torch.from_numpy(crops[i : i + 64]).permute(0, 3, 1, 2)) for i in starts])
    params = net.dewhiten(net.heads(feature))
    coefficients = split_pose(params)[1].double().numpy()
    mapping = fit_parameter_map(net.morphable_model, model, coefficients)
    new = SynergyNet(model, **net.architecture)
    state = net.state_dict()
    own = new.state_dict()
    new.load_state_dict({name: state[name] if _is_kept(name, state, own) else own[name] for name in own})
    mapped = torch.from_numpy(mapping(params.double().numpy()))
    new.set_whitening(mapped.mean(0), mapped.std(0).clamp_min(1e-6))
    _set_heads(new, net, mapping)
    _set_mafa(new, net)
    return new.eval(), mapping


def _is_kept(name: str, old: dict[str, Tensor], new: dict[str, Tensor]) -> bool:
    """Return whether a tensor of the state has the same meaning with both morphable models."""
    return (
        name in old and old[name].shape == new[name].shape and name.startswith(("backbone.", "mafa.", "uncertainty."))
    )


def _set_heads(new: SynergyNet, old: SynergyNet, mapping: ParameterMap) -> None:
    """Set the heads to the old ones followed by the map of the parameters."""
    weight = torch.cat([layer.weight for layer in old.head_layers]).double()
    bias = torch.cat([layer.bias for layer in old.head_layers]).double()
    old_std, old_mean = old.param_std.double(), old.param_mean.double()
    matrix, offset = torch.from_numpy(mapping.matrix), torch.from_numpy(mapping.offset)
    weight = matrix @ (old_std[:, None] * weight)
    bias = matrix @ (old_std * bias + old_mean) + offset
    std = new.param_std.double()
    new.set_heads(weight / std[:, None], (bias - new.param_mean.double()) / std)


def _set_mafa(new: SynergyNet, old: SynergyNet) -> None:
    """Let MAFA's first layer compute the old whitened coefficients from the image feature."""
    n_global = old.mafa.n_global
    end = n_global + old.backbone.n_features
    image = slice(n_global, end)
    _, *heads = old.head_layers
    weight = torch.cat([layer.weight for layer in heads]).double()
    bias = torch.cat([layer.bias for layer in heads]).double()
    before, after = old.mafa.from_face, new.mafa.from_face
    reads = before.weight[:, end:].double()
    after.weight[:, :n_global] = before.weight[:, :n_global]
    after.weight[:, image] = (before.weight[:, image].double() + reads @ weight).float()
    after.weight[:, end:] = 0
    after.bias.copy_(before.bias.double() + reads @ bias)


def convert_weights(
    weights: str, data: Sequence[Path], out: Path, bfm: Path | None = None, model: str = "open_face", count: int = 4000
) -> ParameterMap:
    """Convert weights to another morphable model and write them as `.safetensors` with their `.json`.

    Args:
        weights: name or `.safetensors` file of the weights to convert.
        data: data sets with typical faces, in 300-W's or AFLW's form.
        out: the `.safetensors` file to write.
        bfm: morphable model of the weights, if it is not the open face.
        model: name or file of the morphable model to change to.
        count: largest number of crops from each data set, which are evenly spread over it.

    Returns:
        The map of the parameters.

    Raises:
        UserError: the weights are not of a SynergyNet of this project, or a file cannot be read.
    """
    net = open_network(weights, bfm)
    if not isinstance(net, SynergyNet):
        raise UserError(f"{weights}: only a SynergyNet of this project can be converted")
    morphable_model = read_model(model)
    crops = np.concatenate([_crops(path, morphable_model, count) for path in data])
    new, mapping = convert(net, morphable_model, crops)
    facts = {
        "converted": {
            "from": {"name": net.model_id, "model": net.morphable_model.name, "digest": net.morphable_model.digest},
            "crops": len(crops),
            "coarse_landmark_distance_percent": round(mapping.residual, 3),
        }
    }
    save_weights(new, out, _description(weights) | facts, morphable_model)
    return mapping


def _crops(path: Path, model: MorphableModel, count: int) -> NDArray[np.uint8]:
    """Return crops (N, 120, 120, 3) evenly spread over a data set."""
    reader: FaceReader = AnnotatedCropsReader(path) if path.with_suffix(".npz").is_file() else PtsReader(path)
    step = max(1, -(-len(reader) // count))
    reader.names = reader.names[::step]
    return read_all(reader, model, count)[0]


def _description(weights: str) -> dict[str, object]:
    """Return the entries of the weights' JSON that stay true: training and data, but not the validation figures."""
    path = bundled_weights().get(weights, Path(weights)).with_suffix(".json")
    facts = json.loads(path.read_text())
    return {key: facts[key] for key in ("training", "data", "converted") if key in facts}
