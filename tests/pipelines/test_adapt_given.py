"""What an adaptation is given: resolutions that differ, and pictures that are kept for the test."""

from pathlib import Path

import pytest
from PIL import Image

from pathology.core.errors import ArtifactError
from pathology.core.manifest import SlideRecord
from pipelines.adapt_checks import without_test
from pipelines.input_kinds import TileInput
from pipelines.tile_samples import Sampling, common_mpp, sample_picture
from tests.conftest import tissue_pixels


def test_tiles_of_several_resolutions_are_refused() -> None:
    said: list[str] = []
    assert common_mpp(Path("a"), [], 3, said.append) is None and not said
    assert common_mpp(Path("a"), [0.5, 0.501, 0.505], 3, said.append) == 0.501 and not said
    with pytest.raises(ArtifactError, match=r"0\.31 to 0\.62 um/px. Give --mpp"):
        common_mpp(Path("a"), [0.62, 0.31], 2, None)
    assert common_mpp(Path("a"), [0.5], 3, said.append) == 0.5
    assert said[0].startswith("a: 2 of 3 pictures state no resolution and are taken as they are")


def test_pictures_marked_test_are_left_out_and_counted() -> None:
    slides = tuple(
        SlideRecord(f"s{i}", Path(f"s{i}.png"), split=part)
        for i, part in enumerate(("train", "test", "", "test"))
    )
    said: list[str] = []
    kept = without_test(TileInput("images", Path("camera"), slides=slides), said.append)
    assert [slide.slide_id for slide in kept.slides] == ["s0", "s2"]  # type: ignore[union-attr]
    assert said == ["camera: 2 marked test are left out"]


@pytest.mark.parametrize(("edge", "is_fine"), [(20, False), (150, True), (300, True)])
def test_a_picture_of_far_less_than_a_tile_is_refused(
    tmp_path: Path, edge: int, is_fine: bool
) -> None:
    """At the very resolution that is asked for, too."""
    path = tmp_path / "a.png"
    Image.fromarray(tissue_pixels(edge, edge)).save(path)
    found = sample_picture(SlideRecord("a", path, mpp=0.62), Sampling(224, 4, 0.62))
    assert bool(len(found.tiles_NHW3)) is is_fine
    assert is_fine or "where a tile shows" in found.problem
