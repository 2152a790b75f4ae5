"""`pathology features` as users run it: real slides, a real network, killed and gone on with."""

import json
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import timm
import torch

from pathology.core.errors import ArtifactError, ConfigError
from pathology.interop.coordinates import read_coordinates
from pathology.interop.h5_features import read_augmented, read_features
from pathology.models.encoder import make_encoder
from pathology.tiling.store import open_tiles
from pathology.weak.config import WeakConfig
from pipelines.feature_table import read_table
from pipelines.features import FeatureConfig, FeatureOptions, extract_features
from pipelines.weak_data import number_tiles
from pipelines.weak_inputs import read_labelled
from pipelines.weak_train import WeakOptions, train_weak
from tests.conftest import tissue_pixels, write_pyramid
from tests.in_process import PATHOLOGY, pathology
from tests.pipelines.small_encoder import write_weights

SLIDES = ("a", "b", "c")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiling run of three slides, and a fourth that holds glass alone."""
    folder = tmp_path_factory.mktemp("features")
    slides = folder / "slides"
    slides.mkdir()
    for number, name in enumerate(SLIDES):
        write_pyramid(slides / f"{name}.tif", tissue_pixels(1200, 900, seed=number), mpp=0.5)
    write_pyramid(slides / "glass.tif", np.full((600, 800, 3), 243, np.uint8), mpp=0.5)
    words = [*PATHOLOGY, "tile", slides, "--out", folder / "run", "--set", "tile.size_px=128"]
    subprocess.run(list(map(str, words)), check=True, capture_output=True)
    return folder / "run"


def extract(run: Path, out: Path, weights: Path, **settings: object) -> list[object]:
    config = FeatureConfig.model_validate({"encoder": "resnet10t", **settings})
    return list(extract_features(run, out, config, FeatureOptions(weights=weights)))


def test_as_a_command(run: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "features"
    words = ["features", run, "--encoder", "resnet10t", "--weights", weights, "--out", out]
    done = pathology(*words)
    assert done.returncode == 0, done.stderr
    assert "Next: pathology train weak" in done.stdout
    rows = {row.slide_id: row for row in read_table(out / "features.csv")}
    assert {name: rows[name].status for name in SLIDES} == dict.fromkeys(SLIDES, "done")
    assert rows["glass"].status == "empty"  # and is not forgotten
    assert rows["glass"].reason
    record = json.loads((out / "run.json").read_text())
    assert (record["encoder"], record["num_features"]) == ("resnet10t", 512)
    again = pathology(*words)
    assert [row.status for row in read_table(out / "features.csv") if row.num_tiles] == ["kept"] * 3
    assert again.returncode == 0


def test_features_are_those_of_the_encoder(run: Path, weights: Path, tmp_path: Path) -> None:
    extract(run, tmp_path, weights)
    store = open_tiles(run / "tiles" / "a.zarr")
    found = read_features(tmp_path / "a.h5")
    assert found.encoder == "resnet10t"
    assert found.l0_xy is not None and (found.l0_xy == store.l0_xy).all()
    encoder = make_encoder("resnet10t", weights=weights).eval()
    tiles = torch.from_numpy(store.read(slice(None))).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        assert found.features_NF == pytest.approx(encoder(tiles).numpy(), abs=1e-3)


def test_varied_tiles_are_encoded_too(run: Path, weights: Path, tmp_path: Path) -> None:
    extract(run, tmp_path / "plain", weights, size_px=64)
    for folder in ("one", "two"):
        extract(run, tmp_path / folder, weights, size_px=64, augmented=2)
    plain, one = (read_features(tmp_path / name / "a.h5") for name in ("plain", "one"))
    assert (plain.features_NF == one.features_NF).all()
    varied_KNF = read_augmented(tmp_path / "one" / "a.h5")
    assert varied_KNF.shape == (2, *plain.features_NF.shape)
    assert (varied_KNF == read_augmented(tmp_path / "two" / "a.h5")).all()
    distance_KN = np.linalg.norm(varied_KNF - plain.features_NF, axis=2)
    assert distance_KN.min() > 0.01  # each is varied
    assert (varied_KNF[0] != varied_KNF[1]).any(axis=1).all()  # in another way
    assert distance_KN.max() < np.linalg.norm(plain.features_NF, axis=1).min()  # and still tissue
    with pytest.raises(ArtifactError, match="no readable features of augmented tiles"):
        read_augmented(tmp_path / "plain" / "a.h5")
    labels = tmp_path / "labels.csv"
    grades = ("benign", "malignant", "benign")
    lines = [f"{n},c{n},{g},{n}.svs" for n, g in zip(SLIDES, grades, strict=True)]
    labels.write_text("\n".join(["slide_id,case_id,label,slide_path", *lines]))
    config = WeakConfig(epochs=1, epoch_tiles=192, width=8)
    options = WeakOptions(device="cpu", val_share=0.34)
    slides = read_labelled(tmp_path / "one", labels)
    number_tiles(slides, slides.slides, tmp_path / "f.npy", 2)
    num_train = sum(slide.num_tiles for slide in slides.slides[:2])
    assert np.load(tmp_path / "f_augmented.npy").shape == (num_train, 2, 512)
    train_weak(tmp_path / "one", labels, tmp_path / "m.pt", config, options)
    assert not list((tmp_path / "m.run").glob("*.npy")), "copies of the features stay behind"


def test_slides_that_nobody_trains_on_are_not_varied(
    run: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, out = tmp_path / "labels.csv", tmp_path / "f"

    def write(*parts: str) -> None:
        grades = ("benign", "malignant", "benign")
        rows = zip(SLIDES, grades, parts, strict=True)
        lines = [f"{n},c{n},{g},{n}.svs,{part}" for n, g, part in rows]
        labels.write_text("\n".join(["slide_id,case_id,label,slide_path,split", *lines]))

    def encode() -> list[str]:
        words = ["features", run, "--encoder", "resnet10t", "--weights", weights, "--out", out]
        done = pathology(*words, "--augmented", "2", "--set", "size_px=64", "--labels", labels)
        assert done.returncode == 0, done.stderr
        return [row.status for row in read_table(out / "features.csv") if row.num_tiles]

    def train() -> list[str]:
        said: list[str] = []
        config = WeakConfig(epochs=1, epoch_tiles=192, width=8)
        train_weak(
            out, labels, tmp_path / "m.pt", config, WeakOptions(device="cpu"), say=said.append
        )
        return said

    write("train", "train", "VAL")
    assert encode() == ["done"] * 3
    slides = {s.record.slide_id: s.num_augmented for s in read_labelled(out, labels).slides}
    assert slides == {"a": 2, "b": 2, "c": 0}
    assert not any("varied" in line for line in train())
    assert encode() == ["kept"] * 3
    write("val", "train", "train")
    fault = "1 slides that train have fewer varied tiles than others: 0, not 2, of each are drawn"
    assert f"{fault}. Encode again: c" in train()
    assert encode() == ["kept", "kept", "done"]  # a has more than it needs
    assert len(read_augmented(out / "c.h5")) == len(read_augmented(out / "a.h5")) == 2


def test_trident_and_clam_read_what_they_look_for(run: Path, weights: Path, tmp_path: Path) -> None:
    extract(run, tmp_path, weights)
    with h5py.File(tmp_path / "a.h5") as file:
        num = len(file["coords"])
        assert file["features"].shape == (num, 512)
        assert file["features"].dtype == np.float32
        assert file["coords"].dtype == np.int64
        assert {"encoder", "name", "savetodir"} <= set(file["features"].attrs)
        assert {"patch_size", "level0_magnification", "target_magnification"} <= set(
            file["coords"].attrs
        )
    assert len(read_coordinates(tmp_path / "a.h5").l0_xy) == num


def test_other_settings_or_weights_are_made_anew(run: Path, weights: Path, tmp_path: Path) -> None:
    extract(run, tmp_path, weights)
    statuses = {row.status for row in extract(run, tmp_path, weights, size_px=64)}  # type: ignore[attr-defined]
    assert statuses == {"done", "empty"}
    other = write_weights(tmp_path / "other.pt", seed=1)
    statuses = {row.status for row in extract(run, tmp_path, other, size_px=64)}  # type: ignore[attr-defined]
    assert statuses == {"done", "empty"}


def test_a_damaged_store_costs_itself(run: Path, weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", str(run), str(copy)], check=True)
    shard = next((copy / "tiles" / "b.zarr" / "pixels" / "c").rglob("0"))
    shard = next(path for path in sorted(shard.rglob("*")) if path.is_file())
    data = bytearray(shard.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    shard.write_bytes(bytes(data))
    done = pathology(
        "features", copy, "--encoder", "resnet10t", "--weights", weights, "--out", tmp_path / "f"
    )
    assert done.returncode == 1
    rows = {row.slide_id: row for row in read_table(tmp_path / "f" / "features.csv")}
    assert [rows[name].status for name in SLIDES] == ["done", "failed", "done"]
    assert rows["b"].reason
    assert not (tmp_path / "f" / "b.h5").exists()


@pytest.mark.slow
def test_killed_and_gone_on_with(run: Path, weights: Path, tmp_path: Path) -> None:
    words = ["features", run, "--encoder", "resnet10t", "--weights", weights]
    words = [*map(str, words), "--out", str(tmp_path / "f")]
    process = subprocess.Popen(
        [*PATHOLOGY, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "f").glob("*.h5")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "f").glob("*.h5")}
    assert before
    assert pathology(*words).returncode == 0
    assert all(path.stat().st_mtime_ns == time_ns for path, time_ns in before.items())
    assert sorted(path.name for path in (tmp_path / "f").glob("*.h5")) == ["a.h5", "b.h5", "c.h5"]
    assert not list((tmp_path / "f").glob(".*.tmp"))


def test_what_cannot_be_done_is_said_first(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean"):
        extract_features(run, tmp_path, FeatureConfig(encoder="resnet10x"), FeatureOptions())
    with pytest.raises(ArtifactError, match="no tile stores"):
        extract_features(tmp_path, tmp_path, FeatureConfig(), FeatureOptions())


def test_features_that_are_no_numbers_are_refused(run: Path, tmp_path: Path) -> None:
    broken = timm.create_model("resnet10t", pretrained=False, num_classes=0)
    torch.nn.init.constant_(next(broken.parameters()), float("nan"))
    path = tmp_path / "nan.pt"
    torch.save(broken.state_dict(), path)
    found = extract(run, tmp_path / "f", path)
    assert {row.status for row in found if row.num_tiles} == {"failed"}  # type: ignore[attr-defined]
    assert not list((tmp_path / "f").glob("*.h5"))
