"""Optional packages, which an extra of this package installs, and packages that do not load on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from synergy.errors import UserError

_WITHOUT_WINDOWS = "pip uninstall -y opencv-python; pip install opencv-python-headless"


@contextmanager
def needs_extra(extra: str, feature: str) -> Iterator[None]:
    """Report in one line that an optional package is missing.

    Args:
        extra: extra of this package that installs it.
        feature: what needs it, as the start of a sentence.

    Raises:
        UserError: an import inside the `with` block did not find its package.

    Example:
        >>> with needs_extra("eval", "--report"):
        ...     import a_missing_package
        Traceback (most recent call last):
        synergy.errors.UserError: --report needs a_missing_package; install the extra 'eval' (docs/install.md)
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise UserError(f"{feature} needs {package}; install the extra '{extra}' (docs/install.md)") from None


def has_onnx() -> bool:
    """Say whether the extra `onnx` is installed: onnxruntime, and the package onnx, which makes graphs for it."""
    return find_spec("onnxruntime") is not None and find_spec("onnx") is not None


def explain_opencv(error: ImportError) -> str | None:
    """Explain in one line why OpenCV cannot be imported.

    The package opencv-python needs libGL and GLib of the system, which servers often lack. opencv-python-headless has
    the same module without windows, and needs neither.

    Args:
        error: any failed import.

    Returns:
        The explanation; None if the error is not about OpenCV.
    """
    if error.name != "cv2":
        return None
    if isinstance(error, ModuleNotFoundError):
        return "OpenCV is not installed: pip install opencv-python-headless"
    reason = str(error).partition("\n")[0]
    return f"OpenCV cannot be loaded ({reason}); the package without windows needs less: {_WITHOUT_WINDOWS}"
