"""Tiling on a dask cluster of real processes gives the stores of a local run, whoever dies."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Run, same_tiles, wait_until
from distributed import Client, LocalCluster
from faulty_work import failure, work

from pathology.core.batch import Batch
from pathology.core.errors import PathologyError
from pathology.core.supervise import Task
from pathology.tiling.store import TileStore

pytestmark = pytest.mark.filterwarnings("ignore")  # distributed's own, as it shuts down


def test_a_cluster_makes_the_same_stores(
    cluster: LocalCluster,
    six_slides: dict[str, Path],
    plain_run: dict[str, TileStore],
    new_run: Callable[..., Run],
) -> None:
    run = new_run(six_slides)
    code, complaints = run.finish("--scheduler", cluster.scheduler_address)
    assert code == 0, complaints
    stores = run.stores()
    assert set(stores) == set(plain_run) == set(run.rows())
    assert all(same_tiles(stores[name], store) for name, store in plain_run.items())
    assert not run.scratch()


def test_a_dead_worker_loses_nothing(
    cluster: LocalCluster,
    six_slides: dict[str, Path],
    plain_run: dict[str, TileStore],
    new_run: Callable[..., Run],
) -> None:
    run = new_run(six_slides)
    process = run.start("--scheduler", cluster.scheduler_address)
    wait_until((run.out / "process_list.csv").exists, 20, "the table of pending slides")
    wait_until(lambda: any((run.out / "tiles").iterdir()), 20, "a slide in work")
    psutil.Process(next(iter(cluster.workers.values())).pid).kill()
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    stores = run.stores()
    assert all(same_tiles(stores[name], store) for name, store in plain_run.items())
    assert not run.scratch()


def test_hanging_and_crashing_items_cost_themselves(cluster: LocalCluster) -> None:
    batch = Batch(Task(work, failure, timeout_s=2.0), scheduler=cluster.scheduler_address)
    start = time.monotonic()
    results = batch.run(["hang", "a", "refuse", "exit", "b"])
    assert time.monotonic() - start < 40
    said = [result.split(":")[0] for result in results]
    assert said == [
        "hang failed", "a done", "refuse failed", "exit failed", "b done",
    ]  # fmt: skip
    assert "took longer than 2 s" in results[0] and "died" in results[3]


@pytest.mark.parametrize("address", ["here", "127.0.0.1", "http://a:1", "tcp://a:b", "tcp://:1"])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(PathologyError, match=r"Give tcp://host:port"):
        Batch(Task(work, failure), scheduler=address).run(["a"])


def test_an_address_where_nobody_answers_is_told_in_a_line(
    six_slides: dict[str, Path], new_run: Callable[..., Run]
) -> None:
    with socket.socket() as held:  # bound but not listening, so that nobody else answers there
        held.bind(("127.0.0.1", 0))
        run = new_run(six_slides)
        start = time.monotonic()
        code, complaints = run.finish("--scheduler", f"tcp://127.0.0.1:{held.getsockname()[1]}")
    assert code == 2
    assert time.monotonic() - start < 20
    assert len(complaints.strip().splitlines()) == 1, complaints
    assert "no dask scheduler answers" in complaints


def test_a_scheduler_lost_while_items_are_sent_leaves_no_item_without_a_row(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, asked = Batch._submit, []

    def lose(self: Batch[str, str], client: Client, item: str) -> Any:
        asked.append(item)
        return submit(self, client, item) if item == "a" else None

    monkeypatch.setattr(Batch, "_submit", lose)
    told: list[str] = []
    batch = Batch(Task(work, failure), scheduler=cluster.scheduler_address)
    results = batch.run(["a", "b", "c"], told.append)
    assert asked == ["a", "b", "c", "b", "c"]
    assert results[0] == "a done"
    for name, result in zip("bc", results[1:], strict=True):
        assert result.startswith(f"{name} failed")
        assert "the scheduler is gone" in result
    assert sorted(told) == sorted(results)


def test_a_scheduler_lost_before_any_item_was_sent_fails_them_all(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batch, "_submit", lambda self, client, item: None)
    batch = Batch(Task(work, failure), scheduler=cluster.scheduler_address)
    results = batch.run(["a", "b"])
    assert [result.split(":")[0] for result in results] == ["a failed", "b failed"]
