"""Rendering what is larger than a tile: in windows, each with as much around it as is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pathology.slides.plan import Pair
from pathology.stain.matrix import Pixels
from pathology.stain.normalizer import SlideNormalizer

WINDOW_PX = 512  # of a normalizer that looks around: what a network holds in memory at once


class Box(NamedTuple):
    """A rectangle of an image, from (x0, y0) up to but without (x1, y1)."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> Pair:
        """(width, height)."""
        return self.x1 - self.x0, self.y1 - self.y0

    def grown(self, margin_px: int, size: Pair, phase_px: int = 1) -> Box:
        """The rectangle with a margin, as far as an image of (width, height) reaches.

        phase_px  what its corner is to be a multiple of; the margin grows by less than that
        """
        return Box(
            max(0, self.x0 - margin_px) // phase_px * phase_px,
            max(0, self.y0 - margin_px) // phase_px * phase_px,
            min(size[0], self.x1 + margin_px),
            min(size[1], self.y1 + margin_px),
        )

    def moved(self, x: int, y: int) -> Box:
        """The rectangle as seen from another origin."""
        return Box(self.x0 + x, self.y0 + y, self.x1 + x, self.y1 + y)

    def of(self, pixels: Pixels) -> Pixels:
        """What an image (H, W, 3) shows there, a view."""
        return pixels[self.y0 : self.y1, self.x0 : self.x1]


def boxes(size: Pair, edge_px: int) -> Iterator[Box]:
    """Squares that cover an image of (width, height), row by row; the last ones are cut off."""
    for y in range(0, size[1], edge_px):
        for x in range(0, size[0], edge_px):
            yield Box(x, y, min(x + edge_px, size[0]), min(y + edge_px, size[1]))


def window_px(normalizer: SlideNormalizer, tile_px: int) -> int:
    """Edge of the windows that tiles of tile_px are rendered in: whole tiles, one if that does."""
    if not normalizer.margin_px:
        return tile_px
    return max(tile_px, WINDOW_PX // tile_px * tile_px)


def surroundings(normalizer: SlideNormalizer, box: Box, size: Pair) -> Box:
    """What a normalizer must see of an image of (width, height) to render a part of it.

    A network that halves its images must halve every part at the same places: the corner is a
    multiple of its multiple_px.
    """
    phase_px = int(getattr(normalizer, "multiple_px", 1))
    return box.grown(normalizer.margin_px, size, phase_px)


def render_inner(
    normalizer: SlideNormalizer, pixels: Pixels, inner: Box, tile_px: int
) -> tuple[Pixels, int]:
    """The inner part of an image (H, W, 3) rendered, and how many of its tiles stayed as they are.

    What lies around it, up to the normalizer's margin, is looked at and not rendered. Windows begin
    at the inner part's corner. Where the image is itself a part, see surroundings, of a larger one,
    the outcome is that of the larger one.
    """
    width, height = inner.size
    rendered = np.empty((height, width, 3), np.uint8)
    num_passed = 0
    for box in boxes((width, height), window_px(normalizer, tile_px)):
        place = box.moved(inner.x0, inner.y0)
        around = surroundings(normalizer, place, (pixels.shape[1], pixels.shape[0]))
        tiles, is_passed = normalizer.render(np.ascontiguousarray(around.of(pixels))[np.newaxis])
        box.of(rendered)[:] = place.moved(-around.x0, -around.y0).of(tiles[0])
        num_passed += bool(is_passed[0]) * num_tiles(box.size, tile_px)
    return rendered, num_passed


def num_tiles(size: Pair, tile_px: int) -> int:
    """How many tiles cover an image of (width, height)."""
    return -(-size[0] // tile_px) * -(-size[1] // tile_px)
