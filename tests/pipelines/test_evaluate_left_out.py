"""What `pathology evaluate` says of slides that it leaves out, and of broken tables."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet
import pytest

from pathology.core.errors import ArtifactError, ConfigError
from pathology.core.table import csv_text
from pipelines.evaluate import evaluate
from pipelines.export_predictions import export_predictions
from pipelines.overlay_table import read_overlays, read_slides_said
from pipelines.prediction_tables import read_tile_predictions, slides_table
from tests.in_process import pathology

GRADES = ("healthy", "adenoma")
COLUMNS = [f"prob_{grade}" for grade in GRADES]
NUM = 6


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions of six slides of two tiles each, and their manifest: s0 healthy, s1 adenoma..."""
    tiles = [["slide_id", "l0_x", "l0_y", "l0_edge", *COLUMNS]]
    slides = [["slide_id", "grade", *COLUMNS, "l0_width", "l0_height", "problem"]]
    rows = [["slide_id", "case_id", "label", "mpp", "slide_path"]]
    for number in range(NUM):
        grade, name = number % 2, f"s{number}"
        chances = ["0.8", "0.2"] if grade == 0 else ["0.3", "0.7"]
        tiles += [[name, str(x), "0", "256", *chances] for x in (0, 256)]
        slides.append([name, GRADES[grade], *chances, "512", "256", ""])
        rows.append([name, f"c{number}", GRADES[grade], "", f"{name}.svs"])
    predictions, manifest = tmp_path / "p.csv", tmp_path / "slides.csv"
    predictions.write_text(csv_text(tiles))
    slides_table(predictions).write_text(csv_text(slides))
    manifest.write_text(csv_text(rows))
    return predictions, manifest


