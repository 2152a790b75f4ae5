"""The measures of a stain evaluation: how each is written, which way is good, what it means."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Measure(NamedTuple):
    """A column of the summary.

    pattern     how a value is written
    better      which way is good
    meaning     one sentence for the page
    is_trivial  whether changing nothing wins it by definition
    of_pairs    whether it is taken over pairs and not over slides
    """

    name: str
    title: str
    pattern: str
    better: Literal["more", "less", "same"]
    meaning: str
    is_trivial: bool = False
    of_pairs: bool = False


MEASURES = (
    Measure(
        "ssim",
        "SSIM",
        "{:.3f}",
        "more",
        "Structural similarity, in color, to the reference picture of the same place (1: equal); "
        "mean over pairs, known shifts undone.",
        of_pairs=True,
    ),
    Measure(
        "psnr",
        "PSNR",
        "{:.1f} dB",
        "more",
        "Peak signal-to-noise ratio to the reference picture, in dB: how small the error of "
        "single pixels is; mean over pairs.",
        of_pairs=True,
    ),
    Measure(
        "color_distance",
        "Color distance",
        "{:.1f}",
        "less",
        "How far the tissue's colors lie from the target's: sliced 1-Wasserstein distance in "
        "L*a*b*, where colors that all shift by d lie d apart; about 2 is just visible.",
    ),
    Measure(
        "h_angle",
        "H angle",
        "{:.1f}°",
        "less",
        "Degrees between the slide's hematoxylin vector and the target's, in optical density "
        "(Macenko's estimate on both).",
    ),
    Measure("e_angle", "E angle", "{:.1f}°", "less", "The same for eosin."),
    Measure(
        "structure_ssim",
        "Structure SSIM",
        "{:.3f}",
        "more",
        "Structural similarity of luminance between a tile and its source: 1 where structure and "
        "contrast stayed as they were.",
        is_trivial=True,
    ),
    Measure(
        "gradient",
        "Gradient corr.",
        "{:.3f}",
        "more",
        "Correlation of the luminance's gradients with the source's: 1 where every edge stands "
        "where it stood, whatever its contrast.",
        is_trivial=True,
    ),
    Measure(
        "nuclei_ratio",
        "Nuclei ratio",
        "{:.3f}",
        "same",
        "Nuclei counted after, over nuclei before; each side by its own stain matrix, so that "
        "color alone changes nothing.",
        is_trivial=True,
    ),
    Measure(
        "nuclei_changed",
        "Nuclei changed",
        "{:.1%}",
        "less",
        "Nuclei lost, or invented, whichever is more: those without a partner within half a "
        "nucleus on the other side, as a share of those before.",
        is_trivial=True,
    ),
    Measure(
        "seam_ratio",
        "Seams",
        "{:.3f}",
        "same",
        "Mean color step across borders of tiles over that just inside tiles: 1 without a seam; "
        "JPEG-compressed tiles start a little higher (see the source).",
        is_trivial=True,
    ),
    Measure(
        "seam_offset",
        "Tile offset",
        "{:.2f}",
        "same",
        "The same for the mean step along a whole border, which texture cannot hide: above that "
        "of the source, tiles differ in color from their neighbors.",
        is_trivial=True,
    ),
    Measure(
        "tiles_per_s",
        "Tiles/s",
        "{:,.0f}",
        "more",
        "Tiles rendered a second by one process, without the fit to the slide.",
    ),
)
