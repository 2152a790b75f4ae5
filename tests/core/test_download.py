import hashlib
import http.server
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pathology.core.download import DownloadError, RemoteFile, download

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA256 = "sha256:" + hashlib.sha256(BODY).hexdigest()
MD5 = "md5:" + hashlib.md5(BODY, usedforsecurity=False).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves files from memory; can cut connections, ignore ranges and change versions."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/a.svs": BODY, "/empty.svs": b""}
        self.etag: str | None = '"v1"'
        self.knows_ranges = True
        self.cut_after: list[int] = []  # bytes of the body, one entry a connection
        self.asked: list[str | None] = []  # the Range header of each request

    def handle_error(self, *args: object) -> None:
        """A client that hangs up is no fault here."""

    def url(self, name: str = "a.svs") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if self.path == "/moved.svs":
            self.send_response(302)
            self.send_header("Location", "/a.svs")
            self.end_headers()
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        body, start = server.files[self.path], self._start(wanted)
        if start and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        rest = body[start:]
        self.wfile.write(rest[: server.cut_after.pop(0)] if server.cut_after else rest)

    def _start(self, wanted: str | None) -> int:
        found = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        mark = self.headers.get("If-Range")
        if not found or not self.server.knows_ranges or mark not in (None, self.server.etag):
            return 0
        return int(found[1])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize("checksum", [SHA256, MD5, None])
