"""The stages of a run: what is kept, what is done, what is left out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pathology.core.errors import ArtifactError, ConfigError
from pipelines.report_sections import _outdated
from pipelines.run_config import RunFolder
from pipelines.stages import Choice, Ended, Record, Stage, run_stages


class Chain:
    """Three stages of which each copies what the one before it wrote, and remembers its calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.settings = folder, [], {"a": "1", "b": "1", "c": "1"}
        self.faults: dict[str, Callable[[], int]] = {}

    def work(self, name: str) -> int:
        self.calls.append(name)
        if name in self.faults:
            return self.faults[name]()
        (self.folder / name).write_text(self.recipe(name))
        return 0

    def recipe(self, name: str) -> str:
        before = {"b": "a", "c": "b"}.get(name)
        read = (self.folder / before).read_text() if before else ""
        return f"{self.settings[name]}<{read}>"

    def run(self, choice: Choice | None = None, **thrifty: bool) -> list[Ended]:
        self.calls.clear()
        stages = [
            Stage(
                name,
                lambda name=name: self.work(name),
                lambda name=name: self.recipe(name),
                (self.folder / name,),
                needs,
                thrifty.get(name, False),
            )
            for name, needs in (("a", ()), ("b", ("a",)), ("c", ("b",)))
        ]
        return run_stages(stages, Record.read(self.folder / "s.json"), choice or Choice())


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def statuses(ended: list[Ended]) -> list[str]:
    return [one.status for one in ended]


def test_a_second_run_keeps_all(chain: Chain) -> None:
    assert statuses(chain.run()) == ["done"] * 3
    assert statuses(chain.run()) == ["kept"] * 3
    assert chain.calls == []


def test_a_change_costs_what_comes_after_it(chain: Chain) -> None:
    chain.run()
    chain.settings["b"] = "2"
    assert statuses(chain.run()) == ["kept", "done", "done"]
    (chain.folder / "c").unlink()
    ended = chain.run(Choice(is_dry=True))
    assert ended[2].line() == "c: to do, c is gone"
    assert chain.calls == []
    assert statuses(chain.run()) == ["kept", "kept", "done"]


def test_what_is_asked_for_is_done_anew_and_no_more(chain: Chain) -> None:
    chain.run()
    assert statuses(chain.run(Choice(start="b", until="b"))) == ["kept", "done"]
    with pytest.raises(ConfigError, match="no stage 'd' in this run; it has a, b, c"):
        chain.run(Choice(until="d"))
    with pytest.raises(ConfigError, match="c comes after a: nothing would be done"):
        chain.run(Choice(start="c", until="a"))


def test_a_dry_run_says_why(chain: Chain) -> None:
    assert [one.line() for one in chain.run(Choice(is_dry=True))] == [
        "a: to do, not done yet", "b: to do, after a", "c: to do, after b",
    ]  # fmt: skip
    chain.run()
    chain.settings["a"] = "2"
    assert chain.run(Choice(is_dry=True))[0].reason == "its settings or inputs changed"
    assert not chain.calls


def test_a_refusal_costs_its_stage_and_those_that_need_it(chain: Chain) -> None:
    def refuse() -> int:
        raise ArtifactError("nothing to learn from")

    chain.faults["b"] = refuse
    ended = chain.run()
    assert statuses(ended) == ["done", "failed", "left out"]
    assert ended[1].code == 1
    assert ended[1].line() == "b: failed, ArtifactError: nothing to learn from"
    assert ended[2].reason == "it needs b"
    chain.faults.clear()
    assert statuses(chain.run()) == ["kept", "done", "done"]


def test_a_stage_that_was_killed_is_done_again(chain: Chain) -> None:
    chain.run()

    def die() -> int:
        (chain.folder / "b").write_text("half of it")
        raise KeyboardInterrupt

    chain.settings["b"], chain.faults["b"] = "2", die
    with pytest.raises(KeyboardInterrupt):
        chain.run()
    chain.settings["b"] = "1"  # as it was when its product was made last, which is now spoilt
    chain.faults.clear()
    assert statuses(chain.run()) == ["kept", "done", "kept"]
    assert (chain.folder / "b").read_text() == "1<1<>>"


def test_a_thrifty_stage_is_always_asked(chain: Chain) -> None:
    chain.run()
    assert statuses(chain.run(a=True)) == ["done", "kept", "kept"]
    dry = chain.run(Choice(is_dry=True), a=True)
    assert statuses(dry) == ["kept"] * 3
    assert dry[0].line() == "a: kept, but for files that changed since, which a run looks at"


def test_slides_that_failed_are_remembered_by_the_exit_code(chain: Chain) -> None:
    def some_failed() -> int:
        (chain.folder / "a").write_text("most")
        return 1

    chain.faults["a"] = some_failed
    first, again = chain.run(), chain.run()
    assert [one.code for one in first] == [1, 0, 0]
    assert first[0].line().endswith("some slides failed")
    assert [one.code for one in again] == [1, 0, 0]
    assert statuses(again)[0] == "kept"


def test_a_damaged_record_only_costs_time(chain: Chain) -> None:
    chain.run()
    (chain.folder / "s.json").write_text('{"stages": [')
    assert statuses(chain.run()) == ["done"] * 3


def test_a_stage_that_was_refused_is_not_remembered_as_it_was(chain: Chain) -> None:
    """Nor where its recipe could not even be told."""
    chain.run()
    (chain.folder / "a").unlink()
    chain.settings.pop("a")
    with pytest.raises(KeyError):
        chain.run()
    chain.settings["a"] = "1"

    def refuse() -> int:
        raise ConfigError("no")

    chain.faults["b"] = refuse
    chain.settings["b"] = "2"
    assert statuses(chain.run()) == ["done", "failed", "left out"]
    assert set(Record.read(chain.folder / "s.json").stages) == {"a", "c"}


def test_a_report_says_which_stages_are_of_an_earlier_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    record = Record(folder.record)
    names = ("weak", "predict", "evaluate")
    assert _outdated(folder, names) == []  # by single commands
    for name in ("tile", *names):
        record.put(name, "r", 1.0, 0)
    assert _outdated(folder, names) == []
    record.forget("weak")
    assert "did not finish weak: figures, grades and maps" in _outdated(folder, names)[0]
