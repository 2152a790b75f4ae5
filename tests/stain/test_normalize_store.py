"""Normalized stores: same shape, a chain of names, resume, and a fault costs one slide."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from pathology.core.errors import ArtifactError, SlideError
from pathology.slides import jpeg
from pathology.stain.config import StainConfig
from pathology.stain.fit import fit_reference
from pathology.stain.macenko import TEXTBOOK, MacenkoReference
from pathology.stain.normalize_store import (
    normalize_store,
    restained_fingerprint,
    sample_tiles,
)
from pathology.stain.unchanged import Unchanged
from pathology.tiling.config import StoreConfig, TilingConfig
from pathology.tiling.store import TileWriter, encode_tile, open_tiles, read_attributes
from pipelines.stain import normalize_run
from tests.stain.synthetic import OTHER, he_tiles

CONFIG = StainConfig()
NUM = 40  # more than a block


def make_store(
    path: Path,
    tiles: np.ndarray,
    encoding: str = "lossless",
    *,
    has_pixels: bool = True,
    mpp: float = 0.5,
    **columns: np.ndarray,
) -> Path:
    """A tile store as the tiling stage would leave it."""
    config = TilingConfig.model_validate(
        {
            "tile": {"size_px": tiles.shape[1], "mpp": mpp},
            "store": {"encoding": encoding, "tiles_per_shard": 4},
        }
    )
    writer = TileWriter(path, tiles.shape[1], config.store)
    if has_pixels:
        writer.add([encode_tile(tile, config.store) for tile in tiles])
    writer.flush()
    attributes = {
        "slide_id": path.stem,
        "fingerprint": f"tiles of {path.stem}",
        "config": config.model_dump(mode="json"),
        "size_px": tiles.shape[1],
        "slide": {"vendor": "test"},
        "outcome": {"slide_id": path.stem, "status": "done", "num_tiles": len(tiles)},
    }
    columns |= {
        "l0_xy": np.arange(2 * len(tiles), dtype=np.int64).reshape(-1, 2),
        "tissue_fraction": np.linspace(0, 1, len(tiles), dtype=np.float32),
    }
    writer.finish(columns, attributes, has_pixels=has_pixels)
    return path


@pytest.fixture
def tiles() -> np.ndarray:
    found = he_tiles(NUM)
    found[3] = 243  # glass only
    return found


@pytest.fixture
def source(tmp_path: Path, tiles: np.ndarray) -> Path:
    return make_store(tmp_path / "run" / "tiles" / "a.zarr", tiles)


def test_a_store_becomes_one_of_the_same_shape(source: Path, tiles: np.ndarray) -> None:
    target = source.parents[2] / "out" / "tiles" / "a.zarr"
    outcome = normalize_store(source, target, TEXTBOOK, CONFIG)
    before, after = open_tiles(source), open_tiles(target)
    assert (outcome.status, outcome.num_tiles, outcome.num_passed_through) == ("done", NUM, 1)
    assert after.columns.keys() == before.columns.keys()
    assert all((after.columns[name] == before.columns[name]).all() for name in before.columns)
    assert after.attributes["slide"] == before.attributes["slide"]
    assert after.attributes["config"] == before.attributes["config"]
    own = TEXTBOOK.for_slide(sample_tiles(before, CONFIG), CONFIG)
    assert (after.read(slice(None)) == own.render(tiles).tiles).all()
    assert zarr.open_group(target, mode="r")["pixels"].shape == (NUM, 64, 64, 3)


def test_the_attributes_tell_what_was_done(source: Path, tmp_path: Path) -> None:
    normalize_store(source, tmp_path / "a.zarr", TEXTBOOK, CONFIG)
    stain = read_attributes(tmp_path / "a.zarr")["stain"]
    assert stain["method"] == "macenko"
    assert stain["model_fingerprint"] == TEXTBOOK.fingerprint
    assert (stain["source"], stain["mpp"]) == (TEXTBOOK.source, None)
    assert stain["config"] == CONFIG.model_dump(mode="json")
    assert (stain["num_normalized"], stain["num_passed_through"]) == (NUM - 1, 1)
    assert len(stain["outcome"]["hematoxylin"].split()) == 3


def test_names_form_a_chain(source: Path, tmp_path: Path, tiles: np.ndarray) -> None:
    other = make_store(tmp_path / "other" / "b.zarr", tiles)
    changed = TEXTBOOK.model_copy(update={"max_concentrations": (1.5, 1.0)})
    names = {
        normalize_store(path, tmp_path / f"{number}.zarr", reference, config).fingerprint
        for number, (path, reference, config) in enumerate(
            [
                (source, TEXTBOOK, CONFIG),
                (other, TEXTBOOK, CONFIG),
                (source, changed, CONFIG),
                (source, TEXTBOOK, StainConfig(max_gain=3)),
            ]
        )
    }
    assert len(names) == 4
    attributes = read_attributes(tmp_path / "0.zarr")
    assert attributes["stain"]["tiles_fingerprint"] == read_attributes(source)["fingerprint"]
    assert attributes["fingerprint"] == attributes["outcome"]["fingerprint"]


def test_a_tile_that_passes_keeps_its_bytes(tmp_path: Path, tiles: np.ndarray) -> None:
    source = make_store(tmp_path / "a.zarr", tiles, "jpeg")
    normalize_store(source, tmp_path / "b.zarr", TEXTBOOK, CONFIG)
    before, after = open_tiles(source), open_tiles(tmp_path / "b.zarr")
    assert after.encoded(3) == before.encoded(3)
    assert after.encoded(4) != before.encoded(4)


def test_threads_change_nothing(source: Path, tmp_path: Path) -> None:
    heard: list[int] = []
    normalize_store(source, tmp_path / "1.zarr", TEXTBOOK, CONFIG)
    normalize_store(source, tmp_path / "2.zarr", TEXTBOOK, CONFIG, threads=2, report=heard.append)
    one, two = open_tiles(tmp_path / "1.zarr"), open_tiles(tmp_path / "2.zarr")
    assert (one.read(slice(None)) == two.read(slice(None))).all()
    assert sum(heard) == NUM


def test_a_finished_store_is_not_done_again(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.zarr"
    first = normalize_store(source, target, TEXTBOOK, CONFIG)
    written = (target / "zarr.json").stat().st_mtime_ns
    again = normalize_store(source, target, TEXTBOOK, CONFIG)
    assert (target / "zarr.json").stat().st_mtime_ns == written
    assert (again.num_passed_through, again.h_shift) == (first.num_passed_through, first.h_shift)
    normalize_store(source, target, TEXTBOOK, StainConfig(max_gain=2))
    assert (target / "zarr.json").stat().st_mtime_ns != written


def test_a_store_cut_short_is_done_again(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.zarr"
    normalize_store(source, target, TEXTBOOK, CONFIG)
    (target / "pixels" / "c" / "0" / "0" / "0" / "0").write_bytes(b"short")
    normalize_store(source, target, TEXTBOOK, CONFIG)
    assert len(open_tiles(target).read(slice(None))) == NUM


def test_a_slide_of_one_stain_passes_through_whole(tmp_path: Path) -> None:
    pale = np.full((5, 64, 64, 3), 240, np.uint8)
    source = make_store(tmp_path / "a.zarr", pale)
    outcome = normalize_store(source, tmp_path / "b.zarr", TEXTBOOK, CONFIG)
    assert (outcome.status, outcome.num_passed_through) == ("done", 5)
    assert "all tiles stay as they are: too little stained tissue" in outcome.reason
    assert (open_tiles(tmp_path / "b.zarr").read(slice(None)) == pale).all()


def test_an_empty_store_stays_empty(tmp_path: Path) -> None:
    source = make_store(tmp_path / "a.zarr", np.zeros((0, 64, 64, 3), np.uint8))
    assert normalize_store(source, tmp_path / "b.zarr", TEXTBOOK, CONFIG).status == "empty"
    assert len(open_tiles(tmp_path / "b.zarr")) == 0


def test_coordinates_only_and_damage_are_refused_by_name(source: Path, tmp_path: Path) -> None:
    bare = make_store(tmp_path / "bare.zarr", he_tiles(2), has_pixels=False)
    with pytest.raises(SlideError, match=r"coordinates only\. Tile without --coords-only"):
        normalize_store(bare, tmp_path / "b.zarr", TEXTBOOK, CONFIG)
    shard = source / "pixels" / "c" / "0" / "0" / "0" / "0"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(SlideError, match=r"a: .*damaged"):
        normalize_store(source, tmp_path / "a.zarr", TEXTBOOK, CONFIG)
    assert not (tmp_path / "a.zarr").exists()
    assert not list(tmp_path.glob(".*tmp"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_goes_on_past_a_bad_store(source: Path, tmp_path: Path, workers: int) -> None:
    make_store(source.parent / "c.zarr", he_tiles(4, seed=3))
    (source.parent / "b.zarr").mkdir()
    (source.parents[1] / "process_list.csv").write_text(
        "slide_id,status,reason\na,done,\nb,done,\nc,done,\nlost,failed,no such file\n"
    )
    outcomes = normalize_run(tmp_path / "run", tmp_path / "out", CONFIG, workers=workers)
    found = {outcome.slide_id: outcome for outcome in outcomes}
    assert {name: row.status for name, row in found.items()} == {
        "lost": "empty",
        "a": "done",
        "b": "failed",
        "c": "done",
    }
    assert "no such file" in found["lost"].reason
    assert "not a tile store" in found["b"].reason
    with (tmp_path / "out" / "stain.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["slide_id"] for row in rows] == ["lost", "a", "b", "c"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["outcomes"] == {"done": 2, "empty": 1, "failed": 1}
    assert record["inputs"]["reference"] == TEXTBOOK.fingerprint


def test_a_run_is_never_its_own_target(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is the run itself"):
        normalize_run(tmp_path / "run", tmp_path / "run", CONFIG)
    with pytest.raises(ArtifactError, match="is the run itself"):
        normalize_run(source, tmp_path / "run", CONFIG)
    with pytest.raises(ArtifactError, match="no tiles, slides or pictures here"):
        normalize_run(tmp_path, tmp_path / "out", CONFIG)


@pytest.mark.parametrize("method", ["none", "reinhard", "vahadane", "histogram"])
def test_any_model_will_do(source: Path, tmp_path: Path, tiles: np.ndarray, method: str) -> None:
    config = StainConfig.model_validate({"method": method})
    model = fit_reference([he_tiles(4, matrix=OTHER)], config, "others")
    outcome = normalize_store(source, tmp_path / "b.zarr", model, config)
    own = model.for_slide(sample_tiles(open_tiles(source), config), config)
    after = open_tiles(tmp_path / "b.zarr")
    assert (after.read(slice(None)) == own.render(tiles).tiles).all()
    assert after.attributes["stain"]["method"] == method
    assert outcome.num_passed_through == (NUM if method == "none" else 1)
    assert outcome.fingerprint == restained_fingerprint(
        open_tiles(source).attributes, model, config
    )


def test_tile_by_tile_is_a_setting(source: Path, tmp_path: Path, tiles: np.ndarray) -> None:
    config = StainConfig(per_tile=True)
    normalize_store(source, tmp_path / "b.zarr", TEXTBOOK, config)
    one = TEXTBOOK.for_slide(tiles[5:6], CONFIG).render(tiles[5:6]).tiles
    assert (open_tiles(tmp_path / "b.zarr").read([5]) == one).all()


class MadeFor(MacenkoReference):
    """A style that is bound to a resolution, as learned ones are."""

    @property
    def mpp(self) -> float:  # type: ignore[override]
        return 0.25


def test_another_resolution_than_the_model_s_is_refused(source: Path, tmp_path: Path) -> None:
    model = MadeFor.model_validate(TEXTBOOK.model_dump())
    with pytest.raises(SlideError, match=r"b: its tiles have 0\.5 microns.*made for 0\.25\. Tile"):
        normalize_store(source, tmp_path / "b.zarr", model, CONFIG)
    assert not (tmp_path / "b.zarr").exists()
    for number, mpp in enumerate([0.2505, 0.2495]):
        near = make_store(tmp_path / f"{number}.zarr", he_tiles(2), mpp=mpp)
        outcome = normalize_store(near, tmp_path / "out" / near.name, model, CONFIG)
        assert outcome.status == "done"


def test_a_normalized_store_is_not_normalized_again(source: Path, tmp_path: Path) -> None:
    first = tmp_path / "first" / "a.zarr"
    normalize_store(source, first, TEXTBOOK, CONFIG)
    for model in (TEXTBOOK, Unchanged()):
        with pytest.raises(
            SlideError, match=r"a: its store is normalized already\. Give the tiling"
        ):
            normalize_store(first, tmp_path / "second" / "a.zarr", model, CONFIG)
    assert not (tmp_path / "second" / "a.zarr").exists()


def test_a_column_that_colors_make_untrue_is_left_out(tmp_path: Path) -> None:
    matrix = np.zeros((4, 6), np.float32)
    source = make_store(tmp_path / "a.zarr", he_tiles(4), stain_matrix=matrix)
    normalize_store(source, tmp_path / "b.zarr", TEXTBOOK, CONFIG)
    assert "stain_matrix" in open_tiles(source).columns
    assert set(open_tiles(tmp_path / "b.zarr").columns) == {"l0_xy", "tissue_fraction"}


def test_a_sample_is_spread_over_the_store_and_bounded(tmp_path: Path) -> None:
    tiles = np.arange(9, dtype=np.uint8)[:, None, None, None] + np.zeros((9, 64, 64, 3), np.uint8)
    store = open_tiles(make_store(tmp_path / "a.zarr", tiles))
    few = sample_tiles(store, StainConfig(num_sample_tiles=3))
    assert few[:, 0, 0, 0].tolist() == [0, 4, 8]
    assert (sample_tiles(store, CONFIG) == tiles).all()
    none = open_tiles(make_store(tmp_path / "b.zarr", np.zeros((0, 64, 64, 3), np.uint8)))
    assert sample_tiles(none, CONFIG).shape == (0, 64, 64, 3)


def test_jpeg_stores_stay_jpeg(tmp_path: Path) -> None:
    source = make_store(tmp_path / "a.zarr", he_tiles(4), "jpeg")
    normalize_store(source, tmp_path / "b.zarr", TEXTBOOK, CONFIG)
    stream = open_tiles(tmp_path / "b.zarr").encoded(0)
    assert jpeg.decode(stream, (64, 64)).shape == (64, 64, 3)
    assert StoreConfig().encoding == "jpeg"
