"""What a training goes on from and what it does not, and the models that lie beside it."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pathology.core.state import load_state
from pathology.models.card import load_classifier
from pathology.training.loop import read_metrics
from pathology.weak.config import WeakConfig
from pipelines import weak_training
from pipelines.predict import predict
from pipelines.weak_inputs import read_labelled
from pipelines.weak_recipe import training_data
from pipelines.weak_train import WeakOptions, train_weak
from tests.pipelines.small_encoder import SMALLEST, write_weights
from tests.pipelines.small_run import SETTINGS, write_run
from tests.pipelines.weak_cohort import GRADES, write_cohort

TRAIN, VAL = tuple(range(12)), tuple(range(12, 18))
QUICK = {
    "epochs": 2, "epoch_tiles": 384, "tiles_per_slide": 16, "width": 8, "learning_rate": 0.01,
}  # fmt: skip
Cohort = tuple[Path, Path]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def config(**more: object) -> WeakConfig:
    return WeakConfig.model_validate({**QUICK, **more})


def split_file(path: Path, train: tuple[int, ...], val: tuple[int, ...]) -> WeakOptions:
    """CLAM's table of these slides, as an option."""
    rows = [
        [i, f"s{one:02d}", f"s{val[i]:02d}" if i < len(val) else "", ""]
        for i, one in enumerate(train)
    ]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["", "train", "val", "test"], *rows])
    return WeakOptions(device="cpu", splits=path)


def same_weights(one: Path, other: Path) -> bool:
    first, second = load_classifier(one)[1], load_classifier(other)[1]
    return all(torch.equal(value, second[name]) for name, value in first.items())


