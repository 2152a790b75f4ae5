"""Hundreds of broken files in one run: each costs its own row, says why, and nothing else."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, Run
from corruption import Breaker, copy_of
from pictures import bases

LIMIT_BYTES = 6 << 30
MIN_VARIANTS = 200
GUARDED = ("zlib_tif", "photo_png")


def check(run: Run, breaker: Breaker, within_s: float) -> None:
    """Run over all variants at once, and hold every row against what it may be."""
    code, complaints = run.finish(
        "--workers", "2", "--timeout", "20", limits={resource.RLIMIT_AS: LIMIT_BYTES},
        within_s=within_s,
    )  # fmt: skip
    assert code == 1, "some of them cannot be read"
    rows, wrong = run.rows(), []
    assert list(rows) == [variant.name for variant in breaker.variants]
    for variant in breaker.variants:
        row = rows[variant.name]
        reason = row["reason"]
        if row["status"] not in variant.allowed:
            wrong.append(f"{variant.name}: is {row['status']} ({reason})")
        elif row["status"] != "done" and not reason:
            wrong.append(f"{variant.name}: {row['status']} without a reason")
        elif row["error"] or "unexpected" in reason or "crashed" in reason:
            wrong.append(f"{variant.name}: {reason} {row['error']}")
        elif "took longer" in reason or "\n" in reason or len(reason) > 600:
            wrong.append(f"{variant.name}: {reason}")
    assert not wrong, f"{len(wrong)} of {len(rows)}:\n" + "\n".join(wrong)
    stores = run.stores()
    with_store = {name for name, row in rows.items() if row["status"] in ("done", "empty")}
    assert set(stores) == with_store
    assert all(len(stores[n]) == int(rows[n]["num_tiles"]) for n in stores)
    for name, store in stores.items():  # whatever guards its pixels by a checksum shows the truth
        kind = next((k for k in stores if k in GUARDED and name.endswith(k)), None)
        if kind and rows[name]["plan"] == rows[kind]["plan"]:
            assert store.encoded(3) == stores[kind].encoded(3), name
    assert not run.scratch()
    said = [line for line in complaints.splitlines() if not line.startswith("[")]
    assert not said, said


@pytest.mark.slow
def test_broken_files(tmp_path: Path, new_run: Callable[..., Run]) -> None:
    sound, broken = tmp_path / "sound", tmp_path / "broken"
    sound.mkdir(), broken.mkdir()
    breaker = Breaker(broken)
    for name, base in bases(sound).items():
        breaker.all_of(base, num_cuts=2, num_flips=2)
        breaker.note(copy_of(base, broken), {"done"})
        if "tif" in name or "svs" in name:
            breaker.tags(base)
        if name.endswith(".jpg"):
            breaker.jpeg_header(base)
    breaker.not_files()
    assert len(breaker.variants) >= MIN_VARIANTS
    run = new_run({variant.name: variant.path for variant in breaker.variants})
    check(run, breaker, within_s=150)


@pytest.mark.slow
@pytest.mark.real_data
def test_broken_real_files(tmp_path: Path, new_run: Callable[..., Run]) -> None:
    folder = Path(os.environ.get("PATHOLOGY_DATA", ROOT.parent / "shared" / "data")) / "slides"
    if not folder.is_dir():
        pytest.skip(f"no real slides at {folder}; set PATHOLOGY_DATA")
    # the last bytes of one of these files belong to its macro image, which no tile comes from
    breaker = Breaker(tmp_path / "broken", last_cut=2000)
    breaker.folder.mkdir()
    for base in sorted(p for p in folder.iterdir() if p.stat().st_size < 5e6):
        breaker.all_of(base, num_cuts=1, num_flips=2)
        if base.suffix == ".svs":
            breaker.tags(base)
    run = new_run({variant.name: variant.path for variant in breaker.variants})
    check(run, breaker, within_s=150)
