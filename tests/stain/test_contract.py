"""Tiles of another stain than the one wanted are refused."""

import pytest

from pathology.stain.contract import RAW, StainMismatch, require_same_stain, stain_of

STAINED = {"stain": {"model_fingerprint": "0123456789ab"}}


def test_the_stain_of_a_store() -> None:
    assert (stain_of({}), stain_of(STAINED)) == (RAW, "0123456789ab")
    require_same_stain({}, RAW)
    require_same_stain(STAINED, "0123456789ab")


@pytest.mark.parametrize(
    ("attributes", "wanted", "line"),
    [
        ({}, "0123456789ab", "tiles are raw, where normalized by model 0123456789ab ones"),
        (STAINED, RAW, "by model 0123456789ab, where raw ones are needed. Give the tiling run"),
        (STAINED, "ba9876543210", "Normalize the tiling run with that model"),
    ],
)
def test_a_mismatch_is_refused(attributes: dict[str, object], wanted: str, line: str) -> None:
    with pytest.raises(StainMismatch, match=line):
        require_same_stain(attributes, wanted)
