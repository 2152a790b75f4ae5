"""Every YAML the project ships is loaded, and states the defaults it claims to state."""

from __future__ import annotations

from pathlib import Path

import pytest

from pathology.adapt.config import AdaptConfig
from pathology.core.config import StageConfig, load_config
from pathology.evaluation.stain_config import StainEvaluationConfig
from pathology.stain.config import StainConfig
from pathology.stain.cycle_config import CycleConfig
from pathology.tiling.config import TilingConfig
from pathology.weak.config import WeakConfig
from pipelines.run import RunConfig

ROOT = Path(__file__).resolve().parents[1]
MODELS: dict[str, type[StageConfig]] = {
    "adapt": AdaptConfig,
    "run": RunConfig,
    "stain": StainConfig,
    "stain_evaluate": StainEvaluationConfig,
    "stain_full": CycleConfig,
    "stain_train": CycleConfig,
    "tile": TilingConfig,
    "weak": WeakConfig,
}
NOT_DEFAULTS = {"stain_full"}  # states another choice, and not every setting
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))


def test_some_are_shipped() -> None:
    assert {path.stem for path in SHIPPED} == set(MODELS)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_states_the_defaults(path: Path) -> None:
    model = MODELS[path.stem]
    if path.stem in NOT_DEFAULTS:
        assert load_config(model, path) != model()
        return
    needed = {"manifest": "slides", "out": "run"} if model is RunConfig else {}
    assert load_config(model, path) == model.model_validate(needed)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_names_every_setting(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.stem == "run" or path.stem in NOT_DEFAULTS:  # sections of other files, or a choice
        return
    for section, field in MODELS[path.stem].model_fields.items():
        inner = field.annotation
        names = (
            inner.model_fields if isinstance(inner, type) and issubclass(inner, StageConfig) else {}
        )
        for name in [section, *names]:
            assert f"{name}:" in text, f"{path.name} does not mention {section}.{name}"
