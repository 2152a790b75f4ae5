"""`pathology stain train` as users run it: real processes, real files, killed and gone on with."""

import importlib.util
import json
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pathology.core.errors import ConfigError, PathologyError
from pathology.core.state import load_state
from pathology.data.tile_pool import TilePool
from pathology.stain.config import StainConfig
from pathology.stain.cycle_config import CycleConfig
from pathology.stain.learned import LearnedModel
from pathology.stain.load import load_model
from pathology.stain.matrix import Pixels
from pathology.stain.saved_style import StainError
from pathology.tiling.store import open_tiles
from pathology.training.fabric import make_fabric
from pathology.training.loop import read_metrics
from pipelines.stain_domains import read_domains
from pipelines.stain_panel import different
from pipelines.stain_styles import COLUMN, list_styles, styles_of, write_styles
from pipelines.stain_train import TrainOptions, train_model
from pipelines.tile_samples import sample_slides
from tests.in_process import PATHOLOGY, pathology
from tests.stain.synthetic import MATRIX, he_tiles
from tests.stain.test_normalize_store import make_store

TINY = [
    "generator.width=4", "generator.num_blocks=1", "discriminator.width=4", "tile_px=64",
    "crop_px=16", "batch_size=2", "student.steps=20", "student.crop_px=16", "pool_size=4",
]  # fmt: skip
OTHER = np.array([[0.5, 0.75, 0.43], [0.3, 0.85, 0.43]])
OTHER /= np.linalg.norm(OTHER, axis=1, keepdims=True)


def tiny(steps: int = 40, **more: object) -> CycleConfig:
    values: dict[str, object] = {"steps": steps, **more}
    for setting in TINY:
        name, value = setting.split("=")
        section, _, key = name.rpartition(".")
        place = values.setdefault(section, {}) if section else values
        place[key] = int(value)  # type: ignore[index]
    return CycleConfig.model_validate(values)


