"""`pathology train adapt` as users run it, on pictures of two domains."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.models.card import ContractError, load_classifier
from pathology.models.tile_head import TileHead
from pipelines import adapt_training
from pipelines.adapt_train import AdaptOptions, train_adapt
from pipelines.predict import predict
from pipelines.tile_for_model import CutOptions, tile_for_model
from tests.in_process import pathology
from tests.pipelines.adapt_cohort import (
    EDGE,
    NUM,
    SETTINGS,
    config,
    read_domains,
)


def test_as_a_command_and_its_model_predicts(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    source, target = domains
    out = tmp_path / "scope.pt"
    train = [
        "train", "adapt", "--source", source, "--target", target, "--out", out,
        "--weights", weights, "--device", "cpu", "--target-mpp", 0.5,
        *(w for k, v in {**SETTINGS, "steps": 200}.items() for w in ("--set", f"{k}={v}")),
    ]  # fmt: skip
    done = pathology(*train)
    assert done.returncode == 0, done.stderr
    assert "benign < malignant for camera by dman+mcc, research use only" in done.stdout
    assert "target accuracy" not in done.stdout  # it has no labels
    assert "target density" in done.stdout
    assert "by the source alone" in done.stdout
    card, state = load_classifier(out)
    assert (card.task, card.source, card.target) == ("adapt", "source.csv", "camera")
    assert (card.tiles.mpp, card.tiles.size_px, card.tiles.encoder) == (0.5, EDGE, "resnet10t")
    assert {name.split(".")[0] for name in state} == {"bag"}
    assert card.metrics["share_0"] + card.metrics["share_1"] == pytest.approx(1)
    assert 0.2 <= card.metrics["temperature"] <= 20
    assert sorted(p.name for p in (tmp_path / "scope.run").iterdir()) == [
        "checkpoint.pt", "curves.png", "differences.png", "domains.png", "metrics.jsonl",
        "run.json", "source_only",
    ]  # fmt: skip
    done = pathology(
        "predict", out, target, "--out", tmp_path / "p.csv", "--weights", weights,
        "--assume-mpp", 0.5, "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert len(rows) == NUM
    right = [
        (float(row["prob_malignant"]) > 0.5) == (int(row["slide_id"][1:]) % 2 == 1) for row in rows
    ]
    assert np.mean(right) >= 0.9


def test_stopped_and_gone_on_with_to_the_same_model(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapt_training, "KEEP_EVERY", 60)
    long = config(steps=90)
    read = read_domains(*domains, long, AdaptOptions(device="cpu", weights=weights))
    train_adapt(read, tmp_path / "whole.pt", long)

    def stop(step: int, values: dict[str, float]) -> None:
        if step == 75:  # after the checkpoint of step 60
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapt(read, tmp_path / "part.pt", long, on_step=stop)
    assert not (tmp_path / "part.pt").exists()
    said: list[str] = []
    train_adapt(read, tmp_path / "part.pt", long, say=said.append)
    assert "went on from step 60 of an earlier run" in said
    one, other = (load_classifier(tmp_path / f"{name}.pt") for name in ("whole", "part"))
    assert one[0] == other[0]
    for name, value in one[1].items():
        assert (value == other[1][name]).all()


def test_a_model_refuses_tiles_of_another_size(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    plain = config(method="source")
    read = read_domains(*domains, plain, AdaptOptions(device="cpu", weights=weights))
    train_adapt(read, tmp_path / "m.pt", plain)
    tile_for_model(tmp_path / "m.pt", domains[1], CutOptions(tmp_path / "run", assume_mpp=0.5))
    grades = predict(tmp_path / "m.pt", tmp_path / "run", tmp_path / "p.csv", weights=weights)
    assert len(grades) == NUM
    small = config(size_px=32, method="source")
    read = read_domains(*domains, small, AdaptOptions(device="cpu", weights=weights))
    train_adapt(read, tmp_path / "small.pt", small)
    with pytest.raises(ContractError, match="tiles have 64 px, expected 32"):
        predict(tmp_path / "small.pt", tmp_path / "run", tmp_path / "q.csv", weights=weights)


def test_two_peers_predict_by_their_mean(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    out, options = tmp_path / "peers.pt", AdaptOptions(device="cpu", weights=weights)
    read = read_domains(*domains, config(), options)
    card = train_adapt(
        read, out, config(method="couda", steps=120, terms={"diversity": 1}), options
    )
    assert card.method == "couda" and card.metrics["target_entropy"] < 0.6
    weights_of = load_classifier(out)[1]
    each = []
    for peer in ("one", "other"):
        start = f"bag.{peer}."
        head = TileHead(read.tiles.num_features, 2, 16, 0.0)
        head.load_state_dict(
            {n.removeprefix(start): v for n, v in weights_of.items() if n.startswith(start)}
        )
        features = torch.from_numpy(np.asarray(read.target.read(slice(None)), np.float32))
        each.append(head(features).softmax(dim=1)[:, 1].detach().numpy())
    tile_for_model(out, domains[1], CutOptions(tmp_path / "run", assume_mpp=0.5))
    predict(out, tmp_path / "run", tmp_path / "p.csv", weights=weights)
    rows = csv.DictReader((tmp_path / "p.csv").read_text().splitlines())
    found = {row["slide_id"]: float(row["prob_malignant"]) for row in rows}
    wanted = dict(zip(read.target.slide_ids, (each[0] + each[1]) / 2, strict=True))
    assert found == pytest.approx(wanted, abs=5e-3)  # tiles are stored as JPEG
    assert np.abs(each[0] - each[1]).max() > 0.02


@pytest.mark.parametrize("option", ["--mpp", "--target-mpp"])
@pytest.mark.parametrize("value", ["-1", "0", "nan", "500"])
def test_a_resolution_that_no_microscope_has_is_refused(
    domains: tuple[Path, Path], tmp_path: Path, option: str, value: str
) -> None:
    source, target = domains
    done = pathology(
        "train", "adapt", "--source", source, "--target", target, "--out", tmp_path / "m.pt",
        f"{option}={value}",
    )  # fmt: skip
    most = 100 if option == "--mpp" else 10  # tiles may be coarser than any scan
    assert (done.returncode, done.stderr) == (
        2, f"ConfigError: {option} {value}: must lie in 0.02-{most} um/px\n",
    )  # fmt: skip
    assert not any(tmp_path.iterdir())
