"""Every classical method: identities, glass, its file, and inputs that must not break it."""

import functools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pathology.stain.classical import NO_COLOR, TOO_LITTLE, ClassicalReference
from pathology.stain.config import StainConfig
from pathology.stain.fit import REFERENCES, fit_reference
from pathology.stain.load import load_model
from pathology.stain.normalizer import PassThrough, SlideNormalizer
from pathology.stain.saved_style import StainError
from pathology.stain.stains import ONE_STAIN
from tests.stain.synthetic import MATRIX, OTHER, he_tiles

METHODS = [name for name in REFERENCES if name != "none"]
STYLE = he_tiles(8, matrix=OTHER, white=236, seed=9)


def config_of(method: str, **settings: object) -> StainConfig:
    return StainConfig.model_validate({"method": method, **settings})


def style_of(method: str, *samples: NDArray[np.uint8]) -> ClassicalReference:
    """A reference fitted to samples, or to another staining than he_tiles shows."""
    reference = fit_reference(samples or [STYLE], config_of(method), "known")
    assert isinstance(reference, ClassicalReference)
    return reference


@functools.cache
def fitted(method: str, *, per_tile: bool = False) -> SlideNormalizer:
    """The normalizer, from another staining, of the slide that he_tiles shows."""
    return style_of(method).for_slide(he_tiles(), config_of(method, per_tile=per_tile))


@pytest.mark.parametrize("method", METHODS)
def test_rendering_in_its_own_style_is_the_identity(method: str) -> None:
    tiles = he_tiles()
    normalizer = style_of(method, tiles).for_slide(tiles, config_of(method, residual=1))
    rendered, is_passed = normalizer.render(tiles)
    assert not is_passed.any()
    assert np.abs(rendered.astype(int) - tiles).max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_rendered_tiles_measure_as_the_reference(method: str) -> None:
    tiles, config = he_tiles(8), config_of(method)
    wanted = style_of(method)
    rendered = wanted.for_slide(tiles, config).render(tiles).tiles
    found = style_of(method, rendered)
    numbers = zip(_numbers(found), _numbers(wanted), strict=True)
    assert all(np.abs(one - other).max() <= 0.04 * np.abs(other).max() for one, other in numbers)
    before = zip(_numbers(style_of(method, tiles)), _numbers(wanted), strict=True)
    assert any(np.abs(one - other).max() > 0.04 * np.abs(other).max() for one, other in before)


def _numbers(reference: ClassicalReference) -> list[NDArray[np.float64]]:
    """All that a reference says of tissue, as arrays that can be compared."""
    said = reference.model_dump(exclude={"method", "source", "white_level"})
    if "shares" in said:  # as quantiles, in grey levels
        rising = np.cumsum(said["shares"], axis=1)
        return [np.array([np.searchsorted(c, [0.1, 0.25, 0.5, 0.75, 0.9]) for c in rising])]
    return [np.array(values) for values in said.values()]


@pytest.mark.parametrize("method", METHODS)
def test_glass_stays_byte_for_byte(method: str) -> None:
    tiles = he_tiles()
    rendered = fitted(method).render(tiles).tiles
    assert (rendered[:, :8] == tiles[:, :8]).all()
    assert (rendered[:, 8:] != tiles[:, 8:]).mean() > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_there_is_no_edge_between_glass_and_pale_stain(method: str) -> None:
    normalizer = fitted(method)
    depth = np.linspace(0, 0.6, 1024)[:, None] * MATRIX[1]
    ramp = np.rint(243 * np.exp(-depth)).astype(np.uint8)
    tile = np.broadcast_to(ramp[:, None], (1024, 64, 3))
    rendered = normalizer.render(tile[None]).tiles[0].astype(int)
    assert np.abs(np.diff(tile.astype(int), axis=0)).max() == 1
    assert np.abs(np.diff(rendered, axis=0)).max() <= 4


