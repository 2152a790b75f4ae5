"""One slide to one store, on real files: pixels, counts, bounds, masks, resumption."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pathology.core.artifact import content_digest
from pathology.core.config import load_config
from pathology.core.errors import SlideError
from pathology.core.manifest import SlideRecord
from pathology.slides import jpeg
from pathology.slides.openslide_reader import OpenSlideReader
from pathology.slides.tiff_reader import TiffReader
from pathology.tiling.config import GivenTiles, TilingConfig, TilingJob
from pathology.tiling.extract import plan_slide, tile_slide
from pathology.tiling.outcome import SlideOutcome
from pathology.tiling.store import TileStore, open_tiles
from tests.conftest import psnr, tissue_pixels, write_dicom, write_pyramid


def config(*overrides: str) -> TilingConfig:
    return load_config(TilingConfig, None, overrides)


def tiled(
    path: Path, out: Path, settings: TilingConfig, **options: object
) -> tuple[SlideOutcome, TileStore]:
    record = SlideRecord("s", path)
    job = TilingJob(out, **options)  # type: ignore[arg-type]
    return tile_slide(record, settings, job), open_tiles(job.store_path("s"))


def averaged(path: Path, store: TileStore) -> NDArray[np.uint8]:
    """The store's tiles as area averages of level-0 pixels, read through OpenSlide."""
    reader = OpenSlideReader("s", path)
    size, edge = tuple(store.attributes["plan"]["l0_tile_size"]), store.size_px
    found = []
    for x, y in store.l0_xy.tolist():
        full = np.asarray(reader._slide.read_region((x, y), 0, size))[..., :3]
        found.append(cv2.resize(full, (edge, edge), interpolation=cv2.INTER_AREA))
    reader.close()
    return np.stack(found)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.53, 1.0, 0.3])
def test_stored_tiles_agree_with_averaged_level_0_pixels(
    tmp_path: Path, mpp: float, threads: int
) -> None:
    # one level: a coarser one would bring the losses of its own compression
    slide_path = write_pyramid(tmp_path / "s.tif", tissue_pixels(2048, 1536), downsamples=())
    settings = config(f"tile.mpp={mpp}", "tile.size_px=128", "quality.min_sharpness=0")
    outcome, store = tiled(slide_path, tmp_path, settings, threads=threads)
    assert outcome.achieved_mpp == pytest.approx(mpp, rel=0.005)
    assert len(store) == outcome.num_tiles > 3
    assert psnr(store.read(slice(None)), averaged(slide_path, store)) >= 36


