"""Stain evaluation from files to tables and page: pairs, seams of stores, and honest failures."""

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.core.errors import ArtifactError, PathologyError
from pathology.evaluation.stain_config import StainEvaluationConfig
from pathology.stain.config import Quality, StainConfig
from pathology.stain.fit import fit_reference
from pathology.stain.learned import LearnedModel
from pathology.stain.load import load_model
from pathology.stain.normalize_store import normalize_store
from pathology.stain.normalizer import Rendered
from pathology.stain.saved_style import StainError
from pathology.tiling.config import TilingConfig
from pathology.tiling.store import TileWriter, encode_tile, open_tiles
from pipelines.stain_evaluate import (
    evaluate_stain,
    measure_all,
    problem_lines,
    summary_lines,
    write_evaluation,
)
from pipelines.stain_measure import borders_of, measure_slide, target_profile
from pipelines.stain_models import NamedModel, load_models
from pipelines.tile_samples import SlideTiles
from tests.conftest import tissue_pixels, write_pyramid
from tests.in_process import pathology
from tests.stain.synthetic import MATRIX, he_tiles
from tests.stain.test_learned import QUALITIES, make_model

CONFIG = StainEvaluationConfig(tiles_per_slide=4, num_resamples=200)
OTHER = np.array([[0.52, 0.76, 0.38], [0.15, 0.86, 0.49]])
OTHER /= np.linalg.norm(OTHER, axis=1, keepdims=True)


class Tinted:
    """A model that shifts colors; with a strength, each tile by another amount."""

    method, source, mpp, margin_px, problem = "tint", "a test", None, 0, ""

    def __init__(self, strength: float = 0.0, fingerprint: str = "0123456789ab") -> None:
        self.strength, self.fingerprint = strength, fingerprint

    def for_slide(self, sample_NHW3: np.ndarray, config: object) -> "Tinted":
        return self

    def render(self, tiles_NHW3: np.ndarray) -> Rendered:
        shifts = [self.strength * (-1) ** int(tile.sum()) for tile in tiles_NHW3]
        moved = tiles_NHW3.astype(float) * 0.95 + np.array(shifts)[:, None, None, None]
        pixels = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
        return Rendered(pixels, np.zeros(len(pixels), np.bool_))

    def measured(self) -> dict[str, object]:
        return {}


def slide(name: str, tiles: np.ndarray, centre: str = "", **more: object) -> SlideTiles:
    return SlideTiles(name, centre, 0.5, tiles, **more)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return path


def model_file(path: Path, matrix: np.ndarray, method: str = "macenko") -> str:
    reference = fit_reference([he_tiles(6, matrix=matrix)], StainConfig(method=method), "a target")
    reference.save(path)
    return str(path)


def store_of(path: Path, mosaic: np.ndarray, edge: int, l0_edge: int) -> Path:
    """A lossless store of the squares of a picture, as tiling leaves it."""
    config = TilingConfig.model_validate(
        {"tile": {"size_px": edge}, "store": {"encoding": "lossless"}}
    )
    rows, columns = mosaic.shape[0] // edge, mosaic.shape[1] // edge
    places = [(x, y) for y in range(rows) for x in range(columns)]
    writer = TileWriter(path, edge, config.store)
    for x, y in places:
        tile = mosaic[y * edge : (y + 1) * edge, x * edge : (x + 1) * edge]
        writer.add([encode_tile(np.ascontiguousarray(tile), config.store)])
    writer.flush()
    attributes = {
        "slide_id": path.stem,
        "fingerprint": f"tiles of {path.stem}",
        "config": config.model_dump(mode="json"),
        "plan": {"l0_tile_size": [l0_edge, l0_edge], "achieved_mpp": [0.5, 0.5]},
        "outcome": {"slide_id": path.stem, "centre": "north"},
    }
    writer.finish({"l0_xy": np.array(places) * l0_edge}, attributes, has_pixels=True)
    return path


