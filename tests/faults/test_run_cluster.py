"""A whole run whose slides are worked on by a dask cluster, one worker of which is killed."""

from __future__ import annotations

import csv
import subprocess
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from conftest import command, environment, wait_until
from distributed import LocalCluster

from pathology.interop.h5_features import read_features
from pipelines.features import FeatureConfig, FeatureOptions, extract_features
from tests.pipelines.small_encoder import SMALLEST, write_weights
from tests.pipelines.test_run import SETTINGS, write_slides

pytestmark = pytest.mark.filterwarnings("ignore")  # distributed's own, as it shuts down


def features_of(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_features(path).features_NF for path in folder.glob("*.h5")}


def test_a_cluster_makes_the_same_features_though_a_worker_dies(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    write_slides(tmp_path)
    write_weights(tmp_path / "encoder.pt", name=SMALLEST)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(SETTINGS))
    words = ("--until", "features", "--device", "cpu", "--scheduler", cluster.scheduler_address)
    process = subprocess.Popen(
        command("run", tmp_path / "run.yaml", *words),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.communicate(timeout=120)))
    reader.start()
    wait_until((tmp_path / "run" / "features").is_dir, 60, "the first features")
    psutil.Process(next(iter(cluster.workers.values())).pid).kill()
    reader.join()
    assert process.returncode == 1, said
    options = FeatureOptions(weights=tmp_path / "encoder.pt")
    extract_features(
        tmp_path / "run" / "stain", tmp_path / "here", FeatureConfig(encoder=SMALLEST), options
    )
    wanted, found = features_of(tmp_path / "here"), features_of(tmp_path / "run" / "features")
    assert len(wanted) == 12
    assert set(found) == set(wanted)
    assert all(np.allclose(found[name], wanted[name], atol=1e-5) for name in wanted)
    with (tmp_path / "run" / "features" / "features.csv").open(newline="") as stream:
        status = {row["slide_id"]: row["status"] for row in csv.DictReader(stream)}
    assert status.pop("broken") == "empty"
    assert set(status.values()) == {"done"}