def change(path: Path, which: str, **cells: str) -> None:
    """Write cells of a table anew, in all rows of a slide."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for row in rows:
        if row["slide_id"] == which:
            row.update(cells)
    path.write_text(csv_text([list(rows[0]), *(list(row.values()) for row in rows)]))


def leave_out(path: Path, *slide_ids: str) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if line.split(",")[0] not in slide_ids) + "\n")


def said_of(given: tuple[Path, Path], out: Path) -> tuple[str, dict[str, object]]:
    """What the command prints, and what metrics.json holds."""
    done = pathology("evaluate", given[0], "--labels", given[1], "--out", out)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((out / "metrics.json").read_text())


def test_nothing_is_said_where_all_slides_are_judged(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    said, facts = said_of(given, tmp_path / "e")
    assert said.startswith(
        "Judged: all slides; which of them taught the model is not known\nslides of 6 cases:"
    )
    assert facts["not_judged"] == []
    assert (tmp_path / "e" / "not_judged.csv").read_text() == "slide_id,why,detail\n"


def test_every_kind_of_slide_that_is_left_out_has_a_line(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    predictions, manifest = given
    more = [[f"m{i}", f"d{i}", "healthy", "", f"m{i}.svs"] for i in range(7)]
    manifest.write_text(manifest.read_text() + csv_text([*more, ["u", "d", "", "", "u.svs"]]))
    change(slides_table(predictions), "s0", grade="", prob_healthy="", prob_adenoma="", problem="?")
    leave_out(predictions, "s0")
    change(manifest, "s1", label="Adenoma")
    change(manifest, "s2", mpp="zzz")
    leave_out(manifest, "s3")
    said, facts = said_of(given, tmp_path / "e")
    lines = said.partition("Judged: all slides")[0].splitlines()
    assert lines == [
        "1 slide is not judged: a row in the manifest that cannot be used (s2: mpp in the "
        "manifest is 'zzz'. Give microns per pixel, e.g. 0.25). Mend it there",
        "1 slide is not judged: not in the manifest (s3). Add rows with their labels there",
        "1 slide is left out of the figures of slides: no label in the manifest (u). Fill in its "
        "column label",
        "1 slide is left out of the figures of slides: labels that the model does not know (s1: "
        "'Adenoma' ('adenoma' but for capitals)). Its grades are healthy, adenoma: write these in "
        "the manifest, or say which is meant: --class-map LABEL=healthy",
        "7 slides are not judged: no prediction (m0, m1, m2, m3, m4, 2 more). Run 'pathology "
        "predict' on them, too",
        "1 slide is not judged: no grade in p.slides.csv (s0: ?). Mend what is wrong and predict "
        "again",
    ]
    assert facts["not_judged"] == lines
    assert facts["rejected"] == {
        "s2": "mpp in the manifest is 'zzz'. Give microns per pixel, e.g. 0.25"
    }
    assert facts["not_in_manifest"] == ["s3"]  # s2 is in it
    assert facts["unknown_labels"] == {"s1": "'Adenoma' ('adenoma' but for capitals)"}
    assert facts["no_label"] == ["u"]
    assert facts["not_predicted"] == [f"m{i}" for i in range(7)]
    assert facts["problems"] == {"s0": "?"}
    rows = list(csv.DictReader((tmp_path / "e" / "not_judged.csv").read_text().splitlines()))
    assert [row["slide_id"] for row in rows] == [
        "s2", "s3", "u", "s1", *(f"m{i}" for i in range(7)), "s0",
    ]  # fmt: skip
    assert rows[-1]["detail"] == "?"


def test_a_grade_of_another_spelling_is_no_figure_in_silence(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    change(slides_table(given[0]), "s1", grade="Adenoma")
    said, facts = said_of(given, tmp_path / "e")
    assert said.startswith(
        "1 slide is left out of the figures of slides: grades in p.slides.csv that are no column "
        "of p.csv (s1: 'Adenoma' ('adenoma' but for capitals)). Predict again\n"
    )
    assert facts["unknown_grades"] == {"s1": "'Adenoma' ('adenoma' but for capitals)"}


def test_only_slides_of_the_part_are_missed(given: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, manifest = given
    rows = manifest.read_text().splitlines()
    parts = ["split", *["train"] * 3, *["test"] * 3]
    manifest.write_text("\n".join(f"{a},{b}" for a, b in zip(rows, parts, strict=True)) + "\n")
    for table in (predictions, slides_table(predictions)):
        leave_out(table, "s0", "s5")
    said, facts = said_of(given, tmp_path / "e")
    assert said.startswith("1 slide is not judged: no prediction (s5).")
    assert facts["not_predicted"] == ["s5"]


def test_labels_none_of_which_is_known_are_refused(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    for number in range(NUM):
        change(given[1], f"s{number}", label="Healthy")
    with pytest.raises(ConfigError, match=r"s0: its label 'Healthy' .* none of the grades"):
        evaluate(*given, tmp_path / "e")


def test_rows_that_cannot_be_used_are_named_where_no_other_is_left(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    for number in range(NUM):
        change(given[1], f"s{number}", mpp="zzz")
    with pytest.raises(ArtifactError, match=r"6 of its rows cannot be used: s0: mpp .* 'zzz'"):
        evaluate(*given, tmp_path / "e")


def test_tiles_of_a_slide_that_the_other_table_lacks(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    """With maps of grades, where the size of every slide is asked for."""
    predictions, manifest = given
    cv2.imwrite(str(tmp_path / "map.png"), np.full((8, 16), 1, np.uint8))
    rows = manifest.read_text().splitlines()
    heads = ["truth_path", *["map.png"] * NUM]
    manifest.write_text("\n".join(f"{a},{b}" for a, b in zip(rows, heads, strict=True)) + "\n")
    leave_out(slides_table(predictions), "s3")
    leave_out(predictions, "s4")
    said, facts = said_of(given, tmp_path / "e")
    assert said.splitlines()[:2] == [
        "1 slide is not judged: tiles in p.csv, but no row in p.slides.csv (s3). Predict again",
        "1 slide is left out of the figures of tiles: no tiles in p.csv (s4). Predict again",
    ]
    assert (facts["not_in_slides"], facts["no_tiles"]) == (["s3"], ["s4"])
    assert facts["slide"]["all"]["num_cases"] == 5  # type: ignore[index]
    assert facts["tile"]["all"]["num_cases"] == 4  # type: ignore[index]
    found = export_predictions(predictions, tmp_path / "out", ["geojson"])
    assert {one.slide_id: one.problem for one in found if one.problem} == {
        "s3": "left out, it has tiles but no row in p.slides.csv: predict again"
    }
    done = pathology("export", predictions, "--out", tmp_path / "out", "--format", "geojson")
    assert done.returncode == 1
    assert "s3: left out" in done.stdout


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"prob_healthy": "7.5"}, r"\(7.5, 0.2\) do not lie in 0-1"),
        ({"prob_adenoma": "-0.1"}, r"\(0.8, -0.1\) do not lie in 0-1"),
        ({"prob_adenoma": "nan"}, r"\(0.8, nan\) do not lie in 0-1"),
        ({"prob_adenoma": "0.9"}, r"\(0.8, 0.9\) add up to 1.7"),
        ({"l0_x": "0"}, "the tile at 0, 0 stands in row 1, too"),
        ({"l0_y": "nan"}, "l0_y or l0_edge is no number"),
    ],
)
def test_broken_tables_are_refused_by_all_who_read_them(
    given: tuple[Path, Path], tmp_path: Path, cells: dict[str, str], said: str
) -> None:
    """A table's second row is changed: the evaluation, the export and the viewer say where."""
    predictions, manifest = given
    lines = predictions.read_text().splitlines()
    row = dict(zip(lines[0].split(","), lines[2].split(","), strict=True)) | cells
    predictions.write_text("\n".join([*lines[:2], ",".join(row.values()), *lines[3:]]) + "\n")
    where = f"p.csv: s0, row 2 below the header: .*{said}"
    with pytest.raises(ArtifactError, match=where):
        evaluate(predictions, manifest, tmp_path / "e")
    with pytest.raises(ArtifactError, match=where):
        export_predictions(predictions, tmp_path / "out", ["geojson"])
    with pytest.raises(ArtifactError, match=where):
        read_overlays(predictions)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"prob_healthy": "7.5"}, r"row 2 below the header: .*\(7.5, 0.7\) do not lie in 0-1"),
        ({"prob_healthy": "0"}, r"row 2 below the header: .*\(0, 0.7\) add up to 0.7"),
        ({"prob_healthy": ""}, r"row 2 below the header: .*\(nan, 0.7\) do not lie in 0-1"),
        ({"prob_healthy": "x"}, "row 2 below the header: prob_healthy is 'x', no number"),
        ({"slide_id": "s0"}, "p.slides.csv: s0, row 2 below the header: it stands in row 1, too"),
    ],
)
def test_broken_tables_of_slides_are_refused(
    given: tuple[Path, Path], tmp_path: Path, cells: dict[str, str], said: str
) -> None:
    change(slides_table(given[0]), "s1", **cells)
    with pytest.raises(ArtifactError, match=said):
        evaluate(*given, tmp_path / "e")


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_tables_that_a_spreadsheet_saved(
    given: tuple[Path, Path], tmp_path: Path, delimiter: str
) -> None:
    """With a byte order mark; with semicolons the decimal comma comes, too."""
    predictions, manifest = given
    whole = evaluate(*given, tmp_path / "before")
    read = read_tile_predictions(predictions)
    for table in (predictions, slides_table(predictions)):
        text = table.read_text()
        if delimiter == ";":
            text = text.replace(",", ";").replace("0.", "0,")
        table.write_text(text.replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    found = evaluate(predictions, manifest, tmp_path / "e")
    assert str(found["slide"]) == str(whole["slide"])  # some figures are nan
    assert str(found["tile"]) == str(whole["tile"])
    assert np.array_equal(read_overlays(predictions)["s1"].probability_NC, read.probability_NC[2:4])
    assert read_slides_said(slides_table(predictions))["s1"].probability == 0.7
    outcomes = export_predictions(predictions, tmp_path / "out", ["geojson", "parquet"])
    assert not any(one.problem for one in outcomes)
    tiles = pyarrow.parquet.read_table(tmp_path / "out" / "tiles.parquet").to_pydict()
    assert tiles["prob_healthy"][:3] == [0.8, 0.8, 0.3]


def test_thousands_in_a_corner_are_no_fraction(given: tuple[Path, Path], tmp_path: Path) -> None:
    change(given[0], "s1", l0_x="1,024")
    with pytest.raises(ArtifactError, match="s1, row 3 below the header: l0_x is '1,024', no numb"):
        evaluate(*given, tmp_path / "e")
