"""Measurements for TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pathology.core.errors import PathologyError
from pathology.training.loop import Values

OnStep = Callable[[int, Values], None]


def also_to(folder: Path, on_step: OnStep) -> OnStep:
    """The same function, which also writes what it is told into a folder of TensorBoard's.

    Raises PathologyError where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise PathologyError("--tensorboard needs it: pip install tensorboard") from error
    writer: Any = SummaryWriter(folder)

    def write(step: int, values: Values) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        on_step(step, values)

    return write
