"""Which slides deserve a look by eye after stain normalization, and why."""

from __future__ import annotations

from collections.abc import Iterator

from pathology.evaluation.stain_config import FlagConfig
from pathology.evaluation.stain_scores import SlideScores


def flags_of(scores: SlideScores, limits: FlagConfig) -> list[str]:
    """What is doubtful about a model on a slide, in words; a measure that is not known is not."""
    return [*_content_flags(scores, limits), *_color_flags(scores, limits)]


def _content_flags(scores: SlideScores, limits: FlagConfig) -> Iterator[str]:
    """Doubts that structure is still what it was."""
    if scores.problem:
        yield f"not normalized: {scores.problem}"
    if _below(scores.structure_ssim, limits.min_structure_ssim):
        yield f"structure SSIM {scores.structure_ssim:.2f}"
    if _below(scores.gradient, limits.min_gradient):
        yield f"edges moved, gradient correlation {scores.gradient:.2f}"
    yield from _nuclei_flags(scores, limits)
    if _grew(scores.seam_ratio_before, scores.seam_ratio, limits.max_seam_growth):
        yield f"seams, steps at borders {scores.seam_ratio:.2f} of those inside"
    elif _grew(scores.seam_offset_before, scores.seam_offset, limits.max_offset_growth):
        yield f"tiles of different color, offset {scores.seam_offset:.2f} of that inside"


def _nuclei_flags(scores: SlideScores, limits: FlagConfig) -> Iterator[str]:
    num_before = scores.nuclei_before or 0
    if num_before < limits.min_nuclei:
        return
    for said, num in (("lost", scores.nuclei_lost), ("invented", scores.nuclei_invented)):
        share = (num or 0) / num_before
        if share > limits.max_nuclei_changed:
            yield f"{share:.0%} of nuclei {said}"


def _color_flags(scores: SlideScores, limits: FlagConfig) -> Iterator[str]:
    """Doubts that the color came nearer to the target."""
    if not scores.problem and _above(scores.passed_share, limits.max_passed_share):
        yield f"{scores.passed_share:.0%} of the tiles passed through unchanged"
    angle, distance = limits.max_angle_growth, limits.max_distance_growth
    moved = (
        ("hematoxylin", scores.h_angle_before, scores.h_angle, angle, "°"),
        ("eosin", scores.e_angle_before, scores.e_angle, angle, "°"),
        ("colors", scores.color_distance_before, scores.color_distance, distance, ""),
    )
    for said, before, after, limit, unit in moved:
        if before is not None and after is not None and after > before + limit:
            yield f"{said} moved away from the target, {before:.1f}{unit} to {after:.1f}{unit}"


def _below(value: float | None, limit: float) -> bool:
    return value is not None and value < limit


def _above(value: float | None, limit: float) -> bool:
    return value is not None and value > limit


def _grew(before: float | None, after: float | None, factor: float) -> bool:
    return before is not None and after is not None and after > before * factor + 1e-6
