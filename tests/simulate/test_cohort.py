"""Simulated cohorts: balance, splits, manifest, faults."""

import csv
from collections import Counter
from pathlib import Path

import openslide
import pytest

from pathology.core.errors import ConfigError
from pathology.core.manifest import read_manifest
from pathology.simulate.cohort import plan_cohort, simulate_cohort
from pathology.simulate.faults import FAULTS
from pathology.simulate.glands import GRADES
from pathology.simulate.slide import SlideConfig
from pathology.simulate.truth import read_grades, read_truth

SMALL = SlideConfig(size_um=(600, 600))
COLUMNS = (
    "slide_id,case_id,slide_path,label,centre,scanner,mpp,domain,split,truth_path,simulated_fault"
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cohort")
    return simulate_cohort(
        out,
        num_slides=3,
        seed=1,
        frames_per_slide=1,
        faults=("no_mpp", "truncated"),
        slide_config=SMALL,
        workers=1,
    )


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("num_centres", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("num_slides", [1, 9, 10, 30, 77])
def test_plans_are_balanced_and_no_case_is_in_two_splits(num_slides: int, num_centres: int) -> None:
    plan = plan_cohort(num_slides, 0, num_centres)
    assert len({s.slide_id for s in plan}) == num_slides
    assert len({s.seed for s in plan}) == num_slides
    assert all(s.slide_id.startswith("sim_") for s in plan)
    split_of = {s.case_id: s.split for s in plan}
    assert all(split_of[s.case_id] == s.split for s in plan)
    labels = Counter(s.label for s in plan)
    assert max(labels.values()) - min(labels[k] for k in range(len(GRADES))) <= 1
    centres = Counter(s.centre for s in plan)
    if num_slides >= 30:
        assert max(centres.values()) <= 1.8 * min(centres[k] for k in range(num_centres))


def test_every_split_of_thirty_slides_holds_every_grade_and_several_centres() -> None:
    plan = plan_cohort(30, 0, 3)
    assert Counter(s.split for s in plan) == {"train": 18, "test": 6, "val": 6}
    for split in ("train", "val", "test"):
        assert {s.label for s in plan if s.split == split} == {0, 1, 2}
        assert {s.centre for s in plan if s.split == split} == {0, 1, 2}
    assert max(Counter(s.case_id for s in plan).values()) == 2


def test_faults_come_on_top_and_leave_the_sound_slides_alone() -> None:
    sound = plan_cohort(6, 5, 3)
    both = plan_cohort(6, 5, 3, FAULTS)
    assert both[:6] == sound
    assert [s.fault for s in both[6:]] == list(FAULTS)
    assert not {s.case_id for s in both[6:]} & {s.case_id for s in sound}


def test_another_seed_gives_other_tissue_to_the_same_plan() -> None:
    one, other = plan_cohort(6, 0, 3), plan_cohort(6, 1, 3)
    assert [s.slide_id for s in one] == [s.slide_id for s in other]
    assert not {s.seed for s in one} & {s.seed for s in other}


@pytest.mark.parametrize(
    ("num_slides", "num_centres", "faults"), [(0, 3, ()), (5, 0, ()), (5, 9, ()), (5, 3, ("rust",))]
)
def test_impossible_cohorts_are_refused(
    num_slides: int, num_centres: int, faults: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError):
        plan_cohort(num_slides, 0, num_centres, faults)  # type: ignore[arg-type]


def test_manifest_has_its_columns_and_every_file_it_names(manifest: Path) -> None:
    assert manifest.read_text().splitlines()[0] == COLUMNS
    rows = rows_of(manifest)
    assert Counter(row["domain"] for row in rows) == {"wsi": 5, "microscope": 3}
    for row in rows:
        assert row["slide_id"].startswith("sim_")
        assert (manifest.parent / row["slide_path"]).is_file()
        assert (manifest.parent / row["truth_path"]).is_file()
        assert (manifest.parent / row["truth_path"]).with_suffix(".json").is_file()
    assert "SIMULATED" in (manifest.parent / "README.txt").read_text()


def test_the_project_reads_the_manifest(manifest: Path) -> None:
    read = read_manifest(manifest)
    assert not read.rejected
    assert len(read.slides) == 8
    assert {s.extra["simulated_fault"] for s in read.slides} == {"", "no_mpp", "truncated"}


def test_manifest_agrees_with_truth_and_file(manifest: Path) -> None:
    for row in rows_of(manifest):
        grades = read_grades(manifest.parent / row["truth_path"])
        if row["domain"] == "microscope":
            assert row["label"] in GRADES[: grades.max()]
            continue
        truth = read_truth(manifest.parent / row["truth_path"])
        assert row["label"] == truth.label == GRADES[grades.max() - 1]
        assert row["simulated_fault"] == truth.fault
        assert row["centre"] == truth.centre
        if not truth.fault:
            with openslide.OpenSlide(manifest.parent / row["slide_path"]) as slide:
                assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(
                    float(row["mpp"]), rel=1e-4
                )


def test_the_slide_without_spacing_has_none_in_the_manifest_either(manifest: Path) -> None:
    (row,) = (row for row in rows_of(manifest) if row["simulated_fault"] == "no_mpp")
    assert row["mpp"] == ""


def test_frames_share_case_and_split_with_their_slide(manifest: Path) -> None:
    rows = {row["slide_id"]: row for row in rows_of(manifest)}
    frames = [row for row in rows.values() if row["domain"] == "microscope"]
    for frame in frames:
        slide = rows[frame["slide_id"].split("_frame_")[0]]
        assert (frame["case_id"], frame["split"]) == (slide["case_id"], slide["split"])
        assert frame["scanner"] != slide["scanner"]


def test_neither_workers_nor_later_slides_change_a_slide(manifest: Path, tmp_path: Path) -> None:
    simulate_cohort(
        tmp_path, num_slides=2, seed=1, frames_per_slide=1, slide_config=SMALL, workers=2
    )
    made = [p.relative_to(tmp_path) for p in tmp_path.glob("*/*")]
    assert len(made) == 2 * (4 + 3)
    for path in made:
        assert (tmp_path / path).read_bytes() == (manifest.parent / path).read_bytes(), path
