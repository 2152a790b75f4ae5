"""Small pictures with tissue on glass, and the files that scanners and cameras make of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

GLASS, PINK, PURPLE = (243, 242, 244), np.array([225, 150, 190]), np.array([110, 60, 140])
MPP = 0.5
DPI = 25400 / MPP
APERIO = "Aperio Image Library v12.0.0\r\n{w}x{h} [0,0 {w}x{h}] (256x256) JPEG/RGB|MPP = 0.5"


def tissue(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Glass with an ellipse of sharp pink and purple texture in it, (height, width, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    inside = (x / 0.9) ** 2 + (y / 0.9) ** 2 < 1
    noise = rng.normal(size=(height // 2 + 1, width // 2 + 1)).astype(np.float32)
    amount = np.clip(0.5 + 0.4 * cv2.resize(noise, (width, height)), 0, 1)[..., None]
    pixels = np.where(inside[..., None], (1 - amount) * PINK + amount * PURPLE, GLASS)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def write_pyramid(
    path: Path,
    pixels: NDArray[np.uint8],
    compression: str = "jpeg",
    aperio: bool = False,
    mpp: float = MPP,
) -> Path:
    """A tiled TIFF of two levels with resolution tags, as a scanner writes it."""
    height, width = pixels.shape[:2]
    with tifffile.TiffWriter(path) as tiff:
        for factor in (1, 4):
            level = cv2.resize(pixels, (width // factor, height // factor), interpolation=3)
            tiff.write(
                level,
                tile=(256, 256),
                compression=compression,
                photometric="rgb",
                resolution=(1e4 / mpp / factor, 1e4 / mpp / factor),
                resolutionunit="CENTIMETER",
                description=APERIO.format(w=width, h=height) if aperio else None,
                metadata=None,
                subfiletype=int(factor > 1 and not aperio),
            )
    return path


def write_tiff(path: Path, values: NDArray[np.generic], **options: object) -> Path:
    """A TIFF of anything, with resolution tags."""
    resolution = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, values, **{"metadata": None, **resolution, **options})
    return path


def write_ome(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """A tiled OME-TIFF with its resolution in the XML and its smaller level below the first."""
    said = {"axes": "YXS", "PhysicalSizeX": MPP, "PhysicalSizeY": MPP}
    how = {"tile": (256, 256), "compression": "jpeg", "photometric": "rgb"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(pixels, subifds=1, metadata=said, **how)
        tiff.write(np.ascontiguousarray(pixels[::4, ::4]), subfiletype=1, **how)
    return path


def write_image(path: Path, pixels: NDArray[np.uint8], mode: str = "RGB") -> Path:
    """A PNG, JPEG or the like with its density."""
    Image.fromarray(pixels).convert(mode).save(path, dpi=(DPI, DPI))
    return path


def bases(folder: Path, width: int = 1024, height: int = 768) -> dict[str, Path]:
    """One sound file of each kind that is corrupted, by kind."""
    pixels = tissue(width, height)
    return {
        "jpeg.tif": write_pyramid(folder / "jpeg.tif", pixels),
        "fine.tif": write_pyramid(folder / "fine.tif", tissue(1536, 1536), mpp=MPP / 2),
        "aperio.svs": write_pyramid(folder / "aperio.svs", pixels, aperio=True),
        "zlib.tif": write_pyramid(folder / "zlib.tif", pixels, compression="zlib"),
        "ome.ome.tif": write_ome(folder / "ome.ome.tif", pixels),
        "strips.tif": write_tiff(
            folder / "strips.tif", pixels, compression="lzw", rowsperstrip=64, photometric="rgb"
        ),
        "photo.png": write_image(folder / "photo.png", pixels),
        "photo.jpg": write_image(folder / "photo.jpg", pixels),
    }
