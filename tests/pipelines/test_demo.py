"""The demo's settings are a run's; the demo itself is `make demo`, which takes minutes."""

from pathlib import Path

from pathology.core.config import load_config
from pipelines.demo import SETTINGS
from pipelines.run import RunConfig


def test_the_settings_are_those_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(SETTINGS.format(name=path), encoding="utf-8")
    config = load_config(RunConfig, path)
    assert config.stain is not None and config.stain.method == "macenko"
    assert config.microscope is not None and config.microscope.compare == ("source",)
    assert str(path) in path.read_text(encoding="utf-8")
