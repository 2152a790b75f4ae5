"""A trained stain model: generator and student with all that must be known to use them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from pathology.core.artifact import fingerprint
from pathology.core.config import StageConfig
from pathology.core.errors import ArtifactError
from pathology.core.state import load_state, save_state
from pathology.stain.arrays import num_counted
from pathology.stain.classical import NO_COLOR, sampled
from pathology.stain.config import StainConfig
from pathology.stain.cycle_config import CycleConfig
from pathology.stain.cycle_step import target_generator
from pathology.stain.learned_normalizer import NetworkNormalizer, share_cores
from pathology.stain.macenko import estimate_stains
from pathology.stain.matrix import Pixels, are_stains
from pathology.stain.networks import StyleGenerator, kernel_of
from pathology.stain.normalizer import PassThrough, SlideNormalizer
from pathology.stain.saved_style import StainError
from pathology.stain.sharp_table import Grid, SharpTableNormalizer
from pathology.stain.slide_table import fit_grid, student_grid
from pathology.stain.student import StainStudent, student_of
from pathology.stain.style_vector import NUM_MATRIX, TOLD, style_vector
from pathology.stain.tissue import has_color, look_at

KIND, SCHEMA = "pathology stain model", 4
TABLE_TILES = 64  # of a slide's sample, looked at for its table of colors
STUDENT_POINTS = 33  # edge of the grid that stands for the student


class Fidelity(NamedTuple):
    """How near a faster rendering is to the teacher's: mean PSNR in dB, and SSIM."""

    psnr: float
    ssim: float


class StainCard(StageConfig):
    """What a learned stain model is and was made of, in the same file as its weights.

    mpp             microns per pixel of the tiles it was trained on; None: not known
    source          the target style, for the reader
    centres         of the sources that were seen in training
    holdout_centres that were kept out
    num_source_tiles, num_target_tiles  seen in training
    training_data   digest of those tiles
    steps           of training
    student_error   mean absolute difference of the student from the generator, in grey levels
    fidelity        of "student" and "lut" to the teacher, on tiles of the sources
    """

    method: Literal["cyclegan"] = "cyclegan"
    config: CycleConfig
    mpp: float | None = Field(default=None, gt=0)
    source: str = ""
    centres: tuple[str, ...] = ()
    holdout_centres: tuple[str, ...] = ()
    num_source_tiles: int = 0
    num_target_tiles: int = 0
    training_data: str = ""
    steps: int = 0
    student_error: float | None = None
    fidelity: dict[str, Fidelity] = Field(default_factory=dict)
    version: str = ""
    intended_use: str = (
        "Research use only. Renders H&E tiles of the named resolution in the colors of the target."
    )


class LearnedModel:
    """A style learned from tiles: the generator (teacher), its student, and their card."""

    def __init__(
        self, card: StainCard, teacher: StyleGenerator, student: StainStudent, device: str = "cpu"
    ) -> None:
        self.card, self.device = card, device
        self.teacher = teacher.eval().requires_grad_(False)
        self.student = student.eval().requires_grad_(False)
        self.fingerprint = fingerprint("stain model", SCHEMA, card, {"weights": _digest(self)})

    @property
    def method(self) -> str:
        """cyclegan."""
        return self.card.method

    @property
    def source(self) -> str:
        """The target style, for the reader."""
        return self.card.source

    @property
    def mpp(self) -> float | None:
        """Microns per pixel of the tiles it was trained on."""
        return self.card.mpp

    def for_slide(self, sample_NHW3: Pixels, config: StainConfig) -> SlideNormalizer:
        """What renders the slide of which the sample shows tiles, at config.quality."""
        of_slide = config.model_copy(update={"per_tile": False})  # it knows no other way
        tissue = look_at(sampled(sample_NHW3, of_slide)[None], of_slide)
        if num_counted(tissue.is_stained_GP)[0] and not has_color(tissue)[0]:
            return PassThrough(NO_COLOR)
        white = tissue.white_G3[0]
        style: Tensor | None = None
        if self.student.is_told:
            stains, problem = estimate_stains(sample_NHW3, TOLD)
            if stains is None:
                return PassThrough(problem)
            style = torch.from_numpy(style_vector(stains))
        if config.quality == "teacher":
            return NetworkNormalizer(self.teacher, white, config, self.device, style)
        grid = self._grid(sample_NHW3, config, style)
        return SharpTableNormalizer(grid, kernel_of(self.student), white, config)

    def _grid(self, sample_NHW3: Pixels, config: StainConfig, style: Tensor | None) -> Grid:
        """The student's change of color; for a table, as it is corrected by this slide's tiles."""
        if config.quality == "student":
            return student_grid(self.student, STUDENT_POINTS, style)
        share_cores()
        return fit_grid(
            self.teacher.to(self.device),
            self.student,
            sample_NHW3[:: max(1, len(sample_NHW3) // TABLE_TILES)],
            self.card.config.student.table_points,
            config.num_sample_pixels,
            self.device,
            style,
        )

    def save(self, path: Path) -> None:
        """Write card and weights to one file, whole or not at all."""
        state = {
            "kind": KIND,
            "schema": SCHEMA,
            "card": self.card.model_dump_json(),
            "teacher": self.teacher.state_dict(),
            "student": self.student.state_dict(),
        }
        save_state(path, state)

    @classmethod
    def load(cls, path: Path, device: str = "cpu") -> Self:
        """The model of a file. Raises StainError where it is damaged or none of ours."""
        state = _read(path)
        try:
            card = StainCard.model_validate_json(state["card"])
            teacher = target_generator(card.config)
            student = student_of(teacher, card.config.student)
            teacher.load_state_dict(state["teacher"])
            student.load_state_dict(state["student"])
        except (KeyError, TypeError, RuntimeError, ValidationError) as error:
            said = " ".join(str(error).split())[:200]
            raise StainError(
                f"{path}: its weights or card are of another architecture ({said}). "
                "Use the version that made it, or train it again"
            ) from error
        for network in (teacher, student):
            _require_sound(path, network)
        return cls(card, teacher, student, device)


def _read(path: Path) -> dict[str, Any]:
    try:
        state = load_state(path)
    except ArtifactError as error:
        raise StainError(
            f"{error}. Give a file that 'pathology stain train' or 'fit' made"
        ) from error
    if state.get("kind") != KIND or state.get("schema") != SCHEMA:
        raise StainError(f"{path}: holds weights, but no stain model of this version")
    return state


def _require_sound(path: Path, network: StyleGenerator | StainStudent) -> None:
    """Raise StainError for weights that are no numbers, and for a style that is no two stains."""
    state = network.state_dict()
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise StainError(f"{path}: some of its weights are no numbers. Train it again")
    for name in (name for name in ("home", "away") if name in state):
        style = state[name].numpy()
        is_two = are_stains(style[:NUM_MATRIX].reshape(1, 2, 3))[0]
        if not is_two or style[NUM_MATRIX:].min() <= 0:
            raise StainError(f"{path}: its style ({name}) is no pair of stains. Train it again")


def _digest(model: LearnedModel) -> str:
    digest = hashlib.sha256()
    for network in (model.teacher, model.student):
        for name, value in network.state_dict().items():
            digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()[:12]
