"""Measurements for TensorBoard, where it is installed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pathology.core.errors import PathologyError
from pathology.training.loop import Values

OnStep = Callable[[int, Values], None]


def also_to(folder: Path, on_step: OnStep, *, is_first: bool = True) -> OnStep:
    """The same function, which also writes what it is told into a folder of TensorBoard's.

    The last of it is written once nobody holds the function any more, or the program ends.

    is_first  whether this is the one of several processes that writes
    Raises PathologyError where TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise PathologyError("--tensorboard needs it: pip install tensorboard") from error
    if not is_first:
        return on_step
    writer: Any = SummaryWriter(folder)

    def write(step: int, values: Values) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        on_step(step, values)

    weakref.finalize(write, writer.close)
    return write
