"""What has become of a training that learns too fast."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pathology.core.errors import ConfigError


def require_numbers(values: Iterable[float], step: int, learning_rate: float) -> None:
    """Raise ConfigError where some of these are no numbers: what a training has after a step."""
    if not all(math.isfinite(value) for value in values):
        raise ConfigError(
            f"step {step}: the loss, or what follows from it, is no number any more. Set a "
            f"lower learning_rate than {learning_rate:g}"
        )
