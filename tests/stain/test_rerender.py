"""Re-rendering between told styles: physics that is known, and the styles that go with it."""

import numpy as np
import pytest
import torch

from pathology.stain.macenko import TEXTBOOK
from pathology.stain.rerender import at_home, rerendered, restained, restyled
from pathology.stain.style_vector import (
    NUM_MATRIX,
    TOLD,
    home_of,
    mean_vector,
    slide_vector,
    style_vector,
    tile_vectors,
)
from pathology.stain.styles import tile_styles
from pathology.stain.tensors import from_tensor, to_tensor
from tests.stain.synthetic import MATRIX, OTHER, he_tiles

FACTOR = torch.tensor([[1.25, 0.85, 1.1]] * 4)


def vector(matrix: np.ndarray, amounts: tuple[float, float]) -> torch.Tensor:
    """A style, four times."""
    numbers = [*matrix.ravel(), *amounts]
    return torch.tensor([numbers] * 4, dtype=torch.float32)


def test_one_style_becomes_the_other_exactly() -> None:
    one = vector(MATRIX, (2.0, 1.0))
    other = vector(OTHER, (2.0, 1.0))
    tiles, wanted = (he_tiles(4, matrix=m, white=w) for m, w in ((MATRIX, 255), (OTHER, 255)))
    made = from_tensor(rerendered(to_tensor(tiles), one, other))
    assert np.abs(made.astype(int) - wanted).mean() < 1.5
    back = from_tensor(rerendered(to_tensor(made), other, one))
    assert np.abs(back.astype(int) - tiles).mean() < 1.0


def test_strengths_scale_stain_and_equal_styles_change_nothing() -> None:
    shown = to_tensor(he_tiles(4))
    one, strong = vector(MATRIX, (2.0, 1.0)), vector(MATRIX, (3.0, 1.5))
    assert torch.allclose(rerendered(shown, one, one), shown, atol=1e-3)
    density = [
        -((image + 1) / 2).clamp(0.01, 1).log() for image in (shown, rerendered(shown, one, strong))
    ]
    assert torch.allclose(density[0] * 1.5, density[1], atol=0.02) or (
        (density[0] * 1.5 - density[1]).abs().mean() < 0.01
    )


def test_what_neither_stain_explains_goes_with_a_residual_of_none() -> None:
    style = vector(MATRIX, (2.0, 1.0))
    shown = to_tensor(np.full((4, 8, 8, 3), (120, 200, 60), np.uint8))  # green: no stain at all
    kept, dropped = (rerendered(shown, style, style, residual) for residual in (1.0, 0.0))
    assert torch.allclose(kept, shown, atol=1e-3)
    assert (dropped - shown).abs().max() > 0.1


def test_black_white_and_gradients_stay_finite() -> None:
    style = vector(MATRIX, (2.0, 1.0)).requires_grad_()
    for level in (-1.0, 1.0):
        made = rerendered(torch.full((4, 3, 8, 8), level), style, vector(OTHER, (1.0, 2.0)))
        made.sum().backward()
        assert made.isfinite().all()
        assert style.grad is not None
        assert style.grad.isfinite().all()


def test_factors_of_one_change_nothing_and_white_stays() -> None:
    shown = to_tensor(he_tiles(4))
    assert torch.allclose(restained(shown, torch.ones(4, 3)), shown, atol=1e-5)
    white = torch.ones(4, 3, 8, 8)
    assert torch.equal(restained(white, FACTOR), white)
    assert restained(-white, FACTOR).isfinite().all()


def test_the_style_told_is_what_is_measured_on_restained_tiles() -> None:
    tiles = he_tiles(4, 128, white=255)
    slide = torch.from_numpy(slide_vector(tiles))
    changed = from_tensor(restained(to_tensor(tiles), FACTOR))
    after = torch.from_numpy(slide_vector(changed))
    told = restyled(slide[None], FACTOR[:1])[0]
    assert (told - after).abs().max() < 0.06
    assert (told - slide).abs().max() > 0.08


def test_vectors_hold_what_was_measured() -> None:
    tiles = he_tiles(4, white=255)
    slide = slide_vector(tiles)
    assert np.abs(slide[:6].reshape(2, 3) - MATRIX).max() < 0.05
    own = tile_vectors(tile_styles(tiles, TOLD).matrix_N23, slide)
    assert own.shape == (4, 8)
    assert (own[:, 6:] == slide[6:]).all()
    mean = mean_vector(np.stack([slide, style_vector(TEXTBOOK.stains)]))
    assert np.linalg.norm(mean[:6].reshape(2, 3), axis=1) == pytest.approx([1, 1], abs=1e-5)
    glass = np.full((2, 64, 64, 3), 243, np.uint8)
    assert (slide_vector(glass) == style_vector(TEXTBOOK.stains)).all()


def test_a_home_keeps_what_the_targets_slides_vary_by_too() -> None:
    random = np.random.default_rng(0)
    base = style_vector(TEXTBOOK.stains)

    def slides(tissue: float, laboratory: float, num: int = 400) -> np.ndarray:
        made = np.tile(base, (num, 1))
        logs = random.normal(0, tissue, (num, 2)) + random.normal(0, laboratory, (num, 2))
        made[:, NUM_MATRIX:] *= np.exp(logs)
        return made

    assert home_of(slides(0.2, 0), slides(0.2, 0)).kept == pytest.approx(0.5, abs=0.03)
    assert home_of(slides(0.1, 0), slides(0.1, 0.5)).kept < 0.06
    assert home_of(slides(0, 0), slides(0, 0)).kept == pytest.approx(0, abs=1e-6)  # nothing varies


def test_what_is_kept_of_a_slides_own_strength() -> None:
    home = torch.from_numpy(style_vector(TEXTBOOK.stains))
    away, strong = home.clone(), home[None].clone()
    away[NUM_MATRIX:] *= 0.5
    strong[:, NUM_MATRIX:] = away[NUM_MATRIX:] * 4
    for kept, times in ((0.0, 1.0), (0.5, 2.0), (1.0, 4.0)):
        found = at_home(strong, home, away, torch.tensor(kept))
        assert torch.allclose(found[0, NUM_MATRIX:], home[NUM_MATRIX:] * times)
        assert torch.equal(found[0, :NUM_MATRIX], home[:NUM_MATRIX])
