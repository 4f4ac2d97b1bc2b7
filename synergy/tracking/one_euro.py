"""The One-Euro filter: a low-pass filter whose cutoff frequency rises with the speed of the signal.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems",
CHI 2012. A low cutoff removes jitter while the signal rests. A high cutoff keeps the lag small while it moves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]


class OneEuro:
    """Filter vectors that arrive one after the other, at any intervals.

    Args:
        min_cutoff: cutoff frequency at rest, in Hz.
        speed_gain: how much the cutoff rises with the speed, in Hz per unit of speed. The speed is the Euclidean norm,
            along the last axis, of the change per second. All components along the last axis share one cutoff.
        speed_cutoff: cutoff frequency of the low-pass filter of the speed, in Hz.

    Attributes:
        value: the filtered value; None before the first call.
        speed: the filtered change per second; zero before the second call.

    Example:
        >>> smooth = OneEuro(min_cutoff=1.0, speed_gain=0.0)
        >>> smooth(np.array([0.0]), seconds=0.0).tolist()
        [0.0]
        >>> smooth(np.array([1.0]), seconds=1 / 30).round(2).tolist()
        [0.17]
    """

    def __init__(self, min_cutoff: float, speed_gain: float, speed_cutoff: float = 1.0) -> None:
        self.min_cutoff = min_cutoff
        self.speed_gain = speed_gain
        self.speed_cutoff = speed_cutoff
        self.value: Array | None = None
        self.speed: Array = np.zeros(1)
        self._last: Array | None = None

    def __call__(self, value: Array, seconds: float, weight: float = 1.0) -> Array:
        """Filter the next value.

        Args:
            value: any shape, the same in each call.
            seconds: time since the previous value; it is not used in the first call.
            weight: reliability of the value in 0..1. It multiplies the cutoff frequency, so that a value with weight 0
                does not change the result, and a fast motion is followed also with less reliable values.

        Returns:
            The filtered value.
        """
        value = np.asarray(value, np.float64)
        if self.value is None or self._last is None:
            self.value = self._last = value
            self.speed = self._difference(value, value)
            return value
        change = self._difference(value, self._last) / seconds
        self.speed = self.speed + _gain(self.speed_cutoff, seconds) * weight * (change - self.speed)
        self._last = value
        norm = np.linalg.norm(self.speed, axis=-1, keepdims=True)
        gain = _gain(weight * (self.min_cutoff + self.speed_gain * norm), seconds)
        self.value = self._move(self.value, gain * self._difference(value, self.value))
        return self.value

    def _difference(self, a: Array, b: Array) -> Array:
        """Return the step that leads from b to a."""
        return a - b

    def _move(self, value: Array, step: Array) -> Array:
        """Return the value after a step."""
        return value + step


class RotationOneEuro(OneEuro):
    """The One-Euro filter of rotation matrices (3, 3). Steps are rotation vectors, and speeds are radians per second.

    The filtered value lies on the shortest arc between the previous filtered value and the new one. Angles therefore do
    not jump at 180 degrees, and there is no gimbal lock.

    Example:
        >>> smooth = RotationOneEuro(min_cutoff=1.0, speed_gain=0.0)
        >>> _ = smooth(np.eye(3), seconds=0.0)
        >>> quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()
        >>> Rotation.from_matrix(smooth(quarter, seconds=1 / 30)).as_euler("xyz", degrees=True).round(1).tolist()
        [0.0, 0.0, 15.6]
    """

    def _difference(self, a: Array, b: Array) -> Array:
        return np.asarray(Rotation.from_matrix(a @ b.T).as_rotvec())

    def _move(self, value: Array, step: Array) -> Array:
        return np.asarray(Rotation.from_rotvec(step).as_matrix() @ value)


def _gain(cutoff: float | Array, seconds: float) -> Array:
    """Return the gain of a first-order low-pass filter with a cutoff in Hz for samples with a time interval."""
    ratio = 2 * np.pi * np.asarray(cutoff) * seconds
    return np.asarray(ratio / (ratio + 1))
