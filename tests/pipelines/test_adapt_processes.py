"""Adaptation in two processes of this machine, each of which learns from half of every batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ConfigError
from pathology.training.loop import read_metrics
from pipelines.adapt_domains import AdaptOptions, read_domains
from pipelines.adapt_processes import launched
from pipelines.adapt_training import train_on
from pipelines.input_kinds import look_at
from tests.conftest import ROOT
from tests.pipelines.adapt_cohort import write_domains
from tests.pipelines.small_encoder import SMALLEST, write_weights

PROGRAM = Path(__file__).with_name("adapt_two_processes.py")
SMALL = {
    "encoder": SMALLEST, "size_px": 64, "tile_px": 32, "batch_size": 8, "width": 16,
    "judge_width": 16,
}  # fmt: skip
FEATURES = {**SMALL, "steps": 60, "dropout": 0.0, "method": "dann", "learning_rate": 0.003}
PIXELS = {
    **SMALL, "steps": 6, "batch_size": 5, "encoder_rate": 0.1, "batch_norm": "separate",
    "method": "dman+mic", "normalization": "separate", "clip": 1.0,
}  # fmt: skip
SETTINGS = {
    "features": FEATURES, "pixels": PIXELS, 
    "adapted": {**PIXELS, "batch_norm": "adapted", "chosen_by": "dev"},
}  # fmt: skip


def test_both_end_with_the_same_weights_and_near_those_of_one(tmp_path: Path) -> None:
    source, target = write_domains(tmp_path)
    weights = write_weights(tmp_path / "w.pt", name=SMALLEST)
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, (source, target, weights, tmp_path))],
        capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = {
        name: [torch.load(tmp_path / f"{name}_{rank}.pt") for rank in range(2)] for name in SETTINGS
    }
    for one, other in found.values():
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert len(list(tmp_path.glob("read_*_0"))) == 3 and not list(tmp_path.glob("read_*_1"))
    assert "the source has no labels" in (tmp_path / "end_0").read_text()
    assert (tmp_path / "end_1").read_text() == "2"  # quietly

    options, config = AdaptOptions(device="cpu", weights=weights), AdaptConfig(**FEATURES)
    domains = read_domains(look_at(source), look_at(target), config, options, tmp_path)
    alone = train_on(domains, config, options, tmp_path / "alone").state_dict()
    first = found["features"][0]
    differ = [name for name, value in alone.items() if not torch.equal(value, first[name])]
    assert "head.head.weight" in differ  # halves add up in another order
    assert "mean_2F" not in differ
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("alone", "features")]
    for row, other in zip(*rows, strict=True):
        assert row == pytest.approx(other, abs=1e-3)
    for name, value in alone.items():
        assert torch.allclose(first[name], value, atol=2e-3), name


def test_a_batch_too_small_to_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"2 processes share a batch.*Set batch_size=4"):
        launched(AdaptConfig(batch_size=3), AdaptOptions(device="cpu", num_devices=2))
