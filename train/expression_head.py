"""Fit the expression head of a trained network to the labels once more, by linear regression."""

from __future__ import annotations

import torch

from synergy.errors import UserError
from synergy.models import SynergyNet
from synergy.parameters import split_parameters
from train.data import FaceDataset, validation_loader
from train.regression import ridge_regression

# Chosen on validation faces (docs/journal.md, "The expression head by linear regression").
_RIDGE = 1e-4


@torch.inference_mode()
def refit_expression_head(net: SynergyNet, faces: FaceDataset) -> int:
    """Replace the expression head by the ridge regression of the labels' expression on the image features.

    In training, landmarks and pose have most of the weight, and the head follows the expressions of the labels less
    closely than the features allow. Blendshapes that hardly move landmarks, such as a raised brow or a gaze, gain most.
    Features, pose and shape stay as they are.

    Args:
        net: a trained network in evaluation mode, changed in place.
        faces: labelled faces. They are used as they are stored, with the weights of their labels.

    Returns:
        The number of faces that were used.

    Raises:
        UserError: no face has parameters.
    """
    features, expressions, weights = [], [], []
    for batch in validation_loader(faces):
        known = batch.params.isfinite().all(-1) & (batch.weight > 0)
        whitened = net.whitening.whiten(batch.params[known])
        features.append(net.features(batch.image[known]))
        expressions.append(split_parameters(whitened, net.n_shape)[2])
        weights.append(batch.weight[known])
    count = sum(map(len, weights))
    if not count:
        raise UserError("--refit-expression: no training sample of the pack has 3DMM parameters")
    matrix, bias = ridge_regression(torch.cat(features), torch.cat(expressions), _RIDGE, torch.cat(weights))
    net.expression_head.weight.copy_(matrix)
    net.expression_head.bias.copy_(bias)
    return count