@pytest.fixture(scope="module")
def learned() -> LearnedModel:
    return make_model()


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two pictures of one staining, and the same tissue in another."""
    for n in range(2):
        source = he_tiles(1, size=128, matrix=OTHER, seed=n)[0]
        save(tmp_path / "source" / f"{n}.png", source)
        save(tmp_path / "target" / f"{n}.png", he_tiles(1, size=128, seed=n)[0])
    return tmp_path / "source", tmp_path / "target"


def evaluated(folders: tuple[Path, Path], tmp_path: Path):
    config = CONFIG.model_copy(update={"size_px": 64})
    models = [model_file(tmp_path / "good.json", MATRIX), model_file(tmp_path / "bad.json", OTHER)]
    return evaluate_stain(*folders, models, tmp_path / "out", config, folders[1])


def test_from_folders_to_tables_and_a_page(folders: tuple[Path, Path], tmp_path: Path) -> None:
    run = evaluated(folders, tmp_path)
    out = tmp_path / "out"
    names = ["evaluation.json", "pairs.csv", "run.json", "slides.csv", "stain.html", "summary.csv"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert [model.name for model in run.models] == ["none", "good", "bad"]
    means = {(row.model, row.measure): row.mean for row in run.summary}
    assert means["good", "ssim"] > means["none", "ssim"]
    assert means["good", "psnr"] > means["none", "psnr"] + 3
    assert means["good", "h_angle"] < means["none", "h_angle"] / 2
    assert means["good", "color_distance"] < means["none", "color_distance"] / 2
    assert means["bad", "color_distance"] > 0.8 * means["none", "color_distance"]
    assert means["none", "structure_ssim"] == means["none", "nuclei_ratio"] == 1
    with (out / "slides.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["model"], row["slide_id"]) for row in rows[:3]] == [
        ("none", "0"),
        ("good", "0"),
        ("bad", "0"),
    ]
    assert rows[0]["seam_ratio"] == "" and float(rows[1]["tiles_per_s"]) > 0
    page = (out / "stain.html").read_text()
    assert len(page) < 5_000_000 and page.count("<img") == 6 * 4
    assert run.models[1].fingerprint in page and "scikit-image" in page
    assert "good" in "\n".join(summary_lines(run))


def test_the_record_and_the_json_say_what_was_made_of_what(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    run = evaluated(folders, tmp_path)
    said = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert said["fingerprint"] == record["fingerprint"] == run.record["fingerprint"]
    assert record["models"]["good"]["fingerprint"] == run.models[1].fingerprint
    assert {row["measure"] for row in said["summary"]} >= {"ssim", "psnr", "nuclei_ratio"}
    assert said["slides"][0]["seam_ratio"] is None


def test_fingerprints_follow_pixels_models_and_settings() -> None:
    tiles, model = he_tiles(), NamedModel("m", Tinted())
    target = [slide("t", he_tiles(seed=9))]
    other = NamedModel("m", Tinted(fingerprint="ba9876543210"))
    names = {
        str(measure_all([slide("a", pixels)], target, [model], config).record["fingerprint"])
        for pixels, model, config in (
            (tiles, model, CONFIG),
            (tiles, model, CONFIG),
            (he_tiles(seed=1), model, CONFIG),
            (tiles, other, CONFIG),
            (tiles, model, CONFIG.model_copy(update={"seed": 1})),
        )
    }
    assert len(names) == 4


def test_planted_seams_are_measured_between_neighbors_of_a_store(tmp_path: Path) -> None:
    mosaic = tissue_pixels(1024, 1024, seed=2)[256:744, 256:744]
    path = store_of(tmp_path / "a.zarr", mosaic, edge=61, l0_edge=122)
    borders = borders_of(path, 24)
    assert borders is not None
    assert len(borders.pairs) == 24 and len(borders.tiles) < 48
    target, _ = target_profile([slide("t", he_tiles())], CONFIG)
    models = [NamedModel("none"), NamedModel("even", Tinted()), NamedModel("uneven", Tinted(12))]
    tiles = mosaic[:61, :61][None]
    measured = measure_slide(slide("a", tiles, store=path), models, target, CONFIG)
    none, even, uneven = measured.scores
    assert none.seam_ratio == even.seam_ratio_before == none.seam_ratio_before
    assert even.seam_ratio == pytest.approx(none.seam_ratio, abs=0.05)
    assert uneven.seam_ratio > 1.3 and "seams" in uneven.flags and "seams" not in even.flags
    assert uneven.num_borders == 24 and not none.flags


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_learned_model_leaves_no_seams_that_stores_would_not_have(
    tmp_path: Path, learned: LearnedModel, quality: Quality
) -> None:
    mosaic = tissue_pixels(1024, 1024, seed=2)[256:744, 256:744]
    path = store_of(tmp_path / "a.zarr", mosaic, edge=61, l0_edge=122)
    target, _ = target_profile([slide("t", he_tiles())], CONFIG)
    tiles = open_tiles(path).read(slice(None))[:24]
    config = CONFIG.model_copy(update={"borders_per_slide": 200})
    models = [NamedModel("m", learned, quality)]
    (row,) = measure_slide(slide("a", tiles, store=path), models, target, config).scores
    assert row.num_borders == 112
    assert row.seam_ratio < 1.05 * row.seam_ratio_before
    assert "seams" not in row.flags


def test_without_neighbors_seams_are_not_known(tmp_path: Path) -> None:
    mosaic = tissue_pixels(128, 64)
    assert borders_of(None, 24) is None
    assert borders_of(store_of(tmp_path / "a.zarr", mosaic[:64, :64], 64, 64), 24) is None
    assert borders_of(store_of(tmp_path / "b.zarr", mosaic, 64, 64), 0) is None


def test_a_slide_without_tiles_costs_only_itself(tmp_path: Path) -> None:
    empty = np.zeros((0, 1, 1, 3), np.uint8)
    slides = [
        slide("good", he_tiles(), "north"),
        slide("lost", empty, problem="no such file. Correct slide_path."),
        slide("broken", he_tiles(), store=tmp_path / "missing.zarr"),
    ]
    run = measure_all(slides, [slide("t", he_tiles())], [NamedModel("none")], CONFIG)
    assert {row.slide_id for row in run.slides} == {"good"}
    assert [name for name, _ in run.problems] == ["lost", "broken"]
    write_evaluation(tmp_path, run)
    assert "no such file" in (tmp_path / "stain.html").read_text()
    with pytest.raises(ArtifactError, match=r"the source holds no tiles \(lost: no such file"):
        measure_all(slides[1:2], slides[:1], [NamedModel("none")], CONFIG)
    with pytest.raises(ArtifactError, match="the target holds no tiles"):
        measure_all(slides[:1], slides[1:2], [NamedModel("none")], CONFIG)


def test_a_target_of_one_stain_is_said_and_glass_is_never_nan(tmp_path: Path) -> None:
    glass = np.full((3, 64, 64, 3), 243, np.uint8)
    amount = np.random.default_rng(0).uniform(0.4, 1.1, (3, 64, 64, 1))
    eosin = (243 * np.exp(-amount * MATRIX[1])).astype(np.uint8)
    models = [NamedModel("none"), NamedModel("tint", Tinted())]
    run = measure_all([slide("a", glass)], [slide("t", eosin)], models, CONFIG)
    assert ("target", "shows no two stains: angles to it are not known") in run.problems
    write_evaluation(tmp_path, run)
    assert "NaN" not in (tmp_path / "evaluation.json").read_text()
    page = (tmp_path / "stain.html").read_text()
    assert not re.search(r"\bnan\b", page[page.index("<body>") :])


@pytest.mark.parametrize("level", [243, 0, 120], ids=["glass", "black", "grey"])
def test_a_target_without_tissue_is_refused_before_anything_is_written(
    folders: tuple[Path, Path], tmp_path: Path, level: int
) -> None:
    for n in range(2):
        save(tmp_path / "bare" / f"{n}.png", np.full((128, 128, 3), level, np.uint8))
    with pytest.raises(ArtifactError, match=r"the target shows no stained tissue \(.*Give H&E"):
        evaluate_stain(folders[0], tmp_path / "bare", [], tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_what_is_normalized_is_not_normalized_again(tmp_path: Path) -> None:
    mosaic = he_tiles(1, size=128, matrix=OTHER)[0]
    raw = store_of(tmp_path / "run" / "tiles" / "a.zarr", mosaic, 64, 64)
    model = model_file(tmp_path / "m.json", MATRIX)
    styled = tmp_path / "stained" / "tiles" / "a.zarr"
    normalize_store(raw, styled, load_model(Path(model)), StainConfig())
    config, out = CONFIG.model_copy(update={"size_px": 64}), tmp_path / "out"
    with pytest.raises(StainError, match=r"a\.zarr: a is normalized already.*Give the tiling run"):
        evaluate_stain(styled, raw, [model], out, config)
    assert not out.exists()
    found = evaluate_stain(styled, styled, [], out, config)  # as it is: nothing is done to it
    assert [row.model for row in found.slides] == ["none"]
    evaluate_stain(raw, styled, [model], out, config)


def test_resolution_and_device_may_be_given(folders: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["stain", "evaluate", folders[0], "--target", folders[1], "--out", tmp_path / "out",
             "--set", "size_px=64", "--set", "num_resamples=100"]  # fmt: skip
    done = pathology(*words, "--assume-mpp", "0.25", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["config"]["assume_mpp"] == 0.25
    refused = pathology(*words, "--device", "mps")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--device mps: this machine has none" in refused.stderr
    assert "--assume-mpp -1" in pathology(*words, "--assume-mpp", "-1").stderr


def test_a_model_for_another_resolution_is_refused_by_slide() -> None:
    model = Tinted()
    model.mpp = 0.25
    run = measure_all(
        [slide("a", he_tiles())], [slide("t", he_tiles())], [NamedModel("m", model)], CONFIG
    )
    assert run.slides[0].problem == "the model is for 0.25 um/px, the tiles have 0.5"
    assert run.slides[0].structure_ssim is None and "not normalized" in run.slides[0].flags


def test_models_have_names_of_their_own(tmp_path: Path) -> None:
    one = model_file(tmp_path / "m.json", MATRIX)
    (tmp_path / "b").mkdir()
    other = model_file(tmp_path / "b" / "m.json", OTHER)
    make_model().save(tmp_path / "c.pt")
    models = load_models([one, other, f"{tmp_path / 'c.pt'}:teacher"])
    assert [model.name for model in models] == ["none", "m", "m (2)", "c teacher"]
    assert len({model.fingerprint for model in models}) == 4
    with pytest.raises(StainError, match="teacher is of learned models"):
        load_models([f"{one}:teacher"])
    with pytest.raises(PathologyError, match="cannot be read"):
        load_models([str(tmp_path / "nothing.json")])


def test_slides_are_cut_at_the_resolution_that_a_learned_model_takes(tmp_path: Path) -> None:
    slides, targets = tmp_path / "slides", tmp_path / "targets"
    for folder, seed in ((slides, 0), (targets, 1)):
        folder.mkdir()
        write_pyramid(folder / "s.tif", tissue_pixels(2400, 2000, seed=seed))  # 0.25 um/px
    make_model(mpp=0.4).save(tmp_path / "m.pt")
    config = StainEvaluationConfig(size_px=64, tiles_per_slide=4, num_resamples=100)
    found = evaluate_stain(slides, targets, [str(tmp_path / "m.pt")], tmp_path / "e", config)
    assert not found.problems
    assert [row.problem for row in found.slides] == ["", ""]


def test_what_could_not_be_measured_is_said(tmp_path: Path) -> None:
    models = [NamedModel("none"), NamedModel("m", make_model(mpp=1.0))]
    tiles = he_tiles(4)
    given = slide("a", tiles)
    found = measure_all([given], [slide("t", tiles)], models, CONFIG)
    assert problem_lines(found) == [
        "not measured: a: m: the model is for 1 um/px, the tiles have 0.5"
    ]


@pytest.mark.parametrize("name", ["slides.csv", "run.json"])
def test_tables_of_other_work_are_not_replaced(
    folders: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    """A manifest is called slides.csv, too."""
    (tmp_path / name).write_text("label\nadenoma\n")
    with pytest.raises(ArtifactError, match=f"{name} lies there and would be replaced"):
        evaluate_stain(folders[0], folders[1], [], tmp_path, CONFIG)
    assert (tmp_path / name).read_text() == "label\nadenoma\n"
    for _ in range(2):  # its own tables are
        evaluate_stain(folders[0], folders[1], [], tmp_path / "own", CONFIG)
