"""Pictures of two domains, as adaptation reads them: every other one is dark, and malignant."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from pathology.adapt.config import AdaptConfig
from pipelines.adapt_train import AdaptOptions, Domains
from pipelines.adapt_train import read_domains as read_given
from pipelines.input_kinds import look_at
from tests.conftest import tissue_pixels

EDGE = 64
SETTINGS = {
    "encoder": "resnet10t", "size_px": EDGE, "steps": 60, "batch_size": 16, "width": 16,
    "judge_width": 16,
}  # fmt: skip
NUM = 12


def config(**more: object) -> AdaptConfig:
    return AdaptConfig.model_validate({**SETTINGS, **more})


def read_domains(
    source: Path,
    target: Path,
    settings: AdaptConfig,
    options: AdaptOptions,
    folder: Path | None = None,
    **named: object,
) -> Domains:
    """Both domains; pixels beside the source, unless another folder is given."""
    folder = folder or source.parent / "run"
    one, other = look_at(source), look_at(target)
    return read_given(one, other, settings, options, folder, **named)  # type: ignore[arg-type]


def write_pictures(folder: Path, *, is_target: bool, num: int = NUM) -> Path:
    """Pictures of tissue, every other one much darker; the target's are a little red."""
    folder.mkdir(parents=True)
    for i in range(num):
        pixels = tissue_pixels(EDGE, EDGE, seed=i + 100 * is_target).astype(np.float64)
        pixels *= 0.45 if i % 2 else 1.0
        if is_target:
            pixels *= np.array([1.0, 0.85, 0.85])
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"p{i}.png")
    return folder


def write_manifest(path: Path, folder: Path, labels: tuple[str, str] = ("benign", "malignant")):
    rows = [
        [file.stem, f"c{file.stem}", file, labels[int(file.stem[1:]) % 2], 0.5]
        for file in sorted(folder.glob("*.png"))
    ]
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["slide_id", "case_id", "slide_path", "label", "mpp"], *rows])
    return path


def write_domains(folder: Path) -> tuple[Path, Path]:
    """A manifest of the source, and a folder of the target."""
    source = write_pictures(folder / "slides", is_target=False)
    target = write_pictures(folder / "camera", is_target=True)
    return write_manifest(folder / "source.csv", source), target