ODD: dict[str, NDArray[np.uint8]] = {
    "black": np.zeros((2, 64, 64, 3), np.uint8),
    "white": np.full((2, 64, 64, 3), 255, np.uint8),
    "glass": np.full((2, 64, 64, 3), 242, np.uint8),
    "pale": np.full((2, 64, 64, 3), (236, 230, 236), np.uint8),
    "grey": np.full((2, 64, 64, 3), 120, np.uint8),
    "grey texture": he_tiles(2)[..., 1:2].repeat(3, axis=-1),
    "flat": np.full((2, 64, 64, 3), (160, 90, 150), np.uint8),
    "red": np.full((2, 64, 64, 3), (255, 0, 0), np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8),
    "none": np.zeros((0, 64, 64, 3), np.uint8),
    "no pixels": np.zeros((2, 0, 64, 3), np.uint8),
    "one pixel": np.full((1, 1, 1, 3), (160, 90, 150), np.uint8),
    "h only": he_tiles(4, matrix=MATRIX[[0, 0]]),
    "e only": he_tiles(4, matrix=MATRIX[[1, 1]]),
}
MEASURABLE = {  # by some methods, as their colors vary
    "macenko": {"noise"},
    "vahadane": {"noise"},
    "reinhard": {"noise", "h only", "e only"},
    "histogram": {"noise", "h only", "e only"},
}


@pytest.mark.parametrize("per_tile", [False, True])
@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("method", METHODS)
def test_odd_slides_pass_through_or_render_and_never_raise(
    method: str, name: str, per_tile: bool
) -> None:
    tiles, config = ODD[name], config_of(method, per_tile=per_tile)
    normalizer = style_of(method).for_slide(tiles, config)
    rendered, is_passed = normalizer.render(tiles)
    assert rendered.shape == tiles.shape and rendered.dtype == np.uint8
    assert is_passed.shape == (len(tiles),) and is_passed.dtype == np.bool_
    assert (rendered[is_passed] == tiles[is_passed]).all()
    assert is_passed.all() == (name not in MEASURABLE[method] or not tiles.size)
    if not per_tile:
        assert bool(normalizer.problem) == isinstance(normalizer, PassThrough)


@pytest.mark.parametrize("per_tile", [False, True])
@pytest.mark.parametrize("name", ["black", "white", "glass", "pale"])
@pytest.mark.parametrize("method", METHODS)
def test_odd_tiles_of_a_good_slide_pass_through_and_are_counted(
    method: str, name: str, per_tile: bool
) -> None:
    normalizer = fitted(method, per_tile=per_tile)
    tiles = np.concatenate([he_tiles(2), ODD[name]])
    rendered, is_passed = normalizer.render(tiles)
    assert is_passed.tolist() == [False, False, True, True]
    assert (rendered[2:] == tiles[2:]).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_problem_is_named(method: str) -> None:
    reference, config = style_of(method), config_of(method)
    assert reference.for_slide(ODD["pale"], config).problem.startswith(TOO_LITTLE)
    assert reference.for_slide(ODD["grey texture"], config).problem == NO_COLOR
    assert reference.for_slide(ODD["flat"], config).problem == reference.unfit
    if reference.unfit == ONE_STAIN:
        assert reference.for_slide(ODD["h only"], config).problem == ONE_STAIN


@pytest.mark.parametrize("method", METHODS)
def test_a_tile_by_itself_is_rendered_as_a_slide_of_that_tile(method: str) -> None:
    one, other = he_tiles(1), he_tiles(1, matrix=OTHER, white=230, seed=3)
    reference, config = style_of(method), config_of(method, per_tile=True)
    both = reference.for_slide(one, config).render(np.concatenate([one, other])).tiles
    slide = config_of(method)
    assert (both[:1] == reference.for_slide(one, slide).render(one).tiles).all()
    assert (both[1:] == reference.for_slide(other, slide).render(other).tiles).all()


@pytest.mark.parametrize("method", METHODS)
def test_input_is_left_alone_and_may_have_any_layout(method: str) -> None:
    tiles = he_tiles()
    normalizer = fitted(method)
    before, flipped = tiles.copy(), tiles[:, ::-1, ::-1]
    rendered = normalizer.render(tiles).tiles
    assert (normalizer.render(flipped).tiles[:, ::-1, ::-1] == rendered).all()
    assert (tiles == before).all()