@pytest.mark.parametrize("size", [len(BODY), None])
def test_a_file_arrives(
    server: Server, tmp_path: Path, checksum: str | None, size: int | None
) -> None:
    seen: list[tuple[int, int | None]] = []
    file = RemoteFile("b.svs", server.url(), size, checksum)
    path = download(file, tmp_path / "new", lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "new/b.svs"
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    file = RemoteFile("a.svs", server.url(), len(BODY), SHA256)
    assert download(file, tmp_path) == download(file, tmp_path)
    assert len(server.asked) == 1


def test_another_file_of_that_name_is_never_overwritten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_text("mine")
    with pytest.raises(DownloadError, match="exists, but its sha256 is"):
        download(RemoteFile("a.svs", server.url(), None, SHA256), tmp_path)
    assert (tmp_path / "a.svs").read_text() == "mine"


@pytest.mark.parametrize("checksum", [SHA256, None])
def test_a_cut_connection_is_continued(
    server: Server, tmp_path: Path, checksum: str | None
) -> None:
    server.cut_after = [1000, 2000]
    file = RemoteFile("a.svs", server.url(), len(BODY), checksum)
    assert download(file, tmp_path, pause_s=0).read_bytes() == BODY
    assert server.asked == [None, "bytes=1000-", "bytes=3000-"]


def test_the_next_call_continues_where_the_last_gave_up(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1000, 2000]
    file = RemoteFile("a.svs", server.url(), None, SHA256)
    with pytest.raises(DownloadError, match=r"cut after 3000 of 1048576 bytes.*Run the command"):
        download(file, tmp_path, attempts=2, pause_s=0)
    assert not (tmp_path / "a.svs").exists()
    assert (tmp_path / "a.svs.part").read_bytes() == BODY[:3000]
    seen: list[int] = []
    path = download(file, tmp_path, lambda done, total: seen.append(done))
    assert path.read_bytes() == BODY
    assert server.asked[-1] == "bytes=3000-"
    assert seen[0] == 3000
    assert [each.name for each in tmp_path.iterdir()] == ["a.svs"]


@pytest.mark.parametrize("checksum", ["sha256:" + hashlib.sha256(BODY[::-1]).hexdigest(), None])
def test_a_file_that_changed_meanwhile_is_fetched_whole(
    server: Server, tmp_path: Path, checksum: str | None
) -> None:
    server.cut_after = [1000]
    file = RemoteFile("a.svs", server.url(), None, checksum)
    with pytest.raises(DownloadError, match="cut"):
        download(file, tmp_path, attempts=1)
    server.files["/a.svs"], server.etag = BODY[::-1], '"v2"'
    assert download(file, tmp_path).read_bytes() == BODY[::-1]


def test_without_checksum_and_version_nothing_is_joined(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.svs.part").write_bytes(b"of unknown origin")
    assert download(RemoteFile("a.svs", server.url()), tmp_path).read_bytes() == BODY
    assert server.asked == [None]


def test_a_server_without_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.knows_ranges = False
    server.cut_after = [1000]
    file = RemoteFile("a.svs", server.url(), None, SHA256)
    assert download(file, tmp_path, pause_s=0).read_bytes() == BODY
    assert server.asked == [None, "bytes=1000-"]


def test_a_part_that_is_complete_only_needs_its_check(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.svs.part").write_bytes(BODY)
    download(RemoteFile("a.svs", server.url(), len(BODY), SHA256), tmp_path)
    assert server.asked == []


def test_a_part_longer_than_the_file_is_dropped(server: Server, tmp_path: Path) -> None:
    for size in (len(BODY), None):
        (tmp_path / "a.svs").unlink(missing_ok=True)
        (tmp_path / "a.svs.part").write_bytes(BODY + b"more")
        path = download(RemoteFile("a.svs", server.url(), size, SHA256), tmp_path)
        assert path.read_bytes() == BODY


def test_wrong_checksum(server: Server, tmp_path: Path) -> None:
    file = RemoteFile("a.svs", server.url(), None, "sha256:" + "0" * 64)
    with pytest.raises(DownloadError, match=r"its sha256 is [0-9a-f]{64}, expected 000"):
        download(file, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_wrong_size_is_seen_before_the_transfer(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="offers 1048576 bytes, expected 5"):
        download(RemoteFile("a.svs", server.url(), 5, SHA256), tmp_path)
    assert not (tmp_path / "a.svs.part").exists()


def test_no_space_is_seen_before_the_transfer(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage)
    with pytest.raises(DownloadError, match=r"needs 1048576 bytes, .* has 10 free"):
        download(RemoteFile("a.svs", server.url()), tmp_path)


def test_not_found(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"answers 404 Not Found for http://127\.0\.0\.1"):
        download(RemoteFile("a.svs", server.url("b.svs")), tmp_path)


def test_a_redirection_is_followed(server: Server, tmp_path: Path) -> None:
    file = RemoteFile("a.svs", server.url("moved.svs"), None, SHA256)
    assert download(file, tmp_path).read_bytes() == BODY


def test_an_empty_file_is_a_file(server: Server, tmp_path: Path) -> None:
    assert download(RemoteFile("e.svs", server.url("empty.svs")), tmp_path).read_bytes() == b""


def test_offline_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(
            DownloadError, match=r"cannot be reached .*refused.* Check the"
        ) as fault:
            download(RemoteFile("a.svs", f"http://127.0.0.1:{port}/a.svs"), tmp_path)
    assert "\n" not in str(fault.value)


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(DownloadError, match="timed out"):
            download(RemoteFile("a.svs", f"http://127.0.0.1:{port}/a.svs"), tmp_path, timeout_s=0.1)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "/etc/passwd", "C:x", ".a", "a\n"])
def test_a_name_with_a_path_in_it_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DownloadError, match="cannot be a file name"):
        download(RemoteFile(name, "http://127.0.0.1:1/"), tmp_path)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/a", "a.svs"])
def test_other_schemes_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="not an http or https address"):
        download(RemoteFile("a.svs", url), tmp_path)


@pytest.mark.parametrize("checksum", ["sha256:12", "crc32:00", "0" * 64, "md5:" + "G" * 32])
def test_a_checksum_nobody_can_compare_is_refused(tmp_path: Path, checksum: str) -> None:
    with pytest.raises(DownloadError, match="is not sha256:<hex> or md5:<hex>"):
        download(RemoteFile("a.svs", "http://127.0.0.1:1/", None, checksum), tmp_path)
