"""Simulated centres: each stains, lights and scans the same tissue in its own way."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.simulate.noise import FloatArray, blur

Color = tuple[float, float, float]
NOISE_PX = 512  # edge of the square of sensor noise


@dataclass(frozen=True, kw_only=True)
class Centre:
    """One laboratory and its scanner.

    haematoxylin, eosin  direction of each stain in optical density, R G B, of any length
    amounts              how strongly it stains with haematoxylin and with eosin
    white_level          intensity of empty glass, R G B, at most 255
    mpp                  of a scan's level 0
    blur_um              deviation of the scanner's optical blur
    noise                deviation of the sensor noise, in gray levels
    jpeg_quality         1 to 100
    """

    name: str
    scanner: str
    haematoxylin: Color
    eosin: Color
    amounts: tuple[float, float] = (1.0, 1.0)
    white_level: Color = (243, 243, 243)
    mpp: float = 0.5
    blur_um: float = 0.2
    noise: float = 1.2
    jpeg_quality: int = 85

    @property
    def stain_matrix(self) -> NDArray[np.float64]:
        """(2, 3): unit rows haematoxylin and eosin, columns R G B in optical density."""
        rows = np.array([self.haematoxylin, self.eosin], np.float64)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


CENTRES = (  # the first is the reference
    Centre(
        name="sim_centre_0",
        scanner="sim_scanner_a",
        haematoxylin=(0.64, 0.68, 0.36),
        eosin=(0.17, 0.87, 0.46),
    ),
    Centre(
        name="sim_centre_1",
        scanner="sim_scanner_b",
        haematoxylin=(0.74, 0.61, 0.28),
        eosin=(0.10, 0.90, 0.42),
        amounts=(1.15, 0.80),
        white_level=(240, 244, 248),
        mpp=0.25,
        blur_um=0.15,
        noise=1.8,
        jpeg_quality=80,
    ),
    Centre(
        name="sim_centre_2",
        scanner="sim_scanner_c",
        haematoxylin=(0.56, 0.72, 0.41),
        eosin=(0.26, 0.82, 0.48),
        amounts=(0.85, 1.20),
        white_level=(246, 240, 236),
        mpp=0.46,
        blur_um=0.3,
        noise=1.0,
        jpeg_quality=90,
    ),
    Centre(
        name="sim_centre_3",
        scanner="sim_scanner_a",
        haematoxylin=(0.68, 0.66, 0.32),
        eosin=(0.07, 0.95, 0.30),
        amounts=(0.70, 0.70),
        white_level=(236, 236, 240),
        noise=2.2,
        jpeg_quality=75,
    ),
    Centre(
        name="sim_centre_4",
        scanner="sim_scanner_d",
        haematoxylin=(0.60, 0.73, 0.33),
        eosin=(0.22, 0.78, 0.58),
        amounts=(1.30, 1.05),
        white_level=(246, 238, 222),
        mpp=0.5,
        blur_um=0.4,
        noise=1.5,
        jpeg_quality=82,
    ),
)


def transmit(concentrations: FloatArray, centre: Centre) -> FloatArray:
    """Light through tissue as one centre stains it, by Beer and Lambert, without its scanner.

    concentrations  (rows, columns, 2) amounts of haematoxylin and eosin
    returns         float32 (rows, columns, 3), R G B from 0 to the white level
    """
    absorbance = np.asarray(centre.amounts)[:, None] * centre.stain_matrix
    light = np.asarray(cv2.transform(concentrations, -absorbance.T), np.float32)
    cv2.exp(light, light)
    light *= np.asarray(centre.white_level, np.float32)
    return light


def render(concentrations: FloatArray, centre: Centre) -> NDArray[np.uint8]:
    """The noiseless, sharp, uncompressed image of tissue at one centre.

    RGB = white_level * exp(-(concentrations * amounts) @ stain_matrix), rounded.
    """
    return to_uint8(transmit(concentrations, centre))


def sensor_noise(centre: Centre, rng: np.random.Generator) -> FloatArray:
    """A square of the scanner's noise in gray levels, to be laid over an image again and again."""
    noise = rng.standard_normal((NOISE_PX, NOISE_PX, 3), dtype=np.float32)
    noise *= np.float32(centre.noise)
    return noise


def scan(light: FloatArray, centre: Centre, mpp: float, noise: FloatArray) -> NDArray[np.uint8]:
    """What the centre's scanner makes of light (rows, columns, 3): blurred, with sensor noise."""
    image = blur(light, centre.blur_um / mpp)
    for top in range(0, image.shape[0], NOISE_PX):
        for left in range(0, image.shape[1], NOISE_PX):
            here = image[top : top + NOISE_PX, left : left + NOISE_PX]
            here += noise[: here.shape[0], : here.shape[1]]
    return to_uint8(image)


def to_uint8(image: FloatArray) -> NDArray[np.uint8]:
    """Rounded and clipped to 0..255."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(image, 0)), np.uint8)
