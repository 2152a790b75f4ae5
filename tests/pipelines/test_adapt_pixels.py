"""`pathology train adapt` on pixels, the encoder with the rest, on pictures of two domains."""

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.adapt import step as adapt_step
from pathology.adapt.balance import PSEUDO_TILES
from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import TARGET
from pathology.core.errors import ConfigError
from pathology.models.card import load_classifier
from pathology.models.encode import to_images
from pipelines import adapt_training
from pipelines.adapt_domains import AdaptOptions, Domains, read_domains
from pipelines.adapt_look import Looker
from pipelines.adapt_train import train_adapt
from pipelines.adapt_training import train_on
from pipelines.classifier import load_for_use
from pipelines.input_kinds import look_at
from pipelines.predict import predict
from pipelines.tile_for_model import CutOptions, tile_for_model
from tests.in_process import PATHOLOGY, pathology
from tests.pipelines.adapt_cohort import NUM, write_manifest
from tests.pipelines.small_encoder import SMALLEST, write_weights

SETTINGS = {
    "encoder": SMALLEST, "size_px": 64, "tile_px": 32, "steps": 10, "batch_size": 4,
    "width": 16, "judge_width": 16, "encoder_rate": 0.1, "learning_rate": 0.003,
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "small.pt", name=SMALLEST)


def config(**more: object) -> AdaptConfig:
    return AdaptConfig.model_validate({**SETTINGS, **more})


def read(
    domains: tuple[Path, Path], settings: AdaptConfig, options: AdaptOptions, folder: Path
) -> Domains:
    one, other = map(look_at, domains)
    return read_domains(one, other, settings, options, folder)


