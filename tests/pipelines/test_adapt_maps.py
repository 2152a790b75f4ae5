"""`train adapt` where last blocks learn from maps of tiles that were varied before."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ArtifactError, ConfigError
from pathology.models.card import load_classifier
from pathology.models.encoder import Encoder
from pathology.training.loop import read_metrics
from pipelines import adapt_training
from pipelines.adapt_domains import AdaptOptions, Domains, read_domains
from pipelines.adapt_look import Looker
from pipelines.adapt_train import train_adapt
from pipelines.adapt_training import train_on
from pipelines.input_kinds import look_at
from tests.in_process import PATHOLOGY, pathology
from tests.pipelines.adapt_cohort import NUM
from tests.pipelines.small_encoder import SMALLEST, write_weights

SETTINGS = {
    "encoder": SMALLEST, "size_px": 64, "tile_px": 32, "steps": 12, "batch_size": 4,
    "width": 16, "judge_width": 16, "encoder_rate": 0.1, "learning_rate": 0.003,
}  # fmt: skip
STILL = {"stain": 0, "color": 0, "light": 0, "blur_px": 0, "scale": 0, "is_turned": False}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "small.pt", name=SMALLEST)


def config(**more: object) -> AdaptConfig:
    return AdaptConfig.model_validate({**SETTINGS, **more})


def read(domains: tuple[Path, Path], weights: Path, settings: AdaptConfig, folder: Path) -> Domains:
    one, other = map(look_at, domains)
    options = AdaptOptions(device="cpu", weights=weights)
    return read_domains(one, other, settings, options, folder)


@pytest.mark.parametrize(
    ("batch_norm", "method"),
    [
        ("frozen", "dman+mcc"),
        ("shared", "dman+mcc"),
        ("separate", "dman+mcc"),
        ("adapted", "dman+mcc"),
        (None, "adabn"),
        ("frozen", "mic"),
    ],
)
def test_maps_of_tiles_that_do_not_vary_teach_what_their_pixels_teach(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, batch_norm: str | None, method: str
) -> None:
    """But for half precision; and either classifier sees the same in both."""
    looks, models = [], []
    whole = {"mask_grid": 1, "mask_share": 0.0}  # of tiles that are hidden in part, too
    for augmented in (0, 2):
        settings = config(
            augmented=augmented, augment=STILL, batch_norm=batch_norm, method=method, **whole
        )
        given = read(domains, weights, settings, tmp_path / f"{augmented}")
        assert given.train.is_maps == (augmented > 0)
        options = AdaptOptions(device="cpu", weights=weights)
        model = train_on(given, settings, options, tmp_path / f"run{augmented}")
        looks.append([Looker(model, settings)(given.target, domain) for domain in (0, 1)])
        models.append(model.state_dict())
    moved = 0.0
    before = torch.load(weights, weights_only=True)
    for name, value in models[0].items():
        assert torch.allclose(value.float(), models[1][name].float(), atol=0.02), name
        start = before.get(name.removeprefix("encoder.network."))
        if start is not None and name.endswith("weight"):
            moved = max(moved, float((value - start).abs().max()))
    assert moved > 1e-3  # both learned
    assert np.allclose(*looks, atol=0.02)


def test_each_tile_is_kept_as_it_is_and_varied_alike_at_every_run(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    settings = config(augmented=3)
    given = read(domains, weights, settings, tmp_path / "one")
    rows = np.array(given.target.values)
    assert rows.shape[:2] == (NUM, 4) and rows.dtype == np.float16
    again = read(domains, weights, settings, tmp_path / "two")
    assert np.array_equal(rows, again.target.values) and given.digest == again.digest
    other = read(domains, weights, config(augmented=3, seed=1), tmp_path / "three").target.values
    assert np.array_equal(rows[:, 0], other[:, 0])
    assert not np.array_equal(rows[:, 1], other[:, 1])
    assert len({rows[0, k].tobytes() for k in range(4)}) == 4
    seen = read(domains, weights, config(augmented=3, augment_scope=True), tmp_path / "four")
    assert np.array_equal(seen.target.values, rows)  # the source alone is seen by a camera
    assert np.array_equal(seen.train.values[:, 0], given.train.values[:, 0])
    assert not np.array_equal(seen.train.values[:, 1], given.train.values[:, 1])


def test_the_targets_tiles_are_there_hidden_in_part_too_where_that_is_learned_of(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    plain = read(domains, weights, config(augmented=2, method="source"), tmp_path / "plain")
    rows = np.array(plain.target.values)
    for share, name in ((0.0, "all"), (0.5, "half"), (0.9999, "none")):
        settings = config(augmented=2, method="mic", mask_share=share)
        given = read(domains, weights, settings, tmp_path / name)
        assert given.train.values.shape[1] == 3  # the source is never hidden
        found = np.array(given.target.values)
        assert found.shape[:2] == (NUM, 6) and np.array_equal(found[:, :3], rows)
        is_same = (found[:, 3:] == rows).all(axis=2)
        assert is_same.all() if share == 0 else not is_same.any()
        gray = np.unique(found[:, 3:].reshape(3 * NUM, -1), axis=0)
        assert (len(gray) == 1) == (name == "none")  # all alike where nothing is shown
        train_on(given, settings, AdaptOptions(device="cpu"), tmp_path / f"{name}.run")
        steps = read_metrics(tmp_path / f"{name}.run" / "metrics.jsonl")
        assert steps[-1]["masked"] > 0


def test_as_a_command_in_two_processes_and_its_model_reads_pixels(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "all.pt"
    settings = {**SETTINGS, "steps": 60, "encoder_rate": 1, "augmented": 2}
    command = [
        *PATHOLOGY, "train", "adapt", "--source", domains[0], "--target", domains[1], "--out", out,
        "--weights", weights, "--device", "cpu", "--target-mpp", 0.5, "--devices", 2,
        *(w for k, v in settings.items() for w in ("--set", f"{k}={v}")),
    ]  # fmt: skip
    done = subprocess.run([str(w) for w in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "all.run").glob("*.npy"))
    assert (tmp_path / "all.run" / "differences.png").is_file()  # of tiles that were read anew
    card = load_classifier(out)[0]
    assert card.has_encoder and card.settings["augmented"] == 2
    done = pathology(
        "predict", out, domains[1], "--out", tmp_path / "p.csv", "--assume-mpp", 0.5,
        "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split(",") for line in (tmp_path / "p.csv").read_text().splitlines()[1:]]
    right = [(float(row[5]) > 0.5) == (int(row[0][1:]) % 2 == 1) for row in rows]
    assert len(rows) == NUM and np.mean(right) >= 0.9


@pytest.mark.parametrize("batch_norm", ["separate", "adapted"])
def test_stopped_and_gone_on_with_to_the_same_model(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    batch_norm: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(adapt_training, "KEEP_PIXELS_EVERY", 20)
    settings = config(augmented=2, batch_norm=batch_norm, steps=24)
    options = AdaptOptions(device="cpu", weights=weights)
    train_adapt(
        read(domains, weights, settings, tmp_path), tmp_path / "whole.pt", settings, options
    )

    def stop(step: int, values: dict[str, float]) -> None:
        if step == 22:  # after the checkpoint of step 20
            raise KeyboardInterrupt

    given = read(domains, weights, settings, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_adapt(given, tmp_path / "part.pt", settings, options, on_step=stop)
    said: list[str] = []
    given = read(domains, weights, settings, tmp_path)
    train_adapt(given, tmp_path / "part.pt", settings, options, say=said.append)
    assert "went on from step 20 of an earlier run" in said
    one, other = (load_classifier(tmp_path / f"{name}.pt")[1] for name in ("whole", "part"))
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_its_model_starts_another(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """With no rate to speak of, the second answers as the first one does."""
    settings, still = config(augmented=1, steps=40), {"learning_rate": 1e-9, "dropout": 0.0}
    options = AdaptOptions(device="cpu", weights=weights, target_mpp=0.5)
    train_adapt(read(domains, weights, settings, tmp_path), tmp_path / "a.pt", settings, options)
    settings = config(augmented=1, steps=2, **still)
    options = AdaptOptions(device="cpu", target_mpp=0.5, start=tmp_path / "a.pt")
    one, other = map(look_at, domains)
    given = read_domains(one, other, settings, options, tmp_path / "run")
    train_adapt(given, tmp_path / "b.pt", settings, options)
    found = []
    for name in ("a", "b"):
        table = tmp_path / f"{name}.csv"
        done = pathology(
            "predict", tmp_path / f"{name}.pt", domains[1], "--out", table,
            "--assume-mpp", 0.5, "--device", "cpu",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(np.loadtxt(table, delimiter=",", skiprows=1, usecols=(4, 5)))
    assert np.allclose(*found, atol=0.02) and found[0].std() > 0.01


@pytest.mark.parametrize("batch_norm", ["frozen", "shared", "separate", "adapted"])
def test_looking_changes_nothing(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, batch_norm: str
) -> None:
    settings = config(augmented=1, batch_norm=batch_norm, steps=2)
    given = read(domains, weights, settings, tmp_path)
    options = AdaptOptions(device="cpu", weights=weights)
    model = train_on(given, settings, options, tmp_path / "run").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, other = (Looker(model, settings)(given.target, 1) for _ in range(2))
    assert np.array_equal(one, other)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_does_not_go_with_it_says_so() -> None:
    for change, said in (
        ({"encoder_rate": 0.0}, "augmented varies pixels: set encoder_rate"),
        ({"encoder_blocks": None}, "set encoder_blocks"),
    ):
        with pytest.raises(ValueError, match=said):
            config(augmented=2, **change)


def test_an_encoder_that_cannot_be_used_so_is_refused(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(augmented=1, encoder_blocks=99)  # all of it
    with pytest.raises(ConfigError, match="cannot be cut before its last 99 blocks"):
        read(domains, weights, settings, tmp_path)
    first_rows = Encoder.first_rows
    monkeypatch.setattr(Encoder, "first_rows", lambda self, tiles: first_rows(self, tiles) * 1e9)
    with pytest.raises(ArtifactError, match="half precision does not hold: set augmented=0"):
        read(domains, weights, config(augmented=1), tmp_path)
