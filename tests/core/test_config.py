"""Settings: defaults, files, overrides, and refusals that say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathology.core.config import load_config, to_yaml
from pathology.core.errors import ConfigError
from pathology.slides.ome_writer import PyramidConfig
from pathology.stain.cycle_config import CycleConfig
from pathology.tiling.config import TilingConfig


def test_defaults_need_no_file() -> None:
    assert load_config(TilingConfig) == TilingConfig()


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "tile.yaml"
    path.write_text("tile: {mpp: 1.0, size_px: 512}\n", encoding="utf-8")
    config = load_config(TilingConfig, path, ["tile.mpp=0.25", "tissue.method=hsv"])
    assert (config.tile.mpp, config.tile.size_px, config.tissue.method) == (0.25, 512, "hsv")


def test_an_unknown_key_names_the_file_the_key_and_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "tile.yaml"
    path.write_text("tissue: {methd: otsu}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tile.yaml: tissue.methd: unknown key; .*method, mpp"):
        load_config(TilingConfig, path)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("tile.mpp", "expected section.key=value"),
        ("tile.mpp=fast", "tile.mpp: input should be a valid number"),
        ("tile.mpp=true", "tile.mpp: a number is expected, got True"),
        ("tile.size_px=false", "tile.size_px: a number is expected, got False"),
        ("tile.mpp=-1", "tile.mpp: input should be greater than"),
        ("tile.size_px.x=1", "size_px"),
        ("nothing.mpp=1", "nothing: unknown key; expected one of tile, tissue, quality, store"),
        ("tile.mpp=[1", "is not a YAML value"),
        ("store.encoding=gif", "'jpeg' or 'lossless'"),
    ],
)
def test_a_bad_override_says_what_is_wrong(override: str, said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config(TilingConfig, None, ["tile.size_px=256", override])
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "tile: [1\n", "\x00\x01", "word"])
def test_a_file_that_is_no_settings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_config(TilingConfig, path)


def test_a_key_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tile.yaml"
    path.write_text("tile:\n  mpp: 0.5\n  size_px: 256\n  mpp: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tile.yaml: mpp \(line 4\) stands there twice"):
        load_config(TilingConfig, path)


def test_a_part_that_stands_for_itself_ends(tmp_path: Path) -> None:
    path = tmp_path / "tile.yaml"
    path.write_text("tile: &t\n  mpp: *t\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"tile\.yaml"):
        load_config(TilingConfig, path)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert load_config(TilingConfig, path) == TilingConfig()


def test_settings_survive_their_own_yaml(tmp_path: Path) -> None:
    config = load_config(TilingConfig, None, ["tile.mpp=0.3", "store.subsampling='420'"])
    path = tmp_path / "again.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(TilingConfig, path) == config


@pytest.mark.parametrize(("text", "said"), [("444", ""), ("443", "'444', '422' or '420'")])
def test_a_number_may_be_given_for_a_word_that_looks_like_it(text: str, said: str) -> None:
    if said:
        with pytest.raises(ConfigError, match=said):
            load_config(PyramidConfig, None, [f"subsampling={text}"])
    else:
        assert load_config(PyramidConfig, None, [f"subsampling={text}"]).subsampling == text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["crop_px=64", "tile_px=32"], "crop_px=64 is more than tile_px=32"),
        (["student.crop_px=300"], "student.crop_px=300 is more than tile_px=256"),
        (["crop_px=18", "generator.num_downsamples=2"], "crop_px=18 is no multiple of 4"),
        (["crop_px=16", "weights.pool_px=32"], "pool_px=32 is more than crop_px"),
        (["crop_px=16", "discriminator.num_layers=5"], "halve it 5 times: at least 64"),
        (
            ["crop_px=16", "generator.num_downsamples=4", "generator.block_px=3"],
            "halve it 4 times: at least 32",
        ),
        (["seed=-1"], "greater than or equal to 0"),
    ],
)
def test_crops_that_the_stain_networks_cannot_take_are_refused(
    settings: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(CycleConfig, None, settings)
