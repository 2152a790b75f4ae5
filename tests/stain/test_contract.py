"""Tiles of another stain than the one wanted are refused: of another model, or other settings."""

from pathlib import Path

import pytest

from pathology.stain.config import StainConfig
from pathology.stain.contract import (
    RAW,
    SAME_STAIN,
    StainMismatch,
    require_same_stain,
    stain_fingerprint,
    stain_of,
)
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.normalize_store import normalize_store
from pathology.tiling.store import open_tiles
from tests.stain.synthetic import he_tiles
from tests.stain.test_normalize_store import make_store

MODEL = "0123456789ab"
STAINED = {"stain": {"model_fingerprint": MODEL}}


def test_the_stain_of_a_store() -> None:
    assert (stain_of({}), stain_of(STAINED)) == (RAW, MODEL)
    require_same_stain({}, RAW)
    require_same_stain(STAINED, MODEL)
    assert stain_of({"stain": {"fingerprint": "ba9876543210"}}) == "ba9876543210"


@pytest.mark.parametrize(
    ("attributes", "wanted", "line"),
    [
        ({}, MODEL, "tiles are raw, where normalized by model 0123456789ab ones"),
        (STAINED, RAW, "by model 0123456789ab, where raw ones are needed. Give the tiling run"),
        (STAINED, "ba9876543210", "Normalize the tiling run with that model, by the same settings"),
    ],
)
def test_a_mismatch_is_refused(attributes: dict[str, object], wanted: str, line: str) -> None:
    with pytest.raises(StainMismatch, match=line):
        require_same_stain(attributes, wanted)


def test_the_usual_settings_make_the_stain_of_the_model() -> None:
    usual = StainConfig()
    assert stain_fingerprint(MODEL, usual) == MODEL
    assert stain_fingerprint(MODEL, usual.model_dump(mode="json")) == MODEL
    assert stain_fingerprint(MODEL, {}) == MODEL  # written down before settings were


@pytest.mark.parametrize("quality", ["teacher", "student"])
def test_teacher_student_and_table_are_one_stain(quality: str) -> None:
    config = StainConfig.model_validate({"quality": quality, "num_sample_tiles": 7})
    assert stain_fingerprint(MODEL, config) == MODEL


def test_settings_that_shape_color_make_another_stain() -> None:
    changed: list[dict[str, object]] = [
        {"residual": 0.0}, {"residual": 0.5}, {"per_tile": True}, {"max_gain": 2.0},
        {"white_level": 240.0}, {"min_od": 0.3}, {"residual": 0.0, "max_gain": 2.0},
    ]  # fmt: skip
    names = {stain_fingerprint(MODEL, StainConfig.model_validate(one)) for one in changed}
    assert len(names | {MODEL}) == len(changed) + 1
    assert stain_fingerprint("ba9876543210", StainConfig(residual=0)) not in names
    assert StainConfig.model_fields.keys() >= SAME_STAIN


def test_a_store_of_other_settings_is_not_taken_for_the_same(tmp_path: Path) -> None:
    source = make_store(tmp_path / "s.zarr", he_tiles(4))
    stains = []
    for number, config in enumerate((StainConfig(), StainConfig(residual=0, max_gain=1.5))):
        made = tmp_path / str(number) / "s.zarr"
        normalize_store(source, made, TEXTBOOK, config)
        stains.append(stain_of(open_tiles(made).attributes))
    assert stains[0] == TEXTBOOK.fingerprint
    with pytest.raises(StainMismatch, match=f"by model {stains[1]}"):
        require_same_stain(open_tiles(tmp_path / "1" / "s.zarr").attributes, stains[0])
