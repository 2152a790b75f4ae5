"""The optimizer of a step of adaptation."""

from __future__ import annotations

import torch
from torch import nn

from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import DomainClassifier


def make_optimizer(
    config: AdaptConfig, model: DomainClassifier, judge: nn.Module, noted: nn.Module
) -> torch.optim.Optimizer:
    """AdamW, at one rate for the head, one for what of the encoder learns, one for the judge."""
    encoder = [] if model.encoder is None else list(model.encoder.parameters())
    parts = (
        ([*model.head.parameters(), *noted.parameters()], 1.0),
        (encoder, config.encoder_rate),
        (judge.parameters(), config.judge_rate),
    )
    groups = [
        {"params": [p for p in part if p.requires_grad], "rate": config.learning_rate * factor}
        for part, factor in parts
    ]
    groups = [group for group in groups if group["params"]]
    decay = config.weight_decay
    return torch.optim.AdamW(groups, config.learning_rate, weight_decay=decay, fused=True)
