"""The networks: where they start, what they look at, and what they are told."""

import pytest
import torch

from pathology.stain.cycle_config import DiscriminatorConfig, GeneratorConfig
from pathology.stain.layers import Sharpness
from pathology.stain.losses import discriminator_loss, od_luminance
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.networks import (
    Discriminator,
    StyleGenerator,
    for_use,
    kernel_of,
    opponent,
    to_grey,
)
from pathology.stain.rerender import rerendered
from pathology.stain.style_vector import NUM_STYLE, Home, style_vector
from pathology.stain.tensors import to_tensor
from tests.stain.synthetic import MATRIX, OTHER, he_tiles

SMALL = GeneratorConfig(width=8, num_blocks=2)
DEEP = GeneratorConfig(width=8, num_blocks=2, num_downsamples=2, block_px=3)
DEEPER = GeneratorConfig(width=4, num_blocks=1, num_downsamples=3, block_px=3, edge_px=3)


def images(size: int = 32, num: int = 2) -> torch.Tensor:
    return torch.rand(num, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def trained(network: torch.nn.Module) -> torch.nn.Module:
    """The network with every weight away from where it starts."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return network.eval()


@pytest.mark.parametrize("config", [SMALL, DEEP])
def test_a_residual_generator_starts_as_the_identity(config: GeneratorConfig) -> None:
    assert torch.allclose(StyleGenerator(config)(images()), images(), atol=1e-6)


def test_without_residual_it_starts_elsewhere_and_stays_in_range() -> None:
    config = SMALL.model_copy(update={"is_residual": False})
    out = StyleGenerator(config)(images())
    assert out.abs().max() <= 1
    assert not torch.allclose(out, images(), atol=0.1)


@pytest.mark.parametrize("condition", ["planes", "film"])
@pytest.mark.parametrize("config", [SMALL, DEEP])
def test_a_style_changes_what_comes_out(config: GeneratorConfig, condition: str) -> None:
    generator = trained(StyleGenerator(config, condition))  # type: ignore[arg-type]
    one, other = torch.rand(2, NUM_STYLE), torch.rand(2, NUM_STYLE)
    assert not torch.allclose(generator(images(), one), generator(images(), other), atol=1e-4)


@pytest.mark.parametrize("condition", ["planes", "film"])
def test_a_told_generator_starts_as_the_rerendering_by_stains(condition: str) -> None:
    home = style_vector(TEXTBOOK.stains)
    there = torch.from_numpy(home) + 0.1 * torch.rand(2, NUM_STYLE)
    shown = images() * 0.7
    for role in ("to home", "from home"):
        generator = StyleGenerator(SMALL, condition, role=role, home=Home(home, home, 0.0))  # type: ignore[arg-type]
        homes = torch.from_numpy(home).expand(2, -1)
        way = (there, homes) if role == "to home" else (homes, there)
        assert torch.allclose(generator(shown, there), rerendered(shown, *way), atol=1e-5)
        assert "home" in generator.state_dict()


def test_colors_that_a_judge_sees_are_about_evenly_spread_in_tissue() -> None:
    colors = opponent(to_tensor(he_tiles(4))).permute(1, 0, 2, 3).flatten(1)
    assert (colors.std(dim=1) > 0.4).all()
    assert (colors.std(dim=1) < 2.5).all()
    assert (colors.mean(dim=1).abs() < 2).all()


def test_a_style_is_needed_where_there_is_a_condition_and_refused_elsewhere() -> None:
    with pytest.raises(ValueError, match="is_told"):
        StyleGenerator(SMALL, "film")(images())
    with pytest.raises(ValueError, match="is_told"):
        StyleGenerator(SMALL)(images(), torch.rand(2, NUM_STYLE))


@pytest.mark.parametrize("config", [SMALL, DEEP, DEEPER])
def test_a_pixel_looks_no_farther_than_the_margin(config: GeneratorConfig) -> None:
    generator = trained(StyleGenerator(config))
    margin = generator.margin_px
    assert margin % generator.multiple_px == 0  # parts with it begin where the whole is halved
    size = 2 * margin + 2 * generator.multiple_px
    place = size // 2
    shown = images(size, 1).requires_grad_()
    generator(shown)[0, :, place, place].sum().backward()
    reached = (shown.grad[0].abs().sum(0) > 0).nonzero()  # type: ignore[index]
    assert (reached - place).abs().max() <= margin
    assert (reached - place).abs().max() >= margin // 2  # and it is no empty promise


def test_without_norm_no_tile_depends_on_what_else_is_in_it() -> None:
    """The middle of a tile comes out the same, whatever lies beyond the margin."""
    generator = trained(StyleGenerator(DEEP))
    margin = generator.margin_px
    size = 8 * -(-(4 * margin) // 8)
    one = images(size, 1)
    other = one.clone()
    other[..., : size // 2 - margin - 8] = -1
    middle = slice(size // 2, None)
    same = torch.allclose(generator(one)[..., middle], generator(other)[..., middle], atol=1e-5)
    assert same
    tile_wise = trained(StyleGenerator(DEEP.model_copy(update={"norm": "instance"})))
    far = (tile_wise(one) - tile_wise(other))[..., middle].abs().max()
    assert far > 1e-3  # the known cause of seams


def test_sharpness_starts_as_identity_blurs_and_sharpens_and_keeps_flat_areas() -> None:
    sharpness = Sharpness(3)
    assert torch.allclose(sharpness(images()), images(), atol=1e-6)
    flat = torch.full((1, 3, 16, 16), 0.3)
    spread = {}
    for v in (0.3, -0.2):
        sharpness.change.data.fill_(v / Sharpness.GAIN)
        assert torch.allclose(sharpness(flat), flat, atol=1e-6)
        assert sharpness.kernel().sum().item() == pytest.approx(1, abs=1e-6)
        spread[v] = sharpness(images()).std().item()
    assert spread[0.3] < images().std().item() < spread[-0.2]


def test_sharpness_is_a_gaussian_of_the_said_variance() -> None:
    sharpness = Sharpness(3)
    sharpness.change.data.fill_(0.3 / Sharpness.GAIN)
    place = torch.arange(-3, 4)
    assert (sharpness.kernel() * place**2).sum().item() == pytest.approx(3 * 0.3, abs=1e-5)


def test_kernel_of_a_network_without_sharpness_is_the_identity() -> None:
    plain = StyleGenerator(SMALL.model_copy(update={"sharpness_px": 0}))
    assert kernel_of(plain).tolist() == [1.0]
    assert len(kernel_of(StyleGenerator(SMALL))) == 7


def test_grey_keeps_optical_density_and_grey_images() -> None:
    grey = to_grey(images())
    assert torch.allclose(od_luminance(grey), od_luminance(images()), atol=1e-5)
    assert torch.allclose(to_grey(grey), grey, atol=1e-5)


def test_a_discriminator_judges_patches_and_the_whole() -> None:
    judge = Discriminator(DiscriminatorConfig(width=8, num_layers=3))
    patches, whole = judge(images(64))
    assert patches.shape == (2, 1, 8, 8)
    assert whole.shape == (2, 1)


def test_a_discriminator_soon_tells_two_stains_apart() -> None:
    torch.manual_seed(0)
    judge = Discriminator(DiscriminatorConfig(width=16))
    optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
    one, other = (to_tensor(he_tiles(8, 32, matrix=matrix)) for matrix in (MATRIX, OTHER))
    for _ in range(60):
        loss = discriminator_loss(judge(one), judge(other))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1  # 0.25 is a guess


def test_a_share_of_what_was_learned_is_kept() -> None:
    """Between the start, here the identity, and what was learned, on a line."""
    torch.manual_seed(0)
    generator = StyleGenerator(SMALL.model_copy(update={"norm": "none"})).eval()
    shown = images(16)
    assert torch.equal(for_use(generator, 0.5)(shown), shown)
    with torch.no_grad():
        generator.out.weight.normal_(0, 0.1)
        generator.out.get_parameter("bias").fill_(0.1)
        learned = generator(shown)
        for share in (0.0, 0.25, 1.0):
            part = for_use(generator, share)(shown)
            assert torch.allclose(part - shown, share * (learned - shown), atol=1e-5)
        assert torch.equal(generator(shown), learned)  # itself it stays as it was
    whole = StyleGenerator(SMALL.model_copy(update={"is_residual": False})).eval()
    with torch.no_grad():
        assert torch.equal(for_use(whole, 0.25)(shown), whole(shown))


def test_in_use_a_told_generator_carries_over_half_of_what_no_stain_explains() -> None:
    textbook = style_vector(TEXTBOOK.stains)
    generator = StyleGenerator(SMALL, role="to home", home=Home(textbook, textbook, 0.0)).eval()
    shown, style = 0.3 * images(16) + 0.3, torch.from_numpy(textbook).expand(2, -1)
    with torch.no_grad():
        assert torch.allclose(generator(shown, style), shown, atol=1e-4)
        wanted = rerendered(shown, style, style, 0.5)
        assert torch.allclose(for_use(generator, 1.0)(shown, style), wanted, atol=1e-4)
