"""Fitting a style to whatever is given: stores, pictures, and what is neither."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pathology.core.errors import PathologyError
from pathology.stain.config import StainConfig
from pathology.stain.load import load_model
from pathology.stain.macenko import TEXTBOOK, MacenkoReference
from pathology.stain.normalize_store import normalize_store
from pathology.stain.saved_style import StainError
from pipelines.stain_fit import fit_model, iter_pixels
from tests.conftest import tissue_pixels, write_pyramid
from tests.in_process import pathology
from tests.stain.synthetic import he_tiles
from tests.stain.test_normalize_store import make_store

CONFIG = StainConfig()


def write_picture(path: Path, pixels: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    flipped = pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, *range(3, pixels.shape[-1])]]
    assert cv2.imwrite(str(path), flipped)
    return path


def test_a_style_is_fitted_to_a_run_a_store_or_a_picture(tmp_path: Path) -> None:
    tiles = he_tiles(6)
    store = make_store(tmp_path / "run" / "tiles" / "a.zarr", tiles)
    picture = write_picture(tmp_path / "pictures" / "a.png", np.hstack(list(tiles)))
    write_picture(tmp_path / "pictures" / "b.png", np.hstack(list(tiles)))
    out = tmp_path / "model.json"
    fitted = [
        fit_model(target, out, CONFIG)
        for target in (tmp_path / "run", store, picture, picture.parent)
    ]
    assert load_model(out) == fitted[-1]
    assert [model.source for model in fitted] == ["run", "a.zarr", "a.png", "pictures"]
    matrices = [model.matrix for model in fitted if isinstance(model, MacenkoReference)]
    assert matrices[0] == matrices[1]
    assert len(matrices) == 4
    assert all(np.allclose(matrix, matrices[0], atol=0.02) for matrix in matrices)


@pytest.mark.parametrize("method", ["none", "reinhard", "vahadane", "histogram"])
def test_the_method_is_a_setting(tmp_path: Path, method: str) -> None:
    picture = write_picture(tmp_path / "a.png", he_tiles(1, 256)[0])
    config = StainConfig.model_validate({"method": method})
    assert fit_model(picture, tmp_path / "m.json", config).method == method


def test_one_bad_member_does_not_spoil_the_rest(tmp_path: Path) -> None:
    make_store(tmp_path / "run" / "tiles" / "a.zarr", he_tiles(4))
    make_store(tmp_path / "run" / "tiles" / "b.zarr", he_tiles(0))
    (tmp_path / "run" / "tiles" / "c.zarr").mkdir()
    assert len(list(iter_pixels(tmp_path / "run", CONFIG))) == 1
    fit_model(tmp_path / "run", tmp_path / "m.json", CONFIG)


def test_pictures_that_are_left_out_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "pics"
    for name in ("deep.png", "glass.png", "grey.png"):
        write_picture(folder / name, BAD[name][0])
    Image.new("CMYK", (256, 256)).save(folder / "print.jpg")
    write_picture(folder / "tissue.png", he_tiles(1, 256)[0])
    done = pathology("stain", "fit", "--target", folder, "--out", tmp_path / "m.json")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for line, (name, problem) in zip(
        lines,
        (("deep", "16-bit"), ("glass", "too little stained"), ("grey", "grey"), ("print", "CMYK")),
        strict=False,
    ):
        assert line.startswith(f"left out: {name}: ") and problem in line
    assert lines[4].startswith(f"{tmp_path / 'm.json'}: fitted to ")


def test_of_many_that_are_left_out_ten_are_named(tmp_path: Path) -> None:
    folder, said = tmp_path / "pics", []
    for number in range(13):
        write_picture(folder / f"{number}.png", BAD["grey.png"][0])
    write_picture(folder / "tissue.png", he_tiles(1, 256)[0])
    fit_model(folder, tmp_path / "m.json", CONFIG, said.append)
    assert len(said) == 11 and said[-1] == "left out: 3 more"


BAD: dict[str, tuple[NDArray[np.generic], str]] = {
    "grey.png": (he_tiles(1, 256)[0, ..., 0], "gr[ea]y|color"),
    "grey.tif": (he_tiles(1, 256)[0, ..., 0], "gr[ea]y|color"),
    "deep.png": (he_tiles(1, 256)[0].astype(np.uint16) * 257, "16|8-bit"),
    "deep.tif": (he_tiles(1, 256)[0].astype(np.uint16) * 257, "16|8-bit"),
    "glass.png": (np.full((256, 256, 3), 243, np.uint8), "too little stained tissue"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_picture_that_shows_no_stain_is_refused(tmp_path: Path, name: str) -> None:
    pixels, problem = BAD[name]
    path = write_picture(tmp_path / name, pixels)
    with pytest.raises(StainError, match=problem):
        fit_model(path, tmp_path / "m.json", CONFIG)
    assert not (tmp_path / "m.json").exists()


def test_a_target_that_is_normalized_is_refused(tmp_path: Path) -> None:
    raw = make_store(tmp_path / "run" / "tiles" / "a.zarr", he_tiles(4))
    for name in ("a", "b"):
        store = tmp_path / "run" / "stain" / "tiles" / f"{name}.zarr"
        normalize_store(raw, store, TEXTBOOK, CONFIG)
    for target in (tmp_path / "run" / "stain", store):
        done = pathology("stain", "fit", "--target", target, "--out", tmp_path / "m.json")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"{target}: " in done.stderr and "is normalized already, by model" in done.stderr
        assert "Give the tiling run" in done.stderr
    assert not (tmp_path / "m.json").exists()


def test_settings_come_from_a_file_and_the_resolution_may_be_given(tmp_path: Path) -> None:
    (tmp_path / "stain.yaml").write_text("method: reinhard\nmin_od: 0.2\n")
    slide, out = tmp_path / "slide.tif", tmp_path / "m.json"
    write_pyramid(slide, tissue_pixels(1200, 1000), mpp=None)
    words = ("stain", "fit", "--target", slide, "--out", out, "--config", tmp_path / "stain.yaml")
    assert "--assume-mpp" in pathology(*words).stderr
    done = pathology(*words, "--assume-mpp", "0.5")
    assert done.returncode == 0, done.stderr
    assert load_model(out).method == "reinhard"
    assert pathology(*words, "--assume-mpp", "0.5", "--method", "macenko").returncode == 0
    assert load_model(out).method == "macenko"
    assert "--assume-mpp 99" in pathology(*words, "--assume-mpp", "99").stderr


def test_what_is_no_target_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "a.png", tmp_path / "empty", tmp_path / "missing.svs"):
        with pytest.raises(PathologyError, match=target.name):
            fit_model(target, tmp_path / "m.json", CONFIG)
    assert not (tmp_path / "m.json").exists()
