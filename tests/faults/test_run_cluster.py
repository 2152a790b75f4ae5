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
from tests.pipelines.small_encoder import SMALLEST, write_weights
from tests.pipelines.test_run import SETTINGS, write_slides

pytestmark = pytest.mark.filterwarnings("ignore")  # distributed's own, as it shuts down


def features_of(run: Path) -> dict[str, np.ndarray]:
    return {path.stem: read_features(path).features_NF for path in (run / "features").glob("*.h5")}


def test_a_cluster_makes_the_same_features_though_a_worker_dies(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    write_slides(tmp_path)
    write_weights(tmp_path / "encoder.pt", name=SMALLEST)
    for name in ("here", "there"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(SETTINGS | {"out": name}))
    words = ("--until", "features", "--device", "cpu")
    here = subprocess.run(
        command("run", tmp_path / "here.yaml", *words, "--workers", "1"),
        env=environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert here.returncode == 1, here.stderr  # one slide is broken
    process = subprocess.Popen(
        command("run", tmp_path / "there.yaml", *words, "--scheduler", cluster.scheduler_address),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.communicate(timeout=120)))
    reader.start()
    wait_until((tmp_path / "there" / "features").is_dir, 60, "the first features")
    psutil.Process(next(iter(cluster.workers.values())).pid).kill()
    reader.join()
    assert process.returncode == 1, said
    wanted, found = features_of(tmp_path / "here"), features_of(tmp_path / "there")
    assert len(wanted) == 12
    assert set(found) == set(wanted)
    assert all(np.allclose(found[name], wanted[name], atol=1e-5) for name in wanted)
    with (tmp_path / "there" / "features" / "features.csv").open(newline="") as stream:
        status = {row["slide_id"]: row["status"] for row in csv.DictReader(stream)}
    assert status.pop("broken") == "empty"
    assert set(status.values()) == {"done"}
