"""The method none as a model, so that every command and table can have it beside the others."""

from __future__ import annotations

from typing import Any, Literal

from pathology.stain.matrix import Pixels
from pathology.stain.normalizer import PassThrough
from pathology.stain.saved_style import SavedStyle


class Unchanged(SavedStyle):
    """Leaves every slide as it is."""

    method: Literal["none"] = "none"
    source: str = "nothing: colors stay as they are"

    def for_slide(self, sample_NHW3: Pixels, config: Any) -> PassThrough:
        """What passes every tile through, whatever the slide shows."""
        return PassThrough()