def train(
    domains: tuple[Path, Path], weights: Path | None, out: Path, *, start: Path | None = None,
    **more: object,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Train, and return the weights in the file."""
    settings, options = config(**more), AdaptOptions(device="cpu", weights=weights, start=start)
    given = read(domains, settings, options, out.with_name(f"{out.stem}.run"))
    train_adapt(given, out, settings, options)
    return load_classifier(out)[1]


def encoder_weights(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start = "encoder.network."
    return {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}


def test_as_a_command_and_its_model_predicts_without_other_weights(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "all.pt"
    settings = {**SETTINGS, "steps": 40, "terms": "{masked: 1.0}", "clip": 5.0}
    command = [
        *PATHOLOGY, "train", "adapt", "--source", domains[0], "--target", domains[1], "--out", out,
        "--weights", weights, "--device", "cpu", "--target-mpp", 0.5, "--precision", "32",
        "--devices", 2,
        *(w for k, v in settings.items() for w in ("--set", f"{k}={v}")),
    ]  # fmt: skip
    done = subprocess.run([str(w) for w in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("by dman+mcc, research use only") == 1  # one of two processes speaks
    assert "by the source alone" in done.stdout
    assert sorted(p.name for p in (tmp_path / "all.run").iterdir()) == [
        "checkpoint.pt", "curves.png", "differences.png", "domains.png", "metrics.jsonl",
        "run.json", "source_only",
    ]  # fmt: skip
    lines = (tmp_path / "all.run" / "metrics.jsonl").read_text()
    assert '"masked"' in lines and '"adversary"' in lines
    card, state = load_classifier(out)
    assert card.has_encoder and card.task == "adapt"
    assert (card.tiles.encoder_px, card.tiles.size_px) == (32, 64)
    moved = {
        name.split(".")[0]
        for name, value in torch.load(weights, weights_only=True).items()
        if not torch.equal(value, encoder_weights(state)[name])
    }
    assert moved == {"layer4"}
    done = pathology(
        "predict", out, domains[1], "--out", tmp_path / "p.csv", "--assume-mpp", 0.5,
        "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    right = [
        (float(row["prob_malignant"]) > 0.5) == (int(row["slide_id"][1:]) % 2 == 1) for row in rows
    ]
    assert len(rows) == NUM and np.mean(right) >= 0.9


@pytest.mark.parametrize("batch_norm", ["frozen", "shared", "separate", "adapted"])
def test_statistics_are_those_that_were_asked_for(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, batch_norm: str
) -> None:
    settings = config(batch_norm=batch_norm, steps=12)
    options = AdaptOptions(device="cpu", weights=weights)
    given = read(domains, settings, options, tmp_path)
    model = train_on(given, settings, options, tmp_path / "run")
    assert model.encoder is not None
    before = torch.load(weights, weights_only=True)
    after = model.encoder.network.state_dict()
    name = "layer4.0.bn1.running_mean"
    assert torch.equal(after[name], before[name]) == (batch_norm == "frozen")
    early = "layer1.0.bn1.running_mean"
    assert torch.equal(after[early], before[early])
    count = int(after["layer4.0.bn1.num_batches_tracked"])
    batches = {"frozen": 0, "shared": 12, "separate": 24, "adapted": 24}
    assert count == batches[batch_norm]  # copied, not averaged
    own, has_two = "layer4.0.bn1.source_mean", batch_norm in ("separate", "adapted")
    assert (own in after) == has_two
    if has_two:
        assert not torch.allclose(after[name], after[own])
    look = Looker(model, settings)
    one, other = (look(given.target, domain) for domain in (0, 1))
    assert np.allclose(one, other) == (not has_two)


@pytest.mark.parametrize("augmented", [0, 2])
@pytest.mark.parametrize("method", ["adabn", "dman"])
def test_adapted_statistics_are_those_of_the_targets_tiles(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, method: str, augmented: int
) -> None:
    """Computed layer by layer, leaning on the source's as few tiles do; from pixels or maps."""
    settings = config(batch_norm="adapted", steps=12, method=method, augmented=augmented)
    options = AdaptOptions(device="cpu", weights=weights)
    given = read(domains, settings, options, tmp_path)
    model = train_on(given, settings, options, tmp_path / "run")
    assert model.encoder is not None and len(given.target) == NUM
    before, seen = torch.load(weights, weights_only=True), {}
    norms = {n: m for n, m in model.encoder.network.named_modules() if hasattr(m, "source_var")}
    for name, norm in norms.items():
        norm.register_forward_pre_hook(lambda _, x, name=name: seen.update({name: x[0]}))
    Looker(model, settings)(given.target, TARGET) if augmented else model.features(
        to_images(np.asarray(given.target.read(slice(None))), size_px=32), TARGET
    )
    share = NUM / (NUM + PSEUDO_TILES)
    assert len(norms) == len(seen) == 3
    for name, norm in norms.items():
        var, mean = torch.var_mean(seen[name].detach(), dim=(0, 2, 3), correction=0)
        wanted = torch.lerp(norm.source_mean, mean, share), torch.lerp(norm.source_var, var, share)
        assert torch.allclose(norm.running_mean, wanted[0], atol=2e-3), name  # maps are float16
        assert torch.allclose(norm.running_var, wanted[1], rtol=5e-3), name
        count = int(norm.num_batches_tracked)
        assert count == (12 if method == "adabn" else 24)  # the target is passed if it teaches
        assert not torch.equal(norm.source_mean, before[f"{name}.running_mean"])


@pytest.mark.parametrize(
    ("method", "batch_norm"), [("dman", "separate"), ("couda", "separate"), ("adabn", "adapted")]
)
def test_the_targets_statistics_are_what_predict_uses(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, method: str, batch_norm: str
) -> None:
    """The file's probabilities are those of the averaged network on the target, calibrated."""
    settings = config(batch_norm=batch_norm, steps=12, method=method)
    options = AdaptOptions(device="cpu", weights=weights, target_mpp=0.5)
    given = read(domains, settings, options, tmp_path / "m.run")
    train_adapt(given, tmp_path / "m.pt", settings, options)
    card, state = load_classifier(tmp_path / "m.pt")
    assert not any("source_" in name for name in state)
    again = read(domains, settings, options, tmp_path / "m.run")
    settings = AdaptConfig.model_validate(settings.model_dump() | {"classes": again.classes})
    model = train_on(again, settings, options, tmp_path / "m.run")  # from its last checkpoint
    model.head.cool(card.metrics["temperature"])
    with torch.inference_mode():
        features = torch.from_numpy(Looker(model, settings)(again.target, 1))
        wanted = model.classify(features, 1).logits_BC.softmax(dim=1)[:, 1].numpy()
    used = load_for_use(tmp_path / "m.pt").model
    tiles = to_images(np.asarray(again.target.read(slice(None))), size_px=settings.tile_px)
    with torch.inference_mode():
        found = used(tiles[None]).tile_BNC[0].softmax(dim=1)[:, 1].numpy()
    assert np.allclose(found, wanted, atol=1e-4)
    assert wanted.std() > 1e-4
    source = torch.from_numpy(Looker(model, settings)(again.target, 0))
    assert not np.allclose(source.numpy(), features.numpy(), atol=1e-3)


@pytest.mark.parametrize("batch_norm", ["separate", "adapted"])
def test_stopped_and_gone_on_with_to_the_same_model(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    batch_norm: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(adapt_training, "KEEP_PIXELS_EVERY", 20)
    monkeypatch.setattr(adapt_step, "PIXEL_REBALANCE_EVERY", 12)
    terms = {"adversary": 0.1, "entropy": 0.1, "masked": 1.0}
    long = {"steps": 28, "batch_norm": batch_norm, "method": "source", "terms": terms,
            "batch_size": 2, "augment_scope": True, "normalization": "separate",
            "chosen_by": "last" if batch_norm == "separate" else "entropy"}  # fmt: skip
    settings, options = config(**long), AdaptOptions(device="cpu", weights=weights)
    given = read(domains, settings, options, tmp_path)
    train_adapt(given, tmp_path / "whole.pt", settings, options)
    given = read(domains, settings, options, tmp_path)

    def stop(step: int, values: dict[str, float]) -> None:
        if step == 22:  # after the checkpoint of step 20
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapt(given, tmp_path / "part.pt", settings, options, on_step=stop)
    assert (tmp_path / "source.npy").is_file()
    said: list[str] = []
    given = read(domains, settings, options, tmp_path)
    train_adapt(given, tmp_path / "part.pt", settings, options, say=said.append)
    assert "went on from step 20 of an earlier run" in said
    assert not list(tmp_path.glob("*.npy"))
    one, other = (load_classifier(tmp_path / f"{name}.pt") for name in ("whole", "part"))
    assert one[0] == other[0]
    for name, value in one[1].items():
        assert torch.equal(value, other[1][name]), name


def test_pixels_start_from_a_head_that_features_taught(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """With no rate to speak of, the second model answers as the first one does."""
    plain = {"method": "source", "normalization": "separate"}  # which has no twin
    train(domains, weights, tmp_path / "head.pt", encoder_rate=0.0, steps=100, **plain)
    still = {"learning_rate": 1e-9, "steps": 2, "dropout": 0.0, **plain}
    train(domains, weights, tmp_path / "all.pt", start=tmp_path / "head.pt", **still)
    train(domains, None, tmp_path / "more.pt", start=tmp_path / "all.pt", **still)
    card = load_classifier(tmp_path / "more.pt")[0]
    assert card.has_encoder
    train(domains, None, tmp_path / "back.pt", start=tmp_path / "all.pt", **still, encoder_rate=0.0)
    assert load_classifier(tmp_path / "back.pt")[0].has_encoder  # no other file has these weights
    tile_for_model(tmp_path / "all.pt", domains[1], CutOptions(tmp_path / "tiles", assume_mpp=0.5))
    found = {}
    for name in ("head", "all", "more", "back"):
        table = tmp_path / f"{name}.csv"
        predict(tmp_path / f"{name}.pt", tmp_path / "tiles", table, weights=weights)
        found[name] = np.loadtxt(table, delimiter=",", skiprows=1, usecols=(4, 5))
        # each is calibrated anew, which finds the temperature to 5 %
        assert np.abs(found[name] - found["head"]).max() < 1e-2
    assert found["head"].std() > 0.01


def test_a_start_that_does_not_fit_is_refused(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    head = tmp_path / "head.pt"
    train(domains, weights, head, encoder_rate=0.0)
    for change, other, said in (
        ({"width": 8}, weights, "heads, of the same width"),
        ({"classes": ["malignant", "benign"]}, weights, "the same classes in the same order"),
        ({}, write_weights(tmp_path / "other.pt", 1, SMALLEST), "Give those with --weights"),
    ):
        with pytest.raises(ConfigError, match=said):
            train(domains, other, tmp_path / "m.pt", start=head, **change)
    with pytest.raises(ConfigError, match="Set encoder=test_resnet"):
        train(domains, None, tmp_path / "m.pt", start=head, encoder="tf_efficientnet_lite0")


def test_precision_is_that_of_networks_alone(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    settings = config(method="dman+mic+sdat", steps=3)
    found = []
    for precision in ("32", "bf16"):
        options = AdaptOptions(device="cpu", weights=weights, precision=precision)
        given = read(domains, settings, options, tmp_path)
        model = train_on(given, settings, options, tmp_path / precision)
        assert all(value.dtype != torch.bfloat16 for value in model.state_dict().values())
        found.append(model.head.head.weight)
    assert not torch.equal(*found)
    assert torch.allclose(*found, atol=0.05)


def test_what_needs_pixels_says_so() -> None:
    with pytest.raises(ValueError, match="mic needs pixels: set encoder_rate"):
        AdaptConfig(method="dman+mic")
    with pytest.raises(ValueError, match="augment_scope needs pixels"):
        AdaptConfig(augment_scope=True)
    assert config(method="mic").is_target_seen and not config(method="source").is_target_seen


def test_the_oracle_learns_from_a_share_of_cases(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    labelled = write_manifest(tmp_path / "target.csv", domains[1])
    settings = config(method="target", target_share=0.01, encoder_rate=0.0)
    options = AdaptOptions(device="cpu", weights=weights)
    given = read((domains[0], labelled), settings, options, tmp_path)
    taught = given.taught(settings)
    assert sorted(given.target.label_N[taught].tolist()) == [0, 1]  # one of each class
    half = given.taught(settings.model_copy(update={"target_share": 0.5}))
    assert half.sum() == NUM // 2 and half[taught].all()
    card = train_adapt(given, tmp_path / "m.pt", settings, options)
    assert "target_accuracy" in card.metrics
