"""What a stain training and a table of styles are made of: centres, and pictures without stain."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.core.manifest import SlideRecord
from pathology.stain.config import StainConfig
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.normalize_store import normalize_store
from pathology.stain.saved_style import StainError
from pipelines import stain_domains
from pipelines.input_kinds import look_at
from pipelines.stain_domains import read_domains
from pipelines.stain_styles import list_styles
from tests.conftest import tissue_pixels, write_pyramid
from tests.in_process import pathology
from tests.pipelines.test_stain_train import tiny, train_words, write_pictures
from tests.stain.synthetic import he_tiles
from tests.stain.test_normalize_store import make_store


def test_a_centre_that_no_source_has_cannot_be_held_out(tmp_path: Path) -> None:
    sources = [write_pictures(tmp_path / f"centre_{c}", he_tiles(4, 64)) for c in "ab"]
    target, out = write_pictures(tmp_path / "target", he_tiles(4, 64, seed=1)), tmp_path / "m.pt"
    words = train_words((sources[0], target), out, 20)
    done = pathology(*words, "--set", "holdout_centres=[nowhere]")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "StainError: holdout_centres: no source has a centre 'nowhere'. Their centres: centre_a",
    )
    assert not out.exists()
    with pytest.raises(StainError, match=r"'centre_c', 'x'. Their centres: centre_a, centre_b$"):
        read_domains(sources, target, tiny(holdout_centres=["centre_c", "centre_a", "x"]))


def test_a_centre_that_is_not_trained_on_anyway_may_be_held_out(tmp_path: Path) -> None:
    """As one of a run whose slides all test, or whose slides cannot be read."""
    make_store(tmp_path / "run" / "tiles" / "a.zarr", he_tiles(4, 64))
    target = write_pictures(tmp_path / "target", he_tiles(4, 64, seed=1))
    given = replace(look_at(tmp_path / "run"), centres=(("a", "one"), ("b", "two")))
    domains = read_domains([given], target, tiny(holdout_centres=["two"]))
    assert domains.centres == ("one",)
    pictures = look_at(write_pictures(tmp_path / "pictures", he_tiles(4, 64)))
    lost = SlideRecord("lost", tmp_path / "lost.png", centre="three")
    given = replace(pictures, slides=(*pictures.slides, lost))
    domains = read_domains([given], target, tiny(holdout_centres=["three"]))
    assert domains.centres == ("pictures",)


def test_an_unknown_centre_is_refused_before_pixels_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = tmp_path / "run" / "tiles"
    for name, centre in (("a", "one"), ("b", "two"), ("c", "")):
        path = make_store(stores / f"{name}.zarr", he_tiles(4, 64))
        said = json.loads((path / "zarr.json").read_text())
        said["attributes"]["outcome"]["centre"] = centre
        (path / "zarr.json").write_text(json.dumps(said))
    (stores / "torn.zarr").mkdir()
    pictures = write_pictures(tmp_path / "pictures", he_tiles(4, 64))
    target = write_pictures(tmp_path / "target", he_tiles(4, 64, seed=1))
    sources = [tmp_path / "run", pictures]
    held = tiny(holdout_centres=["two", "run", "pictures"])
    assert read_domains(sources, target, held).centres == ("one",)

    def never(*given: object) -> None:
        raise AssertionError("pixels are read")

    monkeypatch.setattr(stain_domains, "iter_samples", never)
    said = r"no source has a centre 'x'. Their centres: one, pictures, run, two$"
    with pytest.raises(StainError, match=said):
        read_domains(sources, target, tiny(holdout_centres=["two", "x"]))


def test_tiles_that_are_normalized_teach_nothing(tmp_path: Path) -> None:
    """Neither as a source nor as the target, and not in part."""
    raw, styled = tmp_path / "run", tmp_path / "stained"
    for name in "ab":
        store = make_store(raw / "tiles" / f"{name}.zarr", he_tiles(4, 64))
    normalize_store(store, styled / "tiles" / "b.zarr", TEXTBOOK, StainConfig())
    picture = write_pictures(tmp_path / "pictures", he_tiles(4, 64, seed=1))
    for sources, target in (([raw, styled], picture), ([raw], styled)):
        with pytest.raises(StainError, match=r"stained: b is normalized already.*Give the tiling"):
            read_domains(sources, target, tiny())
    done = pathology(*train_words((styled, picture), tmp_path / "m.pt", 20))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "m.pt").exists()
    assert not (tmp_path / "m.run").exists()


def test_styles_take_settings_and_a_resolution(tmp_path: Path) -> None:
    write_pyramid(tmp_path / "slide.tif", tissue_pixels(1200, 1000), mpp=None)
    words = ("stain", "styles", tmp_path / "slide.tif")
    assert "--assume-mpp" in pathology(*words).stdout
    done = pathology(*words, "--assume-mpp", "0.5")
    assert (done.returncode, done.stdout.startswith("slide: H ")) == (0, True)
    (tmp_path / "stain.yaml").write_text("min_stained_pixels: 100000000\n")
    done = pathology(*words, "--assume-mpp", "0.5", "--config", tmp_path / "stain.yaml")
    assert "too little stained tissue" in done.stdout


def test_no_stain_vectors_where_none_were_measured(tmp_path: Path) -> None:
    """The same is said as by `stain apply`, and not the textbook's vectors."""
    folder = write_pictures(tmp_path / "in", he_tiles(2, 64))
    dot = np.array([[[150, 60, 120]]], np.uint8)
    cv2.imwrite(str(folder / "dot.png"), dot)
    cv2.imwrite(str(folder / "glass.png"), np.full((64, 64, 3), 243, np.uint8))
    done = pathology("stain", "styles", folder)
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert done.returncode == 1
    assert lines["dot"] == "no two stains can be told apart"
    assert lines["glass"].startswith("too little stained tissue")
    assert lines["0"].startswith("H ") and "±" in lines["0"]
    glass = np.full((3, 256, 256, 3), 243, np.uint8)
    store = make_store(tmp_path / "run" / "tiles" / "s.zarr", glass)
    for _ in range(2):  # measured, and read from the store
        (row,) = list_styles(store, StainConfig(), 4)
        assert (row.hematoxylin, row.num_tiles) == ("", 3)
        assert row.problem.startswith("too little stained tissue")
