"""Adaptation from features that were made before, on one side or on both."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pathology.core.errors import ArtifactError, ConfigError
from pathology.interop.h5_features import write_features
from pathology.models.card import ContractError, load_classifier
from pathology.models.encode import encode, prepare
from pathology.models.encoder import make_encoder
from pipelines.adapt_domains import AdaptOptions, Domains, read_domains
from pipelines.adapt_features import look_at_domain
from pipelines.adapt_scale import target_mpp_of
from pipelines.adapt_train import train_adapt
from pipelines.features import weights_digest
from pipelines.predict import predict
from tests.pipelines.adapt_cohort import EDGE, NUM, config, write_domains
from tests.pipelines.small_encoder import NAME, SMALLEST, write_weights


def write_folder(pictures: Path, out: Path, weights: Path, **more: object) -> Path:
    """Features of pictures, one file each, as `pathology features` writes them."""
    encoder = make_encoder(NAME, weights=weights)
    said = {"encoder": NAME, "weights": weights_digest(encoder), "encoder_px": 0, "stain": "raw"}
    on_tiles = {"tile_size_px": EDGE, "patch_size_level0": EDGE, "achieved_mpp": 0.5}
    ready = prepare(encoder, "cpu")
    out.mkdir()
    for path in sorted(pictures.glob("*.png")):
        tile = np.asarray(Image.open(path).convert("RGB"))[None]
        features = encode(ready, np.repeat(tile, 3, axis=0), device="cpu")
        marks = {k: v for k, v in {**said, **on_tiles, **more}.items() if v is not None}
        write_features(out / f"{path.stem}.h5", features, np.zeros((3, 2), np.int64), marks, {})
    return out


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> dict[str, Path]:
    """A manifest of the source's pictures, the target's pictures, and features of both."""
    folder = tmp_path_factory.mktemp("sides")
    labels, camera = write_domains(folder)
    return {
        "labels": labels,
        "camera": camera,
        "source": write_folder(folder / "slides", folder / "one", weights),
        "target": write_folder(camera, folder / "other", weights),
    }


def read(
    source: Path, target: Path, options: AdaptOptions, folder: Path, **settings: object
) -> tuple[Domains, list[str]]:
    said: list[str] = []
    one, other = look_at_domain(source), look_at_domain(target)
    found = read_domains(one, other, config(**settings), options, folder, say=said.append)
    return found, said


def test_features_of_both_sides_need_no_encoder(
    sides: dict[str, Path], weights: Path, tmp_path: Path
) -> None:
    options = AdaptOptions(device="cpu", labels=sides["labels"])  # resnet10t has no weights here
    given, said = read(
        sides["source"], sides["target"], options, tmp_path, tiles_per_slide=2, encoder=SMALLEST
    )
    assert not any("resolution" in line for line in said)
    assert len(given.target) == 2 * NUM and given.encoder is None and given.again is None
    train_adapt(given, tmp_path / "m.pt", config(tiles_per_slide=2, encoder=SMALLEST), options)
    card = load_classifier(tmp_path / "m.pt")[0]
    assert (card.tiles.encoder, card.tiles.size_px, card.tiles.mpp) == (NAME, EDGE, 0.5)
    assert card.settings["encoder"] == NAME  # what the features say, not the settings
    assert not (tmp_path / "m.run" / "differences.png").exists()  # there are no pixels
    grades = predict(tmp_path / "m.pt", sides["target"], tmp_path / "p.csv")
    right = [(g.grade == "malignant") == (int(g.slide_id[1:]) % 2 == 1) for g in grades]
    assert len(grades) == NUM and np.mean(right) >= 0.9


def test_the_other_side_is_encoded_as_the_features_were(
    sides: dict[str, Path], weights: Path, tmp_path: Path
) -> None:
    options = AdaptOptions(device="cpu", labels=sides["labels"], weights=weights, target_mpp=0.5)
    both, _ = read(sides["source"], sides["target"], options, tmp_path)
    half, _ = read(
        sides["source"], sides["camera"], options, tmp_path, encoder=SMALLEST, size_px=32
    )
    other, _ = read(sides["labels"], sides["target"], options, tmp_path, size_px=32)
    for found in (half, other):
        assert found.tiles == both.tiles
    features = np.asarray(both.target.values)[::3]
    assert np.allclose(np.asarray(half.target.values), features, atol=1e-5)
    stranger = write_weights(tmp_path / "w.pt", seed=1)
    options = AdaptOptions(device="cpu", labels=sides["labels"], weights=stranger)
    with pytest.raises(ContractError, match="the encoder's weights are"):
        read(sides["source"], sides["camera"], options, tmp_path)


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"achieved_mpp": 0.25}, r"other is not as .*: tiles have 0.25 um/px, expected 0.5"),
        ({"tile_size_px": 32}, "tiles have 32 px, expected 64"),
        ({"encoder": "uni_v1"}, "encoder is 'uni_v1', expected 'resnet10t'"),
        ({"stain": "3f09"}, "stain is '3f09', expected 'raw'"),
    ],
)
def test_features_that_are_not_alike_are_refused(
    sides: dict[str, Path], weights: Path, tmp_path: Path, marks: dict[str, object], said: str
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (few / "p0.png").write_bytes((sides["camera"] / "p0.png").read_bytes())
    other = write_folder(few, tmp_path / "other", weights, **marks)
    options = AdaptOptions(device="cpu", labels=sides["labels"], weights=weights)
    with pytest.raises(ContractError, match=said):
        read(sides["source"], other, options, tmp_path)


def test_features_that_cannot_be_used_say_so(
    sides: dict[str, Path], weights: Path, tmp_path: Path
) -> None:
    options = AdaptOptions(device="cpu", labels=sides["labels"], weights=weights)
    one, other = sides["source"], sides["target"]
    with pytest.raises(ConfigError, match=r"an encoder learns from tiles.*encoder_rate=0"):
        read(one, other, options, tmp_path, encoder_rate=0.1)
    with pytest.raises(ConfigError, match="the source has no labels"):
        read(one, other, AdaptOptions(device="cpu"), tmp_path)
    with pytest.raises(ConfigError, match=r"--mpp 0.25: .*tiles have 0.5 um/px"):
        read(one, other, AdaptOptions(labels=sides["labels"], mpp=0.25), tmp_path)
    few = tmp_path / "few"
    few.mkdir()
    (few / "p0.png").write_bytes((sides["camera"] / "p0.png").read_bytes())
    mute = write_folder(few, tmp_path / "mute", weights, encoder=None)
    with pytest.raises(ContractError, match="do not say by which encoder"):
        read(sides["labels"], mute, options, tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.h5").write_bytes(b"no")
    with pytest.raises(ArtifactError, match="broken: no features to learn from"):
        look_at_domain(tmp_path / "broken")


def test_a_guess_of_the_scale_is_made_where_it_is_needed_alone(
    sides: dict[str, Path], weights: Path, tmp_path: Path
) -> None:
    auto = AdaptOptions(device="cpu", labels=sides["labels"], weights=weights, target_mpp="auto")
    stated, _ = read(sides["labels"], sides["labels"], auto, tmp_path)
    assert stated.assumed_mpp is None  # its pictures state theirs
    with pytest.raises(ConfigError, match=r"one has no tiles of a known resolution.*a number"):
        read(sides["source"], sides["camera"], auto, tmp_path)
    few = tmp_path / "few"
    few.mkdir()
    for i in range(3):
        (few / f"p{i}.png").write_bytes((sides["camera"] / f"p{i}.png").read_bytes())
    with pytest.raises(ConfigError, match=r"--target-mpp auto: .*few: 3 pictures are too few"):
        read(sides["labels"], few, auto, tmp_path)
    said: list[str] = []
    one, other = (look_at_domain(sides[name]) for name in ("labels", "camera"))
    encoder = make_encoder(NAME, weights=weights).eval()
    guess = target_mpp_of("auto", one, other, config(), encoder, "cpu", 0.5, said.append)
    assert guess is not None and 0.125 < guess < 2.0  # random weights see little
    assert f"look like {guess:g} um" in said[0] and "give --target-mpp" in said[0]
