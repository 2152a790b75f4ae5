"""The record of a run: what was run, by what, on what, and how it ended."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pathology import __version__
from pathology.core.artifact import write_text

LIBRARIES = (
    "numpy", "opencv-python-headless", "openslide-python", "openslide-bin", "tifffile",
    "imagecodecs", "simplejpeg", "zarr", "dask", "distributed", "h5py", "pydantic", "torch",
    "lightning-fabric", "scikit-image",
)  # fmt: skip


def now() -> str:
    """The time as ISO 8601, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """What runs: versions, commit, machine. Takes some 30 ms, which may pass in a thread."""
    return {
        "version": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "libraries": versions(),
        "machine": machine(),
    }


def write_run_record(
    path: Path, started: str, facts: Mapping[str, Any], surroundings: Mapping[str, Any]
) -> None:
    """Write run.json: the facts of a run with its command and times, and what environment gave."""
    record = {
        "note": "research use only",
        "command": shlex.join(["pathology", *sys.argv[1:]]),
        "started": started,
        "finished": now(),
        **surroundings,
        **facts,
    }
    write_text(path, json.dumps(record, indent=2) + "\n")


def versions(names: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Installed version of each library, "not installed" where there is none."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, Any]:
    """The computer in words: system, processor and usable cores. No host or user name."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": num_cores(),
        "processor": _processor(),
    }


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit() -> str | None:
    """The source's git commit, with + where files were changed; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return f"{head}+" if _git(root, "status", "--porcelain", "-uno") else head
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(  # noqa: S603  fixed words
        ["git", "-C", str(root), *words],  # noqa: S607  git is found as the user's shell finds it
        capture_output=True,
        text=True,
        check=True,
        timeout=5,
    )
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
