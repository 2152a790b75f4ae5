"""The half-scale JPEG extension against libjpeg: the same pixels, or a refusal."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import cv2
import imagecodecs
import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

fastjpeg = pytest.importorskip(
    "pathology.slides._fastjpeg", reason="built without a C compiler", exc_type=ImportError
)

Pixels = NDArray[np.uint8]
Draw = Callable[[tuple[int, int]], Pixels]
SOF, DQT, DHT, SOS, DRI, APP0 = 0xC0, 0xDB, 0xC4, 0xDA, 0xDD, 0xE0
NUM_FUZZED = 2000


def tissue(size: tuple[int, int], seed: int = 0) -> Pixels:
    """Smooth pink and purple with dark grains, (height, width, 3) for size = (width, height)."""
    rng = np.random.default_rng(seed)
    blobs = cv2.resize(rng.random((9, 9)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    grains = cv2.GaussianBlur(rng.random((size[1], size[0])).astype(np.float32), (0, 0), 1.5)
    amount = np.clip(blobs + 4 * (grains - 0.5), 0, 1)[..., None]
    colors = (1 - amount) * (238, 214, 230) + amount * (110, 60, 130)
    return np.clip(colors + rng.normal(0, 4, colors.shape), 0, 255).astype(np.uint8)


def noise(size: tuple[int, int], seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


def encode(pixels: Pixels, quality: int = 80, subsampling: str = "420") -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels, level=quality, subsampling=subsampling))


def with_restarts(pixels: Pixels, mcus: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(
        file, "JPEG", quality=80, subsampling="4:2:0", restart_marker_blocks=mcus
    )
    return file.getvalue()


def halve(
    streams: list[bytes], columns: int, size: tuple[int, int], quality: int = 92
) -> tuple[bytes, Pixels]:
    """The output stream and the planes, of streams whose images have this (width, height)."""
    rows = len(streams) // columns
    planes = np.empty((3, rows * size[1] // 2, columns * size[0] // 2), np.uint8)
    return fastjpeg.halve(streams, columns, quality, planes), planes


def half_by_libjpeg(stream: bytes, size: tuple[int, int]) -> Pixels:
    pixels = simplejpeg.decode_jpeg(
        stream, "RGB", min_width=size[0] // 2, min_height=size[1] // 2, min_factor=2, strict=True
    )
    return np.asarray(pixels, np.uint8)


def as_rgb(planes: Pixels) -> Pixels:
    """Planes (3, H, W) of YCbCr as JFIF has it, to (H, W, 3) RGB."""
    y, cb, cr = planes.astype(np.float64) - np.array([0, 128, 128])[:, None, None]
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.clip(np.round(rgb), 0, 255).astype(np.uint8)


def psnr(a: Pixels, b: Pixels) -> float:
    error = np.mean((a.astype(np.float64) - b) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


@pytest.mark.parametrize("quality", [5, 30, 60, 80, 95, 100])
@pytest.mark.parametrize("subsampling", ["420", "422", "444"])
@pytest.mark.parametrize("image", [tissue, noise])
def test_planes_are_what_libjpeg_decodes_at_half_scale(
    image: Draw, subsampling: str, quality: int
) -> None:
    size = (160, 96)
    stream = encode(image(size), quality, subsampling)
    _, planes = halve([stream], 1, size)
    assert psnr(as_rgb(planes), half_by_libjpeg(stream, size)) > 45


@pytest.mark.parametrize("columns", [1, 2, 3, 6])
def test_streams_lie_in_rows_of_a_mosaic(columns: int) -> None:
    size = (48, 32)
    streams = [encode(tissue(size, seed)) for seed in range(6)]
    _, planes = halve(streams, columns, size)
    halves = [half_by_libjpeg(stream, size) for stream in streams]
    rows = [np.hstack(halves[i : i + columns]) for i in range(0, 6, columns)]
    assert psnr(as_rgb(planes), np.vstack(rows)) > 45


def test_streams_of_one_mosaic_may_have_different_tables() -> None:
    size = (64, 64)
    images = [tissue(size, seed) for seed in range(4)]
    streams = [
        bytes(imagecodecs.jpeg8_encode(image, level=quality, subsampling="420", optimize=optimize))
        for image, quality, optimize in zip(
            images, (60, 95, 80, 80), (True, True, False, True), strict=True
        )
    ]
    _, planes = halve(streams, 4, size)
    assert psnr(as_rgb(planes), np.hstack([half_by_libjpeg(s, size) for s in streams])) > 45


@pytest.mark.parametrize("mcus", [1, 3, 5, 8, 100])
def test_restart_markers(mcus: int) -> None:
    size = (240, 80)
    plain, marked = with_restarts(tissue(size), 0), with_restarts(tissue(size), mcus)
    assert marked.count(b"\xff\xd0") > 0 or mcus == 100
    assert np.array_equal(halve([marked, plain], 1, size)[1], halve([plain, marked], 1, size)[1])
    assert np.array_equal(halve([marked], 1, size)[1], halve([plain], 1, size)[1])


@pytest.mark.parametrize("quality", [1, 25, 50, 80, 92, 100])
@pytest.mark.parametrize("image", [tissue, noise])
def test_output_is_as_good_as_libjpegs(image: Draw, quality: int) -> None:
    size = (352, 288)
    stream, planes = halve([encode(image(size), 95, "444")], 1, size, quality)
    pixels = as_rgb(planes)
    theirs = encode(pixels, quality, "444")
    ours = np.asarray(simplejpeg.decode_jpeg(stream, "RGB", strict=True), np.uint8)
    assert ours.shape == pixels.shape
    loss = psnr(np.asarray(simplejpeg.decode_jpeg(theirs, "RGB")), pixels) - psnr(ours, pixels)
    assert loss < 0.1
    assert abs(len(stream) / len(theirs) - 1) < 0.02


def test_output_has_the_tables_of_libjpeg() -> None:
    for quality in range(1, 101):
        stream, planes = halve([encode(tissue((16, 16)))], 1, (16, 16), quality)
        theirs = encode(as_rgb(planes), quality, "444")
        ours, expected = (Image.open(io.BytesIO(data)) for data in (stream, theirs))
        assert ours.quantization == expected.quantization  # type: ignore[attr-defined]


@pytest.mark.parametrize("level", [0, 1, 127, 128, 254, 255])
def test_flat_tiles_stay_flat(level: int) -> None:
    size = (64, 32)
    stream, planes = halve([encode(np.full((32, 64, 3), level, np.uint8))], 1, size)
    assert (planes[0] == level).all() and (planes[1:] == 128).all()
    assert (simplejpeg.decode_jpeg(stream, "RGB", strict=True) == level).all()


def test_many_threads_give_what_one_gives() -> None:
    size = (128, 128)
    streams = [[encode(tissue(size, 4 * i + j), 60 + i) for j in range(4)] for i in range(12)]
    alone = [halve(four, 2, size) for four in streams]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda four: halve(four, 2, size), streams * 8))
    for (data, planes), (expected, expected_planes) in zip(together, alone * 8, strict=True):
        assert data == expected and np.array_equal(planes, expected_planes)


def test_what_it_does_not_read_is_refused() -> None:
    size = (64, 64)
    image = tissue(size)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", progressive=True)
    grey = bytes(imagecodecs.jpeg8_encode(image[..., 0].copy(), level=80))
    rgb = bytes(imagecodecs.jpeg8_encode(image, level=80, colorspace="RGB", outcolorspace="RGB"))
    odd = encode(tissue((60, 64)))
    upright = encode(image, 80, "440")
    for stream in (buffer.getvalue(), grey, rgb, odd, upright, b"", b"\xff\xd8", b"GIF89a"):
        with pytest.raises(ValueError):
            halve([stream], 1, size)
    good = encode(image)
    for others in (encode(tissue((32, 64))), encode(image, 80, "444")):
        with pytest.raises(ValueError, match="differ"):
            halve([good, others], 2, size)


def test_arguments_are_checked() -> None:
    stream = encode(tissue((64, 64)))
    planes = np.empty((3, 32, 32), np.uint8)
    for arguments in (
        ([], 1, 92, planes),
        ([stream], 0, 92, planes),
        ([stream], 2, 92, planes),
        ([stream] * 3, 2, 92, planes),
        ([stream], 1, 0, planes),
        ([stream], 1, 101, planes),
        ([stream], 1, 92, planes[:, :, :16].copy()),
        ([stream], 1, 92, planes.astype(np.uint16)),
    ):
        with pytest.raises(ValueError):
            fastjpeg.halve(*arguments)
    with pytest.raises((BufferError, ValueError)):
        fastjpeg.halve([stream], 1, 92, planes[:, :, ::2])
    with pytest.raises((BufferError, TypeError)):
        fastjpeg.halve([stream], 1, 92, planes.tobytes())
    with pytest.raises(TypeError):
        fastjpeg.halve([bytearray(stream)], 1, 92, planes)


# ---- damaged streams -----------------------------------------------------------------------------


def segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment of the headers, to SOS."""
    at = 2
    while True:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4])
        yield marker, at, at + 2 + length
        if marker == SOS:
            return
        at += 2 + length


