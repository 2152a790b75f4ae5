"""No slide is judged by a model that it taught, unless that is asked for: folds, parts, cases."""

import csv
import json
from pathlib import Path

import pytest

from pathology.core.errors import ArtifactError
from pathology.core.slide_digest import digests_of
from pathology.core.table import csv_text
from pathology.data.splits import read_clam
from pathology.models.card import load_classifier
from pathology.weak.config import WeakConfig
from pipelines.evaluate import evaluate
from pipelines.predict import predict
from pipelines.prediction_tables import slides_table
from pipelines.splits import write_splits
from pipelines.weak_train import WeakOptions, train_weak
from tests.in_process import pathology
from tests.pipelines.weak_cohort import write_cohort

SETTINGS = WeakConfig.model_validate(
    {"epochs": 1, "epoch_tiles": 256, "tiles_per_slide": 8, "width": 8, "learning_rate": 0.01}
)
NUM, FOLDS = 24, 4


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features, slides.csv, nosplit.csv, and model and table of each of four folds.

    Two slides in turn are of one case.
    """
    folder = tmp_path_factory.mktemp("folded")
    features, manifest = write_cohort(folder, NUM)
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    table = [["slide_id", "case_id", "label", "centre"]]
    for i, row in enumerate(rows):
        table.append([row["slide_id"], f"k{i // 6}{i % 3}", row["label"], row["centre"]])
    (folder / "nosplit.csv").write_text(csv_text(table))
    write_splits(folder / "nosplit.csv", folder, num_folds=FOLDS)
    for k in range(FOLDS):
        model, options = folder / f"{k}.pt", WeakOptions("cpu", splits=folder / f"splits_{k}.csv")
        train_weak(features, folder / "nosplit.csv", model, SETTINGS, options)
        predict(model, features, folder / f"p{k}.csv")
    return folder


def taught_of(folder: Path, k: int) -> set[str]:
    split = read_clam(folder / f"splits_{k}.csv")
    return {*split.train, *split.val}


def copied(folder: Path, out: Path, name: str, leave_out: set[str] = frozenset()) -> Path:  # type: ignore[assignment]
    """Both tables of a prediction elsewhere, without some slides, and without its run record."""
    for table in (folder / name, slides_table(folder / name)):
        lines = table.read_text().splitlines(keepends=True)
        kept = [line for line in lines if line.split(",")[0] not in leave_out]
        (out / table.name).write_text("".join(kept))
    return out / name


def test_the_card_and_the_table_say_which_slides_taught(folded: Path) -> None:
    card, _ = load_classifier(folded / "0.pt")
    rows = list(csv.DictReader((folded / "nosplit.csv").read_text().splitlines()))
    taught = taught_of(folded, 0)
    wanted = [digests_of(r["slide_id"], r["case_id"]) for r in rows if r["slide_id"] in taught]
    assert card.taught == tuple(sorted(set().union(*wanted)))
    said = list(csv.DictReader((folded / "p0.slides.csv").read_text().splitlines()))
    assert {row["slide_id"] for row in said if row["is_taught"] == "true"} == taught
    assert {row["is_taught"] for row in said} == {"true", "false"}


def test_slides_that_taught_are_left_out_and_counted(folded: Path, tmp_path: Path) -> None:
    done = pathology(
        "evaluate", folded / "p0.csv", "--labels", folded / "nosplit.csv", "--out", tmp_path / "e"
    )
    assert done.returncode == 0, done.stderr
    taught = sorted(taught_of(folded, 0))
    num = len(taught)
    assert done.stdout.startswith(
        f"{num} slides are not judged: cases that taught the model or chose it "
        f"({', '.join(taught[:5])}, {num - 5} more). --split all judges them, too\n"
        "Judged: all slides that did not teach the model\n"
    )
    found = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert found["taught"] == taught and found["judged_taught"] == []
    judged = sum(sum(row) for row in found["confusion"]["slide"])
    assert judged == NUM - num
    listed = (tmp_path / "e" / "not_judged.csv").read_text()
    assert all(f"\n{name},not judged: cases that taught" in listed for name in taught)


def test_what_is_asked_for_is_judged_and_said_to_flatter(folded: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    found = evaluate(
        folded / "p0.csv", folded / "nosplit.csv", tmp_path, "all", is_brief=True, say=lines.append
    )
    taught = sorted(taught_of(folded, 0))
    assert len(lines) == 1
    assert lines[0].startswith(f"{len(taught)} of {NUM} slides are judged that have the names of")
    assert sum(sum(row) for row in found["confusion"]["slide"]) == NUM
    assert found["judged_taught"] == taught and found["taught"] == []


@pytest.mark.parametrize("asked", ["", "test"])
def test_slides_marked_test_that_taught_are_judged_and_named(
    folded: Path, tmp_path: Path, asked: str
) -> None:
    """The manifest says test, but --splits trained on them; or others have their names."""
    lines: list[str] = []
    found = evaluate(
        folded / "p0.csv", folded / "slides.csv", tmp_path, asked, is_brief=True, say=lines.append
    )
    assert found["part"] == "test" and found["judged_taught"]
    assert f"({', '.join(found['judged_taught'][:5])}" in lines[0] and "flatter" in lines[0]
    train = evaluate(folded / "p0.csv", folded / "slides.csv", tmp_path, "train", is_brief=True)
    assert train["judged_taught"]


def test_where_all_taught_all_are_judged(folded: Path, tmp_path: Path) -> None:
    others = {f"s{i:02d}" for i in range(NUM)} - taught_of(folded, 0)
    table = copied(folded, tmp_path, "p0.csv", others)
    found = evaluate(table, folded / "nosplit.csv", tmp_path / "e", is_brief=True)
    assert set(found["judged_taught"]) == taught_of(folded, 0) and found["taught"] == []


def test_another_slide_of_a_case_that_taught_counts_as_one(folded: Path, tmp_path: Path) -> None:
    """A new slide of an old case: predict cannot know that, the manifest does."""
    text = (folded / "nosplit.csv").read_text()
    taught = sorted(taught_of(folded, 0))
    case = next(line.split(",")[1] for line in text.splitlines() if line.startswith(taught[0]))
    new = sorted({f"s{i:02d}" for i in range(NUM)} - set(taught))[0]
    lines = [
        f"{new},{case},{line.split(',', 2)[2]}" if line.startswith(new) else line
        for line in text.splitlines()
    ]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    table = copied(folded, tmp_path, "p0.csv")
    for with_record in (False, True):  # by the other slides of the table, or by the record
        if with_record:
            copied(folded, tmp_path, "p0.csv", set(taught))
            (tmp_path / "p0.run.json").write_bytes((folded / "p0.run.json").read_bytes())
        found = evaluate(table, tmp_path / "labels.csv", tmp_path / "e", is_brief=True)
        assert new in found["taught"]


def test_each_slide_is_judged_by_the_fold_that_it_did_not_teach(
    folded: Path, tmp_path: Path
) -> None:
    tables = [folded / f"p{k}.csv" for k in range(FOLDS)]
    labels = folded / "nosplit.csv"
    done = pathology("evaluate", *tables, "--labels", labels, "--out", tmp_path / "e")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Judged: all slides\n")
    found = json.loads((tmp_path / "e" / "metrics.json").read_text())
    alone = [evaluate(table, labels, tmp_path / "one", is_brief=True) for table in tables]
    for level in ("slide", "tile"):
        whole = found["confusion"][level]
        for i in range(3):
            for j in range(3):
                assert whole[i][j] == sum(one["confusion"][level][i][j] for one in alone)
    assert sum(sum(row) for row in found["confusion"]["slide"]) == NUM
    with pytest.raises(ArtifactError, match=r"s\d\d: both .*p0\.csv and .*p0\.csv judge"):
        evaluate([tables[0], tables[0]], labels, tmp_path / "e")
    some = evaluate(tables[:2], labels, tmp_path / "e", is_brief=True)
    tested = {i for k in (0, 1) for i in read_clam(folded / f"splits_{k}.csv").test}
    assert set(some["taught"]) == {f"s{i:02d}" for i in range(NUM)} - tested


def test_tables_of_before_say_nothing_and_are_not_put_together(
    folded: Path, tmp_path: Path
) -> None:
    table = copied(folded, tmp_path, "p0.csv")
    slides = slides_table(table)
    slides.write_text(slides.read_text().replace(",true", ",").replace(",false", ","))
    found = evaluate(table, folded / "nosplit.csv", tmp_path / "e", is_brief=True)
    assert found["judged_taught"] is None
    assert sum(sum(row) for row in found["confusion"]["slide"]) == NUM
    with pytest.raises(ArtifactError, match="does not say which slides taught"):
        evaluate([table, folded / "p1.csv"], folded / "nosplit.csv", tmp_path / "e")


def test_a_start_teaches_too(folded: Path, tmp_path: Path) -> None:
    options = WeakOptions("cpu", splits=folded / "splits_1.csv", start=folded / "0.pt")
    card = train_weak(
        folded / "features", folded / "nosplit.csv", tmp_path / "m.pt", SETTINGS, options
    )
    both = {
        *load_classifier(folded / "0.pt")[0].taught,
        *load_classifier(folded / "1.pt")[0].taught,
    }
    assert set(card.taught) == both
