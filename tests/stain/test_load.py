"""Any model from its file, and every file that is none by name."""

import json
from pathlib import Path

import pytest

from pathology.stain.load import load_model
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.saved_style import StainError
from pathology.stain.unchanged import Unchanged


def test_without_a_file_there_are_two_models() -> None:
    assert load_model(None) is TEXTBOOK
    assert load_model(None, "none") == Unchanged()
    with pytest.raises(StainError, match=r"vahadane needs a model.*fit --method vahadane"):
        load_model(None, "vahadane")


def test_a_reference_from_before_the_other_methods_is_macenko_s(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(TEXTBOOK.model_dump(exclude={"method"})))
    assert load_model(path) == TEXTBOOK


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"method": "khan"}', "'khan' is not known; expected one of none, reinhard"),
        ('{"method": ["macenko"]}', "is not known"),
        ('{"method": "macenko"}', "not a stain reference .matrix: Field required"),
        ('{"method": ', "damaged JSON"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(StainError, match=rf"model\.json: .*{problem}"):
        load_model(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StainError, match="No such file"):
        load_model(tmp_path / "none.json")
