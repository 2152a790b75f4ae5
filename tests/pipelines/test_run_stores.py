"""Which tiles of a run later stages use: those of slides that its table calls done."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pathology.core.errors import ArtifactError
from pipelines.feature_table import read_table
from pipelines.features import FeatureConfig, FeatureOptions, extract_features
from pipelines.input_kinds import look_at
from pipelines.run_stores import GONE, stores_of, without_stores
from pipelines.tables import read_process_list
from pipelines.weak_inputs import read_tiled
from tests.conftest import tissue_pixels, write_pyramid
from tests.in_process import pathology


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    folder = tmp_path / "slides"
    folder.mkdir()
    for number, name in enumerate(("a", "b")):
        write_pyramid(folder / f"{name}.tif", tissue_pixels(600, 400, seed=number), mpp=0.5)
    return folder


def tile(slides: Path, run: Path, *more: str) -> int:
    return pathology("tile", slides, "--out", run, "--set", "tile.size_px=128", *more).returncode


def names(run: Path) -> list[str]:
    return [path.stem for path in stores_of(run)]


def encode(run: Path, out: Path, weights: Path) -> dict[str, str]:
    config = FeatureConfig.model_validate({"encoder": "resnet10t"})
    extract_features(run, out, config, FeatureOptions(weights=weights))
    return {row.slide_id: row.status for row in read_table(out / "features.csv")}


def test_a_slide_that_fails_now_is_not_used_as_it_was(
    slides: Path, tmp_path: Path, weights: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "features"
    assert tile(slides, run) == 0
    assert encode(run, out, weights) == {"a": "done", "b": "done"}
    whole = (slides / "a.tif").read_bytes()
    (slides / "a.tif").write_bytes(whole[: len(whole) // 3])  # replaced by a broken scan
    assert tile(slides, run) == 1
    assert (run / "tiles" / "a.zarr").is_dir()
    assert names(run) == ["b"]
    (missing,) = look_at(run).rejected
    assert missing.slide_id == "a"
    assert encode(run, out, weights) == {"a": "empty", "b": "kept"}
    assert [slide.record.slide_id for slide in read_tiled(out)[1]] == ["b"]  # a.h5 is still there
    (slides / "a.tif").write_bytes(whole)
    assert tile(slides, run) == 0
    assert names(run) == ["a", "b"]
    assert encode(run, out, weights) == {"a": "kept", "b": "kept"}


def test_tiles_of_other_settings_are_not_mixed_in(slides: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_pyramid(slides / "fine.tif", tissue_pixels(900, 700, seed=9), mpp=0.25)
    whole = ("--set", "tissue.method=none")
    assert tile(slides, run, *whole) == 0
    assert tile(slides, run, *whole, "--set", "tile.mpp=0.25") == 1  # others are too coarse
    assert names(run) == ["fine"]


def test_a_withdrawn_slide_is_gone_from_all_that_follows(
    slides: Path, tmp_path: Path, weights: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "features"
    tile(slides, run)
    encode(run, out, weights)
    (slides / "b.tif").unlink()
    assert tile(slides, run) == 0
    assert names(run) == ["a"]
    (row,) = without_stores(run)
    assert (row.slide_id, row.is_failed) == ("b", False)
    assert "remove tiles/b.zarr" in row.reason
    assert encode(run, out, weights) == {"a": "kept", "b": "empty"}
    assert [slide.record.slide_id for slide in read_tiled(out)[1]] == ["a"]


def test_a_store_that_is_gone_is_a_failure(slides: Path, tmp_path: Path, weights: Path) -> None:
    run = tmp_path / "run"
    tile(slides, run)
    shutil.rmtree(run / "tiles" / "a.zarr")
    assert [(row.slide_id, row.reason) for row in without_stores(run)] == [("a", GONE)]
    assert encode(run, tmp_path / "f", weights) == {"a": "failed", "b": "done"}


def test_features_of_two_runs_share_a_folder(slides: Path, tmp_path: Path, weights: Path) -> None:
    out, others = tmp_path / "features", tmp_path / "others"
    others.mkdir()
    write_pyramid(others / "c.tif", tissue_pixels(600, 400, seed=4), mpp=0.5)
    for folder, run in ((slides, tmp_path / "one"), (others, tmp_path / "two")):
        assert tile(folder, run) == 0
        found = encode(run, out, weights)
    assert found == {"a": "done", "b": "done", "c": "done"}
    assert len(read_tiled(out)[1]) == 3


def test_a_run_without_its_table_is_taken_whole(slides: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tile(slides, run)
    (run / "process_list.csv").unlink()
    assert names(run) == ["a", "b"]
    assert without_stores(run) == ()


def test_none_is_done(slides: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tile(slides, run)
    for slide in slides.iterdir():
        slide.write_bytes(b"")
    assert tile(slides, run) == 1
    with pytest.raises(ArtifactError, match="none of its slides is done"):
        stores_of(run)


@pytest.mark.parametrize("kept", [0.4, 0.0])
def test_a_damaged_table_is_one_line(slides: Path, tmp_path: Path, kept: float) -> None:
    run = tmp_path / "run"
    tile(slides, run)
    table = run / "process_list.csv"
    text = table.read_text()
    cut = text[: int(kept * len(text))] if kept else "some,other\n1,2\n"
    table.write_text(cut)
    with pytest.raises(ArtifactError, match="damaged, or not a table of slides"):
        read_process_list(table)
    for words in (["tile", slides, "--out", run], ["report", run]):
        done = pathology(*words)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1


def test_empty_slides_keep_their_reason(slides: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_pyramid(slides / "glass.tif", np.full((400, 600, 3), 243, np.uint8), mpp=0.5)
    tile(slides, run)
    (row,) = without_stores(run)
    reasons = {one.slide_id: one.reason for one in read_process_list(run / "process_list.csv")}
    assert (row.slide_id, row.reason) == ("glass", reasons["glass"])


def test_features_do_not_go_into_the_run_itself(
    slides: Path, tmp_path: Path, weights: Path
) -> None:
    run = tmp_path / "run"
    tile(slides, run)
    before = (run / "run.json").read_bytes()
    with pytest.raises(ArtifactError, match="the run itself"):
        encode(run, run, weights)
    assert (run / "run.json").read_bytes() == before
