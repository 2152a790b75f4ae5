"""A learned model as a file and as a normalizer: teacher, student and a slide's table agree."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pathology.core.errors import SlideError
from pathology.stain.config import StainConfig
from pathology.stain.cycle_config import CycleConfig
from pathology.stain.cycle_step import target_generator
from pathology.stain.jitter import channel_factors
from pathology.stain.learned import LearnedModel, StainCard
from pathology.stain.load import load_model
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.normalize_store import normalize_store
from pathology.stain.rerender import restained, restyled
from pathology.stain.saved_style import StainError
from pathology.stain.sharp_table import apply_kernel, drawn_out
from pathology.stain.slide_table import fit_grid, student_grid
from pathology.stain.student import StainStudent, distill, student_of
from pathology.stain.style_vector import Home, slide_vector, style_vector
from pathology.stain.tensors import from_tensor, to_tensor
from tests.stain.synthetic import OTHER, he_tiles
from tests.stain.test_normalize_store import make_store

CONFIG = CycleConfig.model_validate(
    {
        "generator": {"width": 8, "num_blocks": 1},
        "student": {"width": 16, "steps": 150, "crop_px": 32, "batch_size": 8, "table_points": 9},
    }
)
QUALITIES = ("teacher", "student", "lut")


def make_model(
    mpp: float | None = None, seed: int = 0, config: CycleConfig = CONFIG
) -> LearnedModel:
    """A generator that darkens red and blurs a little, and its student."""
    torch.manual_seed(seed)
    textbook = style_vector(TEXTBOOK.stains)
    home = Home(textbook, textbook, 0.0)
    teacher = target_generator(config, home).eval()
    with torch.no_grad():
        teacher.out.bias.copy_(torch.tensor([-0.25, 0.1, 0.05]))  # type: ignore[union-attr]
        teacher.out.weight.normal_(0, 0.003)
        teacher.sharpness.change.fill_(0.03)  # type: ignore[union-attr,operator]
    tiles = he_tiles(16, 32)
    images, style = to_tensor(tiles), torch.from_numpy(slide_vector(tiles))

    def draw(random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        factor = channel_factors(random, 8, 0.1)
        shown, styles = images[random.permutation(16)[:8]], style.expand(8, -1)
        return restained(shown, factor), restyled(styles, factor)

    student = student_of(teacher, config.student)
    distill(teacher, student, draw, config.student, 0)
    return LearnedModel(StainCard(config=config, mpp=mpp, source="test"), teacher, student)


@pytest.fixture(scope="module")
def model() -> LearnedModel:
    return make_model()


def test_a_model_comes_back_from_its_file_as_it_was(model: LearnedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "style.pt")
    found = load_model(tmp_path / "style.pt")
    assert isinstance(found, LearnedModel)
    assert (found.fingerprint, found.card) == (model.fingerprint, model.card)
    tiles = he_tiles()
    for quality in QUALITIES:
        config = StainConfig(quality=quality)
        one, other = (m.for_slide(tiles, config).render(tiles).tiles for m in (model, found))
        assert (one == other).all()


def test_other_weights_have_another_fingerprint(model: LearnedModel) -> None:
    assert make_model(seed=1).fingerprint != model.fingerprint
    assert make_model().fingerprint == model.fingerprint


@pytest.mark.parametrize("quality", ["student", "lut"])
def test_student_and_table_follow_their_teacher(model: LearnedModel, quality: str) -> None:
    tiles = he_tiles(6)
    teacher = model.for_slide(tiles, StainConfig(quality="teacher")).render(tiles).tiles
    other = model.for_slide(tiles, StainConfig(quality=quality)).render(tiles).tiles
    moved = np.abs(teacher.astype(int) - tiles).mean()
    assert moved > 8
    assert np.abs(teacher.astype(int) - other).mean() < 0.25 * moved


def test_the_table_learns_what_the_student_missed(model: LearnedModel) -> None:
    textbook = style_vector(TEXTBOOK.stains)
    untaught = StainStudent(CONFIG.student, Home(textbook, textbook, 0.0))
    tiles = he_tiles(6)
    style = torch.from_numpy(slide_vector(tiles))
    teacher = from_tensor(model.teacher(to_tensor(tiles), style.expand(6, -1)))
    errors = []
    for grid in (
        student_grid(untaught, 17, style),
        fit_grid(model.teacher, untaught, tiles, 17, 200_000, style_S=style),
    ):
        table = drawn_out(grid, np.arange(256, dtype=np.uint8))
        made = table[tiles[..., 0], tiles[..., 1], tiles[..., 2]]
        errors.append(np.abs(made.astype(int) - teacher).mean())
    assert errors[0] > 5
    assert errors[1] < 0.5 * errors[0]


def test_slides_of_two_styles_come_out_alike(model: LearnedModel) -> None:
    """What it is told of each slide is its own, with no reference image."""
    one, other = he_tiles(6), he_tiles(6, matrix=OTHER, white=235)
    for quality in QUALITIES:
        config = StainConfig(quality=quality)
        made = [model.for_slide(t, config).render(t).tiles.astype(int) for t in (one, other)]
        inner = slice(12, None)  # glass keeps its color
        apart = np.abs(made[0][:, inner] - made[1][:, inner]).mean()
        assert apart < 0.4 * np.abs(one[:, inner].astype(int) - other[:, inner]).mean()


def test_a_slide_without_stain_passes_through_with_the_reason(model: LearnedModel) -> None:
    glass = np.full((2, 64, 64, 3), 243, np.uint8)
    normalizer = model.for_slide(glass, StainConfig(quality="lut"))
    assert "too little" in normalizer.problem
    rendered, is_passed = normalizer.render(glass)
    assert (rendered == glass).all()
    assert is_passed.all()


def test_as_published_the_generator_sees_the_image_alone() -> None:
    config = CONFIG.model_copy(update={"is_source_told": False})
    model = make_model(config=config)
    assert not model.teacher.is_told
    tiles = he_tiles(4)
    for quality in QUALITIES:
        rendered = model.for_slide(tiles, StainConfig(quality=quality)).render(tiles)
        assert not rendered.is_passed.any()


@pytest.mark.parametrize("per_tile", [False, True])
def test_glass_is_looked_for_in_every_column(model: LearnedModel, per_tile: bool) -> None:
    tiles = he_tiles(4, 64, white=230)
    tiles[:, :8, ::4] = (150, 80, 140)  # a sampling that keeps to these would see no glass
    config = StainConfig(num_sample_pixels=1000, per_tile=per_tile)
    normalizer = model.for_slide(tiles, config)
    assert normalizer.measured()["white_level"] == "230 230 230"


def test_a_grid_of_the_identity_is_the_identity() -> None:
    level = np.linspace(0, 255, 5, dtype=np.float32)
    grid = np.stack(np.meshgrid(level, level, level, indexing="ij"), axis=-1)
    table = drawn_out(grid, np.arange(256, dtype=np.uint8))
    random = np.random.default_rng(0).integers(0, 256, (1000, 3))
    assert (table[random[:, 0], random[:, 1], random[:, 2]] == random).all()


def test_the_kernel_for_pixels_is_the_networks_own(model: LearnedModel) -> None:
    tile = he_tiles(1)[0]
    kernel = model.teacher.sharpness.kernel().numpy()  # type: ignore[union-attr,operator]
    theirs = from_tensor(model.teacher.sharpness(to_tensor(tile[None])))[0]  # type: ignore[operator]
    assert np.abs(apply_kernel(tile, kernel).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("quality", QUALITIES)
def test_tiles_of_glass_pass_and_glass_keeps_its_color(model: LearnedModel, quality: str) -> None:
    tiles = he_tiles(4)
    tiles[2] = 243
    normalizer = model.for_slide(tiles, StainConfig(quality=quality))
    rendered, is_passed = normalizer.render(tiles)
    assert is_passed.tolist() == [False, False, True, False]
    assert (rendered[2] == tiles[2]).all()
    assert np.abs(rendered[0, :4].astype(int) - 243).max() <= 6


ODD = {
    "black": np.zeros((2, 64, 64, 3), np.uint8),
    "white": np.full((2, 64, 64, 3), 255, np.uint8),
    "grey": np.full((2, 64, 64, 3), 120, np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8),
    "none": np.zeros((0, 64, 64, 3), np.uint8),
    "odd size": np.full((1, 37, 51, 3), (180, 90, 140), np.uint8),
}


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("tiles", ODD.values(), ids=ODD)
def test_odd_tiles_raise_nothing(model: LearnedModel, tiles: np.ndarray, quality: str) -> None:
    rendered, is_passed = model.for_slide(tiles, StainConfig(quality=quality)).render(tiles)
    assert (rendered.shape, rendered.dtype) == (tiles.shape, np.uint8)
    assert len(is_passed) == len(tiles)


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_normalizer_is_small_when_pickled_and_the_same(model: LearnedModel, quality: str) -> None:
    tiles = he_tiles()
    normalizer = model.for_slide(tiles, StainConfig(quality=quality))
    rendered = normalizer.render(tiles).tiles
    data = pickle.dumps(normalizer)
    assert len(data) < 500_000
    assert (pickle.loads(data).render(tiles).tiles == rendered).all()  # noqa: S301  our own


def test_a_whole_image_equals_its_parts_with_a_margin() -> None:
    """What makes whole slides free of seams: parts with margin_px around them, cropped."""
    deep = CONFIG.model_copy(
        update={"generator": CONFIG.generator.model_copy(
            update={"num_downsamples": 1, "block_px": 3})}
    )  # fmt: skip
    image = he_tiles(1, 256)
    for config, quality in ((CONFIG, "teacher"), (deep, "teacher"), (CONFIG, "lut")):
        normalizer = make_model(config=config).for_slide(image, StainConfig(quality=quality))
        whole = normalizer.render(image).tiles
        margin = normalizer.margin_px
        part = normalizer.render(image[:, 128 - margin :]).tiles[:, margin:]
        assert np.abs(part.astype(int) - whole[:, 128:]).max() <= 1


def test_damaged_foreign_and_other_files_are_named(model: LearnedModel, tmp_path: Path) -> None:
    path = tmp_path / "style.pt"
    model.save(path)
    whole = path.read_bytes()
    files = {
        "cut.pt": whole[: len(whole) // 2],
        "empty.pt": b"",
        "text.pt": b"not a model",
        "flipped.pt": whole[:2000] + bytes(400) + whole[2400:],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(StainError, match=name):
            load_model(tmp_path / name)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(StainError, match=r"other\.pt.*no stain model"):
        load_model(tmp_path / "other.pt")
    with pytest.raises(StainError, match="missing"):
        load_model(tmp_path / "missing.pt")


@pytest.mark.parametrize(
    ("network", "name", "place", "value", "said"),
    [
        ("teacher", "out.bias", 1, np.nan, "some of its weights are no numbers"),
        ("student", "color.0.bias", 0, np.inf, "some of its weights are no numbers"),
        ("teacher", "home", slice(3, 6), None, r"its style \(home\) is no pair of stains"),
        ("student", "away", slice(0, 3), 0.0, r"its style \(away\) is no pair of stains"),
        ("teacher", "home", 7, 0.0, r"its style \(home\) is no pair of stains"),
    ],
)
def test_weights_that_cannot_be_used_are_named(
    model: LearnedModel, tmp_path: Path, network: str, name: str, place: object,
    value: float | None, said: str,
) -> None:  # fmt: skip
    path = tmp_path / "style.pt"
    model.save(path)
    state = torch.load(path, weights_only=True)
    weights = state[network][name]
    weights[place] = weights[:3] if value is None else value  # E := H
    torch.save(state, path)
    with pytest.raises(StainError, match=rf"style\.pt: {said}. Train it again"):
        load_model(path)


def test_flipped_bits_amid_the_weights_are_named(model: LearnedModel, tmp_path: Path) -> None:
    path = tmp_path / "style.pt"
    model.save(path)
    whole = path.read_bytes()
    place = whole.index(model.teacher.state_dict()["out.weight"].numpy().tobytes())
    path.write_bytes(whole[:place] + bytes(40) + whole[place + 40 :])
    with pytest.raises(StainError, match=r"style\.pt.*damaged"):
        load_model(path)


def test_weights_of_another_architecture_are_named(model: LearnedModel, tmp_path: Path) -> None:
    path = tmp_path / "style.pt"
    model.save(path)
    state = torch.load(path, weights_only=True)
    wide = CONFIG.model_copy(
        update={"generator": CONFIG.generator.model_copy(update={"width": 16})}
    )
    card = model.card.model_copy(update={"config": wide})
    torch.save(state | {"card": card.model_dump_json()}, path)
    with pytest.raises(StainError, match="another architecture"):
        load_model(path)


def test_a_store_of_another_resolution_is_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "slide.zarr", he_tiles())  # 0.5 um/px, the default
    with pytest.raises(SlideError, match=r"slide: .*0\.25"):
        normalize_store(store, tmp_path / "out" / "slide.zarr", make_model(0.25), StainConfig())
    assert not (tmp_path / "out" / "slide.zarr").exists()
    outcome = normalize_store(
        store, tmp_path / "out" / "slide.zarr", make_model(0.5), StainConfig()
    )
    assert outcome.status == "done"


@pytest.mark.parametrize("size", [64, 160])
def test_the_table_learns_from_tiles_smaller_than_what_the_network_looks_at(size: int) -> None:
    deep = {"width": 4, "num_downsamples": 2, "num_blocks": 4, "block_px": 3}
    config = CycleConfig.model_validate({**CONFIG.model_dump(), "generator": deep})
    learned = make_model(config=config)
    assert learned.teacher.margin_px > size / 4
    style = torch.from_numpy(slide_vector(he_tiles(4, size)))
    student = student_grid(learned.student, 9, style)
    grid = fit_grid(learned.teacher, learned.student, he_tiles(4, size), 9, 100_000, style_S=style)
    assert np.abs(grid - student).max() > 0.5  # of 255; 0 where nothing is looked at


@pytest.mark.parametrize("kind", [{"condition": "none"}, {"intermediate": "grey"}])
def test_grey_slides_pass_whatever_the_network_is_told(kind: dict[str, str]) -> None:
    config = CycleConfig.model_validate({**CONFIG.model_dump(), "is_source_told": False, **kind})
    learned = make_model(config=config)
    tiles = he_tiles(4)
    grey = np.repeat(tiles.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3)
    for quality in QUALITIES:
        asked = StainConfig(quality=quality)
        assert learned.for_slide(grey, asked).problem == "its tissue shows no color"
        assert not learned.for_slide(tiles, asked).problem


@pytest.mark.parametrize("quality", QUALITIES)
def test_slivers_of_pictures_are_rendered(quality: str) -> None:
    deep = {"width": 4, "num_downsamples": 3, "num_blocks": 1, "block_px": 3}
    config = CycleConfig.model_validate({**CONFIG.model_dump(), "generator": deep})
    learned = make_model(config=config)
    normalizer = learned.for_slide(he_tiles(4), StainConfig(quality=quality))
    sliver = he_tiles(1, 200)[:, :3]
    assert normalizer.render(sliver).tiles.shape == (1, 3, 200, 3)
