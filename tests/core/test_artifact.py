"""Artifacts: whole or not there, and named by what shaped them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pathology.core.artifact import (
    alone_in,
    content_digest,
    fingerprint,
    publish,
    sha256_of,
    sweep_scratch,
)
from pathology.core.errors import ArtifactError
from pathology.core.geometry import TileSpec
from pathology.core.output_place import require_file_place, require_model_place


def test_a_fingerprint_follows_every_setting_and_input() -> None:
    base = fingerprint("tiles", 1, TileSpec(), {"slide": "a"})
    assert base == fingerprint("tiles", 1, TileSpec(), {"slide": "a"})
    others = {
        fingerprint("other", 1, TileSpec(), {"slide": "a"}),
        fingerprint("tiles", 2, TileSpec(), {"slide": "a"}),
        fingerprint("tiles", 1, TileSpec(mpp=0.51), {"slide": "a"}),
        fingerprint("tiles", 1, TileSpec(mpp_tolerance=0.02), {"slide": "a"}),
        fingerprint("tiles", 1, TileSpec(), {"slide": "b"}),
    }
    assert len(others) == 5
    assert base not in others


def test_a_failed_block_publishes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="halfway"), publish(tmp_path / "a.txt") as scratch:
        scratch.write_text("half", encoding="utf-8")
        raise ValueError("halfway")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_replaces_an_older_one(tmp_path: Path) -> None:
    for word in ("old", "new"):
        with publish(tmp_path / "store") as scratch:
            scratch.mkdir()
            (scratch / word).write_text(word, encoding="utf-8")
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_an_older_artifact_survives_a_failure(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(ValueError, match="no"), publish(tmp_path / "store") as scratch:
        scratch.mkdir()
        raise ValueError("no")
    assert (tmp_path / "store").is_dir()


def test_scratch_of_the_dead_is_swept_and_of_the_living_kept(tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    for pid in (int(dead.stdout), os.getpid()):
        (tmp_path / f".slide.zarr.{socket.gethostname()}.{pid}.tmp").mkdir()
    assert sweep_scratch(tmp_path) == 1
    assert [p.name.split(".")[-2] for p in tmp_path.iterdir()] == [str(os.getpid())]


def test_a_digest_sees_content_size_and_not_the_name(tmp_path: Path) -> None:
    rng_bytes = bytes(range(256)) * 40_000  # 10 MB: sampled, not hashed whole
    a, b, c = (tmp_path / name for name in "abc")
    a.write_bytes(rng_bytes)
    b.write_bytes(rng_bytes)
    c.write_bytes(b"x" + rng_bytes[1:])
    assert content_digest(a) == content_digest(b) != content_digest(c)
    b.write_bytes(rng_bytes[:-1])
    assert content_digest(a) != content_digest(b)


def test_a_folder_has_a_digest_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "dicom"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"one")
    before = content_digest(folder)
    (folder / "2.dcm").write_bytes(b"two")
    assert content_digest(folder) != before


def test_the_data_beside_a_mirax_file_belong_to_it(tmp_path: Path) -> None:
    (tmp_path / "s.mrxs").write_bytes(b"head")
    (tmp_path / "s").mkdir()
    (tmp_path / "s/Data0001.dat").write_bytes(b"one")
    before = content_digest(tmp_path / "s.mrxs")
    (tmp_path / "s/Data0001.dat").write_bytes(b"two")
    assert content_digest(tmp_path / "s.mrxs") != before


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "abc") == known


def test_a_file_never_replaces_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(ArtifactError, match="results: a folder"), publish(folder) as scratch:
        scratch.write_text("a table", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    assert (folder / "thesis.txt").read_text(encoding="utf-8") == "precious"


def test_an_output_is_no_input(tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    require_file_place(model, model)  # nothing is there yet
    model.write_bytes(b"weights")
    require_file_place(tmp_path / "new.csv", model, None)
    (tmp_path / "link.pt").symlink_to(model)
    for name in ("model.pt", "link.pt"):
        with pytest.raises(ArtifactError, match=f"{name}: read by this command"):
            require_file_place(tmp_path / name, None, model)


HOLDER = """import sys
from pathlib import Path
from pathology.core.artifact import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    input()
"""


def test_a_folder_is_held_by_one_command_at_a_time(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "in\n"
        said = "another command works there now"
        with pytest.raises(ArtifactError, match=said), alone_in(tmp_path):
            pass
        other.kill()  # the hold ends with it
        other.wait()
        with alone_in(tmp_path):
            assert not list(tmp_path.iterdir())


def test_files_of_an_input_folder_are_not_replaced(tmp_path: Path) -> None:
    for name in ("a.png", "slide.svs", "features.h5", "process_list.csv", "run.json"):
        (tmp_path / name).touch()
        with pytest.raises(ArtifactError, match=f"{name}: belongs to"):
            require_file_place(tmp_path / name, tmp_path)
        require_file_place(tmp_path / name, tmp_path / "other")
    for name in ("style.json", "model.pt", "styles.csv"):
        (tmp_path / name).touch()  # made by such a command before
        require_file_place(tmp_path / name, tmp_path)


def test_a_model_replaces_models_alone(tmp_path: Path) -> None:
    for name, content in (("a.pt", b"PK zip"), ("new.pt", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        require_model_place(tmp_path / name)
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    with pytest.raises(ArtifactError, match=r"photo\.png: lies there and is no model"):
        require_model_place(tmp_path / "photo.png")
    with pytest.raises(ArtifactError, match="read by this command, too"):
        require_model_place(tmp_path / "a.pt", tmp_path / "a.pt")
