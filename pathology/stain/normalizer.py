"""What every way of normalizing offers: a model, fitted to a slide, then renders its tiles."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pathology.stain.matrix import Pixels


class Rendered(NamedTuple):
    """Tiles (N, H, W, 3) and which of them (N,) passed through unchanged."""

    tiles: Pixels
    is_passed: NDArray[np.bool_]


class SlideNormalizer(Protocol):
    """Renders the tiles of one slide. It is small when pickled: tables are built where it is used.

    problem    why every tile passes through, or ""
    margin_px  how far around a pixel its new color looks; 0 for a change of color alone
    """

    problem: str
    margin_px: int

    def render(self, tiles_NHW3: Pixels) -> Rendered:
        """The tiles in the model's style; glass, and tiles of nothing else, unchanged."""
        ...

    def measured(self) -> dict[str, Any]:
        """Columns of stain.csv on the slide's own staining; empty where there is nothing to say."""
        ...


@runtime_checkable
class LooksAround(SlideNormalizer, Protocol):
    """A normalizer whose new colors depend on what lies around a pixel, up to margin_px."""

    def render_middle(self, windows_NHW3: Pixels, around_px: int) -> Rendered:
        """The tiles amid windows that show around_px more on each side, which is looked at only."""
        ...


class StainModel(Protocol):
    """A style to render towards, as it is kept in a file.

    method       none, reinhard, macenko, vahadane, histogram or cyclegan
    fingerprint  twelve hex digits of all that shapes pixels
    source       where the style comes from, for the reader
    mpp          microns per pixel that it was made for; None: any
    """

    @property
    def method(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def mpp(self) -> float | None: ...

    def for_slide(self, sample_NHW3: Pixels, config: Any) -> SlideNormalizer:
        """A normalizer for the slide of which the sample shows tiles. Never raises for odd pixels.

        config  a StainConfig
        """
        ...


class PassThrough:
    """Leaves every tile as it is: the method none, and slides that show no staining.

    problem  why, or "" where that is what was asked for
    """

    margin_px = 0

    def __init__(self, problem: str = "") -> None:
        self.problem = problem

    def render(self, tiles_NHW3: Pixels) -> Rendered:
        """The tiles themselves."""
        return Rendered(tiles_NHW3, np.ones(len(tiles_NHW3), np.bool_))

    def measured(self) -> dict[str, Any]:
        """Nothing."""
        return {}


def middle_of(windows_NHW3: Pixels, around_px: int) -> Pixels:
    """Windows without around_px on each side, a view."""
    height, width = windows_NHW3.shape[1:3]
    return windows_NHW3[:, around_px : height - around_px, around_px : width - around_px]
