"""Files from the web: resumed where they stopped, checked, and whole or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pathology import __version__
from pathology.core.errors import PathologyError

CHUNK_BYTES = 1 << 20
CHECKSUM = re.compile("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}")
CUT = (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
Report = Callable[[int, int | None], None]  # bytes that are here, bytes in all if known


class DownloadError(PathologyError):
    """A file that could not be fetched; the message says which, why and what to do, in a line."""


class _ConnectionCut(Exception):
    """The transfer ended before the file did."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    name      what it is called here; never a path
    size      bytes, or None if nobody published it
    checksum  "sha256:<hex>" or "md5:<hex>", or None if nobody published one
    """

    name: str
    url: str
    size: int | None = None
    checksum: str | None = None


def download(
    file: RemoteFile,
    folder: Path,
    report: Report = lambda done, total: None,
    *,
    timeout_s: float = 30.0,
    attempts: int = 5,
    pause_s: float = 2.0,
) -> Path:
    """Fetch a file into a folder, or find that it is there; returns its path.

    Bytes go to <name>.part. What an earlier call, or a cut connection, left there is continued
    where the server allows it. The file takes its name only when size and checksum hold.
    attempts  connections tried when they are cut; the pause between them grows from pause_s
    Raises DownloadError.
    """
    _refuse_unsafe(file)
    final, part = folder / file.name, folder / f"{file.name}.part"
    if final.exists():
        return _require_same(file, final)
    folder.mkdir(parents=True, exist_ok=True)
    for attempt in range(attempts):
        try:
            _transfer(file, part, report, timeout_s)
            break
        except _ConnectionCut as cut:
            if attempt == attempts - 1:
                raise DownloadError(
                    f"{file.name}: {cut}. Run the command again: it continues from there"
                ) from cut
            time.sleep(pause_s * 2**attempt)
    fault = _fault_of(file, part)
    if fault:
        _forget(part)
        raise DownloadError(f"{file.name}: {fault}. It was removed: fetch it again")
    part.replace(final)
    _forget(part)
    return final


def _transfer(file: RemoteFile, part: Path, report: Report, timeout_s: float) -> None:
    """One connection: ask for the bytes that are missing and append them."""
    here = _bytes_to_keep(file, part)
    if file.size is not None and here == file.size:
        return
    response = _open(file, _headers(part, here), timeout_s)
    with response:
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            start, total = _range_of(response)
            if start != here:
                _forget(part)
                raise _ConnectionCut(f"the server sent bytes from {start}, not from {here}")
        else:  # the server sends all of it: it knows no ranges, or the file has changed
            here, total = 0, _number(response.headers.get("Content-Length"))
        _require_size_and_space(file, part, here, total)
        _validator_path(part).write_text(_validator(response), encoding="utf-8")
        _append(file, part, response, here, total, report)


def _append(
    file: RemoteFile,
    part: Path,
    response: http.client.HTTPResponse,
    here: int,
    total: int | None,
    report: Report,
) -> None:
    with part.open("r+b" if here else "wb") as stream:
        stream.seek(here)
        stream.truncate()
        report(here, total)
        try:
            while chunk := response.read(CHUNK_BYTES):
                stream.write(chunk)
                here += len(chunk)
                report(here, total)
        except CUT as error:
            partial = error.partial if isinstance(error, http.client.IncompleteRead) else b""
            stream.write(partial)
            here += len(partial)
            raise _ConnectionCut(_progress(here, total)) from error
    if total is not None and here < total:
        raise _ConnectionCut(_progress(here, total))


def _open(file: RemoteFile, headers: dict[str, str], timeout_s: float) -> http.client.HTTPResponse:
    """The server's answer. Its refusals, and its absence, become DownloadError."""
    request = urllib.request.Request(file.url, headers=headers)  # noqa: S310 - scheme is checked
    host = urllib.parse.urlsplit(file.url).netloc
    try:
        answer = urllib.request.urlopen(request, timeout=timeout_s)  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
                return _open(file, _headers(None, 0), timeout_s)
            raise DownloadError(
                f"{file.name}: {host} answers {error.code} {error.reason} for {file.url}"
            ) from error
    except (urllib.error.URLError, *CUT) as error:
        reason = getattr(error, "reason", error)
        why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise DownloadError(
            f"{file.name}: {host} cannot be reached ({' '.join(str(why).split())}). Check the "
            "network or the proxy (https_proxy), or copy the file here from another machine"
        ) from error
    if not isinstance(answer, http.client.HTTPResponse):
        raise DownloadError(f"{file.name}: {file.url} led to something that is not HTTP")
    return answer