def cut_anywhere(stream: bytes, rng: np.random.Generator) -> bytes:
    return stream[: rng.integers(0, len(stream))]


def flip_bits(stream: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(stream)
    for _ in range(rng.integers(1, 6)):
        data[rng.integers(0, len(data))] ^= 1 << rng.integers(0, 8)
    return bytes(data)


def flip_header_bits(stream: bytes, rng: np.random.Generator) -> bytes:
    *_, (_, _, end) = segments(stream)
    return flip_bits(stream[:end], rng) + stream[end:]


def overwrite(stream: bytes, rng: np.random.Generator) -> bytes:
    at, length = rng.integers(0, len(stream)), rng.integers(1, 40)
    return stream[:at] + rng.bytes(int(length)) + stream[at + length :]


def drop_bytes(stream: bytes, rng: np.random.Generator) -> bytes:
    at = rng.integers(0, len(stream))
    return stream[:at] + stream[at + rng.integers(1, 20) :]


def drop_a_segment(stream: bytes, rng: np.random.Generator) -> bytes:
    found = list(segments(stream))
    _, start, end = found[rng.integers(0, len(found))]
    return stream[:start] + stream[end:]


def repeat_a_segment(stream: bytes, rng: np.random.Generator) -> bytes:
    found = list(segments(stream))
    _, start, end = found[rng.integers(0, len(found))]
    return stream[:end] + stream[start:end] + stream[end:]


def insert_a_marker(stream: bytes, rng: np.random.Generator) -> bytes:
    at = rng.integers(2, len(stream))
    return stream[:at] + bytes([0xFF, rng.integers(0, 256)]) + stream[at:]


def another_size(stream: bytes, rng: np.random.Generator) -> bytes:
    (start,) = (start for marker, start, _ in segments(stream) if marker == SOF)
    sizes = (0, 1, 15, 16, 48, 64, 80, 4096, 65520, 65535)
    height, width = (int(rng.choice(sizes)).to_bytes(2) for _ in range(2))
    return stream[: start + 5] + height + width + stream[start + 9 :]


def another_restart_interval(stream: bytes, rng: np.random.Generator) -> bytes:
    interval = int(rng.integers(0, 20)).to_bytes(2)
    return stream[:2] + b"\xff\xdd\x00\x04" + interval + stream[2:]


def random_tables(stream: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(stream)
    found = [(start, end) for marker, start, end in segments(stream) if marker in (DQT, DHT)]
    start, end = found[rng.integers(0, len(found))]
    for _ in range(rng.integers(1, 30)):
        data[rng.integers(start + 5, end)] = rng.integers(0, 256)
    return bytes(data)


DAMAGES = (
    cut_anywhere, flip_bits, flip_bits, flip_header_bits, overwrite, drop_bytes, drop_a_segment,
    repeat_a_segment, insert_a_marker, another_size, another_restart_interval, random_tables,
)  # fmt: skip


def undamaged(size: tuple[int, int]) -> list[bytes]:
    images = [tissue(size, 1), noise(size, 2)]
    plain = [[encode(i, 85, s) for s in ("420", "422", "444")] for i in images]
    return [*chain.from_iterable(plain), with_restarts(images[0], 3)]


def test_damaged_streams_are_refused_or_read_as_libjpeg_reads_them() -> None:
    size = (64, 48)
    rng = np.random.default_rng(0)
    good = undamaged(size)
    num_read = 0
    for number in range(NUM_FUZZED):
        kind = number % len(good)
        damaged = DAMAGES[rng.integers(0, len(DAMAGES))](good[kind], rng)
        pair = [damaged, good[kind]] if number % 2 else [good[kind], damaged]
        planes = np.empty((3, size[1], size[0] // 2), np.uint8)
        try:
            fastjpeg.halve(pair, 1, 92, planes)
        except ValueError:
            continue
        num_read += 1
        expected = np.vstack([half_by_libjpeg(stream, size) for stream in pair])
        assert psnr(as_rgb(planes), expected) > 45, number
    assert num_read > 20  # what remained whole, such as a changed quantizer


def test_data_behind_the_scan_is_refused_and_behind_the_stream_is_not() -> None:
    size = (64, 64)
    good = encode(tissue(size))
    expected = halve([good], 1, size)[0]
    assert halve([good + b"\0\0padding"], 1, size)[0] == expected
    for bad in (
        good[:-2],
        good[:-2] + b"\x12\x34\xff\xd9",
        good[:-2] + b"\xff\xd0\xff\xd9",
        good[:-2] + b"\xff",
        good[:-3] + b"\xff\xd9",
        good[:-2] + b"\xff\xd8",
    ):
        with pytest.raises(ValueError):
            halve([bad], 1, size)
