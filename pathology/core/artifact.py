"""Artifacts on disk: named by everything that shaped them, and whole or not there at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pathology.core.config import StageConfig
from pathology.core.errors import ArtifactError
from pathology.core.output_place import require_file_place

log = logging.getLogger(__name__)
SAMPLE_BYTES = 1 << 16
NUM_SAMPLES = 32


def fingerprint(kind: str, schema: int, config: StageConfig, inputs: Mapping[str, str]) -> str:
    """Name of an artifact: twelve hex digits of everything that shaped its bytes.

    The whole config is hashed, so a new field cannot be forgotten.
    inputs maps a role to the fingerprint or content digest of what was read.
    """
    recipe = {"kind": kind, "schema": schema, "config": config.model_dump(), "inputs": dict(inputs)}
    text = json.dumps(recipe, sort_keys=True)  # a Path in a config is a TypeError, on purpose
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def content_digest(path: Path) -> str:
    """Twelve hex digits of a file or folder, from its size and 32 evenly spaced samples of 64 KiB.

    Reads at most 2 MiB a file, so that a slide of gigabytes costs milliseconds; a file of up to
    2 MiB is hashed whole. A folder (a DICOM slide) hashes the names and samples of its files, and
    so does the folder of data that lies beside a MIRAX file (slide.mrxs and slide/).
    """
    digest = hashlib.sha256()
    if path.is_file():
        _sample(digest, path)
    folder = path if path.is_dir() else path.with_suffix("")
    if path.is_dir() or (path.suffix.lower() == ".mrxs" and folder.is_dir()):
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(file.relative_to(folder).as_posix().encode())
            _sample(digest, file)
    return digest.hexdigest()[:12]


def _sample(digest: hashlib._Hash, file: Path) -> None:
    size = file.stat().st_size
    digest.update(str(size).encode())
    with file.open("rb") as stream:
        if size <= SAMPLE_BYTES * NUM_SAMPLES:
            digest.update(stream.read())
            return
        for i in range(NUM_SAMPLES):
            stream.seek(i * (size - SAMPLE_BYTES) // (NUM_SAMPLES - 1))
            digest.update(stream.read(SAMPLE_BYTES))


def sha256_of(path: Path) -> str:
    """The full SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def publish(final: Path) -> Iterator[Path]:
    """Yield a scratch path; it takes its real name only if the block succeeds.

    Works for a file or a folder. An older artifact of that name is replaced. A crash leaves a
    hidden scratch, which sweep_scratch removes later, and never a half-made artifact.
    Raises ArtifactError where a file would replace a folder.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = final.with_name(f".{final.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    _remove(scratch)
    try:
        yield scratch
        _replace(scratch, final)
    except OSError as fault:
        if fault.errno is not None and fault.filename is None:  # a full disk names no file itself
            fault.filename = str(final)
        raise
    finally:
        _remove(scratch)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder that is there, so that no second command works in it meanwhile.

    Where another holds it, raises ArtifactError. The hold ends with the process, however that ends;
    file systems without locks have none.
    """
    place = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtifactError(
                f"{folder}: another command works there now. Wait for it, or give another place"
            ) from None
        except OSError:
            log.debug("%s: cannot be held for one command", folder)
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(place, fcntl.LOCK_UN)  # a child that was forked meanwhile has it, too
        os.close(place)


def write_text(final: Path, text: str) -> None:
    """Write a small text file whole or not at all."""
    with publish(final) as scratch:
        scratch.write_text(text, encoding="utf-8")


def sweep_scratch(folder: Path) -> int:
    """Remove what dead processes of this machine left half-made; returns how many."""
    swept = 0
    for scratch in folder.glob(f".*.{socket.gethostname()}.*.tmp"):
        pid = scratch.name.split(".")[-2]
        if pid.isdigit() and not _is_alive(int(pid)):
            _remove(scratch)
            swept += 1
    return swept


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _replace(scratch: Path, final: Path) -> None:
    if not final.is_dir():
        scratch.replace(final)
        return
    if not scratch.is_dir():
        require_file_place(final)
    # A folder cannot be renamed onto a full one: move the old one aside first. Another process
    # may do the same at the same time, so "gone already" is fine.
    aside = scratch.with_name(f".{final.name}.old.{socket.gethostname()}.{os.getpid()}.tmp")
    _remove(aside)
    with contextlib.suppress(FileNotFoundError):
        final.rename(aside)
    try:
        scratch.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        # the other process published the same artifact in between: theirs is as good
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
