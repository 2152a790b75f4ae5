"""What predictions.slides.csv says of slides: entropy, the method's own answer, figures of them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.core.errors import ArtifactError
from pathology.core.table import csv_text
from pathology.interop.h5_features import read_features
from pathology.weak.config import WeakConfig
from pathology.weak.predict import score_bag
from pipelines.classifier import load_for_use
from pipelines.evaluate import evaluate
from pipelines.grade_maps import title_of
from pipelines.graded_slides import graded_slides
from pipelines.predict import SlideGrade, predict
from pipelines.prediction_tables import entropy_of, slides_table
from pipelines.weak_train import WeakOptions, train_weak
from tests.in_process import pathology
from tests.pipelines.weak_cohort import GRADES, write_cohort

SETTINGS = {"epochs": 2, "epoch_tiles": 512, "tiles_per_slide": 16, "width": 16}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features, slides.csv, and models by attention and by tiles."""
    folder = tmp_path_factory.mktemp("trained")
    features, manifest = write_cohort(folder, 12)
    for method in ("abmil", "rce-ut"):
        config = WeakConfig.model_validate(SETTINGS | {"method": method})
        train_weak(features, manifest, folder / f"{method}.pt", config, WeakOptions("cpu"))
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def values_of(row: dict[str, str], prefix: str) -> np.ndarray:
    return np.array([float(row[prefix + grade]) for grade in GRADES])


def test_the_entropy_column_is_that_of_the_probabilities(trained: Path, tmp_path: Path) -> None:
    predict(trained / "rce-ut.pt", trained / "features", tmp_path / "p.csv")
    rows = rows_of(slides_table(tmp_path / "p.csv"))
    assert len(rows) == 12
    for row in rows:
        p = values_of(row, "prob_")
        nats = -sum(x * np.log(x) for x in p if x > 0)
        assert float(row["entropy"]) == pytest.approx(nats / np.log(3), abs=2e-4)
    assert entropy_of(np.array([0.0, 1.0, 0.0])) == 0
    assert entropy_of(np.full(3, 1 / 3)) == pytest.approx(1)


def test_a_method_with_an_answer_of_its_own_has_it_in_the_table(
    trained: Path, tmp_path: Path
) -> None:
    model = load_for_use(trained / "abmil.pt", is_pixels=False)
    predict(trained / "abmil.pt", trained / "features", tmp_path / "p.csv")
    rows = rows_of(slides_table(tmp_path / "p.csv"))
    for row in rows:
        features = read_features(trained / "features" / f"{row['slide_id']}.h5").features_NF
        own = score_bag(model.model, torch.from_numpy(features)).slide_C
        assert values_of(row, "own_") == pytest.approx(own, abs=1e-6)
    apart = [np.abs(values_of(row, "own_") - values_of(row, "prob_")).max() for row in rows]
    assert max(apart) > 0.01  # the rule from tiles to slides says something else
    predict(trained / "rce-ut.pt", trained / "features", tmp_path / "q.csv")
    assert not [name for name in rows_of(slides_table(tmp_path / "q.csv"))[0] if "own_" in name]


