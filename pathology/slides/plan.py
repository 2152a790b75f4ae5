"""How a tile of one physical size is read: which plane, how many pixels, what scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathology.core.errors import WrongResolution
from pathology.core.geometry import TileSpec

Pair = tuple[int, int]
# Averaging a second time, over hardly more than a pixel, blurs unevenly: against averages of
# level-0 pixels 35-37 dB were measured below this factor, 36.5-42 dB above.
MIN_REST = 1.2


@dataclass(frozen=True)
class Level:
    """A stored resolution of the file. size is (width, height); downsample is level-0 px per px."""

    size: Pair
    downsample: tuple[float, float]


@dataclass(frozen=True)
class Plane:
    """A level read at a whole reduction, 1 or a power of two. step is level-0 px per plane px."""

    level: int
    reduction: int
    size: Pair
    step: tuple[float, float]


@dataclass(frozen=True)
class ReadPlan:
    """One slide's recipe for tiles.

    read_px       (width, height) of a tile in the plane's pixels
    stride_px     step between neighbours in the plane's pixels
    size_px       edge of the finished tile
    achieved_mpp  (x, y) of the finished tile
    """

    plane: Plane
    read_px: Pair
    stride_px: Pair
    size_px: int
    achieved_mpp: tuple[float, float]
    slide_mpp: tuple[float, float]

    @property
    def is_resampled(self) -> bool:
        """Whether the plane's pixels must be scaled to fill the tile."""
        return self.read_px != (self.size_px, self.size_px)

    @property
    def l0_size(self) -> tuple[int, int]:
        """(width, height) of a tile in level-0 pixels."""
        return _times(self.read_px, self.plane.step)

    @property
    def l0_stride(self) -> tuple[int, int]:
        """Step between neighbours in level-0 pixels."""
        return _times(self.stride_px, self.plane.step)

    def sentence(self) -> str:
        """The plan as a line for people."""
        width, height = (round(p * self.plane.reduction) for p in self.read_px)
        edge = f"{width} px" if width == height else f"{width}x{height} px"
        if (width, height) == (self.size_px, self.size_px):
            how = "as stored"
        else:
            how = f"scale to {self.size_px} px"
        return (
            f"{self.slide_mpp[0]:.4g} um/px: read level {self.plane.level}, {edge}, {how} "
            f"= {self.achieved_mpp[0]:.4f} um/px"
        )


def levels_of_sizes(sizes: Sequence[Pair]) -> tuple[Level, ...]:
    """Levels with their downsamples; one within a pixel of a whole number is that number.

    >>> levels_of_sizes([(1001, 800), (250, 200)])[1].downsample
    (4.0, 4.0)
    """
    width, height = sizes[0]
    return tuple(Level((w, h), (_ratio(width, w), _ratio(height, h))) for w, h in sizes)


def planes(levels: Sequence[Level], max_reduction: int) -> list[Plane]:
    """Every plane a reader offers, finest first; at equal fineness the coarser level comes last."""
    offered = []
    for number, level in enumerate(levels):
        reduction = 1
        while reduction <= max_reduction and min(level.size) >= reduction:
            size = (-(-level.size[0] // reduction), -(-level.size[1] // reduction))
            step = (level.downsample[0] * reduction, level.downsample[1] * reduction)
            offered.append(Plane(number, reduction, size, step))
            reduction *= 2
    return sorted(offered, key=lambda plane: (plane.step[0], plane.level))


def plan_tiles(
    slide_id: str,
    levels: Sequence[Level],
    max_reduction: int,
    slide_mpp: tuple[float, float],
    spec: TileSpec,
) -> ReadPlan:
    """The coarsest plane that is still fine enough, and the tile's size in its pixels.

    A plane within the tolerance of the target is taken as stored; all others are scaled down to
    the exact size. Raises WrongResolution where the slide is too coarse for spec.mpp.
    """
    fine = [p for p in planes(levels, max_reduction) if _is_fit(p, slide_mpp, spec)]
    plane = fine[-1] if fine else planes(levels, 1)[0]
    if max(slide_mpp) > spec.mpp * max(spec.max_upsample, 1 + spec.mpp_tolerance):
        raise WrongResolution(
            slide_id,
            f"its finest resolution is {max(slide_mpp):.4g} um/px, too coarse for tiles at "
            f"{spec.mpp:g} um/px",
            "Ask for a coarser tile.mpp, or raise tile.max_upsample to scale up knowingly",
        )
    plane_mpp = (plane.step[0] * slide_mpp[0], plane.step[1] * slide_mpp[1])
    read_px = (_read_px(plane_mpp[0], spec), _read_px(plane_mpp[1], spec))
    scale = (read_px[0] / spec.size_px, read_px[1] / spec.size_px)
    return ReadPlan(
        plane=plane,
        read_px=read_px,
        stride_px=(max(1, round(spec.step_px * scale[0])), max(1, round(spec.step_px * scale[1]))),
        size_px=spec.size_px,
        achieved_mpp=(plane_mpp[0] * scale[0], plane_mpp[1] * scale[1]),
        slide_mpp=slide_mpp,
    )


def _is_fit(plane: Plane, slide_mpp: tuple[float, float], spec: TileSpec) -> bool:
    """Whether a plane is fine enough, and does not have to be scaled by a little once more."""
    coarsest = max(plane.step[0] * slide_mpp[0], plane.step[1] * slide_mpp[1])
    rest = spec.mpp / coarsest
    if plane.reduction > 1 and 1 + spec.mpp_tolerance < rest < MIN_REST:
        return False
    return coarsest <= spec.mpp * (1 + spec.mpp_tolerance)


def _read_px(plane_mpp: float, spec: TileSpec) -> int:
    if abs(plane_mpp / spec.mpp - 1) <= spec.mpp_tolerance:
        return spec.size_px
    return max(1, round(spec.size_um / plane_mpp))


def _ratio(l0_edge: int, edge: int) -> float:
    ratio = l0_edge / edge
    whole = round(ratio)
    return float(whole) if abs(l0_edge - whole * edge) <= whole else ratio


def _times(size: Pair, step: tuple[float, float]) -> Pair:
    return round(size[0] * step[0]), round(size[1] * step[1])
