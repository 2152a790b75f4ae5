"""A trained classifier in other programs' formats answers as it does here."""

import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pathology.core.errors import ArtifactError, ConfigError
from pathology.inference import model_export
from pathology.models.card import ModelCard, TileContract, save_classifier
from pathology.models.encode import encode
from pathology.models.encoder import make_encoder
from pathology.weak.config import WeakConfig
from pathology.weak.network import BagClassifier, bag_network
from pipelines.classifier import load_for_use
from pipelines.export_model import export_model
from tests.pipelines.small_encoder import SMALLEST, write_weights

GRADES = ("benign", "malignant")
EDGE = 64


def write_model(folder: Path, **changes: object) -> Path:
    """A model with an encoder in its file."""
    weights = write_weights(folder / "w.pt", name=SMALLEST)
    torch.manual_seed(0)
    encoder = make_encoder(SMALLEST, weights=weights)
    config = WeakConfig.model_validate(
        {"grades": GRADES, "encoder": SMALLEST, "width": 8} | changes
    )
    model = BagClassifier(bag_network(config, encoder.num_features), encoder)
    tiles = TileContract(size_px=EDGE, mpp=0.5, encoder=SMALLEST, num_features=encoder.num_features)
    card = ModelCard(
        grades=GRADES, tiles=tiles, method=config.method, has_encoder=True,
        settings=config.model_dump(mode="json"),
    )  # fmt: skip
    save_classifier(folder / "m.pt", card, model.state_dict())
    return folder / "m.pt"


def test_both_formats_answer_as_predict_does(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    files = export_model(model, tmp_path / "out", ["onnx", "wsinfer"])
    assert [path.name for path in files] == ["m.onnx", "m.wsinfer"]
    assert export_model(model, tmp_path / "out", ["wsinfer"]) == files[1:]
    (files[1] / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"notes\.txt lies there and would be lost"):
        export_model(model, tmp_path / "out", ["wsinfer"])
    (files[1] / "notes.txt").unlink()
    tiles = np.random.default_rng(1).integers(0, 256, (4, EDGE, EDGE, 3), np.uint8)
    mine = load_for_use(model)
    assert mine.model.encoder is not None
    features = torch.from_numpy(encode(mine.model.encoder, tiles, device="cpu"))
    with torch.inference_mode():
        wanted = mine.model.bag(features[None]).tile_BNC[0].softmax(dim=1).numpy()
    given = np.ascontiguousarray(tiles.transpose(0, 3, 1, 2)).astype(np.float32) / 255
    session = onnxruntime.InferenceSession(files[0], providers=["CPUExecutionProvider"])
    assert np.abs(session.run(["probabilities"], {"tiles": given})[0] - wanted).max() < 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has newer ways, WSInfer has not
        loaded = torch.jit.load(files[1] / "torchscript_model.pt")
    assert np.abs(loaded(torch.from_numpy(given)).softmax(1).numpy() - wanted).max() < 1e-4
    config = json.loads((files[1] / "config.json").read_text())
    assert (config["patch_size_pixels"], config["spacing_um_px"]) == (EDGE, 0.5)
    assert config["class_names"] == list(GRADES)
    said = {entry.key: entry.value for entry in onnx.load(files[0]).metadata_props}
    assert said["grades"] == "benign,malignant"
    assert said["note"].startswith("Research use only")


def test_what_does_not_answer_alike_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path)
    monkeypatch.setattr(model_export, "TOLERANCE", 0.0)
    with pytest.raises(ArtifactError, match="is off by"):
        export_model(model, tmp_path / "out", ["onnx"])
    assert not list((tmp_path / "out").iterdir())


def test_models_that_cannot_leave_say_so(tmp_path: Path) -> None:
    model = write_model(tmp_path, method="transmil")
    with pytest.raises(ConfigError, match="grades a tile by all others of its slide"):
        export_model(model, tmp_path / "out", ["onnx"])
    with pytest.raises(ConfigError, match="pdf; expected some of onnx, wsinfer"):
        export_model(model, tmp_path / "out", ["pdf"])
