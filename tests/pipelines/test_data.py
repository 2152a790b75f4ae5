import hashlib
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pathology.core.download import DownloadError
from pathology.core.errors import ConfigError
from pathology.core.manifest import ALIASES, KNOWN, read_manifest
from pipelines.data import PUBLIC, fetch_public, list_public

MANIFESTS = PUBLIC.parent


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A list of data sets whose files a server on this machine holds."""
    monkeypatch.setenv("no_proxy", "*")
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.svs").write_bytes(b"slide a")
    (folder / "b.svs").write_bytes(b"slide b")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        path = tmp_path / "public.yaml"
        path.write_text(
            f"""
datasets:
  two:
    title: Two slides
    homepage: {url}
    license: CC0-1.0
    citation: nobody
    files:
      - name: a.svs
        url: {url}/a.svs
        size: 7
        sha256: {hashlib.sha256(b"slide a").hexdigest()}
      - name: b.svs
        url: {url}/b.svs
        md5: {hashlib.md5(b"slide b", usedforsecurity=False).hexdigest()}
  by_hand:
    title: On request
    homepage: {url}
    license: null
    citation: nobody
    instructions: Write a letter.
"""
        )
        yield path
        server.shutdown()
        thread.join()


def test_all_files_arrive_in_a_folder_of_their_own(catalog: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    paths = fetch_public("two", tmp_path, report=lambda *args: seen.append(args), path=catalog)
    assert paths == [tmp_path / "two/a.svs", tmp_path / "two/b.svs"]
    assert [path.read_bytes() for path in paths] == [b"slide a", b"slide b"]
    assert ("a.svs", 7, 7) in seen
    assert ("b.svs", 7, 7) in seen


def test_some_files_only(catalog: Path, tmp_path: Path) -> None:
    assert fetch_public("two", tmp_path, ["b.svs"], path=catalog) == [tmp_path / "two/b.svs"]
    with pytest.raises(ConfigError, match=r"two: no file c\.svs; it has a\.svs, b\.svs"):
        fetch_public("two", tmp_path, ["c.svs"], path=catalog)


def test_a_data_set_nobody_knows_or_can_fetch(catalog: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown; expected one of two, by_hand"):
        fetch_public("three", tmp_path, path=catalog)
    with pytest.raises(DownloadError, match=r"cannot be fetched from here\. Write a letter\. See"):
        fetch_public("by_hand", tmp_path, path=catalog)


def test_sizes_add_up_or_are_not_known(catalog: Path) -> None:
    datasets = list_public(catalog)
    assert datasets["two"].size is None
    assert datasets["by_hand"].size is None
    assert list_public()["crc-val-he-7k"].size == 800_276_929


@pytest.mark.parametrize(
    ("was", "becomes", "complaint"),
    [
        ("size: 7", "size: seven", "size"),
        ("size: 7", "bytes: 7", "unknown key"),
        ("name: b.svs", "name: a.svs", "the same name"),
        ("sha256: ", "sha256: x", "sha256"),
    ],
)
def test_a_damaged_list_is_refused(catalog: Path, was: str, becomes: str, complaint: str) -> None:
    catalog.write_text(catalog.read_text().replace(was, becomes))
    with pytest.raises(ConfigError, match=complaint):
        list_public(catalog)


def test_our_list_is_sound() -> None:
    datasets = list_public()
    assert {"openslide-cmu", "nct-crc-he-100k", "crc-val-he-7k", "camelyon16", "camelyon17"} < set(
        datasets
    )
    assert {"breakhis", "lc25000"} < set(datasets)
    for name, dataset in datasets.items():
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert dataset.files or dataset.instructions
        for file in dataset.files:
            assert not (file.sha256 and file.md5)
            assert Path(file.name).name == file.name
            assert file.url.startswith(("https://", "http://www.inf.ufpr.br/"))


def test_the_example_is_a_manifest() -> None:
    manifest = read_manifest(MANIFESTS / "example.csv")
    assert len(manifest.slides) == 5
    assert not manifest.rejected
    assert not manifest.remarks
    assert manifest.slides[4].domain == "microscope"


def test_the_readme_names_every_column_and_alias() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in (MANIFESTS / "README.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    columns = [row[0].strip("`") for row in rows if len(row) == 3]
    aliases = {
        row[0].strip("`"): tuple(re.findall(r"`(\w+)`", row[1])) for row in rows if len(row) == 2
    }
    assert sorted(columns) == sorted(KNOWN)
    assert aliases == ALIASES
