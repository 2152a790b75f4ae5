from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathology.core.errors import ArtifactError, ConfigError
from pathology.interop.coordinates import read_coordinates
from pathology.interop.export_coords import (
    export_clam,
    export_trident,
    folder_name,
    trident_attributes,
)
from pathology.interop.tile_facts import TileFacts, facts_of_store, nominal_magnification
from pathology.tiling.store import TileStore

TRIDENT = {
    "patch_size",
    "patch_size_level0",
    "level0_magnification",
    "target_magnification",
    "overlap",
    "name",
    "savetodir",
    "level0_width",
    "level0_height",
}
CLAM = {
    "patch_size",
    "patch_level",
    "downsample",
    "downsampled_level_dim",
    "level_dim",
    "name",
    "save_path",
}
OURS = {
    "mpp",
    "mpp_source",
    "target_mpp",
    "achieved_mpp",
    "tile_size_px",
    "l0_tile_size",
    "l0_size",
    "l0_offset",
    "read_level",
    "read_size",
    "tissue_method",
    "code_version",
    "fingerprint",
    "config_sha256",
    "complete",
}

MakeStore = Callable[..., TileStore]


def test_trident_file_has_its_place_names_and_types(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store("a.b")
    path = export_trident(facts_of_store(store), tmp_path / "out")
    assert path == tmp_path / "out/0.5mpp_64px_16px_overlap/patches/a.b_patches.h5"
    with h5py.File(path) as file:
        coords = file["coords"]
        said = dict(coords.attrs)
        assert coords.dtype == np.int64
        assert coords.maxshape == (None, 2)
        assert np.array_equal(coords[...], store.l0_xy)
    assert set(said) == TRIDENT | OURS
    for name in ("patch_size", "patch_size_level0", "level0_magnification", "overlap"):
        assert np.issubdtype(said[name].dtype, np.integer)
    assert np.issubdtype(said["target_magnification"].dtype, np.integer)
    assert said["patch_size"] == 64
    assert said["patch_size_level0"] == 128
    assert (said["level0_magnification"], said["target_magnification"]) == (40, 20)
    assert (said["overlap"], said["name"]) == (16, "a.b")
    assert (said["level0_width"], said["level0_height"]) == (8000, 6000)
    assert said["savetodir"] == str(path.parent)
    assert (said["mpp"], said["mpp_source"], said["complete"]) == (0.25, "slide", 1)


def test_clam_file_has_its_place_names_and_types(make_store: MakeStore, tmp_path: Path) -> None:
    store = make_store(read_edge=32, level=2)
    path = export_clam(facts_of_store(store), tmp_path / "out")
    assert path == tmp_path / "out/patches/slide_1.h5"
    with h5py.File(path) as file:
        said = dict(file["coords"].attrs)
        assert np.array_equal(file["coords"][...], store.l0_xy)
    assert set(said) == CLAM | OURS
    assert (said["patch_size"], said["patch_level"]) == (32, 2)
    assert said["downsample"].tolist() == [4.0, 4.0]
    assert said["downsample"].dtype == np.float64
    assert said["level_dim"].tolist() == said["downsampled_level_dim"].tolist() == [2000, 1500]
    assert np.issubdtype(said["level_dim"].dtype, np.integer)


@pytest.mark.parametrize("export", [export_trident, export_clam])
def test_what_we_write_we_read_back(
    make_store: MakeStore, tmp_path: Path, export: Callable[[TileFacts, Path], Path]
) -> None:
    store = make_store(mpp=(0.2425, 0.2425), l0_edge=132, level=0, read_edge=132)
    found = read_coordinates(export(facts_of_store(store), tmp_path / "out"))
    assert found.slide_id == "slide_1"
    assert np.array_equal(found.l0_xy, store.l0_xy)
    assert found.l0_xy.dtype == np.int64
    assert found.l0_tile_size == (132, 132)
    assert (found.size_px, found.target_mpp) == (64, 0.5)
    assert found.l0_slide == (8000, 6000)


def test_a_slide_without_tiles_gives_an_empty_file(make_store: MakeStore, tmp_path: Path) -> None:
    facts = facts_of_store(make_store(num_tiles=0))
    for path in (export_trident(facts, tmp_path), export_clam(facts, tmp_path)):
        assert read_coordinates(path).l0_xy.shape == (0, 2)


@given(size_px=st.integers(8, 2048), l0_edge=st.integers(8, 8192), mpp=st.floats(0.05, 10))
def test_trident_reads_our_square_to_the_pixel(size_px: int, l0_edge: int, mpp: float) -> None:
    facts = TileFacts(
        slide_id="s",
        l0_xy=np.zeros((0, 2), np.int64),
        l0_slide=(1, 1),
        l0_tile_size=(l0_edge, l0_edge),
        l0_offset=(0, 0),
        mpp=(mpp, mpp),
        mpp_source="slide",
        target_mpp=0.5,
        achieved_mpp=(0.5, 0.5),
        level=0,
        read_size=(l0_edge, l0_edge),
        size_px=size_px,
        overlap_px=0,
        tissue_method="otsu",
        fingerprint="",
        config_sha256="",
        version="",
        measurements={},
    )
    said = trident_attributes(facts, "")
    level0, target = said["level0_magnification"], said["target_magnification"]
    assert isinstance(level0, int)
    assert isinstance(target, int | float)
    assert round(size_px * ((10 / target) / (10 / level0))) == l0_edge  # as its patcher computes


def test_folder_is_named_by_resolution_or_magnification(make_store: MakeStore) -> None:
    facts = facts_of_store(make_store())
    assert folder_name(facts, "mpp") == "0.5mpp_64px_16px_overlap"
    assert folder_name(facts, "trident") == "20x_64px_16px_overlap"
    assert folder_name(replace(facts, overlap_px=0), "trident") == "20x_64px_0px_overlap"
    with pytest.raises(ConfigError, match="expected one of mpp, trident"):
        folder_name(facts, "clam")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mpp", "magnification"), [(0.1, 100), (0.2425, 40), (0.26, 40), (0.46, 20), (1, 10), (9, 1)]
)
def test_nominal_magnification(mpp: float, magnification: int) -> None:
    assert nominal_magnification(mpp) == magnification


def test_a_store_without_a_plan_is_refused(make_store: MakeStore) -> None:
    store = make_store()
    del store.attributes["plan"]
    with pytest.raises(ArtifactError, match="attributes are incomplete"):
        facts_of_store(store)


def test_an_id_that_leaves_the_folder_is_refused(make_store: MakeStore) -> None:
    store = make_store()
    store.attributes["slide_id"] = "../../etc/x"
    with pytest.raises(ArtifactError, match="cannot be a file name"):
        facts_of_store(store)
