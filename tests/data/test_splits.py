"""Splits: cases stay whole, grades and centres are spread, and CLAM's files go both ways."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathology.core.errors import ManifestError
from pathology.core.manifest import SlideRecord
from pathology.data.splits import (
    PARTS,
    Split,
    folds,
    in_no_part,
    leave_centres_out,
    read_clam,
    require_apart,
    some_cases,
    split_of_manifest,
    write_clam,
)


def slides(num: int = 60, per_case: int = 2) -> list[SlideRecord]:
    return [
        SlideRecord(
            f"s{i}", Path(f"s{i}.svs"), case_id=f"c{i // per_case}",
            label=("healthy", "adenoma", "carcinoma")[i // per_case % 3],
            centre=f"centre{i // per_case % 2}",
        )
        for i in range(num)
    ]  # fmt: skip


def test_folds_test_every_slide_once_and_keep_cases_whole() -> None:
    records = slides()
    found = folds(records, 5, seed=0)
    assert sorted(i for split in found for i in split.test) == sorted(s.slide_id for s in records)
    for split in found:
        require_apart(split, records)
        assert sorted(split.train + split.val + split.test) == sorted(s.slide_id for s in records)
        assert len(split.val) > 0


def test_grades_and_centres_are_spread() -> None:
    records = slides(120)
    label_of = {s.slide_id: (s.label, s.centre) for s in records}
    for split in folds(records, 5, seed=1):
        count = Counter(label_of[i] for i in split.test)
        assert len(count) == 6
        assert max(count.values()) <= 2 * min(count.values()) + 2


def test_a_centre_is_left_out_at_a_time() -> None:
    records = slides()
    found = leave_centres_out(records, 0.2, seed=0)
    assert [split.name for split in found] == ["centre centre0", "centre centre1"]
    for split, centre in zip(found, ("centre0", "centre1"), strict=True):
        require_apart(split, records)
        centres = {s.slide_id: s.centre for s in records}
        assert {centres[i] for i in split.test} == {centre}
        assert centre not in {centres[i] for i in split.train + split.val}
    one = [SlideRecord("a", Path("a"), centre="x")]
    with pytest.raises(ManifestError, match="column centre"):
        leave_centres_out(one, 0.2, seed=0)


def test_the_manifests_own_split_is_kept() -> None:
    records = [
        SlideRecord(f"s{i}", Path("x"), case_id=f"c{i}", label="ab"[i % 2], split=part)
        for i, part in enumerate(("train", "train", "val", "test", "test", ""))
    ]
    found = split_of_manifest(records, 0.2, seed=0)
    assert (found.train, found.val, found.test) == (("s0", "s1"), ("s2",), ("s3", "s4"))


def test_slides_to_choose_on_are_set_aside_where_none_are_marked() -> None:
    found = split_of_manifest(slides(), 0.2, seed=0)
    require_apart(found, slides())
    assert len(found.val) == pytest.approx(12, abs=2)
    assert not found.test
    assert split_of_manifest(slides(), 0.2, seed=0) == found
    assert split_of_manifest(slides(), 0.2, seed=1) != found


def test_slides_without_a_part_are_not_forgotten() -> None:
    records = [replace(s, split="train") for s in slides()]
    records[3] = replace(records[3], split="")
    records[8] = replace(records[8], split="external")
    found = split_of_manifest(records, 0.2, seed=0)
    assert in_no_part(found, records) == ["s3", "s8"]
    assert in_no_part(split_of_manifest(slides(), 0.2, seed=0), slides()) == []


@pytest.mark.parametrize("share", [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8])
def test_about_the_share_that_is_asked_for_is_set_aside(share: float) -> None:
    found = split_of_manifest(slides(420), share, seed=0)
    assert len(found.val) / 420 == pytest.approx(share, abs=0.035)
    assert len(found.train) + len(found.val) == 420


def test_leakage_is_an_error_that_names_the_case() -> None:
    bad = Split("mine", ("s0", "s2"), ("s1",))
    with pytest.raises(ManifestError, match=r"'c0' is in train and in val.*'s1'"):
        require_apart(bad, slides())
    with pytest.raises(ManifestError, match="in val and in test"):
        require_apart(Split("mine", ("s0",), ("s8",), ("s8",)), slides())


def test_more_folds_than_cases() -> None:
    with pytest.raises(ManifestError, match="2 cases cannot make 5"):
        folds(slides(4), 5, seed=0)
    with pytest.raises(ManifestError, match="one must train"):
        folds(slides(), 2, seed=0)


@settings(deadline=None, max_examples=20)
@given(st.integers(5, 40), st.integers(1, 4), st.integers(3, 5), st.integers(0, 9))
def test_never_a_case_in_two_parts(num: int, per_case: int, num_folds: int, seed: int) -> None:
    records = slides(num, per_case)
    if len({s.case_id for s in records}) < num_folds:
        return
    for split in folds(records, num_folds, seed):
        require_apart(split, records)
        assert split.train


def test_clams_files_go_both_ways(tmp_path: Path) -> None:
    records = slides(30)
    found = folds(records, 3, seed=0)
    label_of = {s.slide_id: s.label for s in records}
    paths = write_clam(tmp_path, found, label_of)
    assert [p.name for p in paths[:3]] == [
        "splits_0.csv", "splits_0_bool.csv", "splits_0_descriptor.csv",
    ]  # fmt: skip
    for number, split in enumerate(found):
        again = read_clam(tmp_path / f"splits_{number}.csv")
        assert all(getattr(again, part) == getattr(split, part) for part in PARTS)
    lines = (tmp_path / "splits_0_descriptor.csv").read_text().splitlines()
    assert lines[0] == ",train,val,test"
    assert sum(int(n) for line in lines[1:] for n in line.split(",")[1:]) == 30


def test_what_is_no_file_of_splits(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("slide_id,label\na,b\n")
    with pytest.raises(ManifestError, match="expected columns train, val"):
        read_clam(tmp_path / "a.csv")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_clam(tmp_path / "no.csv")


@given(st.integers(0, 5), st.sampled_from([0.01, 0.05, 0.25, 0.5, 1.0]))
@settings(max_examples=20, deadline=None)
def test_a_share_of_cases_has_each_class_and_whole_cases(seed: int, share: float) -> None:
    case_S = [f"c{i // 2}" for i in range(60)]
    label_S = np.array([i // 2 % 3 for i in range(60)])
    label_S[-2:] = -1  # not known
    chosen = some_cases(case_S, label_S, share, seed)
    for label in range(3):
        cases = {c for c, other in zip(case_S, label_S, strict=True) if other == label}
        found = {c for c, x in zip(case_S, chosen, strict=True) if x} & cases
        assert len(found) == max(1, round(share * len(cases)))
    assert all(chosen[i] == chosen[i + 1] for i in range(0, 60, 2))
    assert not chosen[-2:].any()
    assert (some_cases(case_S, label_S, 1.0, seed) >= chosen).all()


def test_parts_of_names_nobody_knows_are_refused() -> None:
    strange = [replace(slide, split="fold1") for slide in slides(9)]
    with pytest.raises(ManifestError, match="says fold1 and never train"):
        split_of_manifest(strange, 0.2, 0)


def test_no_slide_is_left_to_train_on() -> None:
    tested = [replace(slide, split="test") for slide in slides(9)]
    with pytest.raises(ManifestError, match="no slide is left to train on"):
        split_of_manifest(tested, 0.2, 0)


def test_spaces_around_ids_of_clams_files(tmp_path: Path) -> None:
    path = tmp_path / "splits_0.csv"
    path.write_text(",train,val,test\n0, a ,b,\n1,c,,\n", encoding="utf-8")
    found = read_clam(path)
    assert (found.train, found.val, found.test) == (("a", "c"), ("b",), ())


def test_numbers_that_pandas_filled_up_are_ids(tmp_path: Path) -> None:
    path = tmp_path / "splits_0.csv"
    ids = {"train": [101, 102, 103], "val": [201], "test": [301, 302]}
    pandas.DataFrame({part: pandas.Series(some) for part, some in ids.items()}).to_csv(path)
    assert "201.0" in path.read_text()
    found = read_clam(path)
    assert (found.train, found.val, found.test) == (
        ("101", "102", "103"), ("201",), ("301", "302"),
    )  # fmt: skip
    path.write_text(",train,val,test\n0,1.0,3.0,4.0\n1,2.0,,\n", encoding="utf-8")
    assert read_clam(path).train == ("1.0", "2.0")  # a full column is as it was written
    assert read_clam(path).val == ("3.0",)


def test_a_slide_stands_once_in_a_column(tmp_path: Path) -> None:
    path = tmp_path / "splits_0.csv"
    path.write_text(",train,val,test\n0,a,c,\n1,b,,\n2,a,,\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="slide 'a' stands 2 times in its column train"):
        read_clam(path)


def test_marks_are_no_ids(tmp_path: Path) -> None:
    records = slides(30)
    write_clam(tmp_path, folds(records, 3, seed=0), {s.slide_id: s.label for s in records})
    with pytest.raises(ManifestError, match="marks of slides, not their ids"):
        read_clam(tmp_path / "splits_0_bool.csv")


def test_a_case_of_two_centres_is_named_with_both() -> None:
    records = slides()
    records[1] = replace(records[1], centre="elsewhere")
    said = r"case 'c0' is in two centres: centre0 \(slide 's0'\) and elsewhere \(slide 's1'\)"
    with pytest.raises(ManifestError, match=said):
        leave_centres_out(records, 0.2, 0)


def test_a_spreadsheets_semicolons(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(";train;val;test\n0;a;b;c\n1;d;;\n")
    found = read_clam(tmp_path / "a.csv")
    assert (found.train, found.val, found.test) == (("a", "d"), ("b",), ("c",))
