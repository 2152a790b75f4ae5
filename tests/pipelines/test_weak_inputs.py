"""What `pathology train weak` is given: tiles of many kinds, broken numbers, settings, splits."""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from pathology.core.config import load_config
from pathology.core.errors import ArtifactError, ConfigError
from pathology.interop.h5_features import read_features, write_features
from pathology.models.card import ContractError, load_classifier
from pathology.weak.config import WeakConfig
from pipelines.predict import predict
from pipelines.weak_train import WeakOptions, train_weak
from tests.in_process import pathology
from tests.pipelines.weak_cohort import GRADES, NUM_FEATURES, write_cohort

CPU = WeakOptions(device="cpu")
QUICK = WeakConfig(epochs=1, epoch_tiles=384, tiles_per_slide=16, width=8)
FEW_STEPS = ("epochs=2", "epoch_tiles=384", "tiles_per_slide=16", "width=8")


def again(
    path: Path,
    attributes: Mapping[str, str | int],
    mpp: float | None = None,
    *,
    features: np.ndarray | None = None,
    augmented: np.ndarray | None = None,
) -> None:
    """Write a file of features anew, with other attributes or features."""
    found = read_features(path)
    assert found.l0_xy is not None
    features = found.features_NF if features is None else features
    on_coords = {} if mpp is None else {"achieved_mpp": mpp, "tile_size_px": 256}
    corners = found.l0_xy[: len(features)]
    write_features(path, features, corners, attributes, on_coords, augmented)


def command(features: Path, manifest: Path, out: Path, *settings: str) -> list[object]:
    words = ["train", "weak", features, "--labels", manifest, "--out", out, "--device", "cpu"]
    return [*words, *(word for one in settings for word in ("--set", one))]


