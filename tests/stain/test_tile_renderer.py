"""A store's tiles see their neighbors: what comes out is the whole picture, cut into tiles."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.core.artifact import fingerprint
from pathology.stain.config import StainConfig
from pathology.stain.cycle_config import CycleConfig
from pathology.stain.learned import LearnedModel
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.matrix import Pixels
from pathology.stain.normalize_store import normalize_store, restained_fingerprint, sample_tiles
from pathology.stain.normalizer import SlideNormalizer
from pathology.stain.seams import mosaic_seams, neighbors, tiles_around
from pathology.stain.tile_renderer import TileRenderer, fill_window
from pathology.tiling.store import TileStore, open_tiles
from tests.conftest import tissue_pixels
from tests.pipelines.test_stain_evaluate import store_of
from tests.stain.synthetic import he_tiles
from tests.stain.test_learned import CONFIG, QUALITIES, make_model

EDGE = 64
HALVING = CONFIG.model_copy(
    update={"generator": CONFIG.generator.model_copy(update={"num_downsamples": 1, "block_px": 3})}
)


@pytest.fixture(scope="module")
def model() -> LearnedModel:
    return make_model()


def picture(rows: int = 4, columns: int = 5) -> Pixels:
    return np.ascontiguousarray(he_tiles(1, EDGE * max(rows, columns), seed=3)[0])[
        : EDGE * rows, : EDGE * columns
    ]


def window_of(places_33: np.ndarray, tiles: dict[int, Pixels], around_px: int) -> Pixels:
    window = np.full((EDGE + 2 * around_px,) * 2 + (3,), 99, np.uint8)
    fill_window(window, places_33, tiles, around_px)
    return window


def put_together(store: TileStore, tiles: Pixels, like: Pixels) -> Pixels:
    """Tiles where they lie on the slide, on black."""
    whole = np.zeros_like(like)
    for (x, y), tile in zip((store.l0_xy // 2).tolist(), tiles, strict=True):
        whole[y : y + EDGE, x : x + EDGE] = tile
    return whole


def of_store(model: LearnedModel, store: TileStore, quality: str) -> SlideNormalizer:
    config = StainConfig(quality=quality)
    return model.for_slide(sample_tiles(store, config), config)


def test_a_window_is_cut_out_of_the_whole_and_mirrored_at_its_edges() -> None:
    whole, around = picture(3, 4), 9
    padded = cv2.copyMakeBorder(whole, *[around] * 4, cv2.BORDER_REFLECT_101)
    corners = np.array([(x, y) for y in range(3) for x in range(4)]) * EDGE
    tiles = {row: whole[y : y + EDGE, x : x + EDGE] for row, (x, y) in enumerate(corners.tolist())}
    places_N33 = tiles_around(neighbors(corners, (EDGE, EDGE)), len(corners))
    for (x, y), places_33 in zip(corners.tolist(), places_N33, strict=True):
        wanted = padded[y : y + EDGE + 2 * around, x : x + EDGE + 2 * around]
        assert (window_of(places_33, tiles, around) == wanted).all()


def test_what_lies_nowhere_is_mirrored_from_what_lies_next_to_it() -> None:
    tiles = dict(enumerate(he_tiles(3, EDGE)))
    around = EDGE - 1  # all that a mirror has
    alone = window_of(np.array([[-1, -1, -1], [-1, 0, -1], [-1, -1, -1]]), tiles, around)
    wanted = cv2.copyMakeBorder(tiles[0], *[around] * 4, cv2.BORDER_REFLECT_101)
    assert (alone == wanted).all()
    near = window_of(np.array([[-1, 1, -1], [-1, 0, 2], [-1, -1, -1]]), tiles, 5)
    assert (near[:5, 5:-5] == tiles[1][-5:]).all()
    assert (near[5:-5, -5:] == tiles[2][:, :5]).all()
    assert (near[:5, -5:] == tiles[1][-5:, -2:-7:-1]).all()
    assert (near[-5:, -5:] == tiles[2][-2:-7:-1, :5]).all()


def test_of_neighbors_those_at_corners_are_found_through_others() -> None:
    corners = np.array([[0, 0], [64, 0], [64, 64], [128, 128]])
    around = tiles_around(neighbors(corners, (64, 64)), 4)
    assert around[0].tolist() == [[-1, -1, -1], [-1, 0, 1], [-1, -1, 2]]
    assert around[2].tolist() == [[0, 1, -1], [-1, 2, -1], [-1, -1, -1]]
    assert around[3].tolist() == [[-1, -1, -1], [-1, 3, -1], [-1, -1, -1]]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("quality", QUALITIES)
def test_a_store_is_the_whole_picture_cut_into_tiles(
    model: LearnedModel, tmp_path: Path, quality: str, threads: int
) -> None:
    whole = picture()
    store = open_tiles(store_of(tmp_path / "a.zarr", whole, EDGE, 2 * EDGE))
    config = StainConfig(quality=quality)
    normalize_store(store.path, tmp_path / "b.zarr", model, config, threads=threads)
    made = put_together(store, open_tiles(tmp_path / "b.zarr").read(slice(None)), whole)
    normalizer = of_store(model, store, quality)
    wanted = normalizer.render(whole[None]).tiles[0]
    assert np.abs(made.astype(int) - wanted).max() <= 1
    alone = put_together(store, normalizer.render(store.read(slice(None))).tiles, whole)
    assert np.abs(alone.astype(int) - wanted).max() > 5


def test_so_is_one_of_a_network_that_halves_and_looks_far(tmp_path: Path) -> None:
    whole = picture()
    store = open_tiles(store_of(tmp_path / "a.zarr", whole, EDGE, 2 * EDGE))
    normalizer = of_store(make_model(config=HALVING), store, "teacher")
    assert normalizer.margin_px > 10
    made = put_together(store, TileRenderer(store, normalizer).render(range(len(store))).tiles,
                        whole)  # fmt: skip
    wanted = normalizer.render(whole[None]).tiles[0]
    inner = slice(normalizer.margin_px, -normalizer.margin_px)  # beyond the edge each layer guesses
    assert np.abs(made.astype(int) - wanted)[inner, inner].max() <= 1


def test_a_margin_wider_than_a_tile_is_cut_to_it(tmp_path: Path) -> None:
    deep = CycleConfig.model_validate(
        {"generator": {"width": 4, "num_downsamples": 2, "num_blocks": 9, "block_px": 3},
         "student": {"width": 4, "steps": 1, "crop_px": 16}}
    )  # fmt: skip
    store = open_tiles(store_of(tmp_path / "a.zarr", picture(), EDGE, 2 * EDGE))
    normalizer = of_store(make_model(config=deep), store, "teacher")
    renderer = TileRenderer(store, normalizer)
    assert (normalizer.margin_px, renderer.around_px) == (88, 60)
    assert renderer.render([7]).tiles.shape == (1, EDGE, EDGE, 3)


@pytest.mark.parametrize("quality", QUALITIES)
def test_no_border_shows(model: LearnedModel, tmp_path: Path, quality: str) -> None:
    """By the limit at which `stain evaluate` flags a slide, and by far."""
    whole = tissue_pixels(768, 768, seed=2)[128:640, 128:640]
    store = open_tiles(store_of(tmp_path / "a.zarr", whole, EDGE, 2 * EDGE))
    normalizer = of_store(model, store, quality)
    made = put_together(store, TileRenderer(store, normalizer).render(range(len(store))).tiles,
                        whole)  # fmt: skip
    before, after = mosaic_seams(whole, EDGE), mosaic_seams(made, EDGE)
    assert after.ratio < 1.02 * before.ratio
    assert after.offset_ratio < 1.1 * before.offset_ratio


def test_a_tile_passes_by_what_it_shows_itself(model: LearnedModel, tmp_path: Path) -> None:
    whole = np.array(picture())
    whole[EDGE : 2 * EDGE, EDGE : 2 * EDGE] = 243  # glass, and tissue all around it
    store = open_tiles(store_of(tmp_path / "a.zarr", whole, EDGE, 2 * EDGE))
    for quality in QUALITIES:
        outcome = normalize_store(
            store.path, tmp_path / f"{quality}.zarr", model, StainConfig(quality=quality)
        )
        after = open_tiles(tmp_path / f"{quality}.zarr")
        assert outcome.num_passed_through == 1
        assert after.encoded(6) == store.encoded(6)


def test_each_tile_is_read_a_few_times_and_by_color_alone_once(
    model: LearnedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.tile(he_tiles(1, EDGE)[0], (16, 16, 1))
    store = open_tiles(store_of(tmp_path / "a.zarr", whole, EDGE, 2 * EDGE))
    sizes: list[int] = []
    read = TileStore.read

    def counting(self: TileStore, rows: np.ndarray) -> Pixels:
        tiles = read(self, rows)
        sizes.append(len(tiles))
        return tiles

    normalizers = {
        "classical": TEXTBOOK.for_slide(store.read([0]), StainConfig()),
        "lut": of_store(model, store, "lut"),
    }
    monkeypatch.setattr(TileStore, "read", counting)
    for name, most in (("classical", 256), ("lut", 2 * 256)):
        sizes.clear()
        renderer = TileRenderer(store, normalizers[name])
        step = renderer.rows_at_once
        for first in range(0, 256, step):
            renderer.render(range(first, first + step))
        assert 256 <= sum(sizes) <= most
        assert max(sizes) <= 3 * step


def test_stores_with_seams_are_made_anew_and_those_by_color_alone_are_not(
    model: LearnedModel,
) -> None:
    attributes, config = {"fingerprint": "tiles of a"}, StainConfig()
    for one, is_kept in ((TEXTBOOK, True), (model, False)):
        inputs = {"tiles": "tiles of a", "model": one.fingerprint}
        before = fingerprint("stained tiles", 2, config, inputs)
        assert (restained_fingerprint(attributes, one, config) == before) is is_kept
