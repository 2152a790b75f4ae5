"""`pathology predict` and `evaluate` on a toy cohort: whole tables, and what does not fit."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import openslide
import pyarrow.parquet
import pytest

from pathology.core.artifact import alone_in
from pathology.core.errors import ArtifactError, ConfigError
from pathology.interop.h5_features import read_features, write_features
from pathology.models.card import ContractError
from pathology.weak.config import WeakConfig
from pipelines.evaluate import evaluate
from pipelines.export_predictions import export_predictions
from pipelines.grade_maps import draw_maps
from pipelines.predict import predict
from pipelines.prediction_tables import slides_table
from pipelines.weak_train import WeakOptions, train_weak
from tests.in_process import pathology
from tests.pipelines.weak_cohort import GRADES, write_cohort

SETTINGS = WeakConfig.model_validate(
    {"epochs": 8, "epoch_tiles": 1024, "tiles_per_slide": 16, "width": 16, "learning_rate": 0.01}
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Features, manifest with maps of grades, and a model."""
    folder = tmp_path_factory.mktemp("trained")
    features, manifest = write_cohort(folder)
    write_truth(features, manifest)
    train_weak(features, manifest, folder / "m.pt", SETTINGS, WeakOptions(device="cpu"))
    return features, manifest, folder / "m.pt"


def write_truth(features: Path, manifest: Path, share: float = 0.3) -> None:
    """A map of grades beside each slide: its first tiles are of its grade, the others healthy."""
    rows = list(csv.reader(manifest.read_text().splitlines()))
    changed = [[*rows[0], "truth_path"]]
    for row in rows[1:]:
        num = len(read_features(features / f"{row[0]}.h5").features_NF)
        map_HW = np.zeros((10, 200), np.uint8)  # of 1000 x 20000 level-0 pixels
        is_grade = np.arange(num) < max(2, share * num)
        for i, worst in enumerate(is_grade.tolist()):
            left, right = int(i * 256 / 100), int(((i + 1) * 256 - 1) / 100)
            map_HW[0:2, left:right] = 1 + (GRADES.index(row[2]) if worst else 0)
        cv2.imwrite(str(manifest.parent / f"{row[0]}.png"), map_HW)
        changed.append([*row, f"{row[0]}.png"])
    with manifest.open("w", newline="") as stream:
        csv.writer(stream).writerows(changed)