def test_a_stopped_prediction_keeps_the_own_answers(trained: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    seen: list[SlideGrade] = []

    def stop(grade: SlideGrade) -> None:
        seen.append(grade)
        if len(seen) == 3:
            raise Stopped

    model, features = trained / "abmil.pt", trained / "features"
    with pytest.raises(Stopped):
        predict(model, features, tmp_path / "p.csv", on_slide=stop)
    told: list[int] = []
    predict(model, features, tmp_path / "p.csv", on_tiles=told.append)
    rows = rows_of(slides_table(tmp_path / "p.csv"))
    assert sum(told) == sum(int(row["num_tiles"]) for row in rows[3:])  # no tile of kept slides
    predict(model, features, tmp_path / "whole.csv")
    one, other = tmp_path / "p.csv", tmp_path / "whole.csv"
    assert one.read_bytes() == other.read_bytes()
    assert slides_table(one).read_bytes() == slides_table(other).read_bytes()


def test_the_own_answer_is_a_level_of_its_own(trained: Path, tmp_path: Path) -> None:
    predict(trained / "abmil.pt", trained / "features", tmp_path / "p.csv")
    done = pathology(
        "evaluate", tmp_path / "p.csv", "--labels", trained / "slides.csv", "--split", "train",
        "--out", tmp_path / "e",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "slides by the method itself of 6 cases:" in done.stdout
    found = json.loads((tmp_path / "e" / "metrics.json").read_text())
    labels = {row["slide_id"]: row for row in rows_of(trained / "slides.csv")}
    right = [
        GRADES[int(values_of(row, "own_").argmax())] == labels[row["slide_id"]]["label"]
        for row in rows_of(slides_table(tmp_path / "p.csv"))
        if labels[row["slide_id"]]["split"] == "train"
    ]
    own = found["slide_own"]["all"]
    assert own["accuracy"]["value"] == pytest.approx(np.mean(right))
    assert {"auroc", "auprc_adenoma", "auprc_carcinoma"} <= set(own)
    assert (tmp_path / "e" / "slides_own.png").is_file()
    slides = slides_table(tmp_path / "p.csv")
    slides.write_text(slides.read_text().replace(f",{rows_of(slides)[0]['own_healthy']},", ",3,"))
    with pytest.raises(ArtifactError, match="do not lie in 0-1"):
        evaluate(tmp_path / "p.csv", trained / "slides.csv", tmp_path / "e", "all")


def write_table(folder: Path, answers: list[tuple[str, str, tuple[float, ...]]]) -> Path:
    """Predictions of slides with a tile each: id, grade, probabilities."""
    columns = [f"prob_{grade}" for grade in GRADES]
    tiles = [["slide_id", "l0_x", "l0_y", "l0_edge", *columns]]
    slides = [["slide_id", "grade", *columns, "problem"]]
    for name, grade, chances in answers:
        said = [str(chance) for chance in chances]
        tiles.append([name, "0", "0", "256", *said])
        slides.append([name, grade, *said, ""])
    (folder / "p.csv").write_text(csv_text(tiles))
    slides_table(folder / "p.csv").write_text(csv_text(slides))
    return folder / "p.csv"


def test_lines_and_maps_say_how_sure_a_middle_grade_is(tmp_path: Path) -> None:
    """The median grade may be improbable itself: what was decided is that it is that or worse."""
    table = write_table(
        tmp_path,
        [("a", "adenoma", (0.46, 0.04, 0.5)), ("b", "healthy", (0.9, 0.06, 0.04)),
         ("c", "carcinoma", (0.1, 0.1, 0.8))],
    )  # fmt: skip
    said = [
        "a: adenoma (it or worse 0.54, entropy 0.76)",
        "b: healthy (0.90, entropy 0.36)",
        "c: carcinoma (0.80, entropy 0.58)",
    ]
    assert [title_of(slide) for slide in graded_slides(table)] == said


def test_lines_of_slides_say_it_too(trained: Path, tmp_path: Path) -> None:
    found = predict(trained / "rce-ut.pt", trained / "features", tmp_path / "p.csv")
    titles = {slide.slide_id: title_of(slide) for slide in graded_slides(tmp_path / "p.csv")}
    assert [grade.line() for grade in found] == [titles[grade.slide_id] for grade in found]


def test_figures_of_each_centre_are_those_of_its_slides(tmp_path: Path) -> None:
    """Four slides here, three there: known by hand."""
    sure = {"healthy": (0.8, 0.1, 0.1), "adenoma": (0.1, 0.8, 0.1), "carcinoma": (0.1, 0.1, 0.8)}
    given = [  # centre, truth, grade
        ("here", "healthy", "healthy"), ("here", "healthy", "adenoma"),
        ("here", "carcinoma", "carcinoma"), ("here", "carcinoma", "carcinoma"),
        ("there", "healthy", "carcinoma"), ("there", "carcinoma", "healthy"),
        ("there", "carcinoma", "carcinoma"),
    ]  # fmt: skip
    answers = [(f"s{i}", grade, sure[grade]) for i, (_, _, grade) in enumerate(given)]
    labels = [[f"s{i}", f"c{i}", truth, centre] for i, (centre, truth, _) in enumerate(given)]
    heads = ["slide_id", "case_id", "label", "centre"]
    (tmp_path / "slides.csv").write_text(csv_text([heads, *labels]))
    table = write_table(tmp_path, answers)
    found = evaluate(table, tmp_path / "slides.csv", tmp_path / "e")["slide"]
    values = {
        centre: {name: one["value"] for name, one in figures.items() if name != "num_cases"}
        for centre, figures in found.items()
    }
    assert {centre: figures["num_cases"] for centre, figures in found.items()} == {
        "all": 7, "here": 4, "there": 3,
    }  # fmt: skip
    assert values["here"]["accuracy"] == 3 / 4
    assert values["here"]["balanced_accuracy"] == (1 / 2 + 1) / 2
    assert values["here"]["recall_healthy"] == 1 / 2
    assert np.isnan(values["here"]["recall_adenoma"])
    assert values["here"]["auroc_adenoma"] == 3 / 4  # 0.9 of one healthy slide is a tie with both
    assert values["here"]["auroc"] == (3 / 4 + 1) / 2
    assert values["here"]["ece"] == pytest.approx(0.05)  # 0.8 sure, three of four right
    assert values["there"]["accuracy"] == 1 / 3
    assert values["there"]["balanced_accuracy"] == (0 + 1 / 2) / 2
    assert values["there"]["auroc_carcinoma"] == pytest.approx((0 + 0.5) / 2)
    assert values["there"]["kappa"] == pytest.approx(-0.5)  # worse than chance
    assert values["all"]["accuracy"] == 4 / 7
    with (tmp_path / "e" / "metrics.csv").open(newline="") as stream:
        lines = {(r["level"], r["centre"], r["metric"]): r for r in csv.DictReader(stream)}
    assert float(lines["slide", "there", "accuracy"]["value"]) == pytest.approx(1 / 3, abs=1e-6)
    assert lines["slide", "there", "accuracy"]["num_cases"] == "3"
