"""What `pathology train weak` and its splits make of labels, grades and places of odd kinds."""

from pathlib import Path

import pytest

from pathology.core.config import load_config
from pathology.core.errors import ConfigError
from pathology.models.card import load_classifier
from pathology.weak.config import WeakConfig
from pipelines.grade_order import order_of
from pipelines.weak_train import WeakOptions, train_weak
from tests.in_process import pathology
from tests.pipelines.weak_cohort import GRADES, write_cohort

CPU = WeakOptions(device="cpu")
QUICK = WeakConfig(epochs=1, epoch_tiles=1024, tiles_per_slide=16, width=16)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def test_outputs_never_replace_folders_or_inputs(cohort: tuple[Path, Path], tmp_path: Path) -> None:
    features, manifest = cohort
    before = manifest.read_bytes()
    for out in (features, manifest):
        words = ["train", "weak", features, "--labels", manifest, "--out", out]
        done = pathology(*words)
        assert done.returncode == 2
        assert str(out) in done.stderr
    assert manifest.read_bytes() == before
    assert len(list(features.glob("*.h5"))) == 24
    model = tmp_path / "m.pt"
    train_weak(features, manifest, model, QUICK, CPU)
    for out in (features, model):
        assert pathology("predict", model, features, "--out", out).returncode == 2
    assert load_classifier(model)[0].grades == GRADES


def test_labels_need_no_slide_files(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path)
    table = tmp_path / "labels.csv"
    rows = [line.rsplit(",", 1)[0] for line in manifest.read_text().splitlines()]
    table.write_text("\n".join(rows) + "\n")  # without slide_path
    lines: list[str] = []
    train_weak(features, table, tmp_path / "m.pt", QUICK, CPU, say=lines.append)
    assert "12 slides train, 6 choose, 6 are left out" in lines
    done = pathology("splits", table, "--folds", "4", "--out", tmp_path / "splits")
    assert done.returncode == 0, done.stderr


def test_a_grade_that_nobody_teaches_is_said(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path)
    rows = [
        row for row in manifest.read_text().splitlines()
        if not ("carcinoma" in row and ",train," in row)
    ]  # fmt: skip
    manifest.write_text("\n".join(rows) + "\n")
    lines: list[str] = []
    train_weak(features, manifest, tmp_path / "m.pt", QUICK, CPU, say=lines.append)
    assert "no train slide is carcinoma: that grade cannot be learned" in lines


def test_ids_of_a_file_of_splits_that_match_nothing_are_said(
    cohort: tuple[Path, Path], tmp_path: Path
) -> None:
    features, manifest = cohort
    splits = tmp_path / "splits_0.csv"
    rows = [("s00", "s12"), ("s01", "s13"), ("s02", "s14"), ("ghost", "")]
    table = [f"{i},{one},{other}," for i, (one, other) in enumerate(rows)]
    splits.write_text("\n".join([",train,val,test", *table]) + "\n")
    lines: list[str] = []
    ways = WeakOptions(device="cpu", splits=splits)
    train_weak(features, manifest, tmp_path / "m.pt", QUICK, ways, say=lines.append)
    assert any("not here, or have no label: ghost" in line for line in lines)
    assert any(line.startswith("18 slides are here and in no part of") for line in lines)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (["healthy", "Healthy", "carcinoma"], "'Healthy' and 'healthy' are one grade"),
        (["0", "1", "1.0"], "'1' and '1.0' are one grade"),
        (["low-grade", "low grade", "healthy"], "are one grade, written in two ways"),
    ],
)
def test_one_grade_in_two_spellings(found: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        order_of(found, ())


def test_grades_that_are_numbers_can_be_given() -> None:
    assert load_config(WeakConfig, None, ["grades=[0, 1, 2.5]"]).grades == ("0", "1", "2.5")


def test_fewer_folds_leave_no_files_of_more(cohort: tuple[Path, Path], tmp_path: Path) -> None:
    _, manifest = cohort
    for num in ("6", "3"):
        assert pathology("splits", manifest, "--folds", num, "--out", tmp_path).returncode == 0
    assert {path.name for path in tmp_path.glob("splits_?.csv")} == {
        f"splits_{number}.csv" for number in range(3)
    }
    both = ["splits", manifest, "--folds", "3", "--leave-centres-out", "--out", tmp_path]
    assert pathology(*both).returncode == 2
