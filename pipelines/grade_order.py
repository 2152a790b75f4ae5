"""Grades in order of severity, where the settings do not say it."""

from __future__ import annotations

from collections.abc import Sequence

from pathology.core.errors import ConfigError

# names of findings by severity; those of one row mean the same
USUAL_ORDER = (
    ("healthy", "normal", "negative", "benign tissue", "no tumor", "norm"),
    ("benign", "hyperplastic", "hyperplastic polyp", "hp", "usual ductal hyperplasia"),
    ("low-grade dysplasia", "low grade dysplasia", "low-grade", "ta.lg", "adenoma", "atypical"),
    ("high-grade dysplasia", "high grade dysplasia", "high-grade", "ta.hg"),
    ("in situ", "dcis", "carcinoma in situ"),
    ("malignant", "invasive", "tumor", "tumour", "cancer", "carcinoma", "adenocarcinoma",
     "positive"),
)  # fmt: skip


def order_of(
    labels: Sequence[str], given: Sequence[str], setting: str = "grades"
) -> tuple[list[str], str]:
    """Grades benign first, and a remark where it was not given but found.

    setting  name of the setting that gives them

    Numbers go by size, names by the usual order of findings. Raises ConfigError where neither
    tells, with the setting that would.
    """
    if given:
        return list(given), ""
    found = sorted(set(labels))
    if len(found) < 2:
        raise ConfigError(
            f"all slides have the label {found[0]!r}: a classifier needs two grades at least"
        )
    _refuse_alike(found)
    rank = _ranks(found)
    if rank is None:
        raise ConfigError(
            f"which of the labels {', '.join(found)} is worse? Say it, benign first: "
            f"--set '{setting}=[{', '.join(found)}]'"
        )
    ordered = sorted(found, key=lambda label: rank[label])
    return ordered, (
        f"grades, benign first: {' < '.join(ordered)}, by the usual order; "
        f"--set '{setting}=[...]' says another"
    )


def _refuse_alike(labels: Sequence[str]) -> None:
    """Raise ConfigError where one grade is written in two ways."""
    seen: dict[object, str] = {}
    for label in labels:
        other = seen.setdefault(_number(label) or _plain(label), label)
        if other != label:
            raise ConfigError(
                f"the labels {other!r} and {label!r} are one grade, written in two ways. Write it "
                "in one"
            )


def _number(label: str) -> str | None:
    """A label that is a number, in one way of writing it."""
    try:
        return repr(float(label))
    except ValueError:
        return None


def _plain(label: str) -> str:
    return label.strip().lower().replace("_", " ").replace("-", " ")


def _ranks(labels: Sequence[str]) -> dict[str, float] | None:
    """Severity of each label, or None where it is not known or two have the same."""
    if all(_number(label) for label in labels):
        return {label: float(label) for label in labels}
    place = {_plain(name): float(rank) for rank, names in enumerate(USUAL_ORDER) for name in names}
    rank = {label: place.get(_plain(label), -1.0) for label in labels}
    is_clear = min(rank.values()) >= 0 and len(set(rank.values())) == len(labels)
    return rank if is_clear else None
