"""What is looked at: slides with their predictions, and the tiles that show them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pathology.core.errors import UnreadableSlide
from pathology.core.manifest import SlideRecord
from pathology.slides import jpeg
from pathology.slides.resolution import is_plausible
from pathology.viewer.deep_zoom import DeepZoom, read_dz_tile, stored_dz_tile
from pathology.viewer.overlay import Overlay
from pathology.viewer.repaint import FitSlide, Repaints
from pathology.viewer.shelf import Shelf
from pathology.viewer.tile_cache import TileCache

Style = Literal["original", "normalized"]
STYLES: tuple[Style, ...] = ("original", "normalized")
QUALITY, SUBSAMPLING = 88, "444"
THUMBNAIL_OF_PX = 8192  # longer edge of the smallest stored level, beyond which none is made


@dataclass(frozen=True, eq=False)
class ViewedSlide:
    """One line of the list of slides.

    record      where its file lies; None: nowhere, and problem says why
    problem     what a run said of it, or ""
    grade       of the whole slide, in words, with their probability; "" where there is none
    overlay     predictions of its tiles, or None
    """

    slide_id: str
    record: SlideRecord | None
    problem: str = ""
    num_tiles: int = 0
    grade: str = ""
    probability: float | None = None
    overlay: Overlay | None = None

    def without_folder(self, text: str) -> str:
        """A text about the slide that does not tell in which folder it lies."""
        return text.replace(f"{self.record.slide_path.parent}/", "") if self.record else text

    def as_json(self) -> dict[str, Any]:
        """The slide as the list shows it."""
        return {
            "id": self.slide_id,
            "has_file": self.record is not None,
            "problem": self.without_folder(self.problem),
            "num_tiles": self.num_tiles,
            "grade": self.grade,
            "probability": self.probability,
            "has_predictions": self.overlay is not None,
            "label": self.record.label if self.record else "",
            "centre": self.record.centre if self.record else "",
            "case": self.record.case_id if self.record else "",
        }


@dataclass(frozen=True)
class TileName:
    """A tile of a slide, in one of the styles."""

    slide_id: str
    style: Style
    dz_level: int
    column: int
    row: int


class Scene:
    """Slides by their ids, and their tiles as JPEG. Threads share it.

    fit          makes a slide's normalizer, for the style "normalized"; None: no such style
    colors       fingerprint of what it fits colors to
    cache_bytes  of encoded tiles kept in memory
    """

    def __init__(
        self,
        slides: Sequence[ViewedSlide],
        fit: FitSlide | None = None,
        *,
        colors: str = "",
        cache_bytes: int = 128 << 20,
        max_open: int = 8,
    ) -> None:
        self.slides = {slide.slide_id: slide for slide in slides}
        self.styles = STYLES if fit else STYLES[:1]
        self.cache = TileCache(cache_bytes)
        self._shelf = Shelf(max_open)
        self._repaints = Repaints(fit) if fit else None
        self._colors = colors
        self._versions: dict[str, str] = {}

    def listed(self) -> list[dict[str, Any]]:
        """All slides as the list shows them, each with the version of its pictures."""
        return [
            slide.as_json() | {"version": self.version(slide)} for slide in self.slides.values()
        ]

    def version(self, slide: ViewedSlide) -> str:
        """What browsers keep the pictures of a slide by. Another file of the same id has another,
        and so has the same file in other colors; "" where there is no file.

        As it was when first asked for: so are an open slide and the tiles in memory.
        """
        found = self._versions.get(slide.slide_id, "")
        if not found and slide.record is not None:
            found = _version(slide.record, self._colors)
            self._versions[slide.slide_id] = found
        return found

    def is_version(self, slide_id: str, version: str | None) -> bool:
        """Whether pictures of a slide are of that version; False as long as nobody asked for it."""
        return bool(version) and self._versions.get(slide_id) == version

    def describe(self, slide: ViewedSlide) -> dict[str, Any]:
        """Size and resolution of a slide. Raises SlideError where it cannot be opened."""
        record = _record(slide)
        with self._shelf.reader(record) as reader:
            zoom = DeepZoom(reader.levels[0].size)
            said = [spacing.mpp for spacing in reader.facts.spacings]
        mpp = (record.mpp, record.mpp) if record.mpp else next(filter(is_plausible, said), None)
        return {
            "id": slide.slide_id,
            "width": zoom.l0_size[0],
            "height": zoom.l0_size[1],
            "mpp": mpp[0] if mpp else None,
            "tile_px": zoom.tile_px,
            "min_level": zoom.min_dz_level,
            "max_level": zoom.max_dz_level,
            "version": self.version(slide),
        }

    def predictions(self, slide: ViewedSlide) -> bytes | None:
        """A slide's overlay as JSON, kept as tiles are; None where there is none."""
        if slide.overlay is None:
            return None
        data = self.cache.get(("overlay", slide.slide_id))
        if data is None:
            data = json.dumps(slide.overlay.as_json(), allow_nan=False).encode()
            self.cache.put(("overlay", slide.slide_id), data)
        return data

    def normalization(self, slide: ViewedSlide) -> dict[str, Any]:
        """Fits the slide's colors if that was not done before, and says what stood in the way."""
        record = _record(slide)
        if self._repaints is None:
            return {"problem": "no stain model was given: start with --stain MODEL"}
        with self._shelf.reader(record) as reader:
            return {"problem": self._repaints(reader, record).problem}

    def thumbnail(self, slide: ViewedSlide) -> TileName | None:
        """The tile that shows all of a slide; None where a large image would have to be read."""
        with self._shelf.reader(_record(slide)) as reader:
            zoom = DeepZoom(reader.levels[0].size)
            is_quick = max(reader.levels[-1].size) <= THUMBNAIL_OF_PX
        return TileName(slide.slide_id, "original", zoom.min_dz_level, 0, 0) if is_quick else None

    def kept(self, name: TileName) -> bytes | None:
        """A tile from memory, or None."""
        return self.cache.get(name)

    def tile(self, name: TileName) -> bytes | None:
        """A tile as a JPEG stream; None where the slide has no such tile. Raises SlideError."""
        record = _record(self.slides[name.slide_id])
        place = (name.dz_level, name.column, name.row)
        with self._shelf.reader(record) as reader:
            zoom = DeepZoom(reader.levels[0].size)
            if not zoom.has(*place):
                return None
            is_normalized = self._repaints is not None and name.style == "normalized"
            data = None if is_normalized else stored_dz_tile(reader, zoom, *place)
            if data is None:
                pixels = read_dz_tile(reader, zoom, *place)
                if self._repaints is not None and is_normalized:
                    pixels = self._repaints(reader, record).paint(pixels)
                data = jpeg.encode(pixels, QUALITY, SUBSAMPLING)
        self.cache.put(name, data)
        return data

    def close(self) -> None:
        """Close the slides that are open."""
        self._shelf.close()


def _record(slide: ViewedSlide) -> SlideRecord:
    if slide.record is None:
        reason = slide.problem or "the run knows no file of it"
        raise UnreadableSlide(slide.slide_id, reason.rstrip("."), "Correct its row in the manifest")
    return slide.record


def _version(record: SlideRecord, colors: str) -> str:
    """Twelve hex digits of the file's place, time and size, and of what repaints it; "" without."""
    try:
        status = record.slide_path.stat()
    except (OSError, ValueError):  # a path that no file can have
        return ""
    path, times = record.slide_path.resolve(), (status.st_mtime_ns, status.st_size)
    return hashlib.sha256(repr((str(path), times, record.mpp, colors)).encode()).hexdigest()[:12]
