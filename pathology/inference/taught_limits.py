"""What the tiles that a model was taught on look like, so that others can be told from them.

N tiles, F features.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pathology.core.artifact import publish
from pathology.core.errors import ArtifactError
from pathology.core.output_place import beside_model
from pathology.slides.reader import Pixels
from pathology.tiling.config import QualityConfig
from pathology.tiling.quality import judging_px, sharpness

SCHEMA = 1
FALSE_ALARMS = 0.01  # share of the taught tiles that a limit would flag
NUM_FOLDS = 5
CONTRAST_MPP = 8.0


class TaughtLimits(NamedTuple):
    """Limits beyond which a tile is not what the model was taught on.

    model         fingerprint of the model whose features they are of
    min_sharpness of a tile; see tiling.quality.sharpness
    min_contrast  of a tile; see contrast
    mean_F, factor_FF  of the features: distance is the norm of (x - mean) @ factor
    max_distance  of a tile's features
    num_tiles, num_pictures  that were looked at
    """

    model: str
    min_sharpness: float
    min_contrast: float
    mean_F: NDArray[np.float32]
    factor_FF: NDArray[np.float32]
    max_distance: float
    num_tiles: int
    num_pictures: int

    def distance(self, features_NF: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mahalanobis distance (N,) of features from the taught ones."""
        away = (features_NF - self.mean_F) @ self.factor_FF
        return np.asarray(np.linalg.norm(away, axis=1), np.float32)

    def save(self, path: Path) -> None:
        """Write them to a file, whole or not at all."""
        made = BytesIO()
        values: dict[str, Any] = {"schema": SCHEMA, **self._asdict()}
        np.savez(made, **values)
        with publish(path) as scratch:
            scratch.write_bytes(made.getvalue())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Those of a file. Raises ArtifactError where it holds none."""
        try:
            with np.load(path, allow_pickle=False) as held:
                if int(held["schema"]) != SCHEMA:
                    raise ValueError("another schema")
                return cls(
                    model=str(held["model"]),
                    min_sharpness=float(held["min_sharpness"]),
                    min_contrast=float(held["min_contrast"]),
                    mean_F=held["mean_F"],
                    factor_FF=held["factor_FF"],
                    max_distance=float(held["max_distance"]),
                    num_tiles=int(held["num_tiles"]),
                    num_pictures=int(held["num_pictures"]),
                )
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(
                f"{path}: holds no limits of this version ({str(error)[:100]}). Make them with "
                "'pathology live limits'"
            ) from error


def limits_path(model: Path) -> Path:
    """Where the limits of a model lie: MODEL.limits.npz beside it."""
    return beside_model(model, ".limits.npz")


def contrast(grey: NDArray[np.uint8], mpp: float) -> float:
    """Deviation of the brightness of a grey tile (H, W) at 8 um/px, which blur hardly changes."""
    edge = max(2, round(grey.shape[0] * mpp / CONTRAST_MPP))
    return float(cv2.resize(grey, (edge, edge), interpolation=cv2.INTER_AREA).std())


def fit_limits(
    model: str,
    tiles_NHW3: Pixels,
    features_NF: NDArray[np.float32],
    picture_N: NDArray[np.int64],
    mpp: float,
) -> TaughtLimits:
    """Limits that one in a hundred of these tiles would be beyond.

    picture_N  number of each tile's picture or slide: distances are those of pictures that the
               mean and the covariance were not taken of
    The covariance is shrunk as Ledoit and Wolf (2004) have it, for there may be more features
    than tiles. Raises ArtifactError where there are too few tiles.
    """
    pictures = np.unique(picture_N)
    if len(pictures) < 2 or len(features_NF) < 8:
        raise ArtifactError(
            f"{len(features_NF)} tiles of {len(pictures)} pictures are too few to learn limits "
            "from. Give at least 2 pictures and 8 tiles, better some hundred"
        )
    greys = [cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY) for tile in tiles_NHW3]
    judged_px = judging_px(tiles_NHW3.shape[1], mpp, QualityConfig())
    sharp = [sharpness(np.asarray(grey, np.uint8), judged_px) for grey in greys]
    contrasts = [contrast(np.asarray(grey, np.uint8), mpp) for grey in greys]
    fold_N = np.searchsorted(pictures, picture_N) % min(NUM_FOLDS, len(pictures))
    held = [
        _distance(*_gaussian(features_NF[fold_N != fold]), features_NF[fold_N == fold])
        for fold in range(fold_N.max() + 1)
    ]
    mean_F, factor_FF = _gaussian(features_NF)
    return TaughtLimits(
        model,
        float(np.quantile(sharp, FALSE_ALARMS)),
        float(np.quantile(contrasts, FALSE_ALARMS)),
        mean_F,
        factor_FF,
        float(np.quantile(np.concatenate(held), 1 - FALSE_ALARMS)),
        len(features_NF),
        len(pictures),
    )


def _gaussian(
    features_NF: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean, and a factor of the inverse of the covariance."""
    from sklearn.covariance import ledoit_wolf

    values = features_NF.astype(np.float64)
    covariance, _ = ledoit_wolf(values)
    least = np.trace(covariance) / len(covariance) * 1e-9
    lower = np.linalg.cholesky(covariance + least * np.eye(len(covariance)))
    return values.mean(axis=0).astype(np.float32), np.linalg.inv(lower).T.astype(np.float32)


def _distance(
    mean_F: NDArray[np.float32], factor_FF: NDArray[np.float32], features_NF: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.asarray(np.linalg.norm((features_NF - mean_F) @ factor_FF, axis=1), np.float32)
