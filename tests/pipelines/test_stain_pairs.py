"""Pairs of pictures: read from tables and folders, shifts undone, and refused by name."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pathology.core.errors import PathologyError
from pathology.evaluation.stain_config import StainEvaluationConfig
from pathology.stain.config import StainConfig
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.saved_style import StainError
from pathology.stain.similarity import PairError
from pipelines.input_kinds import look_at
from pipelines.stain import apply_recipe
from pipelines.stain_models import NamedModel
from pipelines.stain_pairs import read_pairs, score_pairs
from pipelines.stain_recipe import Recipe
from tests.conftest import tissue_pixels
from tests.stain.synthetic import he_tiles
from tests.stain.test_learned import make_model

EVALUATION = StainEvaluationConfig()


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of two pictures of equal names."""
    for name in ("0.png", "1.png"):
        for folder in ("source", "target"):
            save(tmp_path / folder / name, he_tiles(1)[0])
    return tmp_path / "source", tmp_path / "target"


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_pairs_of_a_table_undo_their_shifts(tmp_path: Path) -> None:
    whole = tissue_pixels(200, 200)
    for n, (x, y) in enumerate([(3, -2), (0, 0)]):
        save(tmp_path / "one" / f"{n}.png", whole[40 - y : 140 - y, 40 - x : 140 - x])
        save(tmp_path / "two" / f"{n}.png", whole[40:140, 40:140])
    table = write_csv(
        tmp_path / "pairs.csv",
        "pair,slide,from,to,shift_x,shift_y\n"
        "p,10,one/0.png,two/0.png,3,-2\nq,11,one/1.png,two/1.png,,\n",
    )
    pairs = read_pairs(table, tmp_path)
    assert [(pair.slide_id, pair.name, pair.shift) for pair in pairs] == [
        ("10", "p", (3, -2)),
        ("11", "q", (0, 0)),
    ]
    rows = list(score_pairs(pairs, [NamedModel("none")], EVALUATION, []))
    assert [row.ssim for row in rows] == [1, 1]


def test_pairs_of_folders_have_equal_names(folders: tuple[Path, Path]) -> None:
    source, target = folders
    save(target / "only_here.png", he_tiles(1)[0])
    pairs = read_pairs(target, source)
    assert [(pair.slide_id, pair.name) for pair in pairs] == [
        ("source", "0.png"),
        ("source", "1.png"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\nx.png,y.png\n", ""),
        ("a,b,c\nx.png,y.png,z.png\n", "expected two columns of picture files, found a, b, c"),
        ("a,b\nx.png,3\n", "expected two columns of picture files, found a"),
        ("a,b\n", "expected two columns"),
        ("source,reference,shift_x\nx.png,y.png,1.5\n", "line 2: shifts must be whole pixels"),
    ],
)
def test_tables_of_pairs_are_read_or_refused(tmp_path: Path, text: str, said: str) -> None:
    table = write_csv(tmp_path / "pairs.csv", text)
    if said:
        with pytest.raises(PairError, match=said):
            read_pairs(table, tmp_path)
    else:
        assert read_pairs(table, tmp_path)[0].reference == tmp_path / "y.png"


def test_no_pairs_and_lost_pictures_are_errors(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PairError, match="no pairs"):
        read_pairs(tmp_path / "empty", folders[0])
    table = write_csv(tmp_path / "pairs.csv", "source,reference\nlost.png,source/0.png\n")
    with pytest.raises(PathologyError, match="lost"):
        list(score_pairs(read_pairs(table, tmp_path), [NamedModel("none")], EVALUATION, []))


def test_a_source_that_is_normalized_is_not_normalized_again(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    source, references = folders
    apply_recipe(look_at(source), tmp_path / "styled", Recipe(TEXTBOOK, StainConfig()))
    pairs = read_pairs(references, tmp_path / "styled")
    assert len(list(score_pairs(pairs, [NamedModel("none")], EVALUATION, []))) == 2
    with pytest.raises(StainError, match="is normalized already"):
        list(score_pairs(pairs, [NamedModel("none"), NamedModel("m", TEXTBOOK)], EVALUATION, []))


def test_a_model_for_another_resolution_is_not_shown_pairs(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Pictures that state none are of the resolution that is said for all."""
    pairs, problems = read_pairs(folders[1], folders[0]), []
    config = StainEvaluationConfig(assume_mpp=0.25)
    models = [NamedModel("none"), NamedModel("m", make_model(mpp=0.5))]
    rows = list(score_pairs(pairs, models, config, problems))
    assert {row.model for row in rows} == {"none"}
    assert problems == [("source", "pairs, m: the model is for 0.5 um/px, the tiles have 0.25")]
