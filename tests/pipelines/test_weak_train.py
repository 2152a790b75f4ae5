"""`pathology train weak` as users run it, on features of a toy cohort."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pathology.core.errors import ArtifactError, ConfigError, ManifestError
from pathology.core.state import load_state
from pathology.interop.h5_features import read_features, write_features
from pathology.models.card import ContractError, load_classifier
from pathology.training.loop import read_metrics
from pathology.weak.config import WeakConfig
from pipelines.weak_train import WeakOptions, train_weak
from tests.in_process import PATHOLOGY, pathology
from tests.pipelines.weak_cohort import GRADES, NUM_FEATURES, write_cohort

FAST = {
    "epochs": 6, "epoch_tiles": 1024, "tiles_per_slide": 16, "width": 16, "dropout": 0.1,
    "learning_rate": 0.01,
}  # fmt: skip
CPU = WeakOptions(device="cpu")


def settings(**more: object) -> list[str]:
    return [w for k, v in {**FAST, **more}.items() for w in ("--set", f"{k}={v}")]


def config(**more: object) -> WeakConfig:
    return WeakConfig.model_validate({**FAST, **more})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def test_as_a_command(cohort: tuple[Path, Path], tmp_path: Path) -> None:
    features, manifest = cohort
    out = tmp_path / "grades.pt"
    words = ["train", "weak", features, "--labels", manifest, "--out", out, "--device", "cpu"]
    done = pathology(*words, *settings())
    assert done.returncode == 0, done.stderr
    assert "healthy < adenoma < carcinoma" in done.stdout
    assert "Next: pathology predict" in done.stdout
    assert "12 slides train, 6 choose, 6 are left out" in done.stdout
    card, weights = load_classifier(out)
    assert card.grades == GRADES
    assert (card.tiles.size_px, card.tiles.mpp, card.tiles.num_features) == (256, 0.5, NUM_FEATURES)
    assert card.metrics["val_mean_auroc"] > 0.9
    assert card.slide_rule is not None
    assert weights
    names = {path.name for path in (tmp_path / "grades.run").iterdir()}
    assert {"checkpoint.pt", "curves.png", "epochs.jsonl", "metrics.jsonl", "run.json"} <= names
    record = json.loads((tmp_path / "grades.run" / "run.json").read_text())
    assert record["split"]["train"][0] == "s00"
    epochs = read_metrics(tmp_path / "grades.run" / "epochs.jsonl")
    assert [row["epoch"] for row in epochs] == list(range(1, len(epochs) + 1))


@pytest.mark.parametrize(
    "method", ["rce", "ut", "ce", "forward", "mean", "max", "topk", "em", "abmil", "clam-sb",
               "clam-mb", "dsmil", "transmil"],
)  # fmt: skip
def test_every_method_trains(cohort: tuple[Path, Path], tmp_path: Path, method: str) -> None:
    card = train_weak(*cohort, tmp_path / "m.pt", config(method=method, epochs=2), CPU)
    assert card.method == method
    assert load_classifier(tmp_path / "m.pt")[0] == card


@pytest.mark.slow
def test_killed_and_gone_on_with_to_the_same_model(
    cohort: tuple[Path, Path], tmp_path: Path
) -> None:
    features, manifest = cohort
    whole, cut = tmp_path / "whole.pt", tmp_path / "cut.pt"

    def words(out: Path) -> list[str]:
        line = ["train", "weak", features, "--labels", manifest, "--out", out, "--device", "cpu"]
        return [*map(str, line), *settings(epochs=20, patience=20)]

    assert pathology(*words(whole)).returncode == 0
    process = subprocess.Popen(
        [*PATHOLOGY, *words(cut)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    checkpoint = tmp_path / "cut.run" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stopped = load_state(checkpoint)
    assert 0 < stopped["step"] < 20 * config().steps_per_epoch
    assert not cut.exists()
    done = pathology(*words(cut))
    assert "went on from step" in done.stdout
    ends = [load_state(tmp_path / f"{name}.run" / "checkpoint.pt") for name in ("whole", "cut")]
    scores = [end["update"]["memory"]["scores"] for end in ends]
    assert bool((scores[0] == scores[1]).all())
    assert float(scores[0].min()) < 0.9  # it has thought of them
    (one, first), (other, second) = (load_classifier(path) for path in (whole, cut))
    assert one == other
    assert all(bool((first[name] == second[name]).all()) for name in first)


@pytest.mark.slow
def test_two_processes_think_the_same_of_tiles_as_one(
    cohort: tuple[Path, Path], tmp_path: Path
) -> None:
    """torchrun starts the two; the command line is the same."""
    more: dict[str, object] = {"epochs": 4, "dropout": 0.0, "patience": 9}
    train_weak(*cohort, tmp_path / "1.pt", config(**more), CPU)
    torchrun = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "pipelines",
    ]  # fmt: skip
    line = ["train", "weak", cohort[0], "--labels", cohort[1], "--out", tmp_path / "2.pt"]
    done = subprocess.run(
        [*torchrun, *map(str, line), "--device", "cpu", *settings(**more)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("12 slides train") == 1  # one of them speaks
    states = [load_state(tmp_path / f"{num}.run" / "checkpoint.pt") for num in (1, 2)]
    scores = [state["update"]["memory"]["scores"].numpy() for state in states]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert scores[0].min() < 0.9


@pytest.mark.slow
def test_processes_whose_slides_are_of_one_grade(cohort: tuple[Path, Path], tmp_path: Path) -> None:
    features, manifest = cohort
    labels = tmp_path / "slides.csv"
    labels.write_text(manifest.read_text().replace("adenoma", "carcinoma"))
    line = ["train", "weak", features, "--labels", labels, "--out", tmp_path / "m.pt"]
    more = settings(epochs=2, method="clam-mb", slides_per_step=2)  # one slide, one grade each
    done = subprocess.run(
        [*PATHOLOGY, *map(str, line), "--device", "cpu", "--devices", "2", *more],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert load_classifier(tmp_path / "m.pt")[0].grades == ("healthy", "carcinoma")


def test_processes_have_as_many_slides_each(cohort: tuple[Path, Path], tmp_path: Path) -> None:
    """Else each slide of a smaller share would count more than in one process."""
    options = WeakOptions(device="cpu", num_devices=4)
    with pytest.raises(ConfigError, match=r"slides_per_step=6: 4 processes.*slides_per_step=8"):
        train_weak(*cohort, tmp_path / "m.pt", config(slides_per_step=6), options)


def test_tensorboard_is_told_every_step(cohort: tuple[Path, Path], tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = WeakOptions(device="cpu", tensorboard=True)
    train_weak(*cohort, tmp_path / "m.pt", config(epochs=1, patience=1), options)
    events = accumulator.EventAccumulator(str(tmp_path / "m.run" / "tensorboard"))
    events.Reload()
    seen = [event.value for event in events.Scalars("upper")]
    (row,) = read_metrics(tmp_path / "m.run" / "metrics.jsonl")
    assert len(seen) == row["step"]
    assert np.mean(seen) == pytest.approx(row["upper"], abs=1e-5)


def test_a_finished_training_is_not_repeated(cohort: tuple[Path, Path], tmp_path: Path) -> None:
    said: list[str] = []
    first = train_weak(*cohort, tmp_path / "m.pt", config(patience=1), CPU)
    again = train_weak(*cohort, tmp_path / "m.pt", config(patience=1), CPU, say=said.append)
    assert again == first
    assert any("went on from step" in line for line in said)


def test_what_cannot_be_trained_on_is_named(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a", 12)
    text, out = manifest.read_text(), tmp_path / "m.pt"

    def refused(changed: str, error: type[Exception], said: str, **more: object) -> None:
        manifest.write_text(changed)
        with pytest.raises(error, match=said):
            train_weak(features, manifest, out, config(**more), CPU)
        assert not out.exists()

    refused(text, ConfigError, "'carcinoma' is not among", grades=("healthy", "adenoma"))
    refused(text.replace("adenoma", "odd"), ConfigError, "which of the labels")
    one_label = text.replace("adenoma", "healthy").replace("carcinoma", "healthy")
    refused(one_label, ConfigError, "needs two grades")
    refused(text.replace("s0", "x0").replace("s1", "x1"), ArtifactError, "in common")
    refused(text.replace("c03,", "c00,").replace("c06,", "c00,"), ManifestError, "'c00'")
    with pytest.raises(ArtifactError, match="no such file"):
        train_weak(tmp_path / "no", manifest, out, config(), CPU)


def test_slides_that_do_not_fit_are_lines(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a", 15)
    text = manifest.read_text()
    manifest.write_text(text.replace("s01,c01,adenoma", "s01,c01,").replace("s02,c02", "t02,c02"))
    found = read_features(features / "s04.h5")
    broken = found.features_NF.copy()
    broken[3:5, 0] = np.nan
    write_features(features / "s04.h5", broken, found.l0_xy, {"encoder": "toy"}, {})  # type: ignore[arg-type]
    (features / "s05.h5").write_bytes(b"no hdf5")
    said: list[str] = []
    train_weak(features, manifest, tmp_path / "m.pt", config(epochs=1), CPU, say=said.append)
    text = "\n".join(said)
    for line in (
        "s02", "have no label", "have a label but no tiles", "t02",
        "2 of ", "no numbers", "s05: ", "not a readable",
    ):  # fmt: skip
        assert line in text, line


def test_features_of_two_encoders_are_not_mixed(tmp_path: Path) -> None:
    features, manifest = write_cohort(tmp_path / "a", 12)
    found = read_features(features / "s03.h5")
    write_features(features / "s03.h5", found.features_NF, found.l0_xy, {"encoder": "other"}, {})  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=r"s03 is not as s00: encoder is 'other'"):
        train_weak(features, manifest, tmp_path / "m.pt", config(), CPU)
    write_features(
        features / "s03.h5", found.features_NF, found.l0_xy,  # type: ignore[arg-type]
        {"encoder": "toy"}, {"achieved_mpp": 0.25, "tile_size_px": 256},
    )  # fmt: skip
    with pytest.raises(ContractError, match=r"0\.25 um/px, expected 0\.5"):
        train_weak(features, manifest, tmp_path / "m.pt", config(), CPU)


def test_splits_as_a_command_and_a_training_on_one(
    cohort: tuple[Path, Path], tmp_path: Path
) -> None:
    features, manifest = cohort
    done = pathology("splits", manifest, "--folds", 3, "--out", tmp_path / "splits")
    assert done.returncode == 0, done.stderr
    assert "fold 2, 8 train, 8 val, 8 test" in done.stdout
    assert "marks test are split like the others, and will train, too" in done.stdout
    again = pathology("splits", manifest, "--folds", 4, "--out", tmp_path / "splits")
    assert "are removed" not in again.stdout
    again = pathology("splits", manifest, "--folds", 3, "--out", tmp_path / "splits")
    assert "3 files of more splits are removed" in again.stdout
    done = pathology("splits", manifest, "--leave-centres-out", "--out", tmp_path / "centres")
    assert "centre centre1" in done.stdout
    said: list[str] = []
    options = WeakOptions(device="cpu", splits=tmp_path / "splits" / "splits_1.csv")
    train_weak(features, manifest, tmp_path / "m.pt", config(epochs=1), options, say=said.append)
    assert "8 slides train, 8 choose, 8 are left out" in said
