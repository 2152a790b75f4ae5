"""What `pathology train adapt` refuses or leaves out, as its users are told."""

import csv
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from pathology.models.card import load_classifier
from pipelines import adapt_encoder
from tests.in_process import pathology
from tests.pipelines.adapt_cohort import (
    EDGE,
    NUM,
    SETTINGS,
    write_manifest,
    write_pictures,
)

GREY = (
    "a grey picture, though stored as RGB, shows no stains. Give color pictures of stained tissue."
)
Adapt = Callable[..., CompletedProcess[str]]


@pytest.fixture
def adapt(domains: tuple[Path, Path], weights: Path, tmp_path: Path) -> Adapt:
    """The command on the two domains, or on others."""

    def run(
        *more: object, source: Path = domains[0], target: Path = domains[1]
    ) -> CompletedProcess[str]:
        settings = {**SETTINGS, "steps": 10}
        return pathology(
            "train", "adapt", "--source", source, "--target", target, "--out", tmp_path / "m.pt",
            "--weights", weights, "--device", "cpu", "--target-mpp", 0.5,
            *(w for k, v in settings.items() for w in ("--set", f"{k}={v}")), *more,
        )  # fmt: skip

    return run


@pytest.fixture
def no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that is made fails the test: what is refused is refused before."""

    def fail(*given: object, **named: object) -> None:
        raise AssertionError("an encoder was made")

    monkeypatch.setattr(adapt_encoder, "make_encoder", fail)


def refusal(done: CompletedProcess[str], tmp_path: Path) -> str:
    """The one line of a refusal, which leaves nothing behind."""
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if "Error: " in line]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.glob("m.*")) and not list(tmp_path.glob(".*"))
    return lines[0]


def make_grey(folder: Path, *names: str) -> None:
    """Take the colours out of pictures, which stay RGB files; of one all but them."""
    for number, name in enumerate(names):
        grey = np.asarray(Image.open(folder / name).convert("L"))
        pixels = np.repeat(grey[..., None], 3, axis=2)
        pixels[..., 0] += np.uint8(number % 2) * (pixels[..., 0] < 255)
        Image.fromarray(pixels, "RGB").save(folder / name)


def test_grey_pictures_in_three_channels_are_left_out_by_name_and_glass_is_not(
    adapt: Adapt, tmp_path: Path
) -> None:
    slides = write_pictures(tmp_path / "slides", is_target=False)
    camera = write_pictures(tmp_path / "camera", is_target=True)
    make_grey(slides, "p2.png")
    make_grey(camera, "p3.png", "p4.png")
    Image.fromarray(np.full((EDGE, EDGE, 3), 243, np.uint8)).save(camera / "p5.png")
    source = write_manifest(tmp_path / "source.csv", slides)
    done = adapt(source=source, target=camera)
    assert done.returncode == 0, done.stderr
    said = (done.stdout + done.stderr).splitlines()
    assert [line for line in said if "a grey picture" in line] == [
        f"{name}: {GREY}" for name in ("p2", "p3", "p4")
    ]
    assert f"{source}: 1 of {NUM} left out, as said above" in said
    assert f"{camera}: 2 of {NUM} left out, as said above" in said
    card = load_classifier(tmp_path / "m.pt")[0]
    assert card.num_slides["train"] + card.num_slides["val"] == NUM - 1
    assert card.num_slides["target"] == NUM - 2  # the one of glass among them


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_side_of_grey_pictures_alone_is_refused(
    adapt: Adapt, no_encoder: None, tmp_path: Path, side: str
) -> None:
    folder = write_pictures(tmp_path / "grey", is_target=side == "target")
    make_grey(folder, *(f"p{i}.png" for i in range(NUM)))
    given = folder if side == "target" else write_manifest(tmp_path / "grey.csv", folder)
    said = refusal(adapt(**{side: given}), tmp_path)
    assert said.startswith(f"ArtifactError: {given}: no tiles to learn from ({NUM} left out; p")
    assert GREY in said


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("deviation", [0, 3])
def test_a_side_without_tissue_is_refused(
    adapt: Adapt, no_encoder: None, tmp_path: Path, side: str, deviation: float
) -> None:
    """Of noise alone a network would learn the camera."""
    folder, random = tmp_path / "blank", np.random.default_rng(0)
    folder.mkdir()
    for i in range(NUM):
        pixels = random.normal((243, 128, 0)[i % 3], deviation, (2 * EDGE, 2 * EDGE, 3))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"p{i}.png")
    (folder / f"p{NUM}.png").write_bytes(b"\x89PNG")  # and one that cannot be read
    given = folder if side == "target" else write_manifest(tmp_path / "blank.csv", folder)
    said = refusal(adapt(**{side: given}), tmp_path)
    assert said.startswith(
        f"ArtifactError: {given}: no tissue to learn from: {NUM} of {NUM + 1} are blank, of one "
        f"color from edge to edge, and 1 cannot be used (p{NUM}: "
    )
    assert said.endswith("Give pictures of stained tissue")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("classes=[benign, low, malignant]",),
            "no slide of the source is low: its labels are benign, malignant. Label some so, say "
            "which label means it (--set 'class_map={LABEL: low}'), or leave it out (--set "
            "'classes=[benign, malignant]')",
        ),
        (
            ("classes=[low, high]", "class_map={benign: low, malignant: low}"),
            "no slide of the source is high: its labels are benign, malignant. ",
        ),
        (("class_map={benign: malignant}",), "all slides have the label 'malignant'"),
        (
            ("classes=[sick]", "class_map={benign: sick, malignant: sick}"),
            "classes=[sick]: a classifier needs two classes at least, each once",
        ),
        (("classes=[benign, malignant, benign]",), "needs two classes at least, each once"),
        (
            ("method=target",),
            "method target learns from labels of the target, and TARGET has none for its "
            "pictures. Give a manifest with their slide_id and label: --target-labels",
        ),
    ],
)
def test_classes_that_nothing_teaches_are_refused_before_a_tile_is_encoded(
    domains: tuple[Path, Path], adapt: Adapt, no_encoder: None, tmp_path: Path,
    words: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    found = refusal(adapt(*(w for word in words for w in ("--set", word))), tmp_path)
    assert found.startswith("ConfigError: ") and said.replace("TARGET", str(domains[1])) in found


def test_a_class_of_slides_that_never_train_is_refused_before_a_tile_is_encoded(
    domains: tuple[Path, Path], adapt: Adapt, no_encoder: None, tmp_path: Path
) -> None:
    rows = list(csv.DictReader(domains[0].read_text().splitlines()))
    source = tmp_path / "source.csv"
    with source.open("w", newline="") as stream:
        table = csv.DictWriter(stream, [*rows[0], "split"])
        table.writeheader()
        for row in rows:
            table.writerow({**row, "split": "test" if row["label"] == "malignant" else "train"})
    said = refusal(adapt(source=source), tmp_path)
    assert "no slide of the source that is trained on is malignant" in said


def test_labels_of_other_slides_are_refused_before_a_tile_is_encoded(
    domains: tuple[Path, Path], adapt: Adapt, no_encoder: None, tmp_path: Path
) -> None:
    """Of the source, and for the oracle those of the target."""
    labels = tmp_path / "labels.csv"
    labels.write_text("slide_id,slide_path,label\nx,x.png,benign\ny,y.png,malignant\n")
    said = refusal(adapt("--labels", labels), tmp_path)
    assert "none of its slides has a label. Labels go by slide_id, which is p0 here and x" in said
    said = refusal(adapt("--method", "target", "--target-labels", labels), tmp_path)
    assert "method target learns from labels of the target" in said and "--target-labels" in said
