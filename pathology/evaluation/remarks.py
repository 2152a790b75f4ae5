"""What a reader should know before trusting a slide's tiles: judgements on its rows, in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pathology.stain.outcome import StainOutcome
from pathology.tiling.outcome import DONE, EMPTY, FAILED, SlideOutcome

SIMULATED_PREFIX = "sim_"
FEW_TILES = 20
MAX_SHARE = {"blur": 0.2, "pen": 0.1, "black": 0.05}
IN_WORDS = {"blur": "out of focus", "pen": "covered by pen", "black": "black"}
MAX_MPP_ERROR = 0.02
MAX_PASSED_SHARE = 0.2
MAX_SHIFT_DEG = 25.0
GAINS = (0.4, 2.5)
NUMBER = re.compile(r"\d+(\.\d+)?")
LEAST_SHARED = 5  # slides, more of which and more than half share a remark that is told once


class Failure(NamedTuple):
    """A slide without tiles: what is wrong, and what to do about it."""

    slide_id: str
    status: str
    problem: str
    remedy: str
    traceback: str


class Step(NamedTuple):
    """Tiles that are left after a filter, of all slides together."""

    name: str
    num_tiles: int


def failures_of(outcomes: Iterable[SlideOutcome]) -> list[Failure]:
    """Slides without tiles, those that failed first."""
    bad = [outcome for outcome in outcomes if outcome.status != DONE]
    bad.sort(key=lambda outcome: (outcome.status != FAILED, outcome.status))
    return [
        Failure(o.slide_id, o.status, *_problem_and_remedy(o.status, o.reason, o.error), o.error)
        for o in bad
    ]


def _problem_and_remedy(status: str, reason: str, error: str) -> tuple[str, str]:
    problem, _, remedy = reason.partition(". ")
    empty_because, _, advice = reason.partition(": look ")
    if error or reason.startswith("unexpected"):
        return reason, "A fault of this program: please report it with the traceback"
    if remedy:
        return problem, remedy
    if advice:
        return empty_because, f"Look {advice}"
    if status == EMPTY:
        return reason, "Look at the slide's picture below; change the settings if tissue is missed"
    if status == FAILED:
        return reason or "no reason was recorded", "Open the slide in a viewer, then run again"
    return reason or "not finished", "Run the same command again: it does only what is missing"


def tiling_remarks(outcome: SlideOutcome) -> list[str]:
    """Warnings about one slide's tiles, most serious first; none where all is well."""
    found = []
    if outcome.mpp_source == "assumed":
        found.append(
            f"The resolution, {outcome.mpp:g} µm/px, was assumed: the file states none. "
            "If it is wrong, so is the size of everything on the tiles"
        )
    for name, limit in MAX_SHARE.items():
        num_bad, num_tissue = getattr(outcome, f"num_{name}"), outcome.num_tissue
        if num_bad and num_tissue and num_bad / num_tissue > limit:
            found.append(
                f"{num_bad / num_tissue:.0%} of the tissue tiles are {IN_WORDS[name]} and left out"
            )
    if outcome.achieved_mpp and outcome.target_mpp:
        error = outcome.achieved_mpp / outcome.target_mpp - 1
        if abs(error) > MAX_MPP_ERROR:
            found.append(
                f"Tiles are at {outcome.achieved_mpp:g} µm/px, "
                f"{abs(error):.1%} {'coarser' if error > 0 else 'finer'} than asked"
            )
    if outcome.status == DONE and 0 < outcome.num_tiles < FEW_TILES:
        few = "only 1 tile is" if outcome.num_tiles == 1 else f"only {outcome.num_tiles} tiles are"
        found.append(f"{few.capitalize()} left of this slide")
    return found


def stain_remarks(stain: StainOutcome | None) -> list[str]:
    """Warnings about one slide's stain normalization."""
    if stain is None:
        return []
    if stain.status == FAILED:
        return [f"Stain normalization failed: {stain.reason}"]
    found = []
    if stain.num_tiles and stain.num_passed_through / stain.num_tiles > MAX_PASSED_SHARE:
        why = f" ({stain.reason})" if "all tiles" in stain.reason else ""
        found.append(
            f"{stain.num_passed_through / stain.num_tiles:.0%} of the tiles were not "
            f"normalized{why}"
        )
    for name, shift, gain in (
        ("Hematoxylin", stain.h_shift, stain.h_gain),
        ("Eosin", stain.e_shift, stain.e_gain),
    ):
        if shift is not None and shift > MAX_SHIFT_DEG:
            found.append(
                f"{name} is {shift:.0f}° away from the reference: not H&E, or ink or pigment "
                "in the sample"
            )
        if gain is not None and not GAINS[0] <= gain <= GAINS[1]:
            found.append(f"{name} was changed {gain:.2g}-fold: look for noise or lost detail")
    return found


def steps_of(outcomes: Iterable[SlideOutcome]) -> list[Step]:
    """Tiles left after each filter, all slides together; only filters that were applied."""
    judged = [outcome for outcome in outcomes if outcome.num_grid is not None]
    if not judged:
        return []

    def total(name: str) -> int:
        return sum(getattr(outcome, f"num_{name}") or 0 for outcome in judged)

    steps = [Step("on the grid", total("grid")), Step("with tissue", total("tissue"))]
    for name, said in (
        ("white", "not white"),
        ("black", "not black"),
        ("pen", "without pen"),
        ("blur", "in focus"),
    ):
        if any(getattr(outcome, f"num_{name}") is not None for outcome in judged):
            steps.append(Step(said, steps[-1].num_tiles - total(name)))
    return steps


def is_simulated(outcomes: Iterable[SlideOutcome], record: Mapping[str, Any]) -> bool:
    """Whether any slide was made by the simulator, by its id or by what the run record says."""
    said = [record, record.get("inputs"), record.get("options")]
    return any(isinstance(part, Mapping) and part.get("simulated") for part in said) or any(
        outcome.slide_id.startswith(SIMULATED_PREFIX) for outcome in outcomes
    )


def first_looks(remarks: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Whom to look at first, and why: what is said of most slides once, then slide by slide.

    remarks  of every slide, by id; those that differ in numbers alone count as the same
    """
    kinds = [(NUMBER.sub("#", said), name, said) for name, all_ in remarks.items() for said in all_]
    count = Counter(kind for kind, _, _ in kinds)
    most = max(LEAST_SHARED, len(remarks) // 2)
    found = []
    for kind, num in count.most_common():
        if num > most:
            name, said = next((name, said) for same, name, said in kinds if same == kind)
            found.append((f"{num} of {len(remarks)} slides", f"{said} ({name}; the others alike)"))
    for slide_id, all_ in remarks.items():
        left = [said for said in all_ if count[NUMBER.sub("#", said)] <= most]
        if left:
            found.append((slide_id, "; ".join(left)))
    return found
