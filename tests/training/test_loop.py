"""The loop: what it refuses, and what several processes do together."""

from pathlib import Path
from typing import Any

import pytest

from pathology.training.loop import Loop, Values, fit


class Counted:
    """A step that counts how often its state is asked for."""

    num_states = 0

    def __call__(self, batch: int, step: int) -> Values:
        return {"batch": float(batch)}

    def state_dict(self) -> dict[str, Any]:
        self.num_states += 1
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def test_a_checkpoint_between_two_lines_of_measurements_is_refused() -> None:
    for every, keep in ((20, 50), (3, 2)):
        with pytest.raises(ValueError, match=f"keep is {keep}.*every, {every}"):
            Loop(100, every=every, keep=keep)
    assert Loop(7, every=20, keep=60).steps == 7


@pytest.mark.parametrize("is_first", [True, False])
def test_every_process_gives_its_state_and_the_first_alone_writes(
    is_first: bool, tmp_path: Path
) -> None:
    update = Counted()
    fit(update, int, Loop(6, 1, 2), tmp_path, "recipe", is_first=is_first)
    assert update.num_states == 3
    names = {path.name for path in tmp_path.iterdir()}
    assert names == ({"metrics.jsonl", "checkpoint.pt"} if is_first else set())
