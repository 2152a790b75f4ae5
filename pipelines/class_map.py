"""Names that labels have beside the classes: LABEL=GRADE words of a command line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from pathology.core.errors import ConfigError

OPTION = "--class-map"


def parse_class_map(words: Sequence[str]) -> dict[str, str]:
    """Labels with the grades they mean. Raises ConfigError for words that say no such thing.

    >>> parse_class_map(["normal=benign", "aca = malignant"])
    {'normal': 'benign', 'aca': 'malignant'}
    """
    found: dict[str, str] = {}
    for word in words:
        label, is_said, grade = (part.strip() for part in word.rpartition("="))
        if not (label and is_said and grade):
            raise ConfigError(
                f"{OPTION} {word!r}: expected LABEL=GRADE, as in {OPTION} normal=benign"
            )
        if found.setdefault(label, grade) != grade:
            raise ConfigError(f"{OPTION}: {label!r} cannot mean both {found[label]} and {grade}")
    return found


def require_grades(
    class_map: Mapping[str, str],
    grades: Sequence[str],
    labels: Collection[str],
    say: Callable[[str], None],
) -> None:
    """Raise ConfigError where a label is to mean what is no grade; say which no label has.

    labels  those of the manifest
    """
    for label, grade in class_map.items():
        if grade not in grades:
            raise ConfigError(
                f"{OPTION} {label}={grade}: no grade was predicted that is called {grade!r}. They "
                f"are {', '.join(grades)}"
            )
    absent = [label for label in class_map if label not in labels]
    if absent:
        there = ", ".join(sorted(filter(None, labels))) or "none"
        say(f"{OPTION}: no label is called {', '.join(map(repr, absent))} (labels: {there})")
