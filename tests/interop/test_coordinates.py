"""Files built here the way the other programs' code writes them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pathology.core.errors import ArtifactError
from pathology.interop.coordinates import (
    find_coordinates,
    list_coordinates,
    read_coordinates,
    write_csv,
)

CORNERS = np.array([[0, 512], [1024, 2048]], np.int64)
TRIDENT = {
    "patch_size": 256,
    "patch_size_level0": 512,
    "level0_magnification": 40,
    "target_magnification": 20,
    "overlap": 0,
    "name": "TCGA-01.F6E9",
    "savetodir": "/job/20x_256px_0px_overlap",
    "level0_width": 4000,
    "level0_height": 3000,
}
CLAM = {
    "patch_size": 256,
    "patch_level": 1,
    "downsample": (4.0, 4.0),
    "downsampled_level_dim": (1000, 750),
    "level_dim": (1000, 750),
    "name": "slide",
    "save_path": "/results/patches",
}


def write(
    path: Path,
    coords: Any = CORNERS,
    attributes: dict[str, Any] | None = None,
    file_attributes: dict[str, Any] | None = None,
    **more: Any,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        table = file.create_dataset("coords", data=coords)
        for name, value in (attributes or {}).items():
            table.attrs[name] = value
        for name, value in (file_attributes or {}).items():
            file.attrs[name] = value
        for name, value in more.items():
            file[name] = value
    return path


def test_trident(tmp_path: Path) -> None:
    found = read_coordinates(write(tmp_path / "x_patches.h5", CORNERS, TRIDENT))
    assert (found.dialect, found.slide_id) == ("trident", "TCGA-01.F6E9")
    assert np.array_equal(found.l0_xy, CORNERS)
    assert found.l0_tile_size == (512, 512)
    assert (found.size_px, found.target_mpp, found.l0_slide) == (256, None, (4000, 3000))


def test_trident_is_read_as_its_own_reader_rounds(tmp_path: Path) -> None:
    said = {**TRIDENT, "patch_size": 255, "level0_magnification": 60, "patch_size_level0": 764}
    found = read_coordinates(write(tmp_path / "x_patches.h5", CORNERS, said))
    assert found.l0_tile_size == (765, 765)


def test_clam(tmp_path: Path) -> None:
    found = read_coordinates(write(tmp_path / "slide.h5", CORNERS.astype(np.int32), CLAM))
    assert (found.dialect, found.slide_id) == ("clam", "slide")
    assert found.l0_xy.dtype == np.int64
    assert found.l0_tile_size == (1024, 1024)
    assert (found.size_px, found.target_mpp, found.l0_slide) == (256, None, None)


def test_clam_at_level_0_knows_the_slide(tmp_path: Path) -> None:
    said = {**CLAM, "patch_level": 0, "downsample": (1.0, 1.0), "level_dim": (4000, 3000)}
    found = read_coordinates(write(tmp_path / "slide.h5", CORNERS, said))
    assert found.l0_tile_size == (256, 256)
    assert found.l0_slide == (4000, 3000)


def test_clam_with_another_downsample_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "slide.h5", CORNERS, {**CLAM, "custom_downsample": 2})
    with pytest.raises(ArtifactError, match="custom_downsample other than 1"):
        read_coordinates(path)


def test_wsinfer(tmp_path: Path) -> None:
    said = {"patch_size": 1050, "patch_level": 0, "patch_spacing_um_px": 0.25}
    found = read_coordinates(write(tmp_path / "slide_7.h5", CORNERS, said))
    assert (found.dialect, found.slide_id) == ("wsinfer", "slide_7")
    assert found.l0_tile_size == (1050, 1050)
    assert (found.size_px, found.target_mpp) == (None, 0.25)


def test_atlaspatch(tmp_path: Path) -> None:
    rows = np.array([[0, 0, 256, 256, 1], [512, 0, 256, 256, 1]], np.int32)
    said = {key: TRIDENT[key] for key in TRIDENT if key not in ("name", "savetodir")}
    path = write(tmp_path / "slide.h5", rows, None, {**said, "wsi_path": "/data/slide.svs"})
    found = read_coordinates(path)
    assert (found.dialect, found.slide_id) == ("atlaspatch", "slide")
    assert found.l0_xy.tolist() == [[0, 0], [512, 0]]
    assert found.l0_tile_size == (512, 512)
    assert (found.size_px, found.l0_slide) == (256, (4000, 3000))


def test_stamp_counts_in_microns(tmp_path: Path) -> None:
    said = {"unit": "um", "tile_size_um": 256.0, "tile_size_px": 224, "feat_type": "tile"}
    coords = np.array([[0, 128], [256, 384]], np.float32)
    path = write(tmp_path / "slide.h5", coords, None, said, feats=np.zeros((2, 8), np.float16))
    found = read_coordinates(path, l0_mpp=0.25)
    assert found.dialect == "stamp"
    assert found.l0_xy.tolist() == [[0, 512], [1024, 1536]]
    assert found.l0_tile_size == (1024, 1024)
    assert found.size_px == 224
    assert found.target_mpp == pytest.approx(256 / 224)
    assert read_coordinates(path, lambda: 0.25).l0_xy.tolist() == found.l0_xy.tolist()
    with pytest.raises(ArtifactError, match="the slide's mpp is needed"):
        read_coordinates(path)


def test_no_tiles_is_not_a_fault(tmp_path: Path) -> None:
    found = read_coordinates(write(tmp_path / "x.h5", np.zeros((0, 2), np.int64), TRIDENT))
    assert found.l0_xy.shape == (0, 2)
    assert found.l0_xy.dtype == np.int64


@pytest.mark.parametrize(
    ("coords", "attributes", "complaint"),
    [
        (CORNERS, {}, "of an unknown kind"),
        (CORNERS, {**TRIDENT, "target_magnification": 0}, "cannot be understood"),
        (CORNERS, {**TRIDENT, "level0_magnification": "None"}, "cannot be understood"),
        (CORNERS, {k: v for k, v in TRIDENT.items() if k != "patch_size"}, "'patch_size' is miss"),
        (CORNERS, {k: v for k, v in CLAM.items() if k != "downsample"}, "'downsample' is missing"),
        (CORNERS, {**CLAM, "downsample": h5py.Empty("f")}, "cannot be understood"),
        (CORNERS + 0.5, TRIDENT, "not whole pixels"),
        (CORNERS * np.nan, TRIDENT, "not whole pixels"),
        (CORNERS - 1, TRIDENT, "outside of any slide"),
        (np.zeros((4, 3), np.int64), TRIDENT, r"expected \(N, 2\)"),
        (np.zeros(4, np.int64), TRIDENT, r"expected \(N, 2\)"),
        (np.array([[b"a", b"b"]]), TRIDENT, r"expected \(N, 2\)"),
    ],
)
def test_what_cannot_be_trusted_is_refused(
    tmp_path: Path, coords: Any, attributes: dict[str, Any], complaint: str
) -> None:
    path = write(tmp_path / "x.h5", coords, attributes)
    with pytest.raises(ArtifactError, match=complaint) as fault:
        read_coordinates(path)
    assert str(path) in str(fault.value)
    assert "\n" not in str(fault.value)


def test_damaged_files_are_artifact_errors(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.h5", np.zeros((50_000, 2), np.int64), TRIDENT)
    cut, text, empty = (tmp_path / name for name in ("cut.h5", "text.h5", "empty.h5"))
    cut.write_bytes(whole.read_bytes()[:20_000])
    text.write_text("not HDF5")
    empty.touch()
    for path in (cut, text, empty, tmp_path / "absent.h5", tmp_path):
        with pytest.raises(ArtifactError, match=str(path)):
            read_coordinates(path)


def test_a_group_named_coords_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_group("coords")
    with pytest.raises(ArtifactError, match="holds no data set 'coords'"):
        read_coordinates(path)


@pytest.mark.parametrize(
    "inside",
    [
        "s.1_patches.h5",
        "s.1.h5",
        "patches/s.1.h5",
        "20x_256px_0px_overlap/patches/s.1_patches.h5",
        "job/a/20x_256px_0px_overlap/patches/s.1_patches.h5",
    ],
)
def test_files_are_found_where_programs_put_them(tmp_path: Path, inside: str) -> None:
    path = write(tmp_path / inside)
    write(tmp_path / inside.replace("s.1", "s.10"))
    assert find_coordinates(tmp_path, "s.1") == path
    assert find_coordinates(tmp_path, "s") is None


def test_coordinates_come_before_features(tmp_path: Path) -> None:
    path = write(tmp_path / "job/20x/patches/s_patches.h5")
    write(tmp_path / "job/20x/features_uni/s.h5")
    for folder in (tmp_path, tmp_path / "job", tmp_path / "job/20x"):
        assert find_coordinates(folder, "s") == path


def test_two_ways_of_tiling_are_ambiguous(tmp_path: Path) -> None:
    write(tmp_path / "10x/patches/s_patches.h5")
    path = write(tmp_path / "20x/patches/s_patches.h5")
    with pytest.raises(ArtifactError, match="Give the folder of one of them"):
        find_coordinates(tmp_path, "s")
    assert find_coordinates(tmp_path / "20x", "s") == path


def test_a_file_is_taken_if_it_is_named_after_the_slide(tmp_path: Path) -> None:
    path = write(tmp_path / "s_patches.h5")
    assert find_coordinates(path, "s") == path
    assert find_coordinates(path, "t") is None


def test_corners_as_a_table(tmp_path: Path) -> None:
    found = read_coordinates(write(tmp_path / "x_patches.h5", CORNERS, TRIDENT))
    text = write_csv(found, tmp_path / "x.csv").read_text()
    assert text.splitlines() == [
        "slide_id,x,y,width,height",
        "TCGA-01.F6E9,0,512,512,512",
        "TCGA-01.F6E9,1024,2048,512,512",
    ]


def test_a_folder_is_looked_through_once_for_many_slides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"job/{name}/20x/patches/{name}_patches.h5")
    listing = list_coordinates(tmp_path)
    monkeypatch.delattr(Path, "glob")
    monkeypatch.delattr(Path, "rglob")
    for name in ("a", "b", "c"):
        path = tmp_path / f"job/{name}/20x/patches/{name}_patches.h5"
        assert find_coordinates(tmp_path, name, listing) == path
    assert find_coordinates(tmp_path, "d", listing) is None
