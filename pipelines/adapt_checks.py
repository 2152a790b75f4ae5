"""What an adaptation refuses before any tile is encoded: labels that do not do, and blank sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ArtifactError, ConfigError
from pathology.core.manifest import SlideRecord
from pathology.data.splits import require_apart, split_of_manifest
from pathology.tiling.shown import shown_by
from pipelines.adapt_features import FeatureInput, Given
from pipelines.adapt_inputs import Say, nothing_left, problem_of, sampling_of
from pipelines.tile_samples import USUAL_MPP, iter_samples


@dataclass(frozen=True)
class Labelled:
    """A side of an adaptation, the rows of its labels, and the classes they name, by slide."""

    given: Given
    records: Mapping[str, SlideRecord]
    class_of: Mapping[str, int]

    @property
    def members(self) -> list[SlideRecord]:
        """Rows of its own slides that have a class."""
        names = ids_of(self.given)
        return [self.records[name] for name in names if name in self.class_of]


def ids_of(given: Given) -> list[str]:
    """Its slides or pictures, but for those that cannot be used."""
    if isinstance(given, FeatureInput):
        return [member.record.slide_id for member in given.members]
    return [*(path.stem for path in given.stores), *(slide.slide_id for slide in given.slides)]


def require_learnable(
    source: Labelled,
    target: Labelled,
    classes: Sequence[str],
    config: AdaptConfig,
    val_share: float,
    *,
    has_tile_labels: bool,
) -> None:
    """Raise ConfigError, ManifestError or ArtifactError where one can tell that nothing is learned.

    has_tile_labels  whether tiles are labelled one by one, each by no class beyond its slide's
    """
    _require_classes(source, classes, config, val_share, has_tile_labels=has_tile_labels)
    if config.is_supervised and not target.members:
        raise ConfigError(
            f"method {config.method} learns from labels of the target, and {target.given.path} has "
            "none for its pictures. Give a manifest with their slide_id and label: --target-labels"
        )
    for side in (source, target):
        require_tissue(side.given, config)


def _require_classes(
    source: Labelled,
    classes: Sequence[str],
    config: AdaptConfig,
    val_share: float,
    *,
    has_tile_labels: bool,
) -> None:
    members = source.members
    if not members:
        names = ids_of(source.given)
        raise ConfigError(
            f"{source.given.path}: none of its slides has a label. Labels go by slide_id, which is "
            f"{names[0] if names else 'none'} here and {next(iter(source.records), 'none')} there"
        )
    found = {source.class_of[record.slide_id] for record in members}
    _require_each(found, classes, config, members, has_tile_labels=has_tile_labels)
    split = split_of_manifest(members, val_share, config.seed)
    require_apart(split, members)
    taught = {source.class_of[slide_id] for slide_id in split.train}
    missing = _missing(taught, classes, has_tile_labels=has_tile_labels)
    if missing:
        raise ConfigError(
            f"no slide of the source that is trained on is {missing[0]}. Each class needs several "
            "cases, of which a part is set aside"
        )


def _require_each(
    found: set[int],
    classes: Sequence[str],
    config: AdaptConfig,
    members: Sequence[SlideRecord],
    *,
    has_tile_labels: bool,
) -> None:
    """Raise ConfigError for a class that no slide of the source has."""
    missing = _missing(found, classes, has_tile_labels=has_tile_labels)
    if not missing:
        return
    labels = ", ".join(sorted({record.label for record in members}))
    rest = ", ".join(name for name in classes if name not in missing)
    raise ConfigError(
        f"no slide of the source is {', '.join(missing)}: its labels are {labels}. Label some so, "
        f"say which label means it (--set 'class_map={{LABEL: {missing[0]}}}'), or leave it out "
        f"(--set 'classes=[{rest}]')"
    )


def _missing(found: set[int], classes: Sequence[str], *, has_tile_labels: bool) -> list[str]:
    """Classes that nothing can teach; tiles may be of any up to their slide's."""
    there = set(range(max(found, default=-1) + 1)) if has_tile_labels else found
    return [name for number, name in enumerate(classes) if number not in there]


def require_tissue(given: Given, config: AdaptConfig) -> None:
    """Raise ArtifactError where no slide or picture can be used, or all that can are blank.

    Reads as far as the first that shows something, which is seldom further than the first.
    """
    if isinstance(given, FeatureInput):
        return
    problems, num_blank = list[str](), 0
    for sample in iter_samples(given, sampling_of(config, None, USUAL_MPP)):
        problem = problem_of(sample) or ("" if len(sample.tiles_NHW3) else "it has no tiles")
        if problem:
            problems.append(f"{sample.slide_id}: {problem}")
        elif shown_by(sample.tiles_NHW3) == "nothing":
            num_blank += 1
        else:
            return
    if not num_blank:
        raise nothing_left(given.path, problems)
    others = f", and {len(problems)} cannot be used ({problems[-1]})" if problems else ""
    raise ArtifactError(
        f"{given.path}: no tissue to learn from: {num_blank} of {num_blank + len(problems)} are "
        f"blank, of one color from edge to edge{others}. Give pictures of stained tissue"
    )


def without_test(given: Given, say: Say) -> Given:
    """An input without the slides or pictures that its manifest marks test, which are counted."""
    if isinstance(given, FeatureInput):
        return given
    kept = tuple(slide for slide in given.slides if slide.split != "test")
    if len(kept) < len(given.slides):
        say(f"{given.path.name}: {len(given.slides) - len(kept)} marked test are left out")
    return replace(given, slides=kept)