def test_as_commands(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    features, manifest, model = trained
    out, maps = tmp_path / "predictions.csv", tmp_path / "maps"
    done = pathology("predict", model, features, "--out", out, "--maps", maps, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert list(rows[0]) == [
        "slide_id", "l0_x", "l0_y", "l0_edge", "prob_healthy", "prob_adenoma", "prob_carcinoma",
    ]  # fmt: skip
    num = sum(len(read_features(path).features_NF) for path in features.glob("*.h5"))
    assert len(rows) == num
    assert sum(float(rows[0][f"prob_{g}"]) for g in GRADES) == pytest.approx(1, abs=1e-5)
    slides = list(csv.DictReader(slides_table(out).read_text().splitlines()))
    assert len(slides) == 24
    assert {row["problem"] for row in slides} == {""}
    assert len(list(maps.glob("*.png"))) == 24
    assert not list(tmp_path.glob(".*"))
    done = pathology("evaluate", out, "--labels", manifest, "--out", tmp_path / "eval")
    assert done.returncode == 0, done.stderr
    assert "balanced accuracy" in done.stdout
    found = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert found["part"] == "test"  # of 24 slides only those that nothing was learned from
    assert found["slide"]["all"]["num_cases"] == 6
    assert set(found["slide"]) == {"all", "centre0", "centre1"}
    tile, slide = found["tile"]["all"], found["slide"]["all"]
    assert tile["balanced_accuracy"]["value"] > 0.8  # from the labels of slides alone
    assert tile["upper_rate"]["value"] < 0.05
    assert slide["auroc"]["value"] > 0.9
    for level in ("slide", "tile"):
        confusion = np.array(found["confusion"][level])  # rows: what they are
        right = np.trace(confusion) / confusion.sum()
        assert found[level]["all"]["accuracy"]["value"] == pytest.approx(right)
    assert slide["balanced_accuracy"]["low"] <= slide["balanced_accuracy"]["value"]
    names = {path.name for path in (tmp_path / "eval").iterdir()}
    assert names == {
        "metrics.csv", "metrics.json", "not_judged.csv", "slides.png", "slides_by_centre.png",
        "tiles.png", "tiles_by_centre.png",
    }  # fmt: skip
    brief = evaluate(out, manifest, tmp_path / "brief", is_brief=True)
    names = {path.name for path in (tmp_path / "brief").iterdir()}
    assert names == {"metrics.csv", "metrics.json", "not_judged.csv"}
    for level in ("slide", "tile"):
        points = {
            name: e["value"] for name, e in brief[level]["all"].items() if name != "num_cases"
        }
        assert points == {name: found[level]["all"][name]["value"] for name in points}
    lines = list(csv.DictReader((tmp_path / "eval" / "metrics.csv").read_text().splitlines()))
    assert {line["level"] for line in lines} == {"slide", "tile"}


def test_a_slide_that_cannot_be_read_has_its_row(
    trained: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    _, manifest, model = trained
    features, _ = write_cohort(tmp_path / "other", 6)
    (features / "s01.h5").write_bytes(b"no hdf5")
    found = predict(model, features, tmp_path / "p.csv")
    assert [grade.slide_id for grade in found if grade.problem] == ["s01"]
    rows = list(csv.DictReader(slides_table(tmp_path / "p.csv").read_text().splitlines()))
    assert {row["slide_id"]: bool(row["problem"]) for row in rows}["s01"]
    facts = evaluate(tmp_path / "p.csv", manifest, tmp_path / "eval", "all")
    assert list(facts["problems"]) == ["s01"]
    assert len(facts["not_predicted"]) == 18


def test_tiles_of_another_kind_are_refused(
    trained: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    _, _, model = trained
    features, _ = write_cohort(tmp_path / "other", 3)
    found = read_features(features / "s00.h5")
    for on_features, on_coords, said in (
        ({"encoder": "uni_v1"}, {}, "encoder is 'uni_v1', expected 'toy'"),
        ({"encoder": "toy", "stain": "3f09c1d2a7be"}, {}, "stain is '3f09c1d2a7be'"),
        ({"encoder": "toy"}, {"achieved_mpp": 0.25}, r"0\.25 um/px, expected 0\.5"),
        ({"encoder": "toy"}, {"tile_size_px": 512}, "512 px, expected 256"),
    ):
        write_features(features / "s00.h5", found.features_NF, found.l0_xy, on_features, on_coords)  # type: ignore[arg-type]
        with pytest.raises(ContractError, match=f"s00: .*{said}"):
            predict(model, features, tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_a_stopped_prediction_goes_on(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    features, _, model = trained
    out = tmp_path / "p.csv"

    class Stopped(Exception):
        pass

    seen = []

    def stop(grade: object) -> None:
        seen.append(grade)
        if len(seen) == 5:
            raise Stopped

    with pytest.raises(Stopped):
        predict(model, features, out, on_slide=stop)
    assert not out.exists()
    parts = next(tmp_path.glob(".*.parts"))
    before = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.csv")}
    assert len(before) == 5
    with alone_in(parts), pytest.raises(ArtifactError, match="another command works there now"):
        predict(model, features, out)
    (tmp_path / ".p.0123456789ab.parts").mkdir()  # of an earlier model
    (tmp_path / ".p.test.0123456789ab.parts").mkdir()  # of p.test.csv
    one, other = sorted(parts.glob("*.csv"))[:2]
    one.write_text("")
    other.write_text(other.read_text().replace("0.", "no", 1))
    predict(model, features, out)
    assert [path.name for path in tmp_path.glob(".p.*.parts")] == [".p.test.0123456789ab.parts"]
    whole = out.read_bytes()
    predict(model, features, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == whole


def test_evaluate_refuses_what_does_not_belong(
    trained: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    features, manifest, model = trained
    out = tmp_path / "p.csv"
    predict(model, features, out)
    other = tmp_path / "labels.csv"
    other.write_text("slide_id,slide_path,label\ns00,a,odd\n")
    with pytest.raises(ConfigError, match="'odd' is none of the grades"):
        evaluate(out, other, tmp_path / "e")
    other.write_text("slide_id,slide_path,label\nx,a,healthy\n")
    with pytest.raises(ArtifactError, match="no slide in common"):
        evaluate(out, other, tmp_path / "e")
    with pytest.raises(ArtifactError, match="no predictions of tiles"):
        evaluate(other, manifest, tmp_path / "e")
    text = out.read_text().splitlines()
    out.write_text("\n".join([text[0], text[1].rpartition(",")[0] + ",nan"]))
    with pytest.raises(ArtifactError, match=r"s00, row 1 below the header: .* do not lie in 0-1"):
        evaluate(out, manifest, tmp_path / "e")


def test_maps_show_where_the_worst_tissue_lies(
    trained: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    features, _, model = trained
    predict(model, features, tmp_path / "p.csv")
    paths = draw_maps(tmp_path / "p.csv", tmp_path / "maps")
    picture = cv2.imread(str(paths[2]))  # of a carcinoma
    assert picture is not None
    red = (picture[..., 2] > 150) & (picture[..., 1] < 90) & (picture[..., 0] < 90)
    green = (picture[..., 1] > 110) & (picture[..., 2] < 90)
    assert red.any() and green.any()
    assert np.nonzero(red)[1].mean() < np.nonzero(green)[1].mean()  # its first tiles


def test_predictions_go_to_other_programs(trained: tuple[Path, Path, Path], tmp_path: Path) -> None:
    features, _, model = trained
    predict(model, features, tmp_path / "p.csv")
    asked = [word for name in ("regions", "ome-tiff", "parquet") for word in ("--format", name)]
    done = pathology("export", tmp_path / "p.csv", "--out", tmp_path, *asked)
    assert done.returncode == 0, done.stderr
    tiles = pyarrow.parquet.read_table(tmp_path / "tiles.parquet").to_pydict()
    slides = pyarrow.parquet.read_table(tmp_path / "slides.parquet").to_pydict()
    assert set(tiles["slide_id"]) == set(slides["slide_id"])
    assert slides["mpp"][0] == pytest.approx(0.5)  # tiles of 256 px at 0.5, as many at level 0
    assert sum(slides["num_tiles"]) == len(tiles["l0_x"])
    assert len(list((tmp_path / "regions").glob("*.geojson"))) == len(slides["slide_id"])
    with openslide.OpenSlide(tmp_path / "heatmaps" / "s02.ome.tiff") as heatmap:
        width_um = heatmap.dimensions[0] * float(heatmap.properties["openslide.mpp-x"])
    assert width_um == pytest.approx(20_000 * 0.5, rel=0.01)
    with pytest.raises(ConfigError, match="pdf; expected some of geojson"):
        export_predictions(tmp_path / "p.csv", tmp_path, ["pdf"])
    text = (tmp_path / "p.csv").read_text().replace("s02,", "../s02,")
    (tmp_path / "q.csv").write_text(text)
    slides_text = (tmp_path / "p.slides.csv").read_text().replace("s02,", "../s02,")
    (tmp_path / "q.slides.csv").write_text(slides_text)
    out = tmp_path / "inside" / "out"
    found = export_predictions(tmp_path / "q.csv", out, ["geojson"])
    assert [one.line() for one in found if one.problem] == [
        "../s02: its id cannot be a file name. Rename it."
    ]
    assert not list((tmp_path / "inside").glob("*.geojson"))


def test_a_map_that_cannot_be_used_costs_its_own_tiles(
    trained: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    features, manifest, model = trained
    predict(model, features, tmp_path / "p.csv")
    table = tmp_path / "moved.csv"  # away from its maps
    table.write_text(manifest.read_text())
    for path in manifest.parent.glob("s*.png"):
        (tmp_path / path.name).write_bytes(b"" if path.stem == "s01" else path.read_bytes())
    said: list[str] = []
    found = evaluate(tmp_path / "p.csv", table, tmp_path / "e", "all", say=said.append)
    assert list(found["no_tile_truth"]) == ["s01"]
    assert any(line.startswith("tiles not judged: s01: no map of grades") for line in said)
    whole = evaluate(tmp_path / "p.csv", table, tmp_path / "e", "ALL", root=manifest.parent)
    assert not whole["no_tile_truth"]
    assert str(whole["slide"]) == str(found["slide"])
    num = [sum(map(sum, one["confusion"]["tile"])) for one in (found, whole)]
    assert 0 < num[0] < num[1]


def test_an_evaluation_leaves_no_picture_of_an_earlier_one(
    trained: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    features, manifest, model = trained
    predict(model, features, tmp_path / "p.csv")
    evaluate(tmp_path / "p.csv", manifest, tmp_path / "e", "all")
    assert (tmp_path / "e" / "tiles.png").is_file()
    rows = [row[:-1] for row in csv.reader(manifest.read_text().splitlines())]
    (tmp_path / "bare.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    evaluate(tmp_path / "p.csv", tmp_path / "bare.csv", tmp_path / "e", "all")
    assert not (tmp_path / "e" / "tiles.png").exists()
    assert (tmp_path / "e" / "slides.png").is_file()


def test_predictions_replace_no_other_table(
    trained: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    features, manifest, model = trained
    table = tmp_path / "cohort.slides.csv"
    table.write_text(manifest.read_text())
    with pytest.raises(ArtifactError, match=r"cohort\.slides\.csv: lies there, is no table"):
        predict(model, features, tmp_path / "cohort.csv")
    assert table.read_text() == manifest.read_text()
    for name in ("p.first", "p.second"):  # each has a table of slides of its own
        predict(model, features, tmp_path / name)
        predict(model, features, tmp_path / name)
        assert slides_table(tmp_path / name) == tmp_path / f"{name}.slides.csv"
        assert (tmp_path / f"{name}.slides.csv").is_file()
        assert (tmp_path / f"{name}.run.json").is_file()
