"""What a weakly taught classifier says of a run's tiles, as labels to adapt with.

N tiles of a slide, G grades of the classifier, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pathology.core.errors import ConfigError
from pathology.tiling.store import open_tiles
from pipelines.prediction_tables import read_tile_predictions
from pipelines.tile_samples import SlideTiles


class Told(NamedTuple):
    """What is said of N tiles.

    class_N   of each, -1 where it is not sure or nobody said
    weight_N  how much each counts, from 0 to 1
    """

    class_N: NDArray[np.int64]
    weight_N: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TileLabels:
    """Classes of tiles, by slide and corner.

    answers      by slide: probabilities (C,) of the classes by corner in level-0 pixels
    class_of     number of each slide's own class, which no tile of it is beyond
    confidence   least probability of an answer that is taken for a label
    is_weighed   whether a tile counts by that probability, or all alike
    """

    answers: Mapping[str, Mapping[tuple[int, int], NDArray[np.float64]]]
    class_of: Mapping[str, int]
    confidence: float
    is_weighed: bool = False

    def of(self, sample: SlideTiles) -> Told:
        """What is said of the tiles of a sample.

        Raises ConfigError for tiles that come from no store: they have no corners.
        """
        if sample.store is None or sample.rows is None:
            raise without_corners(sample.slide_id)
        return self.at(sample.slide_id, open_tiles(sample.store).l0_xy[sample.rows])

    def at(self, slide_id: str, l0_xy: NDArray[np.int64]) -> Told:
        """The same by corners (N, 2) in level-0 pixels."""
        answers, worst = self.answers.get(slide_id, {}), self.class_of.get(slide_id)
        found = [self._class(answers.get((x, y)), worst) for x, y in l0_xy.tolist()]
        class_N = np.array([number for number, _ in found], np.int64)
        sure_N = np.array([sure for _, sure in found], np.float64)
        return Told(class_N, sure_N if self.is_weighed else np.ones(len(found)))

    def _class(self, answer_C: NDArray[np.float64] | None, worst: int | None) -> tuple[int, float]:
        """The class, and its probability among those up to the slide's own."""
        if answer_C is None:
            return -1, 0.0
        possible_C = answer_C if worst is None else answer_C[: worst + 1]
        total = float(possible_C.sum())
        number = int(possible_C.argmax())
        if total <= 0 or possible_C[number] < self.confidence * total:
            return -1, 0.0
        return number, float(possible_C[number]) / total


def without_corners(slide_id: str) -> ConfigError:
    """The refusal of tiles that cannot be looked up."""
    return ConfigError(
        f"{slide_id}: labels of tiles go with the run that was predicted on, or its features. Give "
        "these as --source"
    )


def read_tile_labels(
    path: Path,
    classes: Sequence[str],
    class_map: Mapping[str, str],
    class_of: Mapping[str, int],
    confidence: float,
    *,
    is_weighed: bool = False,
) -> TileLabels:
    """Labels from a table that `pathology predict` wrote.

    class_map  what a grade is called among the classes, where it has another name
    Raises ConfigError for a grade that is none of the classes.
    """
    found = read_tile_predictions(path)
    names = [class_map.get(grade, grade) for grade in found.grades]
    strange = [
        grade for grade, name in zip(found.grades, names, strict=True) if name not in classes
    ]
    if strange:
        raise ConfigError(
            f"{path}: its grade {strange[0]!r} is none of the classes {', '.join(classes)}. Say "
            f"what it is: --set 'class_map={{{strange[0]}: {classes[0]}}}'"
        )
    is_class_GC = np.array([[name == one for one in classes] for name in names], np.float64)
    answer_NC = found.probability_NC @ is_class_GC
    answers: dict[str, dict[tuple[int, int], NDArray[np.float64]]] = {}
    corners = found.l0_xy.tolist()
    for slide_id, (x, y), answer_C in zip(found.slide_N, corners, answer_NC, strict=True):
        answers.setdefault(str(slide_id), {})[x, y] = answer_C
    return TileLabels(answers, class_of, confidence, is_weighed)
