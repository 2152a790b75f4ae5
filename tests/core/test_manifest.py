"""Manifests in everybody's dialect, and what is refused in them."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from pathology.core.errors import ManifestError
from pathology.core.manifest import Manifest, match_columns, read_manifest
from pathology.core.table import slide_stem


def written(tmp_path: Path, text: str, name: str = "m.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def ids(manifest: Manifest) -> list[str]:
    return [slide.slide_id for slide in manifest.slides]


def test_our_own_columns(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "slide_id,slide_path,case_id,label,mpp,centre,domain,mask_path,note\n"
        "007,a/1.svs,c1,tumour,0.25,lyon,wsi,m.geojson,kept\n",
    )
    (slide,) = read_manifest(path).slides
    assert slide.slide_id == "007"
    assert slide.slide_path == tmp_path / "a/1.svs"
    assert (slide.case_id, slide.label, slide.mpp, slide.centre) == ("c1", "tumour", 0.25, "lyon")
    assert slide.mask_path == tmp_path / "m.geojson"
    assert slide.extra == {"note": "kept"}


@pytest.mark.parametrize(
    ("header", "row", "slide_id", "path"),
    [
        ("sample_id,image_path,spacing_at_level_0", "s1,x/s1.svs,0.25", "s1", "x/s1.svs"),  # hs2p
        ("wsi,mpp", "sub/TCGA-3C.F6.svs,0.25", "TCGA-3C.F6", "sub/TCGA-3C.F6.svs"),  # TRIDENT
        ("slide,patient,dataset,image_path", "s1,p1,train,s1.svs", "s1", "s1.svs"),  # Slideflow
        ("PATIENT,FILENAME,path", "p1,s1.h5,s1.ndpi", "s1", "s1.ndpi"),  # STAMP
        ("slide_id;slide_path", "s1;a,b.svs", "s1", "a,b.svs"),  # a spreadsheet's semicolons
    ],
)  # fmt: skip
def test_dialects_of_others(
    tmp_path: Path, header: str, row: str, slide_id: str, path: str
) -> None:
    manifest = read_manifest(written(tmp_path, f"{header}\n{row}\n"))
    (slide,) = manifest.slides
    assert slide.slide_id == slide_id
    assert slide.slide_path == tmp_path / path


def test_an_alias_is_said(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, "sample_id,image_path\na,a.svs\n"))
    assert "column 'sample_id' is read as slide_id" in manifest.remarks


def test_our_own_column_wins_over_an_alias() -> None:
    names, remarks = match_columns(["slide_id", "sample_id", "slide_path"])
    assert names["slide_id"] == "slide_id"
    assert remarks == []


def test_clam_gives_ids_and_the_folder_gives_files(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides/s1.svs").touch()
    path = written(tmp_path, "case_id,slide_id,label\nc,s1,x\nd,s2,y\n")
    manifest = read_manifest(path, tmp_path / "slides")
    assert manifest.slides[0].slide_path == tmp_path / "slides/s1.svs"
    assert "holds no file of this name" in manifest.rejected[0].reason
    assert manifest.slide_ids == ("s1", "s2")


def test_parquet_reads_as_csv_does(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"slide_id": ["1", "2"], "slide_path": ["a.svs", "b.svs"], "mpp": [0.25, None]}
    )
    table.to_parquet(tmp_path / "m.parquet")
    slides = read_manifest(tmp_path / "m.parquet").slides
    assert [(s.slide_id, s.mpp) for s in slides] == [("1", 0.25), ("2", None)]


def test_a_folder_is_a_manifest(tmp_path: Path) -> None:
    for name in (
        "b.svs",
        "a.ome.tiff",
        "sub/b.svs",
        "notes.txt",
        ".hidden.svs",
        "series/1.dcm",
        "series/2.dcm",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    manifest = read_manifest(tmp_path)
    assert ids(manifest) == ["a", "b.svs", "series", "sub__b.svs"]
    assert "occur twice" in manifest.remarks[0]


def test_what_a_folder_holds_and_nobody_reads_is_said(tmp_path: Path) -> None:
    for name in ("a.bmp", "b.webp", "tail .tif", "notes.txt", *(f"{n}.jp2" for n in range(7))):
        (tmp_path / name).touch()
    manifest = read_manifest(tmp_path)
    assert ids(manifest) == ["a", "b", "tail"]
    (remark,) = manifest.remarks
    assert "left out" in remark and remark.endswith("0.jp2, 1.jp2, 2.jp2, 3.jp2, 4.jp2 and 2 more")


@pytest.mark.parametrize(("cell", "mpp"), [("0,62", 0.62), ("0.62", 0.62), ("1", 1.0)])
def test_decimal_commas_of_spreadsheets(tmp_path: Path, cell: str, mpp: float) -> None:
    (found,) = read_manifest(written(tmp_path, f"slide_path;mpp\na.svs;{cell}\n")).slides
    assert found.mpp == mpp


def test_a_duplicate_id_names_both_rows(tmp_path: Path) -> None:
    path = written(tmp_path, "slide_id,slide_path\na,1.svs\nb,2.svs\na,3.svs\n")
    with pytest.raises(ManifestError, match="'a' stands in rows 1 and 3"):
        read_manifest(path)


def test_a_case_in_two_splits_is_refused(tmp_path: Path) -> None:
    text = "slide_id,slide_path,case_id,split\na,1.svs,c1,train\nb,2.svs,c1,test\n"
    with pytest.raises(ManifestError, match="case 'c1' is in the splits 'train' and 'test'"):
        read_manifest(written(tmp_path, text))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,1.svs,fast", "mpp in the manifest is 'fast'"),
        ("../a,1.svs,", "cannot be a file name"),
        (".a,1.svs,", "cannot be a file name"),
        ("a/b,1.svs,", "cannot be a file name"),
        (",,0.5", "cannot be a file name|gives no slide_path"),
    ],
)
def test_a_bad_row_costs_itself(tmp_path: Path, row: str, said: str) -> None:
    manifest = read_manifest(written(tmp_path, f"slide_id,slide_path,mpp\n{row}\ngood,2.svs,0.5\n"))
    assert ids(manifest) == ["good"]
    assert len(manifest.rejected) == 1
    assert re.search(said, manifest.rejected[0].reason)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column slide_id"),
        ("a,b\n1,2\n", "no column slide_id or slide_path; it has a, b"),
        ("slide_id,slide_path\n", "no slides found"),
        ("\x00\x01\x02", "not a text file"),
    ],
)
def test_a_table_without_slides_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        read_manifest(written(tmp_path, text))


def test_a_missing_file_an_empty_folder_and_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="no slides found"):
        read_manifest(tmp_path / "empty")
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00slide")
    with pytest.raises(ManifestError, match="UTF-8"):
        read_manifest(tmp_path / "x.csv")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ManifestError, match="Parquet"):
        read_manifest(tmp_path / "x.parquet")


def test_tcga_barcodes_fill_case_and_centre(tmp_path: Path) -> None:
    path = written(
        tmp_path, "slide_id,slide_path\nTCGA-CR-7395-01A-01-TS1.abc,x.svs\nother,y.svs\n"
    )
    tcga, other = read_manifest(path, is_tcga=True).slides
    assert (tcga.case_id, tcga.centre) == ("TCGA-CR-7395", "CR")
    assert (other.case_id, other.centre) == ("", "")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("TCGA-3C-AALI-01Z-00-DX1.F6E9A5DF.svs", "TCGA-3C-AALI-01Z-00-DX1.F6E9A5DF"),
        ("a.ome.tiff", "a"),
        ("a.ome.zarr", "a"),
        ("a.b", "a.b"),
        (".svs", ".svs"),
    ],
)
def test_stems(name: str, stem: str) -> None:
    assert slide_stem(name) == stem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slide_id,label\na.svs,benign, low grade\n", "line 2 has more cells"),
        ('slide_id,slide_path\na,"a.svs\nb,b.svs\n', "a quote is opened and never closed"),
        ("slide_id,label,Label\na.svs,benign,malignant\n", "two columns are called 'label'"),
    ],
)
def test_cells_that_have_no_column_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        read_manifest(written(tmp_path, text))


def test_empty_cells_at_the_end_of_a_row_are_fine(tmp_path: Path) -> None:
    (found,) = read_manifest(written(tmp_path, "slide_path,label\na.svs,benign,,\n")).slides
    assert found.label == "benign"


def test_words_for_nothing_say_nothing(tmp_path: Path) -> None:
    text = "slide_path,label,mpp,case_id\na.svs,nan,n/a,NaN\nb.svs,none,None,null\n"
    first, second = read_manifest(written(tmp_path, text)).slides
    assert (first.label, first.mpp, first.case_id) == ("", None, "")
    assert (second.label, second.mpp, second.case_id) == ("none", None, "")  # a finding's name


def test_parts_by_other_names(tmp_path: Path) -> None:
    names = ("Train", "training", "VAL", "validation", "Test", "testing", "later", "")
    rows = "".join(f"s{i}.svs,{name}\n" for i, name in enumerate(names))
    found = read_manifest(written(tmp_path, f"slide_path,split\n{rows}")).slides
    assert [slide.split for slide in found] == [
        "train", "train", "val", "val", "test", "test", "later", ""
    ]  # fmt: skip


def test_a_table_of_labels_needs_no_slides(tmp_path: Path) -> None:
    path = written(tmp_path, "slide_id,label\na,benign\n")
    assert not read_manifest(path).slides
    (found,) = read_manifest(path, needs_slides=False).slides
    assert (found.slide_id, found.label) == ("a", "benign")


def test_two_long_ids_are_two(tmp_path: Path) -> None:
    rows = "".join(f"{'x' * 250}{i}.svs\n" for i in range(2))
    found = read_manifest(written(tmp_path, f"slide_path\n{rows}good.svs\n"))
    assert ids(found) == ["good"]
    assert len(found.rejected) == 2


def test_a_link_to_a_folder_above_leads_nowhere(tmp_path: Path) -> None:
    below = tmp_path / "slides" / "below"
    below.mkdir(parents=True)
    (below / "a.svs").write_bytes(b"")
    (below / "up").symlink_to(tmp_path / "slides")
    (tmp_path / "slides" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.svs").write_bytes(b"")
    assert ids(read_manifest(tmp_path / "slides")) == ["a", "b"]
