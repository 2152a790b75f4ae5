"""`pathology evaluate --class-map`: labels that have other names than the grades."""

import csv
import json
from pathlib import Path

import pytest

from pathology.core.table import csv_text
from pipelines.prediction_tables import slides_table
from tests.in_process import pathology

GRADES = ("benign", "malignant")
NUM = 6


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions that lost their run record, all right; labels call the grades n and aca."""
    chances = (("0.9", "0.1"), ("0.2", "0.8"))
    heads = [f"prob_{grade}" for grade in GRADES]
    tiles = [["slide_id", "l0_x", "l0_y", "l0_edge", *heads]]
    slides = [["slide_id", "grade", *heads, "l0_width", "l0_height", "problem"]]
    labels = [["slide_id", "case_id", "label"]]
    for i in range(NUM):
        tiles.append([f"s{i}", "0", "0", "256", *chances[i % 2]])
        slides.append([f"s{i}", GRADES[i % 2], *chances[i % 2], "256", "256", ""])
        labels.append([f"s{i}", f"c{i}", ("n", "aca")[i % 2]])
    predictions, manifest = tmp_path / "p.csv", tmp_path / "labels.csv"
    predictions.write_text(csv_text(tiles))
    slides_table(predictions).write_text(csv_text(slides))
    manifest.write_text(csv_text(labels))
    return predictions, manifest


def evaluate(given: tuple[Path, Path], out: Path, *words: object) -> tuple[int, str, str]:
    done = pathology("evaluate", given[0], "--labels", given[1], "--out", out, *words)
    return done.returncode, done.stdout, done.stderr


def accuracy(out: Path) -> float:
    facts = json.loads((out / "metrics.json").read_text())
    return float(facts["slide"]["all"]["accuracy"]["value"])


def test_without_a_run_record_it_must_be_said(given: tuple[Path, Path], tmp_path: Path) -> None:
    code, _, said = evaluate(given, tmp_path / "e")
    assert code == 2 and "'n' is none of the grades that were predicted (benign, malignant)" in said
    assert "Say which it means: --class-map 'n=benign'" in said
    code, said, _ = evaluate(
        given, tmp_path / "e", "--class-map", "n=benign", "--class-map", "aca=malignant"
    )
    assert code == 0 and accuracy(tmp_path / "e") == 1.0
    assert f"slides of {NUM} cases" in said and "left out" not in said


def test_what_is_said_comes_before_what_the_run_remembers(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    record = {"class_map": {"n": "malignant", "aca": "malignant"}}
    given[0].with_suffix(".run.json").write_text(json.dumps(record))
    assert evaluate(given, tmp_path / "e")[0] == 0
    assert accuracy(tmp_path / "e") == 0.5
    assert evaluate(given, tmp_path / "e", "--class-map", "n=benign")[0] == 0
    assert accuracy(tmp_path / "e") == 1.0


def test_a_label_that_is_not_mapped_is_named_with_the_way_out(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    rows = list(csv.reader(given[1].read_text().splitlines()))
    rows[1][2] = "normal"
    given[1].write_text(csv_text(rows))
    maps = ("--class-map", "n=benign", "--class-map", "aca=malignant", "--class-map", "odd=benign")
    code, said, _ = evaluate(given, tmp_path / "e", *maps)
    assert code == 0
    assert "labels that the model does not know (s0: 'normal')" in said
    assert "or say which is meant: --class-map LABEL=benign" in said
    assert "--class-map: no label is called 'odd' (labels: aca, n, normal)" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("n",), "--class-map 'n': expected LABEL=GRADE, as in --class-map normal=benign"),
        (("n=",), "--class-map 'n=': expected LABEL=GRADE"),
        (("=benign",), "--class-map '=benign': expected LABEL=GRADE"),
        (("n=healthy",), "--class-map n=healthy: no grade was predicted that is called 'healthy'"),
        (("n=benign", "n=malignant"), "'n' cannot mean both benign and malignant"),
    ],
)
def test_what_is_no_map_is_refused(
    given: tuple[Path, Path], tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    asked = [w for word in words for w in ("--class-map", word)]
    code, _, error = evaluate(given, tmp_path / "e", *asked)
    assert code == 2 and error.startswith("ConfigError: ") and said in error
    assert not (tmp_path / "e").exists()


def test_help_says_what_it_is() -> None:
    done = pathology("evaluate", "--help")
    assert "--class-map" in done.stdout and "LABEL=GRADE" in done.stdout
    assert "adenocarcinoma=malignant" in " ".join(done.stdout.split())
