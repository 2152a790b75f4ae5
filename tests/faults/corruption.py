"""Ways in which a file is broken on its way from the scanner, all from one seed."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

ANY, FAILED = {"done", "empty", "failed"}, {"failed"}
ABSURD = {  # what is written into a tag of the first page: (tag, value)
    "width_2e31": (256, 2**31),
    "width_60000": (256, 60000),
    "length_2e31": (257, 2**31),
    "length_60000": (257, 60000),
    "width_0": (256, 0),
    "length_0": (257, 0),
    "width_half": (256, 512),
    "bits_64": (258, 64),
    "bits_0": (258, 0),
    "compression_9": (259, 9),
    "compression_none": (259, 1),
    "photometric_99": (262, 99),
    "samples_0": (277, 0),
    "samples_65535": (277, 65535),
    "planar_2": (284, 2),
    "tile_width_0": (322, 0),
    "tile_width_2e30": (322, 2**30),
    "tile_length_0": (323, 0),
    "tile_length_65536": (323, 65536),
    "rows_per_strip_0": (278, 0),
    "jpeg_tables_short": (347, 1),
}


@dataclass(frozen=True)
class Variant:
    """A broken file and the statuses it may end with."""

    name: str
    path: Path
    allowed: frozenset[str]


class Breaker:
    """Writes broken copies of files into a folder and remembers them.

    last_cut  the fewest bytes that are cut off a file's end
    """

    def __init__(self, folder: Path, seed: int = 20240229, last_cut: int = 64) -> None:
        self.folder, self.rng, self.last_cut = folder, np.random.default_rng(seed), last_cut
        self.variants: list[Variant] = []

    def add(self, name: str, data: bytes, allowed: set[str]) -> None:
        """Write one variant; its name's ending is the file's."""
        path = self.folder / name
        path.write_bytes(data)
        self.note(path, allowed)

    def note(self, path: Path, allowed: set[str]) -> None:
        """Remember something that is there already."""
        self.variants.append(Variant(path.name.replace(".", "_"), path, frozenset(allowed)))

    def all_of(self, base: Path, num_cuts: int = 8, num_flips: int = 8) -> None:
        """Every general kind of damage to one file."""
        data = base.read_bytes()
        self.truncations(base.name, data, num_cuts)
        self.bit_flips(base.name, data, num_flips)
        self.zeroed_ranges(base.name, data)
        self.wrong_extension(base, data)

    def truncations(self, name: str, data: bytes, number: int) -> None:
        """Cut short, from a few bytes to all but one: an incomplete copy is never "done"."""
        lengths = {1, 3, 9, 200, len(data) - self.last_cut, len(data) - 1000}
        lengths |= {int(len(data) * f) for f in self.rng.uniform(0.02, 0.99, number)}
        for length in sorted(n for n in lengths if 0 < n < len(data)):
            self.add(f"cut{length}_{name}", data[:length], FAILED)

    def bit_flips(self, name: str, data: bytes, number: int) -> None:
        """A few flipped bits: in the header, everywhere, in the last bytes."""
        places = {"head": (0, 16), "early": (0, 400), "data": (0, len(data))}
        places["tail"] = (len(data) - 60, len(data))
        for where, (start, end) in places.items():
            for trial in range(max(2, number // 4) if where != "data" else number):
                broken = bytearray(data)
                for at in self.rng.integers(start, end, 1 + trial % 4):
                    broken[at] ^= 1 << int(self.rng.integers(8))
                self.add(f"flip_{where}{trial}_{name}", bytes(broken), ANY)

    def zeroed_ranges(self, name: str, data: bytes) -> None:
        """Blocks of zeros, as after a failed write; the same filled up to its old length."""
        size = len(data)
        for start, length in ((0, 16), (8, 300), (size // 3, 4096), (size - 4096, 4096)):
            start, length = max(0, start), min(length, size)
            broken = data[:start] + bytes(length) + data[start + length :]
            self.add(f"zero{start}_{name}", broken, ANY)
        self.add(f"zero_tail_{name}", data[: size // 2] + bytes(size - size // 2), FAILED)

    def wrong_extension(self, base: Path, data: bytes) -> None:
        """A sound file under another name, which is read for what it is or refused."""
        for suffix in (".svs", ".png", ".dcm", ".mrxs", ""):
            self.add(f"named_{base.name.replace('.', '_')}{suffix}", data, ANY)

    def tags(self, base: Path) -> None:
        """Absurd values in the tags of a TIFF's first page, and in its list of tiles."""
        data = base.read_bytes()
        with tifffile.TiffFile(base) as tiff:
            tags = {t.code: (t.offset, t.valueoffset) for t in tiff.pages.first.tags}
        for name, (code, value) in ABSURD.items():
            if code in tags:
                broken = bytearray(data)
                struct.pack_into("<HII", broken, tags[code][0] + 2, 4, 1, value)
                is_told = 322 in tags or name != "width_half"  # no strip says how wide it is
                allowed = FAILED if name[:4] in ("widt", "leng", "tile") and is_told else ANY
                self.add(f"tag_{name}_{base.name}", bytes(broken), allowed)
        for code in sorted(set(tags) & {273, 279, 324, 325}):
            at, values = tags[code]
            for name, place, value in (
                ("count_2e31", at + 4, 2**31),
                ("count_0", at + 4, 0),
                ("beyond", values, 2**32 - 16),
                ("all_zero", values, 0),
            ):
                broken = bytearray(data)
                struct.pack_into("<I", broken, place, value)
                self.add(f"list{code}_{name}_{base.name}", bytes(broken), ANY)

    def jpeg_header(self, base: Path) -> None:
        """A JPEG whose frame header claims sizes that its data does not have."""
        data = base.read_bytes()
        at = data.index(b"\xff\xc0") + 5
        for height, width in ((65500, 65500), (1, 65535), (4000, 1024), (0, 0), (768, 1)):
            broken = bytearray(data)
            struct.pack_into(">HH", broken, at, height, width)
            self.add(f"claims{height}x{width}_{base.name}", bytes(broken), ANY)
        self.add("claims_more_rows.jpg", _with_rows(data, at, 1536), FAILED)

    def not_files(self) -> None:
        """What is found where a slide should be."""
        self.add("no_bytes.svs", b"", FAILED)
        self.add("text.svs", b"slide_id,slide_path\na,b\n" * 50, FAILED)
        self.add("html.tif", b"<html><body>404 Not Found</body></html>", FAILED)
        self.add("noise.tif", self.rng.bytes(5000), FAILED)
        self.add("noise_after_magic.tif", b"II*\0\x08\0\0\0" + self.rng.bytes(5000), FAILED)
        self.add("noise_after_magic.png", b"\x89PNG\r\n\x1a\n" + self.rng.bytes(5000), FAILED)
        self.add("noise_after_magic.jpg", b"\xff\xd8\xff\xe0" + self.rng.bytes(5000), FAILED)
        self.add("bigtiff_of_noise.tif", b"II+\0\x08\0\0\0" + self.rng.bytes(5000), FAILED)
        self.add("postscript.tif", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", FAILED)
        self.add("zip.svs", b"PK\x03\x04" + self.rng.bytes(500), FAILED)
        for path in self._odd_paths():
            self.note(path, FAILED)

    def _odd_paths(self) -> Iterator[Path]:
        folder = self.folder / "folder.svs"
        folder.mkdir()
        yield folder
        dicom = self.folder / "dicom_folder"
        dicom.mkdir()
        (dicom / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + self.rng.bytes(500))
        yield dicom
        hanging = self.folder / "dicom_of_fifo"
        hanging.mkdir()
        os.mkfifo(hanging / "a.dcm")
        yield hanging
        fifo = self.folder / "fifo.svs"
        os.mkfifo(fifo)
        yield fifo
        targets = {
            "broken": "nowhere",
            "null": "/dev/null",
            "endless": "/dev/zero",
            "round": "round",
        }
        for name, target in targets.items():
            (self.folder / name).symlink_to(target)
            yield self.folder / name
        yield self.folder / "never_was.svs"
        if os.geteuid() != 0:  # root may read anything
            locked = self.folder / "locked.svs"
            locked.write_bytes(b"II*\0")
            locked.chmod(0)
            yield locked


def _with_rows(data: bytes, at: int, rows: int) -> bytes:
    broken = bytearray(data)
    struct.pack_into(">H", broken, at, rows)
    return bytes(broken)


def copy_of(base: Path, folder: Path) -> Path:
    """The sound file, beside its broken variants."""
    return Path(shutil.copy(base, folder / base.name))