@pytest.mark.parametrize("per_tile", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_normalizer_is_small_when_pickled_and_renders_the_same(
    method: str, per_tile: bool
) -> None:
    tiles, normalizer = he_tiles(2), fitted(method, per_tile=per_tile)
    rendered = normalizer.render(tiles).tiles
    packed = pickle.dumps(normalizer)
    assert len(packed) < 20_000
    again = pickle.loads(packed)  # noqa: S301  our own bytes
    assert (again.render(tiles).tiles == rendered).all()
    assert again.measured() == normalizer.measured()


@pytest.mark.parametrize("method", REFERENCES)
def test_a_reference_survives_its_file(tmp_path: Path, method: str) -> None:
    samples = [he_tiles(seed=1), he_tiles(seed=2)]
    reference = fit_reference(samples, config_of(method), "two")
    reference.save(tmp_path / "model.json")
    found = load_model(tmp_path / "model.json")
    assert (found, found.method, found.mpp) == (reference, method, None)
    assert found.fingerprint == reference.fingerprint
    assert (tmp_path / "model.json").stat().st_size < 20_000


@pytest.mark.parametrize("method", METHODS)
def test_the_fingerprint_names_what_shapes_pixels(method: str) -> None:
    reference = style_of(method)
    assert reference.model_copy(update={"source": "x"}).fingerprint == reference.fingerprint
    names = {style_of(name).fingerprint for name in METHODS}
    assert len({*names, style_of(method, he_tiles()).fingerprint}) == len(METHODS) + 1


@pytest.mark.parametrize("method", METHODS)
def test_a_style_of_several_slides_lies_between_theirs(method: str) -> None:
    one, other = he_tiles(4, seed=1), STYLE
    first, both, last = (style_of(method, *s) for s in ([one], [one, other], [other]))
    for a, middle, b in zip(_numbers(first), _numbers(both), _numbers(last), strict=True):
        ends = np.abs(a - b).max()
        assert 0 < np.abs(middle - a).max() < ends and 0 < np.abs(middle - b).max() < ends
    with_odd = style_of(method, one, ODD["black"], other, ODD["grey texture"])
    assert with_odd.fingerprint == both.fingerprint


@pytest.mark.parametrize("method", METHODS)
def test_a_target_without_stain_is_refused_with_a_remedy(method: str) -> None:
    with pytest.raises(StainError, match=r"glass\.png.*too little stained tissue.*Give H&E"):
        fit_reference([ODD["glass"]], config_of(method), "glass.png")
    with pytest.raises(StainError, match="holds no pixels"):
        fit_reference([], config_of(method))
    with pytest.raises(StainError, match="shows no color"):
        fit_reference([ODD["grey texture"]], config_of(method))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.uint16),
        np.zeros((64, 64, 3), np.float32),
    ],
)
def test_a_target_that_is_not_8_bit_rgb_is_refused(pixels: NDArray[np.generic]) -> None:
    with pytest.raises(StainError, match=r"x\.png: pixels are u?\w+ of shape .* not 8-bit RGB"):
        fit_reference([pixels], StainConfig(), "x.png")  # type: ignore[list-item]


UNUSABLE = [
    ("macenko", {"matrix": [[1, 0, 0], [1, 0, 0]]}),
    ("macenko", {"matrix": [[2, 0, 0], [0, 1, 0]]}),
    ("vahadane", {"max_concentrations": [0, 1]}),
    ("vahadane", {"white_level": [0, 0, 0]}),
    ("macenko", {"matrx": 1}),
    ("reinhard", {"spread": [0, 1, 1]}),
    ("reinhard", {"mean": [200, 0, 0]}),
    ("histogram", {"shares": [[1.0], [1.0], [1.0]]}),
    ("histogram", {"shares": [[0.0] * 256] * 3}),
    ("histogram", {"shares": [[2.0, -1.0] + [0.0] * 254] * 3}),
]


@pytest.mark.parametrize(("method", "change"), UNUSABLE)
def test_an_unusable_reference_is_refused(
    tmp_path: Path, method: str, change: dict[str, object]
) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(style_of(method).model_dump() | change))
    with pytest.raises(StainError, match=r"model\.json: not a stain reference"):
        load_model(path)


def test_none_leaves_all_as_it_is() -> None:
    tiles, config = he_tiles(), config_of("none")
    normalizer = fit_reference([tiles], config).for_slide(tiles, config)
    rendered, is_passed = normalizer.render(tiles)
    assert (rendered == tiles).all() and is_passed.all()
    assert (normalizer.problem, normalizer.measured()) == ("", {})
