"""What a weak model says of tiles, as labels to adapt with."""

import csv
from pathlib import Path

import numpy as np
import pytest

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ConfigError
from pathology.tiling.store import open_tiles
from pipelines.adapt_domains import AdaptOptions, read_domains
from pipelines.input_kinds import look_at
from pipelines.tile_labels import read_tile_labels
from pipelines.tile_samples import Sampling, sample_picture, sample_store
from tests.conftest import tissue_pixels
from tests.pipelines.small_encoder import SMALLEST, write_weights
from tests.stain.test_normalize_store import make_store

GRADES = ("healthy", "adenoma", "carcinoma")
NUM, EDGE = 8, 64


def write_run(folder: Path) -> tuple[Path, Path, Path]:
    """A run of six slides of eight tiles, its manifest, and predictions of its tiles."""
    said, slides = [], []
    pixels = np.stack([tissue_pixels(EDGE, EDGE, seed=seed) for seed in range(NUM)])
    for number in range(6):
        grade, name = number % 3, f"s{number}"
        store = make_store(folder / "run" / "tiles" / f"{name}.zarr", pixels)
        slides.append([name, f"c{number}", f"{name}.tif", GRADES[grade]])
        for row, (x, y) in enumerate(open_tiles(store).l0_xy.tolist()):
            answer = np.full(3, 0.02)
            answer[(row // 2) % 3] = 0.96  # 0 0 1 1 2 2 0 0, whatever the slide's grade
            if row == 7:
                answer = np.array([0.4, 0.35, 0.25])  # not sure
            said.append([name, x, y, EDGE, *answer])
    predictions, manifest = folder / "predictions.csv", folder / "slides.csv"
    with predictions.open("w", newline="") as stream:
        heads = ["slide_id", "l0_x", "l0_y", "l0_edge", *(f"prob_{grade}" for grade in GRADES)]
        csv.writer(stream).writerows([heads, *said])
    with manifest.open("w", newline="") as stream:
        heads = ["slide_id", "case_id", "slide_path", "label"]
        csv.writer(stream).writerows([heads, *slides])
    return folder / "run", manifest, predictions


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    return write_run(tmp_path_factory.mktemp("labels"))


def test_sure_answers_are_labels_and_none_is_worse_than_its_slide(
    given: tuple[Path, Path, Path],
) -> None:
    run, _, predictions = given
    labels = read_tile_labels(predictions, GRADES, {}, {"s0": 0, "s1": 1}, 0.7)
    found = {
        name: labels.of(sample_store(run / "tiles" / f"{name}.zarr", "", Sampling(EDGE, NUM)))
        for name in ("s0", "s1", "s2")
    }
    assert found["s2"].class_N.tolist() == [0, 0, 1, 1, 2, 2, 0, -1]  # nobody said what s2 is
    assert found["s1"].class_N.tolist() == [0, 0, 1, 1, -1, -1, 0, -1]  # of 0 and 1, neither sure
    assert found["s0"].class_N.tolist() == [0] * NUM  # a healthy slide has healthy tiles
    assert all((told.weight_N == 1).all() for told in found.values())


def test_tiles_count_by_the_probability_of_their_answers_where_that_is_asked(
    given: tuple[Path, Path, Path],
) -> None:
    """Among the grades up to their slide's."""
    run, _, predictions = given
    labels = read_tile_labels(predictions, GRADES, {}, {"s1": 1}, 0.51, is_weighed=True)
    one, other = (
        labels.of(sample_store(run / "tiles" / f"{name}.zarr", "", Sampling(EDGE, NUM)))
        for name in ("s1", "s2")
    )
    sure = 0.96 / 0.98
    assert one.class_N.tolist() == [0, 0, 1, 1, -1, -1, 0, 0]
    assert one.weight_N == pytest.approx([sure] * 4 + [0, 0, sure, 0.4 / 0.75])
    assert other.weight_N == pytest.approx([0.96] * 7 + [0])


def test_grades_are_called_as_the_classes_are(given: tuple[Path, Path, Path]) -> None:
    run, _, predictions = given
    names = {"healthy": "benign", "adenoma": "benign", "carcinoma": "malignant"}
    labels = read_tile_labels(predictions, ("benign", "malignant"), names, {}, 0.7)
    sample = sample_store(run / "tiles" / "s2.zarr", "", Sampling(EDGE, NUM))
    assert labels.of(sample).class_N.tolist() == [0, 0, 0, 0, 1, 1, 0, 0]  # 0.75 benign in the last
    with pytest.raises(ConfigError, match=r"grade 'healthy' is none of the classes benign, mal"):
        read_tile_labels(predictions, ("benign", "malignant"), {}, {}, 0.7)


def test_a_domain_takes_the_labels_of_its_tiles(
    given: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    run, manifest, predictions = given
    weights = write_weights(tmp_path / "w.pt", name=SMALLEST)
    config = AdaptConfig(encoder=SMALLEST, size_px=EDGE)
    options = AdaptOptions(device="cpu", labels=manifest, weights=weights, tile_labels=predictions)
    one = look_at(run)
    found = read_domains(one, one, config, options, tmp_path / "run")
    num_labels = np.bincount(np.concatenate([found.train.label_N, found.val.label_N]))
    assert num_labels.tolist() == [2 * NUM + 2 * 3 + 2 * 3, 2 * 2 + 2 * 2, 2 * 2]
    assert len(found.target) == 6 * NUM  # whatever was said of its tiles
    plain = read_domains(one, one, config, AdaptOptions(**{
        **options.__dict__, "tile_labels": None,
    }), tmp_path / "run")  # fmt: skip
    assert plain.digest != found.digest
    assert found.train.weight_N is None
    config = config.model_copy(update={"is_label_weighed": True, "label_confidence": 0.4})
    weighed = read_domains(one, one, config, options, tmp_path / "run").train
    assert weighed.weight_N is not None and len(weighed.weight_N) == len(weighed)
    assert weighed.weight_N.mean() == pytest.approx(1)
    found = set(np.round(weighed.weight_N / weighed.weight_N.max(), 3).tolist())
    assert found == {0.4, 0.5, 0.533, 0.96, 0.98, 1.0}
    assert len(plain.train) + len(plain.val) == 6 * NUM


def test_pictures_have_no_corners(given: tuple[Path, Path, Path], slide_path: Path) -> None:
    labels = read_tile_labels(given[2], GRADES, {}, {}, 0.7)
    record = look_at(slide_path).slides[0]
    with pytest.raises(ConfigError, match="go with the run that was predicted on, or its features"):
        labels.of(sample_picture(record, Sampling(EDGE, 2)))
