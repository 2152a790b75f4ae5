"""`pathology stain apply` on a whole slide, from starting Python to the finished OME-TIFF."""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import openslide
import ours
from contenders import NUM_WORKERS
from measure import read_through, run_measured

TILE_PX = 256
LIMIT_S = 3600


@dataclass(frozen=True)
class SlideRun:
    """One whole command. num_tiles are all 256-px tiles of level 0, glass as well.

    peak_pss_bytes  memory of all its processes, shared pages counted once; in peak_rss_bytes they
                    count once for each
    """

    name: str
    repeat: int
    num_tiles: int
    seconds: float
    peak_rss_bytes: int
    peak_pss_bytes: int
    output_bytes: int
    problem: str | None

    @property
    def tiles_per_s(self) -> float:
        return self.num_tiles / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"tiles_per_s": self.tiles_per_s}


@dataclass(frozen=True)
class Slide:
    """What is written, and how much of it is tissue."""

    path: Path
    l0_size: tuple[int, int]
    mpp: float

    @property
    def num_tiles(self) -> int:
        """Tiles that cover level 0."""
        width, height = self.l0_size
        return -(-width // TILE_PX) * -(-height // TILE_PX)

    def num_tissue_tiles(self) -> int:
        """Those that `pathology tile` takes for tissue, 0 where it fails."""
        with tempfile.TemporaryDirectory() as folder:
            found = ours.tile(
                self.path, Path(folder) / "task", TILE_PX, self.mpp, NUM_WORKERS, coords_only=True
            )
        return 0 if found.problem else found.num_tiles


def look_at(path: Path) -> Slide:
    with openslide.OpenSlide(path) as slide:
        return Slide(path, slide.dimensions, float(slide.properties[openslide.PROPERTY_NAME_MPP_X]))


def ways_to_apply(models: list[Path]) -> dict[str, list[str]]:
    """Arguments by name: decoding and encoding alone, the textbook style, learned tables."""
    ways = {
        "none (decode and encode only)": ["--set", "method=none"],
        "macenko, textbook style": [],
    }
    for model in models:
        label = f" ({model.stem})" if len(models) > 1 else ""
        ways[f"lut{label}"] = ["--model", str(model), "--quality", "lut"]
    return ways


def apply_all(slide: Slide, models: list[Path], repeats: int, scratch: Path) -> list[SlideRun]:
    """Every way once per repeat, in turns."""
    runs = []
    for repeat in range(repeats):
        read_through(slide.path)
        for name, words in ways_to_apply(models).items():
            runs.append(apply(slide, name, words, repeat, scratch))
            said = runs[-1].problem or f"{runs[-1].seconds:.1f} s"
            print(f"  {repeat + 1}/{repeats} {name}: {said}", flush=True)
    return runs


def apply(slide: Slide, name: str, words: list[str], repeat: int, scratch: Path) -> SlideRun:
    """One whole command; its file is looked at and removed."""
    out = scratch / "applied.ome.tiff"
    command = [ours.COMMAND, "stain", "apply", slide.path, "--out", out, "--workers", NUM_WORKERS]
    run = run_measured([*map(str, command), *words], LIMIT_S, with_pss=True)
    problem = run.problem
    size = out.stat().st_size if out.exists() else 0
    if problem is None:
        problem = problem_of(out, slide.l0_size)
    out.unlink(missing_ok=True)
    return SlideRun(
        name, repeat, slide.num_tiles, run.seconds, run.peak_rss_bytes, run.peak_pss_bytes, size,
        problem,
    )  # fmt: skip


def problem_of(out: Path, l0_size: tuple[int, int]) -> str | None:
    """Why the file is not what was asked for, by another reader than our own."""
    try:
        with openslide.OpenSlide(out) as written:
            size = written.dimensions
    except (openslide.OpenSlideError, OSError) as problem:
        return f"no slide was written: {problem}"
    return None if size == l0_size else f"{size} written where {l0_size} was read"
