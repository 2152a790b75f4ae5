"""Training and predicting on the pixels of real stores, the encoder with the rest; the oracle."""

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.core.errors import ArtifactError, ConfigError
from pathology.models.card import ContractError, load_classifier
from pathology.models.encoder import Encoder, make_encoder
from pathology.models.onnx_encoder import OnnxEncoder
from pathology.weak.config import WeakConfig
from pathology.weak.network import BagClassifier, bag_network
from pathology.weak.predict import SlideScores, score_slide
from pipelines.features import FeatureConfig, FeatureOptions, extract_features
from pipelines.predict import predict
from pipelines.weak_data import BlockReader
from pipelines.weak_scores import score_slides
from pipelines.weak_start import start_from
from pipelines.weak_train import WeakOptions, train_weak
from tests.in_process import pathology
from tests.pipelines.small_encoder import SMALLEST, moved_layers, write_weights
from tests.pipelines.small_run import SETTINGS, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_run(tmp_path_factory.mktemp("pixels"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "small.pt", name=SMALLEST)


def train(run: tuple[Path, Path], out: Path, weights: Path, **more: object) -> None:
    config = WeakConfig.model_validate({**SETTINGS, **more})
    train_weak(*run, out, config, WeakOptions(device="cpu", weights=weights))


def require_close(found: list[str], wanted: list[str]) -> None:
    """Tables of the same tiles and probabilities; other tiles in a block may round otherwise."""
    assert len(found) == len(wanted) and found[0] == wanted[0]
    for line, other in zip(found[1:], wanted[1:], strict=True):
        (*place, one, two), (*same, three, four) = line.split(","), other.split(",")
        assert place == same
        assert [float(one), float(two)] == pytest.approx([float(three), float(four)], abs=1e-5)


def test_the_encoder_is_trained_and_travels_with_the_model(
    run: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    train(run, tmp_path / "m.pt", weights)
    card, state = load_classifier(tmp_path / "m.pt")
    assert card.has_encoder
    assert (card.tiles.encoder, card.tiles.encoder_px, card.tiles.size_px) == (SMALLEST, 64, 128)
    before = torch.load(weights, weights_only=True)
    moved = [
        name
        for name, value in before.items()
        if not torch.equal(value, state[f"encoder.network.{name}"])
    ]
    assert len(moved) > 10
    said: list[str] = []
    # without the file of weights
    found = predict(tmp_path / "m.pt", run[0], tmp_path / "p.csv", say=said.append)
    assert {grade.grade for grade in found} <= {"benign", "malignant"}
    assert not any(grade.problem for grade in found)
    spent = json.loads((tmp_path / "p.run.json").read_text())["seconds"]
    assert spent["num_tiles"] == sum(grade.num_tiles for grade in found)
    assert min(spent["read"], spent["transform"], spent["network"]) > 0
    assert "tiles/s: read" in said[0]
    features = tmp_path / "features"
    extract_features(
        run[0], features, FeatureConfig(encoder=SMALLEST, size_px=64),
        FeatureOptions(weights=weights),
    )  # fmt: skip
    with pytest.raises(ContractError, match="the encoder's weights are"):
        predict(tmp_path / "m.pt", features, tmp_path / "q.csv")  # of the encoder before training


def test_other_weights_of_the_encoder_are_another_training(
    run: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    other = write_weights(tmp_path / "other.pt", seed=1, name=SMALLEST)
    for name, given in (("m", weights), ("m", other), ("fresh", other)):
        train(run, tmp_path / f"{name}.pt", given, epochs=1)
    (card, state), (wanted, tensors) = (
        load_classifier(tmp_path / f"{name}.pt") for name in ("m", "fresh")
    )
    assert card.tiles.weights == wanted.tiles.weights
    assert all(torch.equal(value, tensors[key]) for key, value in state.items())


def test_a_store_that_breaks_costs_itself_and_not_its_neighbours(
    run: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    train(run, tmp_path / "m.pt", weights, epochs=1)
    predict(tmp_path / "m.pt", run[0], tmp_path / "whole.csv")
    shutil.copytree(run[0], tmp_path / "run")
    for shard in (tmp_path / "run" / "tiles" / "s3.zarr" / "pixels").rglob("*"):
        if shard.is_file() and shard.name != "zarr.json":
            shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    found = predict(tmp_path / "m.pt", tmp_path / "run", tmp_path / "p.csv")
    assert [grade.slide_id for grade in found if grade.problem] == ["s3"]
    whole = (tmp_path / "whole.csv").read_text().splitlines()
    left = [row for row in whole if not row.startswith("s3,")]
    require_close((tmp_path / "p.csv").read_text().splitlines(), left)


def test_whole_slides_are_tiled_as_the_model_wants(
    run: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    train(run, tmp_path / "m.pt", weights, epochs=1)
    predict(tmp_path / "m.pt", run[0], tmp_path / "from_run.csv")
    words = ["predict", tmp_path / "m.pt"]
    one = [*words, run[1].parent / "s3.tif", "--out", tmp_path / "one.csv", "--device", "cpu"]
    done = pathology(*one)
    assert done.returncode == 0, done.stderr
    wanted = [
        row
        for row in (tmp_path / "from_run.csv").read_text().splitlines()
        if row.startswith(("slide_id", "s3,"))
    ]
    require_close((tmp_path / "one.csv").read_text().splitlines(), wanted)
    (tmp_path / "two").mkdir()
    shutil.copy(run[1].parent / "s4.tif", tmp_path / "two")
    (tmp_path / "two" / "broken.tif").write_bytes(b"II*")
    two = [*words, tmp_path / "two", "--out", tmp_path / "one.csv", "--device", "cpu"]
    done = pathology(*two)
    assert done.returncode == 1, done.stderr
    rows = list(csv.DictReader((tmp_path / "one.slides.csv").read_text().splitlines()))
    assert sorted((row["slide_id"], bool(row["grade"])) for row in rows) == [
        ("broken", False), ("s4", True),  # and not s3, whose tiles are still there
    ]  # fmt: skip
    none = [*words, tmp_path / "two" / "broken.tif", "--out", tmp_path / "none.csv"]
    done = pathology(*none)
    assert done.returncode and "none of its slides has tiles" in done.stderr
    assert "neither OpenSlide" in next(r["problem"] for r in rows if r["slide_id"] == "broken")


def test_a_frozen_encoder_stays_as_it_was(
    run: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    train(run, tmp_path / "m.pt", weights, encoder_rate=0, epochs=1)
    _, state = load_classifier(tmp_path / "m.pt")
    before = torch.load(weights, weights_only=True)
    for name, value in before.items():
        assert torch.equal(value, state[f"encoder.network.{name}"]), name


def test_only_the_last_blocks_of_an_encoder_learn(
    run: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    train(run, tmp_path / "m.pt", weights, encoder_blocks=1, epochs=1)
    _, state = load_classifier(tmp_path / "m.pt")
    assert moved_layers(weights, state) == {"layer4"}


def test_a_training_starts_from_the_head_of_features(
    run: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    features = tmp_path / "features"
    extract_features(
        run[0], features, FeatureConfig(encoder=SMALLEST, size_px=64),
        FeatureOptions(weights=weights),
    )  # fmt: skip
    head = WeakConfig.model_validate(SETTINGS | {"epochs": 3})
    train_weak(features, run[1], tmp_path / "head.pt", head, WeakOptions(device="cpu"))
    config = WeakConfig.model_validate(
        SETTINGS | {"epochs": 1, "encoder_rate": 0, "learning_rate": 1e-9}
    )
    options = WeakOptions(device="cpu", weights=weights, start=tmp_path / "head.pt")
    train_weak(*run, tmp_path / "m.pt", config, options)
    predict(tmp_path / "head.pt", features, tmp_path / "head.csv")
    predict(tmp_path / "m.pt", run[0], tmp_path / "m.csv")
    one, other = (
        np.loadtxt(tmp_path / f"{name}.csv", delimiter=",", skiprows=1, usecols=(4, 5))
        for name in ("head", "m")
    )
    assert np.abs(one - other).max() < 1e-3
    assert one.std() > 1e-3  # or all would agree with all
    for change, said in (
        ({"width": 8}, "is another one"),
        ({"method": "abmil"}, "a model of a like method and width"),
        ({"grades": ["malignant", "benign"]}, "the same grades in the same order"),
    ):
        other_config = WeakConfig.model_validate(config.model_dump() | change)
        with pytest.raises(ConfigError, match=said):
            train_weak(
                *run, tmp_path / "n.pt", other_config,
                WeakOptions(device="cpu", start=tmp_path / "head.pt", weights=weights),
            )  # fmt: skip
    assert not (tmp_path / "n.pt").exists()
    grades = ("benign", "malignant")
    stranger = make_encoder("resnet18", is_pretrained=False)
    named = WeakConfig.model_validate(SETTINGS | {"grades": grades})
    with pytest.raises(ConfigError, match=f"Set encoder={SMALLEST}"):
        start_from(BagClassifier(bag_network(named, 512), stranger), tmp_path / "head.pt", grades)


def test_the_oracle_learns_from_maps_of_grades(
    run: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    train(run, tmp_path / "m.pt", weights, method="oracle", epochs=8, learning_rate=0.01)
    predict(tmp_path / "m.pt", run[0], tmp_path / "p.csv")
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    dark = [
        float(r["prob_malignant"]) for r in rows if r["slide_id"] == "s7" and int(r["l0_x"]) < 256
    ]
    light = [float(r["prob_malignant"]) for r in rows if r["slide_id"] == "s6"]
    assert np.mean(dark) > np.mean(light) + 0.2
    manifest = tmp_path / "labels.csv"
    manifest.write_text(run[1].read_text().replace("truth_path", "other"))
    config = WeakConfig.model_validate({**SETTINGS, "method": "oracle"})
    with pytest.raises(ArtifactError, match="truth_path"):
        train_weak(run[0], manifest, tmp_path / "n.pt", config, WeakOptions(device="cpu"))


def test_tiles_are_seen_once_by_what_does_not_learn(
    run: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[tuple[int, list[SlideScores]]] = []
    seen: list[int] = []
    first_rows = Encoder.first_rows

    def counted(self: Encoder, tiles: torch.Tensor) -> torch.Tensor:
        seen.append(len(tiles))
        return first_rows(self, tiles)

    def both(
        model: BagClassifier, reader: BlockReader, slides: Sequence[int]
    ) -> Iterator[tuple[int, SlideScores]]:
        found = list(score_slides(model, reader, slides))
        assert isinstance(model.encoder, Encoder)
        whole = BagClassifier(model.bag, OnnxEncoder(deepcopy(model.encoder)))
        for slide, scores in found:
            plain = score_slide(whole, reader(reader.tiles.table.rows(slide)))
            np.testing.assert_allclose(scores.tile_NC, plain.tile_NC, atol=1e-4)
        rounds.append((len(seen), [scores for _, scores in found]))
        return iter(found)

    monkeypatch.setattr(Encoder, "first_rows", counted)
    for module in ("pipelines.weak_training", "pipelines.weak_scores"):
        monkeypatch.setattr(f"{module}.score_slides", both)
    train(run, tmp_path / "m.pt", weights, encoder_blocks=1, epochs=3, method="rce")
    sizes = [sum(len(scores.tile_NC) for scores in found) for _, found in rounds]
    assert sum(seen) == sum(set(sizes)) < sum(sizes), "train and val, once each"
    first, last = (found[0].tile_NC for _, found in (rounds[0], rounds[-1]))
    assert not np.array_equal(first, last), "what learns was kept, too"
