"""A small encoder of timm's with random weights in a file."""

from pathlib import Path

import timm
import torch

NAME, NUM_FEATURES = "resnet10t", 512
SMALLEST = "test_resnet"  # for what trains an encoder many times


def moved_layers(before: Path, state: dict[str, torch.Tensor]) -> set[str]:
    """Layers of the encoder in a model's weights that are not as they were in a file."""
    weights = torch.load(before, weights_only=True)
    return {
        name.split(".")[0]
        for name, value in weights.items()
        if not torch.equal(value, state[f"encoder.network.{name}"])
    }


def write_weights(path: Path, seed: int = 0, name: str = NAME) -> Path:
    """The file, made."""
    torch.manual_seed(seed)
    torch.save(timm.create_model(name, pretrained=False, num_classes=0).state_dict(), path)
    return path
