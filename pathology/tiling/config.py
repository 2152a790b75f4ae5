"""Settings of the tiling stage, and the options of one run of it.

They stand together, apart from the code that reads them, so that a command can check its settings
in a tenth of a second, before the libraries behind that code are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pathology.core.config import StageConfig
from pathology.core.geometry import TileSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class TissueConfig(StageConfig):
    """How tissue is told from glass.

    method               otsu: threshold on colourfulness, chosen per slide; hsv: fixed
                         thresholds on saturation and value; none: the whole image is tissue
    mpp                  resolution of the thumbnail that is looked at
    min_object_um2       smaller specks are dust
    max_hole_um2         smaller holes belong to the tissue
    min_tissue_fraction  of a tile's area
    exclude_pen          whether ink is cut out of the mask
    min_saturation, max_value   the hsv method's thresholds, 0 to 1
    """

    method: Literal["otsu", "hsv", "none"] = "otsu"
    mpp: float = Field(default=8.0, gt=0, le=100)
    min_object_um2: float = Field(default=2.5e4, ge=0)
    max_hole_um2: float = Field(default=2.5e4, ge=0)
    min_tissue_fraction: float = Field(default=0.5, ge=0, le=1)
    exclude_pen: bool = True
    min_saturation: float = Field(default=0.07, ge=0, le=1)
    max_value: float = Field(default=0.97, ge=0, le=1)


class QualityConfig(StageConfig):
    """Limits beyond which a tile is left out; each is counted under its own name.

    mpp                 resolution at which tiles are judged, so that limits hold for any tile
    max_white_fraction  of pixels whose darkest channel is at least white_level
    max_black_fraction  of pixels whose brightest channel is at most black_level
    max_pen_fraction    of pixels that show ink
    min_sharpness       variance of the Laplacian of the grey image (8-bit values); blurred below.
                        At 1 um/px sharp H&E of five sources measured 190 and more, the same
                        defocused by 1 um (sigma) 33-390, by 2 um 5-35, by 3 um 2-8
    """

    mpp: float = Field(default=1.0, gt=0, le=100)
    max_white_fraction: float = Field(default=0.9, ge=0, le=1)
    max_black_fraction: float = Field(default=0.5, ge=0, le=1)
    max_pen_fraction: float = Field(default=0.1, ge=0, le=1)
    min_sharpness: float = Field(default=25.0, ge=0)
    white_level: int = Field(default=215, ge=0, le=255)
    black_level: int = Field(default=35, ge=0, le=255)


class StoreConfig(StageConfig):
    """How tiles are kept.

    encoding       jpeg, or lossless (Zstandard; several times larger)
    jpeg_quality   1 to 100
    subsampling    of the chroma channels: 444 keeps colour whole, 420 saves a quarter of the bytes
    keep_stored    take the slide's own JPEG tiles, bit for bit, where grid and resolution line up
    tiles_per_shard  tiles in one file
    """

    encoding: Literal["jpeg", "lossless"] = "jpeg"
    jpeg_quality: int = Field(default=92, ge=1, le=100)
    subsampling: Literal["444", "422", "420"] = "444"
    keep_stored: bool = True
    tiles_per_shard: int = Field(default=512, ge=1, le=65536)


class TilingConfig(StageConfig):
    """All settings of the tiling stage."""

    tile: TileSpec = TileSpec()
    tissue: TissueConfig = TissueConfig()
    quality: QualityConfig = QualityConfig()
    store: StoreConfig = StoreConfig()


@dataclass(frozen=True, eq=False)
class GivenTiles:
    """Tiles that somebody else chose: the grid and the tissue are then not ours to find.

    l0_xy         corners (N, 2), level-0 pixels
    l0_tile_size  (width, height) of each, level-0 pixels
    size_px       edge of the finished tile; None: as the settings say
    l0_slide      (width, height) of the slide they were chosen on; None: not known
    """

    l0_xy: NDArray[np.int64]
    l0_tile_size: tuple[int, int]
    size_px: int | None
    l0_slide: tuple[int, int] | None = None


@dataclass(frozen=True)
class TilingJob:
    """How tiling is run.

    out          run folder; tiles/, overlays/ and masks/ lie below it
    coords_only  keep corners and no pixels; quality, which needs pixels, is then not judged
    assume_mpp   for slides that say nothing of their resolution
    verify       compare each slide with the manifest's sha256 first, which reads all of it
    threads      that read and encode within one slide
    """

    out: Path
    coords_only: bool = False
    assume_mpp: float | None = None
    verify: bool = False
    threads: int = 1

    def store_path(self, slide_id: str) -> Path:
        """Where a slide's tile store is published."""
        return self.out / "tiles" / f"{slide_id}.zarr"

    def overlay_path(self, slide_id: str) -> Path:
        """Where the picture of a slide's tiles is published."""
        return self.out / "overlays" / f"{slide_id}.jpg"

    def mask_path(self, slide_id: str) -> Path:
        """Where a slide's tissue mask is published."""
        return self.out / "masks" / f"{slide_id}.geojson"
