import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from pathology.core.errors import ArtifactError, ConfigError
from pathology.core.manifest import SlideRecord
from pathology.core.table import csv_text
from pathology.interop.coordinates import find_coordinates, read_coordinates
from pathology.tiling.config import TilingConfig, TilingJob
from pathology.tiling.extract import tile_slide
from pathology.tiling.outcome import COLUMNS, DONE, EMPTY, FAILED, SlideOutcome
from pathology.tiling.store import open_tiles
from pipelines.export import FORMATS, ExportOutcome, export_run

CONFIG = TilingConfig.model_validate(
    {
        "tile": {"size_px": 64, "mpp": 0.5},
        "tissue": {"method": "none"},
        "quality": {"max_pen_fraction": 1, "max_black_fraction": 1, "min_sharpness": 0},
    }
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A tiling run over two small slides of noise, 0.25 um/px."""
    rng = np.random.default_rng(3)
    job = TilingJob(out=tmp_path / "run")
    for slide_id in ("a", "b"):
        path = tmp_path / f"{slide_id}.tif"
        tifffile.imwrite(
            path,
            rng.integers(0, 200, (512, 768, 3)).astype(np.uint8),
            photometric="rgb",
            tile=(128, 128),
            compression="jpeg",
            resolution=(40000, 40000),
            resolutionunit="CENTIMETER",
            metadata=None,
        )
        outcome = tile_slide(SlideRecord(slide_id, path), CONFIG, job)
        assert outcome.num_tiles == 24, outcome.reason
    return tmp_path / "run"


def test_every_format_of_every_slide(run: Path, tmp_path: Path) -> None:
    heard: list[ExportOutcome] = []
    outcomes = export_run(run, tmp_path / "out", FORMATS, "trident", heard.append)
    assert heard == outcomes
    assert [outcome.slide_id for outcome in outcomes] == ["a", "b"]
    assert all(outcome.problem is None and outcome.num_tiles == 24 for outcome in outcomes)
    assert {str(path.relative_to(tmp_path / "out")) for path in outcomes[0].files} == {
        "20x_64px_0px_overlap/patches/a_patches.h5",
        "patches/a.h5",
        "geojson/a.geojson",
        "jpg/a",
        "png/a",
    }
    assert len(list((tmp_path / "out/png/a").glob("*.png"))) == 24
    store = open_tiles(run / "tiles/a.zarr")
    trident = tmp_path / "out/20x_64px_0px_overlap"
    found = read_coordinates(find_coordinates(trident, "a") or tmp_path)
    assert np.array_equal(found.l0_xy, store.l0_xy)
    assert found.l0_tile_size == (128, 128)
    data = json.loads((tmp_path / "out/geojson/a.geojson").read_text())
    assert "tissue_fraction" in data["features"][0]["properties"]["measurements"]


def test_one_bad_store_never_stops_the_rest(run: Path, tmp_path: Path) -> None:
    (run / "tiles/a.zarr/zarr.json").write_text("{")
    (run / "tiles/0_empty.zarr").mkdir()
    outcomes = export_run(run, tmp_path / "out", ["clam"])
    assert [outcome.problem is None for outcome in outcomes] == [False, False, True]
    assert "not a tile store" in (outcomes[1].problem or "")
    assert outcomes[1].line().startswith("a: ") and outcomes[2].line() == "b: 24 tiles"
    with h5py.File(tmp_path / "out/patches/b.h5") as file:
        assert len(file["coords"]) == 24


def test_only_slides_that_the_table_calls_done_are_handed_on(run: Path, tmp_path: Path) -> None:
    rows = {"a": (DONE, ""), "b": (FAILED, "it cannot be read"), "glass": (EMPTY, "no tissue")}
    outcomes = [
        SlideOutcome(slide_id=name, status=status, reason=reason)
        for name, (status, reason) in rows.items()
    ]
    table = [COLUMNS, *([one.row()[name] for name in COLUMNS] for one in outcomes)]
    (run / "process_list.csv").write_text(csv_text(table))
    found = {one.slide_id: one for one in export_run(run, tmp_path / "out", ["clam"])}
    assert [path.name for path in (tmp_path / "out" / "patches").iterdir()] == ["a.h5"]
    assert found["b"].line() == "b: it cannot be read" and found["glass"].line().startswith("glass")
    assert found["glass"].problem is None


def test_a_fault_nobody_foresaw_costs_its_slide(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*args: object) -> Path:
        raise AssertionError("bug")

    monkeypatch.setattr("pipelines.export.export_clam", burst)
    outcomes = export_run(run, tmp_path / "out", ["geojson", "clam"])
    assert [outcome.problem for outcome in outcomes] == ["unexpected AssertionError: bug"] * 2
    assert "Traceback" in outcomes[0].error
    assert (tmp_path / "out" / "geojson" / "a.geojson").is_file()


def test_what_cannot_be_written_is_said_by_slide(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    outcomes = export_run(run, tmp_path / "out", ["clam"])
    assert all("out" in (outcome.problem or "") for outcome in outcomes)


@pytest.mark.parametrize("formats", [[], ["tiff"], ["clam", "tiff"]])
def test_unknown_formats_are_refused_before_anything_is_read(
    tmp_path: Path, formats: list[str]
) -> None:
    with pytest.raises(ConfigError, match="expected some of trident"):
        export_run(tmp_path, tmp_path, formats)


def test_unknown_layout_and_empty_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layout"):
        export_run(tmp_path, tmp_path, ["clam"], "flat")
    with pytest.raises(ArtifactError, match="no tile stores"):
        export_run(tmp_path, tmp_path, ["clam"])