def test_the_short_way_and_the_long_way_give_the_same_tiles(
    slide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not jpeg.CAN_HALVE:
        pytest.skip("the C extension was not built here")
    settings = config("tile.mpp=0.5", "tile.size_px=256")
    _, short = tiled(slide_path, tmp_path / "short", settings)
    monkeypatch.setattr(jpeg, "CAN_HALVE", False)
    _, long = tiled(slide_path, tmp_path / "long", settings)
    assert np.array_equal(short.l0_xy, long.l0_xy)
    assert short.encoded(0) != long.encoded(0)  # or one of the ways was not taken
    assert psnr(short.read(slice(None)), long.read(slice(None))) > 42
    for name in ("white_fraction", "black_fraction", "pen_fraction"):
        assert np.allclose(short.columns[name], long.columns[name], atol=0.02)
    assert np.allclose(short.columns["sharpness"], long.columns["sharpness"], rtol=0.05)


def test_threads_change_nothing(slide_path: Path, tmp_path: Path) -> None:
    settings = config("tile.mpp=0.3", "tile.size_px=64")
    _, one = tiled(slide_path, tmp_path / "one", settings, threads=1)
    _, many = tiled(slide_path, tmp_path / "many", settings, threads=4)
    assert np.array_equal(one.l0_xy, many.l0_xy)
    assert all(one.encoded(row) == many.encoded(row) for row in range(len(one)))


def test_stored_tiles_are_kept_bit_for_bit_where_they_line_up(
    slide_path: Path, tmp_path: Path
) -> None:
    settings = config("tile.mpp=0.25", "tile.size_px=256")
    _, kept = tiled(slide_path, tmp_path / "kept", settings)
    _, coded = tiled(slide_path, tmp_path / "coded", config(
        "tile.mpp=0.25", "tile.size_px=256", "store.keep_stored=false"))  # fmt: skip
    reader = TiffReader("s", slide_path)
    page = reader._pages[0]
    column, row = (kept.l0_xy[0] // 256).tolist()
    reader.close()
    assert kept.encoded(0)[-200:] == reader_bytes(slide_path, page, column, row)[-200:]
    assert psnr(kept.read([0]), averaged(slide_path, kept)[:1]) > 90
    assert kept.encoded(0) != coded.encoded(0)


def reader_bytes(path: Path, page: object, column: int, row: int) -> bytes:
    index = row * page.grid[0] + column  # type: ignore[attr-defined]
    with path.open("rb") as stream:
        stream.seek(int(page.offsets[index]))  # type: ignore[attr-defined]
        return stream.read(int(page.counts[index]))  # type: ignore[attr-defined]


def test_a_lossless_store_holds_the_pixels_exactly(slide_path: Path, tmp_path: Path) -> None:
    settings = config("tile.mpp=0.25", "tile.size_px=100", "store.encoding=lossless")
    _, store = tiled(slide_path, tmp_path, settings)
    assert np.array_equal(store.read(slice(None)), averaged(slide_path, store))


def test_counts_follow_the_filters(tmp_path: Path) -> None:
    pixels = tissue_pixels(2048, 1536)
    pixels[:, 700:1000] = cv2.GaussianBlur(pixels[:, 700:1000], (0, 0), 16)  # 4 um
    pixels[500:900, 1100:1400] = (20, 140, 60)
    path = write_pyramid(tmp_path / "s.tif", pixels)
    settings = config("tile.size_px=64", "tissue.exclude_pen=false", "tile.mpp=0.5")
    outcome, store = tiled(path, tmp_path / "run", settings)
    counts = [outcome.num_white, outcome.num_black, outcome.num_pen, outcome.num_blur]
    assert outcome.num_grid == 16 * 12
    assert outcome.num_tissue == sum(c or 0 for c in counts) + outcome.num_tiles
    assert (outcome.num_pen or 0) > 4
    assert (outcome.num_blur or 0) > 4
    assert len(store) == outcome.num_tiles
    assert store.columns["tissue_fraction"].min() >= 0.5
    assert store.columns["sharpness"].min() >= 25


def test_a_finished_slide_is_not_done_again(slide_path: Path, tmp_path: Path) -> None:
    first, _ = tiled(slide_path, tmp_path, config())
    stamp = (tmp_path / "tiles/s.zarr/zarr.json").stat().st_mtime_ns
    again, _ = tiled(slide_path, tmp_path, config())
    assert (tmp_path / "tiles/s.zarr/zarr.json").stat().st_mtime_ns == stamp
    assert again.reason == "already complete"
    assert replace(again, reason="", seconds=0) == replace(first, seconds=0)
    other, _ = tiled(slide_path, tmp_path, config("quality.min_sharpness=0"))
    assert other.fingerprint != first.fingerprint


def test_a_plan_foretells_the_store(slide_path: Path, tmp_path: Path) -> None:
    settings = config("tile.size_px=64", "quality.min_sharpness=0")
    plan = plan_slide(SlideRecord("s", slide_path), settings, TilingJob(tmp_path))
    outcome, _ = tiled(slide_path, tmp_path, settings)
    assert plan.num_tiles == outcome.num_tissue
    assert plan.plan == outcome.plan
    assert plan.store_bytes == pytest.approx(outcome.store_bytes, rel=0.25)


def test_bare_glass_is_empty_and_says_so(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "s.tif", np.full((800, 900, 3), 243, np.uint8))
    outcome, store = tiled(path, tmp_path / "run", config())
    assert (outcome.status, len(store)) == ("empty", 0)
    assert "holds enough tissue" in outcome.reason


def test_a_slide_smaller_than_a_tile_is_empty_and_says_so(
    make_slide: Callable[..., Path], tmp_path: Path
) -> None:
    outcome, _ = tiled(make_slide(width=300, height=300), tmp_path / "run", config())
    assert outcome.status == "empty"
    assert "smaller than one tile" in outcome.reason


def test_a_mask_of_the_user_decides(slide_path: Path, tmp_path: Path) -> None:
    square = [[0, 0], [1024, 0], [1024, 768], [0, 768], [0, 0]]
    (tmp_path / "mask.geojson").write_text(
        json.dumps({"type": "Polygon", "coordinates": [square]}), encoding="utf-8"
    )
    record = SlideRecord("s", slide_path, mask_path=tmp_path / "mask.geojson")
    settings = config("tile.size_px=64", "quality.max_white_fraction=1", "quality.min_sharpness=0")
    outcome = tile_slide(record, settings, TilingJob(tmp_path))
    store = open_tiles(tmp_path / "tiles/s.zarr")
    assert outcome.num_tissue == 8 * 6
    assert store.l0_xy.max(axis=0).tolist() == [1024 - 128, 768 - 128]


def test_only_the_scanned_bounds_are_tiled(
    slide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bounded(record: SlideRecord) -> TiffReader:
        reader = TiffReader(record.slide_id, record.slide_path)
        reader.facts = replace(reader.facts, l0_bounds=(301, 200, 1400, 1000))
        return reader

    monkeypatch.setattr("pathology.tiling.extract.open_slide", bounded)
    outcome, store = tiled(slide_path, tmp_path, config("tile.size_px=64", "tissue.method=none"))
    assert store.l0_xy.min(axis=0).tolist() == [302, 200]  # on a whole pixel of the half plane
    assert ((store.l0_xy + 128).max(axis=0) <= [1701, 1200]).all()
    mask = json.loads((tmp_path / "masks/s.geojson").read_text(encoding="utf-8"))
    assert mask["properties"]["l0_offset"] == [301, 200]
    assert outcome.num_grid == 10 * 7


def test_given_tiles_are_taken_as_they_are(slide_path: Path, tmp_path: Path) -> None:
    l0_xy = np.array([[900, 700], [101, 203], [1000, 800]])
    given = GivenTiles(l0_xy, (200, 200), 100)
    loose = config("quality.max_white_fraction=1", "quality.min_sharpness=0")
    outcome = tile_slide(SlideRecord("s", slide_path), loose, TilingJob(tmp_path), given=given)
    store = open_tiles(tmp_path / "tiles/s.zarr")
    assert sorted(store.l0_xy.tolist()) == sorted(l0_xy.tolist())
    assert (store.size_px, outcome.achieved_mpp) == (100, 0.5)
    outside = GivenTiles(np.array([[2000, 0]]), (200, 200), 100)
    with pytest.raises(SlideError, match="lie outside the slide"):
        tile_slide(SlideRecord("s", slide_path), loose, TilingJob(tmp_path), given=outside)


def test_a_dicom_folder_is_tiled(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "dicom", tissue_pixels(1500, 1100), 0.25)
    outcome, store = tiled(folder, tmp_path / "run", config("tile.size_px=128"))
    assert outcome.status == "done"
    assert store.attributes["slide"]["vendor"] == "dicom"
    assert psnr(store.read(slice(None)), averaged(folder / "0.dcm", store)) > 36


def test_the_store_says_what_a_reader_must_know(slide_path: Path, tmp_path: Path) -> None:
    outcome, store = tiled(slide_path, tmp_path, config("tile.size_px=64"))
    said = store.attributes
    assert said["complete"] is True
    assert said["fingerprint"] == outcome.fingerprint
    assert said["inputs"]["slide"] == content_digest(slide_path)
    assert len(said["config_fingerprint"]) == 12
    assert said["slide"]["mpp"] == [0.25, 0.25]
    assert said["plan"]["achieved_mpp"] == [0.5, 0.5]
    assert said["config"]["tile"]["size_px"] == 64
    assert said["note"] == "research use only"
    overlay = cv2.imread(str(tmp_path / "overlays/s.jpg"))
    assert max(overlay.shape) > 800


def test_a_mask_that_is_not_there_is_no_store_without_a_mask(
    slide_path: Path, tmp_path: Path
) -> None:
    tiled(slide_path, tmp_path, config())
    record = SlideRecord("s", slide_path, mask_path=tmp_path / "none.png")
    for _ in range(2):
        with pytest.raises(SlideError, match=r"mask .*none\.png: no such file or directory"):
            tile_slide(record, config(), TilingJob(tmp_path))


def test_tiles_given_for_another_slide_are_refused(slide_path: Path, tmp_path: Path) -> None:
    record, corners = SlideRecord("s", slide_path), np.array([[0, 0], [200, 0]])
    wrong = GivenTiles(corners, (200, 200), 100, (4096, 3072))
    said = "a slide of 4096x3072 level-0 px, this one has 2048x1536.* Check that the coordinates"
    for run in (tile_slide, plan_slide):
        with pytest.raises(SlideError, match=said):
            run(record, config(), TilingJob(tmp_path), given=wrong)
    for l0_slide in (None, (2048, 1536)):
        given = replace(wrong, l0_slide=l0_slide)
        assert plan_slide(record, config(), TilingJob(tmp_path), given).num_tiles == 2
