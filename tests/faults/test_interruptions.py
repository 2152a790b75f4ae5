"""Runs that are killed, doubled or spread over a cluster end with the stores of a quiet run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from conftest import DENSE, Run, all_gone, family, same_tiles, wait_until, write_manifest
from crossing import tiles_of

from pathology.tiling.store import TileStore, open_tiles

RANDOM = np.random.default_rng(7)


def published(run: Run) -> dict[str, tuple[int, str]]:
    """When each store was published, and its fingerprint."""
    found = {}
    for path in run.published():
        name = open_tiles(path).attributes["fingerprint"]
        found[path.stem] = ((path / "zarr.json").stat().st_mtime_ns, name)
    return found


@pytest.fixture(scope="module")
def dense_run(
    six_slides: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, TileStore]:
    """The stores of six_slides, with more and larger tiles, as an undisturbed run makes them."""
    folder = tmp_path_factory.mktemp("dense")
    run = Run(write_manifest(folder / "manifest.csv", six_slides), folder / "run")
    code, complaints = run.finish("--workers", "2", *DENSE)
    assert code == 0, complaints
    return run.stores()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whole_group", "num_published"), [(True, 0), (True, 2), (False, 1), (False, 3)]
)
def test_a_killed_run_goes_on_where_it_was(
    six_slides: dict[str, Path],
    dense_run: dict[str, TileStore],
    new_run: Callable[..., Run],
    whole_group: bool,
    num_published: int,
) -> None:
    run = new_run(six_slides)
    process = run.start("--workers", "2", *DENSE)
    wait_until(
        lambda: len(run.published()) >= num_published and bool(run.scratch()), 20, "half of a store"
    )
    time.sleep(RANDOM.uniform(0.0, 0.1))
    relatives = family(process)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    all_gone(relatives)
    assert len(run.rows()) == len(six_slides), "the table is whole at any time"
    done = run.stores()
    assert len(done) < len(six_slides), "killed too late to tell"
    assert all(same_tiles(store, dense_run[name]) for name, store in done.items())
    before = published(run)
    code, complaints = run.finish("--workers", "2", *DENSE)
    assert code == 0, complaints
    assert not run.scratch()
    after = published(run)
    assert {name: after[name] for name in before} == before, "finished ones were done again"
    rows = run.rows()
    assert {row["status"] for row in rows.values()} == {"done"}
    assert {n for n, row in rows.items() if row["reason"] == "already complete"} == set(before)
    stores = run.stores()
    assert set(stores) == set(dense_run)
    assert all(same_tiles(store, dense_run[name]) for name, store in stores.items())


def test_two_runs_into_one_folder_do_no_harm(
    six_slides: dict[str, Path], plain_run: dict[str, TileStore], new_run: Callable[..., Run]
) -> None:
    first = new_run(six_slides)
    second = new_run(six_slides, first.out)
    processes = [run.start("--workers", "1") for run in (first, second)]
    for process in processes:
        said, complaints = process.communicate(timeout=60)
        assert process.returncode == 0, said + complaints
        assert "Traceback" not in complaints, complaints
    assert first.statuses() == dict.fromkeys(six_slides, "done")
    assert not first.scratch()
    stores = first.stores()
    assert all(same_tiles(stores[name], store) for name, store in plain_run.items())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_says_so_and_goes_on_later(
    six_slides: dict[str, Path], new_run: Callable[..., Run], number: signal.Signals
) -> None:
    run = new_run(six_slides)
    process = run.start("--workers", "1")
    wait_until(lambda: any((run.out / "tiles").glob("*.zarr")), 30, "a first store")
    relatives, start = family(process), time.monotonic()
    os.killpg(process.pid, number)
    _, complaints = process.communicate(timeout=10)
    assert process.returncode == 130, complaints
    assert time.monotonic() - start < 4
    assert "Traceback" not in complaints, complaints
    all_gone(relatives)
    statuses = run.statuses()
    assert {n for n, s in statuses.items() if s == "done"} <= set(run.stores())
    assert any(status != "done" for status in statuses.values())
    assert run.finish("--workers", "2")[0] == 0
    assert run.statuses() == dict.fromkeys(six_slides, "done")
    assert not run.scratch()


def test_stores_may_cross_to_other_processes(
    six_slides: dict[str, Path], plain_run: dict[str, TileStore]
) -> None:
    name, store = next(iter(plain_run.items()))
    here = tiles_of(store, six_slides[name])
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for there in pool.map(tiles_of, [store] * 4, [six_slides[name]] * 4):
            assert all(np.array_equal(a, b) for a, b in zip(here, there, strict=True))
