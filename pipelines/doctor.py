"""What this machine has and lacks, in a page."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from pathology import __version__
from pathology.core.run_record import LIBRARIES, commit, machine, versions

GB = 1e9
LOW_DISK_GB, LOW_MEMORY_GB = 10, 4
EXTRAS = {  # extra -> (a package it brings, what it adds)
    "dev": ("pytest", "tests, lint and types"),
    "micromanager": ("pymmcore-plus", "cameras that Micro-Manager drives"),
}
OK, WARNING, FAULT = "ok", "warning", "FAULT"


@dataclass(frozen=True)
class Finding:
    """One line of the page: a topic, how it stands, and what was found."""

    topic: str
    state: str
    text: str


def examine() -> list[Finding]:
    """Look at everything the project needs; nothing is changed."""
    return [
        Finding("pathology", OK, f"{__version__}{_commit()}"),
        _python(),
        *_libraries(),
        _openslide(),
        _extension(),
        _processor(),
        _memory(),
        _gpu(),
        *_disks(),
        _viewer(),
        *_extras(),
    ]


def exit_code(findings: list[Finding]) -> int:
    """0 where nothing is broken; warnings are no fault."""
    return 1 if any(finding.state == FAULT for finding in findings) else 0


def _commit() -> str:
    found = commit()
    return f" (source {found[:12]}{'+' if found.endswith('+') else ''})" if found else ""


def _python() -> Finding:
    is_fine = sys.version_info >= (3, 11)
    text = f"{sys.version.split()[0]} at {sys.prefix}"
    return Finding("Python", OK if is_fine else FAULT, text if is_fine else f"{text}; needs 3.11")


def _libraries() -> Iterator[Finding]:
    for name, version in versions(LIBRARIES).items():
        missing = version == "not installed"
        yield Finding(
            name, FAULT if missing else OK, f"{version}; reinstall" if missing else version
        )


def _openslide() -> Finding:
    try:
        from pathology.slides.openslide_reader import library_version

        return Finding("OpenSlide library", OK, library_version())
    except (ImportError, OSError) as error:
        return Finding("OpenSlide library", FAULT, f"{error}. Install openslide-bin")


def _extension() -> Finding:
    from pathology.slides import jpeg

    if jpeg.CAN_HALVE:
        return Finding("JPEG extension", OK, "built: 40x slides tiled at 20x take the short way")
    text = "not built (no C compiler at installation): the same tiles, about 1.6 times slower"
    return Finding("JPEG extension", WARNING, text)


def _processor() -> Finding:
    facts = machine()
    return Finding("processor", OK, f"{facts['cores']} usable cores, {facts['processor']}")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    free = memory.available / GB
    text = f"{free:.1f} of {memory.total / GB:.1f} GB free"
    return Finding("memory", OK if free >= LOW_MEMORY_GB else WARNING, text)


def _gpu() -> Finding:
    """What the driver lists; tiling needs none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return Finding("GPU", OK, "none found (no nvidia-smi); tiling does not need one")
    words = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("GPU", WARNING, f"nvidia-smi does not answer ({error})")
    return Finding("GPU", OK, "; ".join(done.stdout.strip().splitlines()) or "none listed")


def _disks() -> Iterator[Finding]:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pathology"
    for name, folder in (("working folder", Path.cwd()), ("cache", cache), ("scratch", _scratch())):
        there = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(there).free / GB
        if not os.access(there, os.W_OK):
            yield Finding(name, FAULT if name != "cache" else WARNING, f"{there} is not writable")
            continue
        state = OK if free >= LOW_DISK_GB else WARNING
        yield Finding(name, state, f"{free:.0f} GB free at {folder}, writable")


def _viewer() -> Finding:
    from pathology.viewer.library import CDN, openseadragon

    is_here = not openseadragon().origin
    text = "OpenSeadragon is here" if is_here else f"browsers load it from {CDN}; or `make viewer`"
    return Finding("viewer", OK, text)


def _scratch() -> Path:
    return Path(tempfile.gettempdir())


def _extras() -> Iterator[Finding]:
    for extra, (package, adds) in EXTRAS.items():
        try:
            found = f"installed ({package} {importlib.metadata.version(package)})"
        except importlib.metadata.PackageNotFoundError:
            found = f"not installed: pip install 'pathology[{extra}]'"
        yield Finding(f"extra {extra}", OK, f"adds {adds}; {found}")
