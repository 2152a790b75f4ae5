"""Checkpoints come back as they were, damaged ones are named, and no file can run code."""

import pickle
from pathlib import Path

import pytest
import torch

from pathology.core.errors import ArtifactError
from pathology.core.state import load_state, save_state
from pathology.training.curves import draw_curves


def test_a_state_comes_back(tmp_path: Path) -> None:
    state = {
        "step": 7,
        "recipe": "abc",
        "weights": {"w": torch.randn(3, 4)},
        "images": [torch.ones(2)],
    }
    save_state(tmp_path / "checkpoint.pt", state)
    found = load_state(tmp_path / "checkpoint.pt")
    assert (found["step"], found["recipe"]) == (7, "abc")
    assert torch.equal(found["weights"]["w"], state["weights"]["w"])  # type: ignore[index]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("length", [0, 10, 200, 600])
def test_a_cut_file_is_named(tmp_path: Path, length: int) -> None:
    path = tmp_path / "checkpoint.pt"
    save_state(path, {"weights": torch.randn(64)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ArtifactError, match=r"checkpoint\.pt: not a file of weights, or a damaged"):
        load_state(path)


def test_a_file_of_flipped_bits_is_named(tmp_path: Path) -> None:
    """torch does not compare the checksums of what it reads."""
    path = tmp_path / "checkpoint.pt"
    save_state(path, {"weights": torch.randn(4000)})
    whole = bytearray(path.read_bytes())
    place = len(whole) // 2
    whole[place : place + 400] = bytes(400)
    path.write_bytes(whole)
    assert torch.load(path, weights_only=True)["weights"].shape == (4000,)
    with pytest.raises(ArtifactError, match=r"checkpoint\.pt: not a file of weights, or a damaged"):
        load_state(path)


def test_a_file_of_an_old_version_of_torch_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    torch.save({"step": 3}, path, _use_new_zipfile_serialization=False)
    assert load_state(path) == {"step": 3}


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("/tmp/pathology_was_here"),)  # type: ignore[return-value]  # noqa: S108


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"weights": Evil()}, path)
    with pytest.raises(ArtifactError, match=r"evil\.pt"):
        load_state(path)
    path.write_bytes(pickle.dumps({"weights": Evil()}, protocol=2))
    with pytest.raises(ArtifactError, match=r"evil\.pt"):
        load_state(path)
    assert not Path("/tmp/pathology_was_here").exists()  # noqa: S108


def test_curves_are_a_picture_with_a_chart_for_every_measurement(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": 1 / step, "cycle": step} for step in range(1, 50)]
    draw_curves(rows, tmp_path / "curves.png", "test")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    draw_curves([], tmp_path / "none.png", "test")
    assert not (tmp_path / "none.png").exists()
