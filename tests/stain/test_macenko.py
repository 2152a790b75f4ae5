"""Macenko's normalizer: identities, glass, and inputs that must not break it."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from pathology.stain.config import StainConfig
from pathology.stain.macenko import (
    ONE_STAIN,
    TEXTBOOK,
    TOO_LITTLE,
    MacenkoNormalizer,
    StainError,
    StainReference,
    estimate_stains,
    fit_reference,
)
from pathology.stain.matrix import angle_between
from tests.stain.synthetic import MATRIX, he_tiles

CONFIG = StainConfig()


def test_staining_is_measured() -> None:
    stains = estimate_stains(he_tiles(8), CONFIG).stains
    assert stains is not None
    assert angle_between(stains.matrix[0], MATRIX[0]) < 2
    assert angle_between(stains.matrix[1], MATRIX[1]) < 2
    assert stains.white_level == pytest.approx([243] * 3, abs=1)
    assert stains.max_concentrations == pytest.approx([1.8, 1.1], abs=0.15)


def test_rendering_in_its_own_style_is_the_identity() -> None:
    tiles = he_tiles()
    normalizer = MacenkoNormalizer.fit(tiles, fit_reference([tiles], CONFIG), CONFIG)
    changed = normalizer.transform(tiles).astype(int) - tiles
    assert np.abs(changed).max() <= 1


def test_rendered_tiles_measure_as_the_reference() -> None:
    tiles = he_tiles(8)
    rendered = MacenkoNormalizer.fit(tiles, TEXTBOOK, CONFIG).transform(tiles)
    found = estimate_stains(rendered, StainConfig(white_level=240)).stains
    wanted = TEXTBOOK.stains
    assert found is not None
    assert angle_between(found.matrix[0], wanted.matrix[0]) < 2
    assert angle_between(found.matrix[1], wanted.matrix[1]) < 2
    assert found.max_concentrations == pytest.approx(wanted.max_concentrations, rel=0.1)


def test_glass_stays_byte_for_byte() -> None:
    tiles = he_tiles()
    rendered = MacenkoNormalizer.fit(tiles, TEXTBOOK, CONFIG).transform(tiles)
    assert (rendered[:, :8] == tiles[:, :8]).all()
    assert (rendered[:, 8:] != tiles[:, 8:]).any()


def test_there_is_no_edge_between_glass_and_pale_stain() -> None:
    normalizer = MacenkoNormalizer.fit(he_tiles(), TEXTBOOK, CONFIG)
    depth = np.linspace(0, 0.6, 512)[:, None] * MATRIX[1]
    ramp = np.rint(243 * np.exp(-depth)).astype(np.uint8)
    tile = np.broadcast_to(ramp[:, None], (512, 512, 3))
    rendered = normalizer.transform(tile[None])[0].astype(int)
    assert np.abs(np.diff(rendered, axis=0)).max() <= 4


ODD: dict[str, NDArray[np.uint8]] = {
    "black": np.zeros((2, 64, 64, 3), np.uint8),
    "white": np.full((2, 64, 64, 3), 255, np.uint8),
    "glass": np.full((2, 64, 64, 3), 242, np.uint8),
    "pale": np.full((2, 64, 64, 3), (236, 230, 236), np.uint8),
    "grey": np.full((2, 64, 64, 3), 120, np.uint8),
    "red": np.full((2, 64, 64, 3), (255, 0, 0), np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8),
    "none": np.zeros((0, 64, 64, 3), np.uint8),
    "h only": he_tiles(4, matrix=MATRIX[[0, 0]]),
    "e only": he_tiles(4, matrix=MATRIX[[1, 1]]),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_slides_pass_through_or_render_and_never_raise(name: str) -> None:
    tiles = ODD[name]
    normalizer = MacenkoNormalizer.fit(tiles, TEXTBOOK, CONFIG)
    rendered, is_passed = normalizer.render(tiles)
    assert rendered.shape == tiles.shape and rendered.dtype == np.uint8
    assert len(is_passed) == len(tiles)
    assert (normalizer.own is None) == bool(normalizer.problem)
    if name != "noise":
        assert normalizer.own is None and is_passed.all() and (rendered == tiles).all()


def test_the_problem_is_named() -> None:
    assert MacenkoNormalizer.fit(ODD["pale"], TEXTBOOK, CONFIG).problem.startswith(TOO_LITTLE)
    assert MacenkoNormalizer.fit(ODD["h only"], TEXTBOOK, CONFIG).problem == ONE_STAIN


@pytest.mark.parametrize("name", ["black", "white", "glass", "pale"])
def test_odd_tiles_of_a_good_slide_pass_through_and_are_counted(name: str) -> None:
    normalizer = MacenkoNormalizer.fit(he_tiles(), TEXTBOOK, CONFIG)
    tiles = np.concatenate([he_tiles(2), ODD[name]])
    rendered, is_passed = normalizer.render(tiles)
    assert is_passed.tolist() == [False, False, True, True]
    assert (rendered[2:] == tiles[2:]).all()


def test_input_is_left_alone_and_may_have_any_layout() -> None:
    tiles = he_tiles()
    normalizer = MacenkoNormalizer.fit(tiles, TEXTBOOK, CONFIG)
    flipped = tiles[:, ::-1, ::-1]
    before = tiles.copy()
    assert (normalizer.transform(flipped)[:, ::-1, ::-1] == normalizer.transform(tiles)).all()
    assert (tiles == before).all()


def test_a_faint_stain_is_strengthened_up_to_the_limit_only() -> None:
    faint = he_tiles(8).astype(float)
    faint = np.rint(243 * (faint / 243) ** 0.3).clip(0, 255).astype(np.uint8)
    config = StainConfig(max_gain=1.5, min_od=0.05)
    assert MacenkoNormalizer.fit(faint, TEXTBOOK, config).gain.max() <= 1.5


def test_a_reference_survives_its_file(tmp_path: Path) -> None:
    reference = fit_reference([he_tiles(seed=1), he_tiles(seed=2)], CONFIG, "two")
    reference.save(tmp_path / "model.json")
    assert StainReference.load(tmp_path / "model.json") == reference


def test_the_fingerprint_names_what_shapes_pixels() -> None:
    renamed = TEXTBOOK.model_copy(update={"source": "elsewhere"})
    changed = TEXTBOOK.model_copy(update={"max_concentrations": (1.9, 1.0)})
    assert renamed.fingerprint == TEXTBOOK.fingerprint
    assert changed.fingerprint != TEXTBOOK.fingerprint


def test_the_median_reference_ignores_one_odd_slide() -> None:
    odd = he_tiles(matrix=np.array([[0.9, 0.3, 0.3], [0.3, 0.3, 0.9]]))
    reference = fit_reference([he_tiles(seed=1), odd, he_tiles(seed=2), ODD["black"]], CONFIG)
    assert angle_between(reference.stains.matrix[0], MATRIX[0]) < 3


def test_a_target_without_two_stains_is_refused_with_a_remedy() -> None:
    with pytest.raises(StainError, match=r"glass\.png.*too little stained tissue.*Give H&E"):
        fit_reference([ODD["glass"]], CONFIG, "glass.png")
    with pytest.raises(StainError, match="holds no pixels"):
        fit_reference([], CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        {"matrix": [[1, 0, 0], [1, 0, 0]]},
        {"matrix": [[2, 0, 0], [0, 1, 0]]},
        {"max_concentrations": [0, 1]},
        {"white_level": [0, 0, 0]},
        {"matrx": 1},
    ],
)
def test_an_unusable_reference_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(TEXTBOOK.model_dump() | change))
    with pytest.raises(StainError, match=r"model\.json: not a stain reference"):
        StainReference.load(path)
    with pytest.raises(ValidationError):
        StainReference.model_validate_json(path.read_text())


def test_a_missing_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StainError, match="No such file"):
        StainReference.load(tmp_path / "none.json")
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(StainError, match="not a stain reference"):
        StainReference.load(tmp_path / "x.json")