def _headers(part: Path | None, here: int) -> dict[str, str]:
    headers = {"User-Agent": f"pathology/{__version__}", "Accept-Encoding": "identity"}
    if part is not None and here:
        headers["Range"] = f"bytes={here}-"
        validator = _read_validator(part)
        if validator:
            headers["If-Range"] = validator  # all of it again where the file has changed
    return headers


def _bytes_to_keep(file: RemoteFile, part: Path) -> int:
    """Bytes of an earlier transfer that this one may build on.

    Without a checksum, and without the server's mark of the version they belong to, none: two
    versions of a file must not be joined unnoticed.
    """
    here = part.stat().st_size if part.is_file() else 0
    too_long = file.size is not None and here > file.size
    if too_long or (file.checksum is None and not _read_validator(part)):
        return 0
    return here


def _validator(response: http.client.HTTPResponse) -> str:
    """The server's mark of this version of the file, strong enough to join parts by."""
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("Last-Modified", "")


def _validator_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _read_validator(part: Path) -> str:
    try:
        return _validator_path(part).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _range_of(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """First byte and size of the whole from Content-Range: bytes 100-199/200."""
    found = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None:
        return -1, None
    return int(found[1]), _number(found[2])


def _require_size_and_space(file: RemoteFile, part: Path, here: int, total: int | None) -> None:
    if file.size is not None and total is not None and total != file.size:
        raise DownloadError(
            f"{file.name}: the server offers {total} bytes, expected {file.size}: the file at "
            f"{file.url} is another one"
        )
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - here > free:
        raise DownloadError(
            f"{file.name}: needs {total - here} bytes, {part.parent} has {free} free"
        )


def _require_same(file: RemoteFile, final: Path) -> Path:
    fault = _fault_of(file, final)
    if fault:
        raise DownloadError(f"{final}: exists, but {fault}. Remove it to fetch it again")
    return final


def _fault_of(file: RemoteFile, path: Path) -> str | None:
    """What is wrong with the bytes at path, or None."""
    size = path.stat().st_size if path.is_file() else 0
    if file.size is not None and size != file.size:
        return f"it has {size} bytes, expected {file.size}"
    if file.checksum is not None:
        kind, _, expected = file.checksum.partition(":")
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
        if found != expected:
            return f"its {kind} is {found}, expected {expected}"
    return None


def _refuse_unsafe(file: RemoteFile) -> None:
    """Raise DownloadError for a name that leaves the folder, or an address that is not HTTP."""
    name = file.name
    if not name or name.startswith(".") or any(c in '/\\:*?"<>|' or ord(c) < 32 for c in name):
        raise DownloadError(f"{name!r}: cannot be a file name")
    if urllib.parse.urlsplit(file.url).scheme not in ("http", "https"):
        raise DownloadError(f"{name}: {file.url} is not an http or https address")
    if file.checksum is not None and not CHECKSUM.fullmatch(file.checksum):
        raise DownloadError(f"{name}: {file.checksum} is not sha256:<hex> or md5:<hex>")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _validator_path(part).unlink(missing_ok=True)


def _progress(here: int, total: int | None) -> str:
    return f"the connection was cut after {here} of {total or 'unknown'} bytes"


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
