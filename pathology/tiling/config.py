"""Settings of the tiling stage, and the options of one run of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pathology.core.config import StageConfig
from pathology.core.geometry import TileSpec
from pathology.tiling.quality import QualityConfig
from pathology.tiling.store import StoreConfig
from pathology.tiling.tissue import TissueConfig


class TilingConfig(StageConfig):
    """All settings of the tiling stage."""

    tile: TileSpec = TileSpec()
    tissue: TissueConfig = TissueConfig()
    quality: QualityConfig = QualityConfig()
    store: StoreConfig = StoreConfig()


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