def exchanged(cohort: Cohort, *, is_alike: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """TRAIN and VAL with one slide of each exchanged, of as many tiles or not."""
    num = {s.record.slide_id: s.num_tiles for s in read_labelled(*cohort).slides}
    one, other = next(
        (a, b) for a in TRAIN for b in VAL if (num[f"s{a:02d}"] == num[f"s{b:02d}"]) == is_alike
    )
    swap = {one: other, other: one}
    return tuple(swap.get(i, i) for i in TRAIN), tuple(swap.get(i, i) for i in VAL)


@pytest.mark.parametrize("change", ["alike", "unlike", "order"])
def test_an_edited_split_is_another_training(cohort: Cohort, tmp_path: Path, change: str) -> None:
    splits, said = tmp_path / "splits_0.csv", list[str]()
    train_weak(*cohort, tmp_path / "m.pt", config(), split_file(splits, TRAIN, VAL))
    before = load_classifier(tmp_path / "m.pt")[0]
    train, val = (
        (TRAIN[::-1], VAL) if change == "order" else exchanged(cohort, is_alike=change == "alike")
    )
    edited = split_file(splits, train, val)
    train_weak(*cohort, tmp_path / "m.pt", config(), edited, say=said.append)
    train_weak(*cohort, tmp_path / "fresh.pt", config(), edited)
    assert not any("went on" in line for line in said)
    assert same_weights(tmp_path / "m.pt", tmp_path / "fresh.pt")
    assert load_classifier(tmp_path / "m.pt")[0].training_data != before.training_data


def test_data_of_a_training_are_two_lists_in_their_order(cohort: Cohort) -> None:
    slides = read_labelled(*cohort).slides[:6]
    first, second, *rest = slides
    found = {
        training_data(slides, 4),
        training_data(slides, 3),
        training_data([second, first, *rest], 4),
        training_data(slides[:5], 4),
        training_data([first, rest[-1], *rest[:-1], second], 4),
    }
    assert len(found) == 5
    assert training_data(list(slides), 4) in found


def with_maps(cohort: Cohort, folder: Path, *, is_healthy: bool) -> Path:
    """The manifest with a map of grades of each slide: its own grade all over, or healthy."""
    rows = list(csv.DictReader(cohort[1].read_text().splitlines()))
    for row in rows:
        row["truth_path"] = f"{row['slide_id']}.png"
        grade = 0 if is_healthy else GRADES.index(row["label"])
        cv2.imwrite(str(folder / row["truth_path"]), np.full((50, 1000), grade + 1, np.uint8))
    with (folder / "slides.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "slides.csv"


def test_other_maps_of_grades_are_another_training_of_the_oracle_alone(
    cohort: Cohort, tmp_path: Path
) -> None:
    said: dict[str, list[str]] = {"oracle": [], "ce": []}
    options = WeakOptions(device="cpu")
    for is_healthy in (False, True):
        labels = with_maps(cohort, tmp_path, is_healthy=is_healthy)
        for method, lines in said.items():
            lines.clear()
            out = tmp_path / f"{method}.pt"
            train_weak(cohort[0], labels, out, config(method=method), options, say=lines.append)
    train_weak(cohort[0], labels, tmp_path / "fresh.pt", config(method="oracle"), options)
    assert not any("went on" in line for line in said["oracle"])
    assert any("went on" in line for line in said["ce"])
    assert same_weights(tmp_path / "oracle.pt", tmp_path / "fresh.pt")


def validates_as(values: list[float], patch: pytest.MonkeyPatch) -> None:
    """From here on epochs validate with these values, without an error."""
    reached = iter(values)
    patch.setattr(weak_training, "order_reached", lambda *given: next(reached))
    patch.setattr(weak_training, "auroc_error", lambda *given: 0.0)


def test_best_and_last_weights_are_models_and_training_ends_early(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validates_as([0.5, 0.9, 0.8, 0.7], monkeypatch)
    out, folder, said = tmp_path / "m.pt", tmp_path / "m.run", list[str]()
    settings = config(epochs=6, patience=2, method="ce")
    train_weak(*cohort, out, settings, WeakOptions(device="cpu"), say=said.append)
    wanted = "ended after epoch 4 of 6: 2 without one as good as epoch 2, which is kept"
    assert wanted in said
    rows = read_metrics(folder / "epochs.jsonl")
    assert [row["validation"] for row in rows] == [0.5, 0.9, 0.8, 0.7]
    assert [row["step"] for row in rows] == [4 * (number + 1) for number in range(4)]
    assert all(row["tile"] > 0 for row in rows)
    assert load_classifier(folder / "best.pt")[0] == load_classifier(out)[0]
    assert same_weights(folder / "best.pt", out)
    card, weights = load_classifier(folder / "last.pt")
    assert (card.metrics["epoch"], card.metrics["val_mean_auroc"]) == (4, 0.7)
    state = load_state(folder / "checkpoint.pt")["update"]["model"]
    assert all(torch.equal(value, state[name]) for name, value in weights.items())
    assert not same_weights(folder / "last.pt", out)
    for name in ("best", "last"):
        grades = predict(folder / f"{name}.pt", cohort[0], tmp_path / f"{name}.csv")
        assert not any(grade.problem for grade in grades)


def test_a_training_on_pixels_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path)
    weights = write_weights(tmp_path / "w.pt", name=SMALLEST)
    options = WeakOptions(device="cpu", weights=weights)
    settings = WeakConfig.model_validate(SETTINGS | {"epochs": 3})
    train_weak(*run, tmp_path / "whole.pt", settings, options)
    augment, asked = weak_training.augment, list[int]()

    def stopped(*given: object) -> torch.Tensor:
        asked.append(1)
        if len(asked) > 5:
            raise KeyboardInterrupt
        return augment(*given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(weak_training, "augment", stopped)
        with pytest.raises(KeyboardInterrupt):
            train_weak(*run, tmp_path / "part.pt", settings, options)
    assert not (tmp_path / "part.pt").exists()
    grades = predict(tmp_path / "part.run" / "best.pt", run[0], tmp_path / "p.csv")
    assert not any(grade.problem for grade in grades)
    said: list[str] = []
    train_weak(*run, tmp_path / "part.pt", settings, options, say=said.append)
    assert "went on from step 3 of an earlier run" in said
    assert load_classifier(tmp_path / "part.pt")[0] == load_classifier(tmp_path / "whole.pt")[0]
    for name in ("{}.pt", "{}.run/last.pt"):
        assert same_weights(tmp_path / name.format("part"), tmp_path / name.format("whole"))
    epochs = [(tmp_path / f"{n}.run" / "epochs.jsonl").read_text() for n in ("part", "whole")]
    assert epochs[0] == epochs[1]
    assert len(json.loads(epochs[0].splitlines()[0])) > 3
