"""A run whose trainings two processes share: the first does all else, and speaks for both."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.pipelines.small_encoder import SMALLEST, write_weights
from tests.pipelines.test_run import SETTINGS, write_slides


@pytest.mark.slow
def test_two_processes_share_the_trainings_of_a_run(tmp_path: Path) -> None:
    write_slides(tmp_path)
    write_weights(tmp_path / "encoder.pt", name=SMALLEST)
    microscope = {"images": "pictures.csv", "compare": ["source"]}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(SETTINGS | {"microscope": microscope}))
    words = [sys.executable, "-m", "pipelines", "run", tmp_path / "run.yaml", "--workers", "0"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        line = [*map(str, words), "--device", "cpu", "--devices", "2", *more]
        return subprocess.run(line, capture_output=True, text=True, timeout=300)

    done = run()
    assert done.returncode == 1, done.stderr[-2000:]  # one slide is broken
    for said in ("tile: done", "weak: done", "adapt: done", "microscope: done", "report: done"):
        assert sum(said in line for line in done.stdout.splitlines()) == 2, said  # and at the end
    assert done.stdout.count("6 slides train, 2 choose") == 1
    for name in ("dman+mcc", "source"):
        facts = json.loads((tmp_path / f"run/microscope/{name}.run/run.json").read_text())
        assert facts["num_devices"] == 2

    refused = run("--set", "adapt.class_map={benign: nothing}", "--from", "adapt")
    assert refused.returncode == 1
    assert "adapt: failed, ConfigError" in refused.stdout
    assert "report: done" in refused.stdout
    assert "Traceback" not in refused.stdout + refused.stderr