def write_pictures(folder: Path, tiles: Pixels) -> Path:
    folder.mkdir(parents=True)
    for number, tile in enumerate(tiles):
        cv2.imwrite(str(folder / f"{number}.png"), cv2.cvtColor(tile, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of pictures in two styles."""
    source = write_pictures(tmp_path / "centre_a", he_tiles(4, 64))
    return source, write_pictures(tmp_path / "centre_b", he_tiles(4, 64, matrix=OTHER, seed=1))


def settings(steps: int) -> list[str]:
    return [word for setting in [*TINY, f"steps={steps}"] for word in ("--set", setting)]


def train_words(pictures: tuple[Path, Path], out: Path, steps: int) -> list[str]:
    source, target = pictures
    words = [
        "stain", "train", source, "--target", target, "--out", out, "--device", "cpu",
        "--panel-every", 20, *settings(steps),
    ]  # fmt: skip
    return list(map(str, words))


def test_train_then_apply_as_commands(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "style.pt"
    words = train_words(pictures, out, 40)
    words[words.index("--panel-every") + 1] = "25"
    done = pathology(*words)
    assert done.returncode == 0, done.stderr
    assert "Next: pathology stain apply" in done.stdout
    assert "train: 40/40 steps" in done.stderr
    assert "lut to teacher: PSNR" in done.stdout
    run = tmp_path / "style.run"
    names = {path.name for path in run.iterdir()}
    assert names == {
        "checkpoint.pt", "curves.png", "metrics.jsonl", "panel.png", "panels", "run.json",
    }  # fmt: skip
    panels = sorted((run / "panels").iterdir())
    assert [path.name for path in panels] == ["000025.png", "000040.png"]
    assert panels[-1].read_bytes() == (run / "panel.png").read_bytes() != panels[0].read_bytes()
    card = json.loads((run / "run.json").read_text())["card"]
    assert (card["centres"], card["num_source_tiles"], card["source"]) == (
        ["centre_a"], 4, "centre_b",
    )  # fmt: skip
    assert set(card["fidelity"]) == {"student", "lut"}
    done = pathology("stain", "apply", pictures[0], "--model", out, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [
        "0.png", "1.png", "2.png", "3.png",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_model(
    pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole.pt", tmp_path / "cut.pt"
    assert pathology(*train_words(pictures, whole, 60)).returncode == 0
    process = subprocess.Popen(
        [*PATHOLOGY, *train_words(pictures, cut, 60)], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    checkpoint = tmp_path / "cut.run" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stopped_at = load_state(checkpoint)["step"]
    assert 20 <= stopped_at < 60
    assert not cut.exists()
    done = pathology(*train_words(pictures, cut, 60))
    assert f"went on from step {stopped_at}" in done.stdout
    assert load_model(cut).fingerprint == load_model(whole).fingerprint
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole.run", "cut.run")]
    assert lines[0] == lines[1]


@pytest.mark.slow
def test_a_diverged_training_leaves_no_model(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "m.pt"
    words = train_words(pictures, out, 40)
    done = pathology(*words, "--set", "learning_rate=1e30")
    assert done.returncode == 2
    assert "lower learning_rate than 1e+30" in done.stderr
    assert not out.exists()


def test_two_processes_train_one_model(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    words = [*PATHOLOGY, *train_words(pictures, tmp_path / "style.pt", 20), "--devices", "2"]
    words += ["--tensorboard"] if importlib.util.find_spec("tensorboard") else []
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(read_metrics(tmp_path / "style.run" / "metrics.jsonl")) == 1
    assert json.loads((tmp_path / "style.run" / "run.json").read_text())["num_devices"] == 2
    assert len(list((tmp_path / "style.run").glob("tensorboard/*"))) == ("--tensorboard" in words)
    load_model(tmp_path / "style.pt")


def test_holdout_centres_are_kept_out(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = pictures
    other = write_pictures(tmp_path / "centre_c", he_tiles(3, 64, seed=5))
    config = tiny(holdout_centres=["centre_c"])
    domains = read_domains([source, other], target, config)
    assert (len(domains.source), domains.centres) == (4, ("centre_a",))
    with pytest.raises(StainError, match="holdout_centres"):
        read_domains([other], target, config)


def test_other_use_of_what_was_learned_trains_nothing_anew(
    pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = pictures
    options, out = TrainOptions(device="cpu", panel_every=20), tmp_path / "style.pt"
    whole = train_model([source], target, out, tiny(20, kept_change=1.0), options)
    steps: list[int] = []
    part = train_model(
        [source], target, out, tiny(20, kept_change=0.5), options,
        on_step=lambda step, values: steps.append(step),
    )  # fmt: skip
    assert steps == []
    assert torch.equal(part.teacher.out.weight, 0.5 * whole.teacher.out.weight)  # type: ignore[operator]
    assert whole.teacher.out.weight.abs().max() > 0  # type: ignore[operator,union-attr]
    assert part.fingerprint != whole.fingerprint
    train_model(
        [source], target, out, tiny(20, learning_rate=0.001), options,
        on_step=lambda step, values: steps.append(step),
    )  # fmt: skip
    assert len(steps) == 20


def test_any_setting_trains_and_its_model_renders(
    pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = pictures
    for number, more in enumerate(
        ({"condition": "planes"}, {"condition": "none"}, {"intermediate": "grey"})
    ):
        out = tmp_path / f"{number}.pt"
        options = TrainOptions(device="cpu", panel_every=20)
        model = train_model([source], target, out, tiny(20, **more), options)
        found = load_model(out)
        assert isinstance(found, LearnedModel)
        assert found.card.config == model.card.config
        tiles = he_tiles(2, 64)
        assert found.for_slide(tiles, StainConfig()).render(tiles).tiles.shape == tiles.shape


def test_bf16_trains_the_same_model_but_for_rounding(
    pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = pictures
    curves = []
    for precision in ("32", "bf16"):
        out = tmp_path / f"{precision}.pt"
        options = TrainOptions(device="cpu", precision=precision, panel_every=20)
        model = train_model([source], target, out, tiny(20), options)
        assert all(value.dtype == torch.float32 for value in model.teacher.state_dict().values())
        curves.append(read_metrics(tmp_path / f"{precision}.run" / "metrics.jsonl"))
    for whole, half in zip(*curves, strict=True):
        for name, value in whole.items():
            assert half[name] == pytest.approx(value, rel=0.2, abs=0.02), name
    assert curves[0] != curves[1]


def test_tensorboard_is_written_or_asked_for(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = pictures
    options = TrainOptions(device="cpu", panel_every=20, tensorboard=True)
    out = tmp_path / "style.pt"
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(PathologyError, match="pip install tensorboard"):
            train_model([source], target, out, tiny(20), options)
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_model([source], target, out, tiny(20), options)
    events = EventAccumulator(str(tmp_path / "style.run" / "tensorboard"))
    events.Reload()
    seen = events.Scalars("cycle_source")
    assert [event.step for event in seen] == list(range(20))
    (row,) = read_metrics(tmp_path / "style.run" / "metrics.jsonl")
    assert np.mean([event.value for event in seen]) == pytest.approx(row["cycle_source"], abs=1e-5)


def test_checkpoints_at_any_step_leave_whole_lines(
    pictures: tuple[Path, Path], tmp_path: Path
) -> None:
    source, target = pictures
    options = TrainOptions(device="cpu", panel_every=30)
    train_model([source], target, tmp_path / "style.pt", tiny(35), options)
    rows = read_metrics(tmp_path / "style.run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [10, 20, 30, 35]


def test_what_cannot_be_trained_on_is_named(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = pictures
    out, empty = tmp_path / "style.pt", tmp_path / "empty"
    empty.mkdir()
    grey = write_pictures(tmp_path / "grey", np.full((2, 64, 64, 3), 243, np.uint8))
    for number in range(2):
        cv2.imwrite(str(grey / f"{number}.png"), np.full((64, 64), 120, np.uint8))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"no picture")
    for bad, said in (
        (empty, "empty"),
        (grey, "grey"),
        (broken, "broken"),
        (tmp_path / "no", "no"),
    ):
        for sources, aim in (([bad], target), ([source], bad)):
            with pytest.raises(PathologyError, match=str(bad)) as refusal:
                train_model(sources, aim, out, tiny())
            assert said in str(refusal.value)
    assert not out.exists()


def test_a_target_of_glass_alone_is_refused(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    glass = write_pictures(tmp_path / "glass", np.full((3, 64, 64, 3), 243, np.uint8))
    with pytest.raises(StainError, match=r"glass.*no stained tissue"):
        train_model([pictures[0]], glass, tmp_path / "style.pt", tiny())


def test_stores_of_two_resolutions_are_not_mixed(tmp_path: Path) -> None:
    stores = []
    for name, mpp in (("a", 0.5), ("b", 0.25)):
        path = make_store(tmp_path / f"{name}.zarr", he_tiles(4, 64))
        said = json.loads((path / "zarr.json").read_text())
        said["attributes"]["plan"] = {"achieved_mpp": [mpp, mpp]}
        (path / "zarr.json").write_text(json.dumps(said))
        stores.append(path)
    with pytest.raises(PathologyError, match=r"0\.5|0\.25"):
        read_domains([stores[0]], stores[1], tiny())


def test_styles_of_a_store_are_kept_in_it_and_followed(tmp_path: Path) -> None:
    path = make_store(tmp_path / "slide.zarr", he_tiles(10, 64))
    config = StainConfig()
    (few,) = sample_slides(path, size_px=64, tiles_per_slide=4)
    first = styles_of(few, config)
    kept = open_tiles(path).columns[COLUMN]
    assert np.isnan(kept).all(axis=(1, 2)).sum() == 6
    kept_file = path / COLUMN / "c" / "0" / "0" / "0"
    marked = kept.copy()
    marked[few.rows] = first[:, ::-1]  # to see that they are read and not measured anew
    kept_file.write_bytes(marked.astype("<f4").tobytes())
    assert (styles_of(few, config) == first[:, ::-1]).all()
    other = StainConfig(angle_percentile=5)  # other settings: measured anew
    assert np.abs(styles_of(few, other) - first).max() < 0.3


def test_styles_as_a_table(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    rows = list_styles(pictures[0], StainConfig(), 4)
    assert len(rows) == 4
    found = np.array([float(value) for value in rows[0].hematoxylin.split()])
    assert found == pytest.approx(MATRIX[0], abs=0.05)
    write_styles(tmp_path / "styles.csv", rows)
    assert (tmp_path / "styles.csv").read_text().startswith("slide_id,centre,num_tiles,hematoxylin")


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="--device mps"):
        make_fabric("mps")


def test_other_settings_start_anew_and_say_so(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    (source, target), said = pictures, []
    out, panels = tmp_path / "style.pt", tmp_path / "style.run" / "panels"

    def train(panel_every: int, **more: object) -> list[str]:
        said.clear()
        options = TrainOptions(device="cpu", panel_every=panel_every)
        train_model([source], target, out, tiny(20, **more), options, say=said.append)
        return sorted(path.name for path in panels.iterdir())

    anew = "starting anew: the checkpoint is of other settings or tiles"
    assert train(7) == ["000007.png", "000014.png", "000020.png"]
    assert anew not in said
    assert train(7, kept_change=0.5) == ["000007.png", "000014.png", "000020.png"]
    assert anew not in said and any("went on from step 20" in line for line in said)
    assert train(10, seed=1) == ["000010.png", "000020.png"]
    assert anew in said


def test_no_tile_is_shown_twice() -> None:
    pool = TilePool.of_slides([he_tiles(3), he_tiles(1), he_tiles(40)], ["a", "a", "b"])
    for seed in range(20):
        rows = different(pool, np.random.default_rng(seed), 6)
        assert len(set(rows.tolist())) == 6
    assert sorted(different(pool, np.random.default_rng(0), 44).tolist()) == list(range(44))
