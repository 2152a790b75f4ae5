"""The methods: which terms each adds to the cross-entropy of labelled tiles, and where it is from.

Terms are named in TermWeights. Methods add up: dman+mcc has the terms of both, and since dman is
about shares of classes, confusion is by share there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Method:
    """What a method is made of, in words and in terms."""

    said: str
    terms: dict[str, float | str | bool] = field(default_factory=dict)
    normalization: Literal["source", "separate"] = "source"


METHODS: dict[str, Method] = {
    "source": Method("the source alone"),
    "adabn": Method("each domain by its own statistics (Li et al., 2017)", {}, "separate"),
    "coral": Method("covariances alike (Sun and Saenko, 2016)", {"coral": 100.0}),
    "mmd": Method("kernel means alike (Long et al., 2015)", {"mmd": 1.0}),
    "dann": Method(
        "domains not to be told apart (Ganin et al., 2016)",
        {"adversary": 1.0, "adversary_loss": "binary"},
    ),
    "cdan": Method(
        "the same for features with their classes (Long et al., 2018)",
        {"adversary": 1.0, "adversary_loss": "binary", "is_conditional": True},
    ),
    "entropy": Method("sure of the target", {"entropy": 0.1}),
    "mcc": Method("classes not confused (Jin et al., 2020)", {"confusion": 1.0}),
    "sdat": Method("smooth on the source (Rangwani et al., 2022)", {"sharpness": 0.05}),
    "self-training": Method(
        "learns what its own moving average is sure of (French et al., 2018)", {"consistency": 1.0}
    ),
    "mic": Method(
        "sees in a part what its moving average sees in the whole (Hoyer et al., 2023)",
        {"masked": 1.0},
    ),
    "dman": Method(
        "adversary, entropy and reweighting (Zhang et al., MICCAI 2019)",
        {"adversary": 0.1, "entropy": 0.1, "focal": 1.0, "confusion_by": "share"},
        "separate",
    ),
    "couda": Method(
        "two peers with a judge each, labels that may be mistaken (Zhang et al., TIP 2020)",
        {
            "adversary": 0.1,
            "focal": 1.0,
            "is_pair": True,
            "noise": 0.2,
            "diversity": 0.01,
        },
        "separate",
    ),
    "target": Method("labels of the target: the oracle"),
}
