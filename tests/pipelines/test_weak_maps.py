"""The last blocks of an encoder learn from maps that its first part made once, as from pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.core.errors import ConfigError
from pathology.models.card import ContractError, load_classifier
from pathology.models.encoder import make_encoder
from pathology.weak.config import WeakConfig
from pipelines.features import FeatureConfig, FeatureOptions, extract_features
from pipelines.predict import predict
from pipelines.weak_data import FeatureTiles
from pipelines.weak_train import WeakOptions, train_weak
from tests.in_process import pathology
from tests.pipelines.small_encoder import SMALLEST, moved_layers, write_weights
from tests.pipelines.small_run import SETTINGS, write_run

Run = tuple[Path, Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("pixels"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "w.pt", name=SMALLEST)


@pytest.fixture(scope="module")
def maps(run: Run, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("maps") / "maps"
    words = ["features", run[0], "--encoder", SMALLEST, "--weights", weights, "--out", out,
             "--set", "size_px=64", "--augmented", "2", "--blocks-left", "1"]  # fmt: skip
    done = pathology(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "run.json").read_text())["engine"] == "onnxruntime"
    return out


def settings(**more: object) -> WeakConfig:
    return WeakConfig.model_validate(SETTINGS | {"tile_px": None, "epochs": 3} | more)


def probabilities(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", skiprows=1, usecols=(4, 5))


def test_the_last_blocks_learn_and_the_model_reads_pixels(
    run: Run,
    maps: Path,
    weights: Path,
    tmp_path: Path,
) -> None:
    options = WeakOptions(device="cpu", weights=weights)
    train_weak(maps, run[1], tmp_path / "m.pt", settings(), options)
    card, state = load_classifier(tmp_path / "m.pt")
    assert card.has_encoder and card.tiles.blocks_left == 1
    assert moved_layers(weights, state) == {"layer4"}
    assert not list((tmp_path / "m.run").glob("*.npy")), "copies of the maps stay behind"
    grades = predict(tmp_path / "m.pt", run[0], tmp_path / "pixels.csv")
    assert not any(grade.problem for grade in grades)
    predict(tmp_path / "m.pt", maps, tmp_path / "maps.csv")
    np.testing.assert_allclose(
        probabilities(tmp_path / "maps.csv"), probabilities(tmp_path / "pixels.csv"), atol=5e-3
    )
    epochs = (tmp_path / "m.run" / "epochs.jsonl").read_text().splitlines()
    assert json.loads(epochs[-1])["validation"] > 0.9


def test_a_stopped_training_goes_on_to_the_same_weights(
    run: Run,
    maps: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = WeakOptions(device="cpu", weights=weights)
    train_weak(maps, run[1], tmp_path / "whole.pt", settings(), options)
    draw = FeatureTiles.draw
    asked: list[int] = []

    def stopped(self: FeatureTiles, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        asked.append(1)
        if len(asked) > 5:
            raise KeyboardInterrupt
        return draw(self, rows, random)

    with monkeypatch.context() as patch:
        patch.setattr(FeatureTiles, "draw", stopped)
        with pytest.raises(KeyboardInterrupt):
            train_weak(maps, run[1], tmp_path / "part.pt", settings(), options)
    lines: list[str] = []
    train_weak(maps, run[1], tmp_path / "part.pt", settings(), options, say=lines.append)
    assert any("went on from step" in line for line in lines)
    one, other = (load_classifier(tmp_path / f"{name}.pt")[1] for name in ("whole", "part"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_other_weights_blocks_and_features_are_refused(
    run: Run,
    maps: Path,
    weights: Path,
    tmp_path: Path,
) -> None:
    out, told = tmp_path / "m.pt", WeakOptions(device="cpu", weights=weights)
    torch.manual_seed(5)
    other = tmp_path / "other.pt"
    torch.save(make_encoder(SMALLEST, is_pretrained=False).network.state_dict(), other)
    with pytest.raises(ContractError, match="weights are"):
        train_weak(maps, run[1], out, settings(), WeakOptions(device="cpu", weights=other))
    with pytest.raises(ConfigError, match="--blocks-left 2"):
        train_weak(maps, run[1], out, settings(encoder_blocks=2), told)
    whole = FeatureConfig(encoder=SMALLEST, size_px=64)
    extract_features(run[0], tmp_path / "f", whole, FeatureOptions(weights=weights))
    train_weak(tmp_path / "f", run[1], tmp_path / "head.pt", settings(epochs=1), told)
    with pytest.raises(ContractError, match="last 1 blocks are left out, expected 0"):
        predict(tmp_path / "head.pt", maps, tmp_path / "p.csv")
    train_weak(maps, run[1], out, settings(epochs=1), told)
    with pytest.raises(ContractError, match="last 0 blocks are left out, expected 1"):
        predict(out, tmp_path / "f", tmp_path / "p.csv")
    started = WeakOptions(device="cpu", weights=weights, start=tmp_path / "head.pt")
    train_weak(maps, run[1], tmp_path / "started.pt", settings(epochs=1), started)
    words = ["train", "adapt", "--source", maps, "--target", maps, "--out", tmp_path / "a.pt"]
    refused = pathology(*words)
    assert refused.returncode and "leave blocks of the encoder to learn" in refused.stderr


def test_an_encoder_that_cannot_be_cut_says_so(run: Run, tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "w.pt", name="test_vit2")
    config = FeatureConfig(encoder="test_vit2", size_px=64, blocks_left=1)
    with pytest.raises(ConfigError, match="cannot be cut before its last 1 blocks"):
        extract_features(run[0], tmp_path / "m", config, FeatureOptions(weights=weights))
