"""Slides made on the spot: small, real files with known pixels."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from pathology.slides import jpeg

# one thread of torch in each process: several work side by side, and sums are the same in all
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
GLASS = 243


def real_data() -> Path:
    """The folder of real data, or a skip with the reason."""
    folder = Path(os.environ.get("PATHOLOGY_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "slides").is_dir():
        pytest.skip(f"no real data at {folder}; set PATHOLOGY_DATA")
    return folder


@pytest.fixture(scope="session")
def data_folder() -> Path:
    return real_data()


def tissue_pixels(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Glass with one ellipse of pink and purple texture in its middle, (height, width, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    inside = (x / 0.8) ** 2 + (y / 0.7) ** 2 < 1
    coarse = rng.normal(size=(height // 8 + 1, width // 8 + 1)).astype(np.float32)
    texture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), 1.2) * 3
    amount = np.clip(0.5 + 0.25 * texture + 0.2 * fine, 0, 1)[..., None]
    tissue = (1 - amount) * np.array([225, 150, 190]) + amount * np.array([110, 60, 140])
    pixels = np.where(inside[..., None], tissue, GLASS)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def write_pyramid(
    path: Path,
    pixels: NDArray[np.uint8],
    mpp: float | None = 0.25,
    downsamples: tuple[int, ...] = (4,),
    tile: int = 256,
    quality: int = 90,
    compression: str = "jpeg",
) -> Path:
    """Write pixels as a scanner would: tiled, a pyramid, resolution tags."""
    unit = {} if mpp is None else {"resolutionunit": "CENTIMETER"}
    arguments = {"level": quality} if compression == "jpeg" else {}
    options = {
        "tile": (tile, tile),
        "compression": compression,
        "compressionargs": arguments,
        "photometric": "rgb",
        "metadata": None,
        **unit,
    }
    with tifffile.TiffWriter(path) as tiff:
        for d in (1, *downsamples):
            size = (pixels.shape[1] // d, pixels.shape[0] // d)
            level = pixels if d == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
            resolution = None if mpp is None else (1e4 / mpp / d, 1e4 / mpp / d)
            tiff.write(level, subfiletype=int(d > 1), resolution=resolution, **options)
    return path


def psnr(a: NDArray[np.uint8], b: NDArray[np.floating] | NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB of 8-bit images."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-12)))


def write_dicom(folder: Path, pixels: NDArray[np.uint8], mpp: float, tile: int = 256) -> Path:
    """Write pixels as a DICOM whole-slide series, levels 1 and 4, one file a level."""
    folder.mkdir(parents=True)
    common = {name: generate_uid(entropy_srcs=[name]) for name in ("series", "study", "frame")}
    for number, d in enumerate((1, 4)):
        size = (pixels.shape[1] // d, pixels.shape[0] // d)
        level = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        data = _dicom_level(level, number, mpp * d, tile, common)
        data.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def _dicom_level(
    level: NDArray[np.uint8], number: int, mpp: float, tile: int, uids: dict[str, str]
) -> Dataset:
    height, width = level.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    padded = np.full((rows * tile, columns * tile, 3), 255, np.uint8)
    padded[:height, :width] = level
    corners = [(y * tile, x * tile) for y in range(rows) for x in range(columns)]
    frames = [jpeg.encode(padded[y : y + tile, x : x + tile], 90, "422") for y, x in corners]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image
    data.SOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID = uids["series"], uids["study"]
    data.FrameOfReferenceUID, data.Modality, data.InstanceNumber = uids["frame"], "SM", number + 1
    kinds = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    data.ImageType = kinds if number else ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data.Rows = data.Columns = tile
    data.SamplesPerPixel, data.PhotometricInterpretation = 3, "YBR_FULL_422"
    data.PlanarConfiguration = data.PixelRepresentation = 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.NumberOfFrames = len(frames)
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows = width, height
    data.DimensionOrganizationType = "TILED_FULL"
    data.TotalPixelMatrixFocalPlanes = data.NumberOfOpticalPaths = 1
    path, measures, shared = Dataset(), Dataset(), Dataset()
    path.OpticalPathIdentifier = "0"
    data.OpticalPathSequence = Sequence([path])
    measures.PixelSpacing = [mpp / 1000, mpp / 1000]
    shared.PixelMeasuresSequence = Sequence([measures])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    data.PixelData = encapsulate(frames)
    data["PixelData"].is_undefined_length = True
    return data


@pytest.fixture(scope="session")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2048 x 1536 slide at 0.25 um/px with levels 1 and 4."""
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    return write_pyramid(path, tissue_pixels(2048, 1536))


@pytest.fixture
def make_slide(tmp_path: Path) -> Callable[..., Path]:
    """Write a slide of a given size below tmp_path."""

    def make(
        name: str = "slide.tif", width: int = 1024, height: int = 768, **options: object
    ) -> Path:
        return write_pyramid(tmp_path / name, tissue_pixels(width, height), **options)  # type: ignore[arg-type]

    return make
