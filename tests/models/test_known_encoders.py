"""Encoders of hubs: each is built without its hub, by any of its names, and takes its weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor, nn

from pathology.adapt.config import AdaptConfig
from pathology.core.errors import ArtifactError, ConfigError
from pathology.models import encoder as door
from pathology.models.encoder import OFFLINE, Encoder, make_encoder
from pathology.models.known_encoders import ELSEWHERE, KNOWN_ENCODERS, one_name
from pathology.weak.config import WeakConfig
from pipelines.feature_config import FeatureConfig

PUBLISHED = {  # features of a tile, and millions of weights, as the authors or the hub say
    "resnet50": (1024, None), "uni_v1": (1024, 303), "uni_v2": (1536, 681),
    "gigapath": (1536, 1135), "gigapath-flash": (384, 21.7), "virchow": (2560, 631),
    "virchow2": (2560, 631), "virchow2-cls": (1280, 631), "hoptimus0": (1536, 1135),
    "hoptimus1": (1536, 1135), "h0-mini": (768, 85.7), "lunit-vits8": (384, 21.7),
    "kaiko-vits8": (384, 21.7), "kaiko-vits16": (384, 21.7), "kaiko-vitb8": (768, 85.8),
    "kaiko-vitb16": (768, 85.8), "kaiko-vitl14": (1024, 303), "gpfm": (1024, 303),
    "digepath": (1024, 303),
}  # fmt: skip


@contextmanager
def no_hub() -> Iterator[None]:
    raise AssertionError("a hub was asked")
    yield


@pytest.mark.parametrize("name", KNOWN_ENCODERS)
def test_every_encoder_is_built_without_a_hub(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(door, "asked_once", no_hub)
    with torch.device("meta"):
        encoder = make_encoder(name, is_pretrained=False)
    num_features, millions = PUBLISHED[name]
    assert (encoder.name, encoder.num_features) == (name, num_features)
    if millions is not None:
        found = sum(weight.numel() for weight in encoder.network.parameters()) / 1e6
        assert found == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("MahmoodLab/UNI", "uni_v1"), ("hf-hub:MahmoodLab/uni", "uni_v1"), ("UNI_v1", "uni_v1"),
        (" hf_hub:mahmoodlab/uni2-h ", "uni_v2"), ("paige-ai/Virchow2", "virchow2"),
        ("virchow2-cls", "virchow2-cls"), ("bioptimus/H-optimus-0", "hoptimus0"),
        ("HF-HUB:bioptimus/H0-mini", "h0-mini"), ("owkin/phikon-v2", "phikon_v2"),
        ("kaiko-ai/midnight", "midnight12k"), ("timm/resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("hf_hub:timm/resnet50.a1_in1k", "resnet50.a1_in1k"), ("resnet18", "resnet18"),
        ("1aurent/vit_large_patch14_reg4_224.kaiko_ai_towards_large_pathology_fms",
         "kaiko-vitl14"),
        ("Some/Network", "hf-hub:Some/Network"), ("hf_hub:Some/Network", "hf-hub:Some/Network"),
        ("MahmoodLab/UNI@v2", "hf-hub:MahmoodLab/UNI@v2"),  # of a version, which need not be ours
        ("timm/resnet18.a1_in1k@v2", "hf-hub:timm/resnet18.a1_in1k@v2"),
        ("local-dir:some/folder", "local-dir:some/folder"), ("a/b/c", "a/b/c"),
    ],
)  # fmt: skip
def test_an_encoder_has_one_name(given: str, name: str) -> None:
    assert one_name(given) == name
    assert one_name(name) == name


def test_no_name_means_two_encoders() -> None:
    assert not set(ELSEWHERE) & set(KNOWN_ENCODERS)
    hubs = [known.hub.lower() for known in KNOWN_ENCODERS.values() if known.hub]
    assert not set(hubs) & {hub.lower() for hub in ELSEWHERE.values()}
    assert [hub for hub in set(hubs) if hubs.count(hub) > 1] == ["paige-ai/virchow2"]
    for name in [*ELSEWHERE, *KNOWN_ENCODERS]:
        assert one_name(name) == name
    with pytest.raises(ConfigError, match=r"'phikon' needs a package of its own"):
        make_encoder("owkin/phikon")


def random_weights(name: str, **options: Any) -> nn.Module:
    torch.manual_seed(3)
    network: nn.Module = timm.create_model(name, pretrained=False, **options)
    return network.eval()


def test_weights_of_a_file_need_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(door, "asked_once", no_hub)
    network = random_weights("vit_small_patch16_224", num_classes=5)  # with a head
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    encoder = make_encoder("kaiko-vits16", weights=path).eval()
    network.reset_classifier(0)  # type: ignore[operator]
    again = make_encoder("kaiko-vits16", is_pretrained=False).eval()  # as a saved model has it
    again.load_state_dict(encoder.state_dict())
    tiles = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        assert torch.allclose(encoder(tiles), network((tiles - 0.5) / 0.5), atol=1e-5)
        assert torch.equal(again(tiles), encoder(tiles))
    with pytest.raises(ArtifactError, match="weights of another network than kaiko-vits8"):
        make_encoder("kaiko-vits8", weights=path)  # of other patches


def test_places_are_spread_and_what_dinov2_adds_is_left_out(tmp_path: Path) -> None:
    theirs = random_weights("vit_tiny_patch16_224", num_classes=0, img_size=112).state_dict()
    path = tmp_path / "weights.pt"
    torch.save({**theirs, "mask_token": torch.zeros(1, 192)}, path)
    encoder = make_encoder("vit_tiny_patch16_224", weights=path)
    ours = encoder.network.state_dict()
    assert ours["pos_embed"].shape == (1, 1 + 14**2, 192)
    assert torch.equal(ours["pos_embed"][:, 0], theirs["pos_embed"][:, 0])
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if key != "pos_embed")


def test_a_hub_that_timm_does_not_understand_gives_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match=r"its weights could not be fetched .*--weights"):
        make_encoder("gigapath-flash")
    wanted = make_encoder("gigapath-flash", is_pretrained=False).network.state_dict()
    known = KNOWN_ENCODERS["gigapath-flash"]
    repository = tmp_path / f"models--{known.hub.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    torch.save(wanted, snapshot / known.file)
    found = make_encoder("prov-gigapath/prov-gigapath-flash").network.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in found.items())


def test_another_repository_is_asked_once_even_where_weights_are_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    asked = []

    def create(name: str, **options: Any) -> nn.Module:
        asked.append((name, options["pretrained"], constants.HF_HUB_OFFLINE))
        raise OSError("nobody\nthere")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ConfigError, match=r"how it is built .* could not be fetched") as refusal:
        make_encoder("Some/Network", weights=tmp_path / "weights.pt")
    assert "\n" not in str(refusal.value)
    assert asked == [("hf-hub:Some/Network", False, True)]


class Middle(nn.Module):
    """Gives all pixels that it sees."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def test_of_a_scaled_tile_the_middle_is_seen() -> None:
    colors = (0.0,) * 3, (1.0,) * 3
    encoder = Encoder("middle", Middle(), colors, size_px=4, scaled_px=8)
    tiles = torch.rand(1, 3, 8, 8)
    assert torch.equal(encoder(tiles), tiles[:, :, 2:6, 2:6].flatten(1))
    double = tiles.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.allclose(encoder(double).mean(), tiles[:, :, 2:6, 2:6].mean(), atol=0.05)
    whole = torch.rand(1, 3, 4, 4)
    assert torch.equal(encoder(whole), whole.flatten(1))
    once = encoder.fitted(double)
    assert torch.equal(encoder.fitted(once), once)
    assert KNOWN_ENCODERS["gigapath"].scaled_px == 256


@pytest.mark.parametrize("config", [FeatureConfig, WeakConfig, AdaptConfig])
def test_settings_hold_the_one_name(config: type[FeatureConfig | WeakConfig | AdaptConfig]) -> None:
    assert config(encoder="hf-hub:MahmoodLab/UNI").encoder == "uni_v1"
    assert config().encoder == OFFLINE
