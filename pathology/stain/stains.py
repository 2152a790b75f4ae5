"""Styles of two stains, however their matrix is found: measured, pooled and rendered alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import cv2
import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from pydantic import model_validator

from pathology.stain.arrays import Array, as_floats, as_numpy, like, masked_percentiles
from pathology.stain.classical import ClassicalReference, Measured, Vector, vector
from pathology.stain.config import StainConfig
from pathology.stain.matrix import (
    LEAST_SINE,
    UNIT_TOLERANCE,
    Floats,
    Matrix,
    Pixels,
    angle_between,
    angles,
    concentrations,
    optical_density,
    rerender_matrix,
)
from pathology.stain.table_normalizer import Painter
from pathology.stain.tissue import USUAL_WHITE, Tissue

ONE_STAIN = "no two stains can be told apart"
MIN_CONCENTRATION = 1e-3
UPRIGHT = ((0.6, 0.8, 0.0), (0.0, 0.8, 0.6))  # any two stains, where a slide shows none


@dataclass(frozen=True)
class Stains:
    """What was measured of a slide's staining: matrix (2, 3), amounts (2,), glass (3,)."""

    matrix: Matrix
    max_concentrations: NDArray[np.float64]
    white_level: NDArray[np.float64]


class TwoStainReference(ClassicalReference):
    """A style of two stains.

    matrix              unit rows H and E, columns R G B in optical density
    max_concentrations  99th percentile of each stain's amount
    white_level         intensity of empty glass in that style
    """

    matrix: tuple[Vector, Vector]
    max_concentrations: tuple[float, float]
    white_level: Vector = (USUAL_WHITE,) * 3
    unfit: ClassVar[str] = ONE_STAIN

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        numbers = np.array([*self.matrix[0], *self.matrix[1], *self.max_concentrations])
        if not np.isfinite(numbers).all() or min(self.max_concentrations) <= 0:
            raise ValueError("numbers must be finite and concentrations positive")
        rows = np.array(self.matrix)
        if np.abs(np.linalg.norm(rows, axis=1) - 1).max() > UNIT_TOLERANCE:
            raise ValueError("the rows of matrix must have unit length")
        if np.linalg.norm(np.cross(rows[0], rows[1])) < LEAST_SINE:
            raise ValueError("the two rows of matrix are the same stain")
        if not all(100 <= level <= 255 for level in self.white_level):
            raise ValueError("white_level must lie between 100 and 255")
        return self

    @property
    def stains(self) -> Stains:
        """The numbers as arrays, rows of exactly unit length."""
        rows = np.array(self.matrix)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return Stains(rows, np.array(self.max_concentrations), np.array(self.white_level))

    @classmethod
    @abstractmethod
    def matrices(cls, tissue: Tissue, config: StainConfig) -> Array:
        """Stain matrix (G, 2, 3) of each group; a row may be zero where there is none."""

    @classmethod
    def measure(cls, tissue: Tissue, config: StainConfig) -> Measured:
        """Stain matrix (G, 2, 3) and the 99th percentile (G, 2) of each stain's amount."""
        xp = array_namespace(tissue.od_GP3)
        matrix_G23 = cls.matrices(tissue, config)
        is_two_G = angles(matrix_G23) >= config.min_angle
        any_two = xp.astype(like(UPRIGHT, tissue.od_GP3), matrix_G23.dtype)
        matrix_G23 = xp.where(is_two_G[:, None, None], matrix_G23, any_two)
        amounts = concentrations(tissue.od_GP3, matrix_G23)
        highest = [
            masked_percentiles(amounts[..., k], tissue.is_stained_GP, [99]) for k in range(2)
        ]
        highest_G2 = xp.concat(highest, axis=1)
        is_ok_G = is_two_G & xp.all(highest_G2 > MIN_CONCENTRATION, axis=1)
        return Measured((matrix_G23, xp.clip(highest_G2, MIN_CONCENTRATION, None)), is_ok_G)

    @classmethod
    def pooled(cls, parts: Sequence[Measured], whites: Sequence[Any], source: str) -> Self:
        """The median of the slides, so that one odd slide does not set the style."""
        rows = np.median([part.numbers[0][0] for part in parts], axis=0)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        h_max, e_max = np.median([part.numbers[1][0] for part in parts], axis=0)
        return cls.model_validate(
            {
                "matrix": (vector(rows[0]), vector(rows[1])),
                "max_concentrations": (round(float(h_max), 6), round(float(e_max), 6)),
                "white_level": vector(np.median(whites, axis=0)),
                "source": source,
            }
        )

    def paint(self, tissue: Tissue, numbers: tuple[Array, ...], config: StainConfig) -> Array:
        """Intensities (G, P, 3) of all pixels in this style.

        Unlike Macenko et al. and torchstain, what neither stain explains is carried over (by
        config.residual), and a stain is changed by config.max_gain at most.
        """
        xp = array_namespace(tissue.od_GP3)
        od_map_G33 = self._od_map(numbers, config)
        od = xp.matmul(tissue.od_GP3, as_floats(od_map_G33))
        return xp.exp(like(np.log(self.white_level), od) - od)

    def painter(self, numbers: tuple[Array, ...], white: Any, config: StainConfig) -> Painter:
        """The same as a fast function of 8-bit colors for the one group measured."""
        od_map = as_numpy(self._od_map(numbers, config))[0]
        # intensity = white * exp(-od @ map): the white level joins as the exponent's offset
        affine = np.hstack([-od_map.T, np.log(self.white_level)[:, None]]).astype(np.float32)
        return partial(_painted, white, affine)

    def columns(
        self, numbers: tuple[Array, ...], white: Any, config: StainConfig
    ) -> dict[str, Any]:
        """The slide's stain vectors, and how far they are from the reference's."""
        matrix, target = as_numpy(numbers[0])[0], self.stains.matrix
        gain = as_numpy(self._gain(numbers[1], config))[0]
        return super().columns(numbers, white, config) | {
            "hematoxylin": " ".join(f"{value:.4f}" for value in matrix[0]),
            "eosin": " ".join(f"{value:.4f}" for value in matrix[1]),
            "h_shift": round(angle_between(matrix[0], target[0]), 2),
            "e_shift": round(angle_between(matrix[1], target[1]), 2),
            "h_gain": round(float(gain[0]), 3),
            "e_gain": round(float(gain[1]), 3),
        }

    def _gain(self, highest_G2: Array, config: StainConfig) -> Array:
        xp = array_namespace(highest_G2)
        wanted = like(self.max_concentrations, highest_G2)
        return xp.clip(wanted / highest_G2, 1 / config.max_gain, config.max_gain)

    def _od_map(self, numbers: tuple[Array, ...], config: StainConfig) -> Array:
        matrix_G23, highest_G2 = numbers
        xp = array_namespace(matrix_G23)
        target = xp.astype(like(self.stains.matrix, matrix_G23), matrix_G23.dtype)
        gain = xp.astype(self._gain(highest_G2, config), matrix_G23.dtype)
        return rerender_matrix(matrix_G23, target, gain, config.residual)


def _painted(white: NDArray[np.float64], affine: Floats, colors: Pixels) -> Pixels:
    """Colors (H, W, 3) in the style of the reference.

    affine  (3, 4) from optical density to the logarithm of intensity, the last column added
    """
    od = optical_density(colors, white)
    return np.asarray(cv2.convertScaleAbs(cv2.exp(cv2.transform(od, affine))), np.uint8)
