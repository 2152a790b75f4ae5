"""Sound files of unusual kinds: each is read right or refused, never read wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pictures import tissue, write_image, write_pyramid, write_tiff
from PIL import Image


def readable_kinds(folder: Path, pixels: NDArray[np.uint8]) -> dict[str, Path]:
    """Kinds that show the same picture as the plain RGB file, so the same tiles come out."""
    wide = pixels.astype(np.uint16) * 257
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    files = {
        "rgb": write_tiff(folder / "rgb.tif", pixels, photometric="rgb"),
        "rgb_planar": write_tiff(
            folder / "rgb_planar.tif",
            np.moveaxis(pixels, 2, 0),
            photometric="rgb",
            planarconfig="separate",
        ),
        "rgb16": write_tiff(folder / "rgb16.tif", wide, photometric="rgb"),
        "rgb16_tiled": write_tiff(
            folder / "rgb16_tiled.tif", wide, photometric="rgb", tile=(256, 256)
        ),
        "rgba": write_tiff(
            folder / "rgba.tif", opaque, photometric="rgb", extrasamples=["unassalpha"]
        ),
        "bigtiff": write_tiff(folder / "bigtiff.tif", pixels, photometric="rgb", bigtiff=True),
        "big_endian": write_tiff(folder / "endian.tif", pixels, photometric="rgb", byteorder=">"),
        "pages": write_tiff(
            folder / "pages.tif", np.stack([pixels, pixels[::-1]]), photometric="rgb"
        ),
        "png_rgba": folder / "rgba.png",
        "lossless": write_pyramid(folder / "lossless.tif", pixels, compression="zlib"),
    }
    Image.fromarray(opaque).save(files["png_rgba"], dpi=(50800, 50800))
    return files


def close_kinds(folder: Path, pixels: NDArray[np.uint8]) -> dict[str, Path]:
    """Kinds that show nearly the same picture: fewer colours, or JPEG's losses."""
    palette = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    for name in ("palette.tif", "palette.png"):
        palette.save(folder / name, dpi=(50800, 50800))
    return {
        "palette": folder / "palette.tif",
        "palette_png": folder / "palette.png",
        "cmyk_jpeg": write_image(folder / "cmyk.jpg", pixels, "CMYK"),
        "photo": write_image(folder / "photo.jpg", pixels),
    }


def grey_kinds(folder: Path, pixels: NDArray[np.uint8]) -> dict[str, Path]:
    """Kinds that show the picture in grey."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    return {
        "grey": write_tiff(folder / "grey.tif", grey),
        "grey16": write_tiff(folder / "grey16.tif", grey.astype(np.uint16) * 257),
        "white_is_zero": write_tiff(folder / "inverse.tif", 255 - grey, photometric="miniswhite"),
    }


def strange_kinds(folder: Path) -> dict[str, Path]:
    """Kinds that no honest reader can turn into one colour image of tissue."""
    rng = np.random.default_rng(5)
    pixels = tissue(512, 512)
    five = rng.integers(0, 255, (512, 512, 5), np.uint8)
    four = rng.integers(0, 255, (512, 512, 4), np.uint8)
    return {
        "float": write_tiff(folder / "float.tif", pixels.astype(np.float32), photometric="rgb"),
        "int32": write_tiff(folder / "int32.tif", pixels.astype(np.int32), photometric="rgb"),
        "complex": write_tiff(folder / "complex.tif", pixels[..., 0].astype(np.complex64)),
        "five": write_tiff(folder / "five.tif", five, photometric="minisblack", planarconfig=1),
        "four": write_tiff(folder / "four.tif", four, photometric="minisblack", planarconfig=1),
        "cmyk": write_tiff(folder / "cmyk.tif", four, photometric="separated"),
        "cielab": write_tiff(folder / "lab.tif", pixels, photometric="cielab"),
    }