def test_what_one_slide_does_not_say_another_does(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a", 12)
    again(features / "s00.h5", {})
    card = train_weak(features, manifest, tmp_path / "m.pt", QUICK, CPU)
    assert (card.tiles.mpp, card.tiles.encoder, card.tiles.size_px) == (0.5, "toy", 256)
    again(features / "s03.h5", {"encoder": "other"}, 0.25)
    with pytest.raises(ContractError, match=r"s03 is not as s01: .*0\.25 um/px.*'other'"):
        train_weak(features, manifest, tmp_path / "n.pt", QUICK, CPU)
    again(features / "s03.h5", {}, 0.25)
    with pytest.raises(ContractError, match=r"s03 is not as s01: tiles have 0\.25 um/px"):
        train_weak(features, manifest, tmp_path / "n.pt", QUICK, CPU)
    again(features / "s03.h5", {"encoder_px": 64, "encoder": "toy"})
    with pytest.raises(ContractError, match="s03 is not as s01: tiles reach the encoder at 64"):
        train_weak(features, manifest, tmp_path / "n.pt", QUICK, CPU)


def test_slides_without_tiles_or_with_infinite_features_are_lines(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a")
    endless = read_features(features / "s04.h5").features_NF.copy()
    endless[2, 1], endless[3, 0] = np.inf, -np.inf
    again(features / "s04.h5", {"encoder": "toy"}, features=endless)
    again(features / "s05.h5", {"encoder": "toy"}, features=np.zeros((0, NUM_FEATURES), np.float32))
    said: list[str] = []
    train_weak(features, manifest, tmp_path / "m.pt", QUICK, CPU, say=said.append)
    assert any(line.startswith("s04: 2 of") and "no numbers" in line for line in said)
    assert "s05: it has no tiles" in said


def test_varied_tiles_whose_features_are_no_numbers_are_said_before(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a")
    for path in features.glob("*.h5"):
        varied = np.stack([read_features(path).features_NF] * 2)
        if path.stem == "s03":
            varied[0, 2:5, 0], varied[1, 3, 1] = np.nan, np.inf
        again(path, {"encoder": "toy", "num_augmented": 2}, augmented=varied)
    done = pathology(*command(features, manifest, tmp_path / "m.pt", *FEW_STEPS))
    assert done.returncode == 2
    assert "ArtifactError: s03: 3 of" in done.stderr and "no numbers" in done.stderr
    rows = manifest.read_text().replace("c03,healthy,centre1,train", "c03,healthy,centre1,test")
    manifest.write_text(rows)  # whose variations nobody sees
    done = pathology(*command(features, manifest, tmp_path / "m.pt", *FEW_STEPS))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", ["rce-ut", "mean"])
@pytest.mark.parametrize("epoch_tiles", [96, 384])
def test_a_loss_that_is_no_number_ends_training_in_a_line(
    tmp_path: Path, method: str, epoch_tiles: int
) -> None:
    features, manifest = write_cohort(tmp_path / "a", 12)
    words = command(features, manifest, tmp_path / "m.pt", *FEW_STEPS, f"method={method}")
    words += ["--set", "learning_rate=1e30", "--set", f"epoch_tiles={epoch_tiles}"]
    done = pathology(*words)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line]
    assert line.startswith("ConfigError: step ")
    assert line.endswith("Set a lower learning_rate than 1e+30")


@pytest.mark.parametrize("name", ["rectify.low", "rectify.up", "share"])
def test_numbers_for_other_grades_than_the_labels_are_refused(tmp_path: Path, name: str) -> None:
    features, manifest = write_cohort(tmp_path / "a", 12)
    done = pathology(*command(features, manifest, tmp_path / "m.pt", f"{name}=[0.1, 0.2]"))
    assert done.returncode == 2
    assert done.stderr == (
        f"ConfigError: {name} has 2 numbers for 3 grades. By their labels the slides are "
        "healthy, adenoma, carcinoma\n"
    )


def test_forms_of_rectification_and_punishment_as_a_command(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a")
    tried = (
        ("upper.form=class", "rectify.ramp=rank", "rectify.low=[0, 0.3, 0.5]"),
        ("slide_weight=0.5", "rectify.ramp=hard", "rectify.up=[1, 0.2, 0.1]"),
    )
    for number, settings in enumerate(tried):
        out = tmp_path / f"{number}.pt"
        done = pathology(*command(features, manifest, out, *FEW_STEPS, *settings))
        assert done.returncode == 0, done.stderr
        card, weights = load_classifier(out)
        rectify = card.settings["rectify"]
        assert rectify["ramp"] == ("rank", "hard")[number]
        assert len(rectify[("low", "up")[number]]) == 3
        assert all(bool(value.isfinite().all()) for value in weights.values())


def test_the_card_says_how_slides_that_chose_are_graded(tmp_path: Path) -> None:
    """The figures are those of what predict makes of the same slides."""
    features, manifest = write_cohort(tmp_path / "a", share=0.15)
    settings = QUICK.model_copy(update={"epochs": 4, "learning_rate": 0.003})
    card = train_weak(features, manifest, tmp_path / "m.pt", settings, CPU)
    predict(tmp_path / "m.pt", features, tmp_path / "p.csv")
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    label_of = {row["slide_id"]: row["label"] for row in rows if row["split"] == "val"}
    slides = list(csv.DictReader((tmp_path / "p.slides.csv").read_text().splitlines()))
    slides = [row for row in slides if row["slide_id"] in label_of]
    truth = [GRADES.index(label_of[row["slide_id"]]) for row in slides]
    found = [GRADES.index(row["grade"]) for row in slides]
    assert len(truth) == card.num_slides["val"] == 6
    metrics = card.metrics
    wanted = balanced_accuracy_score(truth, found)
    assert metrics["val_balanced_accuracy"] == pytest.approx(wanted, abs=1e-5)
    kappa = cohen_kappa_score(truth, found, weights="quadratic")
    assert metrics["val_kappa"] == pytest.approx(kappa, abs=1e-5)
    assert 0 <= metrics["val_ece"] <= 1


def test_a_split_without_slides_that_choose_is_said(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a")
    splits = tmp_path / "splits_0.csv"
    rows = [f"{i},s{i:02d},,s{i + 12:02d}" for i in range(12)]
    splits.write_text("\n".join([",train,val,test", *rows]) + "\n")
    ways, said = WeakOptions(device="cpu", splits=splits), list[str]()
    settings = QUICK.model_copy(update={"epochs": 3, "patience": 1})
    card = train_weak(features, manifest, tmp_path / "m.pt", settings, ways, say=said.append)
    (line,) = [line for line in said if "no slides choose" in line]
    assert "the last one is kept" in line and "learned from slides that train" in line
    assert not any("is not chosen by" in line for line in said)
    assert card.num_slides == {"train": 12, "val": 0}
    assert card.metrics == {"val_mean_auroc": -1, "epoch": 3}
    assert card.slide_rule is not None
    assert load_classifier(tmp_path / "m.run" / "last.pt")[0] == card
    rows = [f"{i},s{i:02d},{'s12' if i == 0 else ''}," for i in range(12)]
    splits.write_text("\n".join([",train,val,test", *rows]) + "\n")
    train_weak(features, manifest, tmp_path / "m.pt", settings, ways, say=said.append)
    assert any("the slides that choose all have one label (healthy)" in line for line in said)


def test_a_copy_of_a_slides_features_is_left_out(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a")
    again(features / "s00.h5", {"encoder": "toy", "name": "s00"})
    (features / "t_copy.h5").write_bytes((features / "s00.h5").read_bytes())
    said: list[str] = []
    card = train_weak(features, manifest, tmp_path / "m.pt", QUICK, CPU, say=said.append)
    assert "t_copy: left out: s00.h5 is of s00, too" in said
    whole = train_weak(*write_cohort(tmp_path / "b"), tmp_path / "whole.pt", QUICK, CPU)
    assert card.num_slides == whole.num_slides
    rows = predict(tmp_path / "m.pt", features, tmp_path / "p.csv")
    assert {row.slide_id: row.problem for row in rows}[
        "t_copy"
    ] == "left out: s00.h5 is of s00, too"


def test_where_no_slide_can_be_used_the_first_reasons_are_told(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a", 12)
    for path in features.glob("*.h5"):
        again(path, {"encoder": "toy"}, features=np.zeros((0, NUM_FEATURES), np.float32))
    with pytest.raises(ArtifactError, match=r"tiles to learn from \(s00: it has no tiles; s01:"):
        train_weak(features, manifest, tmp_path / "m.pt", QUICK, CPU)


def test_an_encoder_that_features_are_not_by_is_refused(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a", 12)
    other = QUICK.model_copy(update={"encoder": "resnet10t"})
    with pytest.raises(ConfigError, match="encoder=resnet10t: the features are by toy"):
        train_weak(features, manifest, tmp_path / "m.pt", other, CPU)


def test_settings_that_do_not_go_together_are_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--set is_ordinal does not go with method abmil$"):
        load_config(WeakConfig, None, ["method=abmil", "is_ordinal=true"])
    assert load_config(WeakConfig, None, ["share=[0, 0.2, 0.3]"]).share[0] == 0
    for words in ("share=[0]", "share=[0.1, 0, 0.3]"):
        with pytest.raises(ConfigError, match="set more than 0"):
            load_config(WeakConfig, None, [words])
