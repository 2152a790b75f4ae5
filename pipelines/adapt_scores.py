"""What can be said of an adapted classifier without a label of the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pathology.adapt.balance import probabilities
from pathology.adapt.choose import (
    deep_embedded_validation,
    density_ratio,
    fit_temperature,
    mean_entropy,
    soft_neighborhood_density,
)
from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import SOURCE, TARGET, DomainClassifier
from pipelines.adapt_inputs import DomainTiles
from pipelines.adapt_look import Looker

PLAIN = "source_only_"
LEAST = 1e-12
LEAST_SHARE = 0.02  # of the target's tiles, below which a class is nearly gone
DROP = 0.05  # of accuracy on the source, above which adaptation is held to have done harm
MOVED = 0.4  # share of the target's tiles, by which the classes' shares differ, that is too much
SPARSER, LOST = 0.15, 0.02  # the same of the density of answers and, together with it, of accuracy
REMARKS = {
    "target_accuracy": " (by labels of the target)",
    "temperature": " (fitted on the source: where the target is unlike it, probabilities may still "
    "be wrong)",
}
MOST_TILES = 4000  # of each domain that the scores look at


class Seen(NamedTuple):
    """A classifier, with what it makes of the target, looked at once.

    look        features of tiles
    target_NF   of all tiles of the target; answers_NC on them
    """

    model: DomainClassifier
    look: Looker
    target_NF: NDArray[np.float32]
    answers_NC: NDArray[np.float64]


def see(model: DomainClassifier, target: DomainTiles, config: AdaptConfig) -> Seen:
    """Pass the target through a classifier."""
    look = Looker(model, config, is_fast=True)
    target_NF = look(target, TARGET)
    return Seen(model, look, target_NF, probabilities(model, target_NF, TARGET))


def scores_without_labels(
    seen: Seen,
    train: DomainTiles,
    val: DomainTiles,
    target: DomainTiles,
    asked_N: NDArray[np.bool_],
) -> dict[str, float]:
    """Scores by name; those of the target that need labels only where it has them.

    asked_N  the target's tiles whose labels are compared with

    source_accuracy  balanced accuracy on the source's slides that were set aside
    target_entropy   mean, in nats; target_density: SND; target_loss: DEV, an estimate
    share_K          of the target's tiles that are given to class K
    target_accuracy  balanced accuracy by tiles, where the target came with labels
    """
    model, look, target_NF, answers_NC = seen
    num_classes = answers_NC.shape[1]
    some = target.some(MOST_TILES)
    found = {
        "target_entropy": mean_entropy(answers_NC),
        "target_density": soft_neighborhood_density(answers_NC[some]),
    }
    shares = np.bincount(answers_NC.argmax(axis=1), minlength=num_classes) / len(answers_NC)
    found |= {f"share_{k}": float(share) for k, share in enumerate(shares)}
    if len(val):
        val_NF = look(val, SOURCE)
        val_NC = probabilities(model, val_NF, SOURCE)
        found["source_accuracy"] = balanced_accuracy(val.label_N, val_NC)
        found["target_loss"] = target_loss(
            losses_of(val.label_N, val_NC),
            look(train, SOURCE, train.some(MOST_TILES)),
            target_NF[some],
            val_NF,
        )
    if asked_N.any():
        found["target_accuracy"] = balanced_accuracy(target.label_N[asked_N], answers_NC[asked_N])
    return {name: round(float(value), 6) for name, value in found.items()}


def losses_of(label_M: NDArray[np.int64], answers_MC: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cross-entropy (M,) of answers, in nats."""
    own_M = answers_MC[np.arange(len(label_M)), label_M]
    return np.asarray(-np.log(np.maximum(own_M, LEAST)), np.float64)


def target_loss(
    loss_M: NDArray[np.float64],
    source_SF: NDArray[np.float32],
    target_NF: NDArray[np.float32],
    val_MF: NDArray[np.float32],
) -> float:
    """DEV, from losses on source tiles set aside, and features of both domains and of these."""
    every = (each.astype(np.float64) for each in (source_SF, target_NF, val_MF))
    return deep_embedded_validation(loss_M, density_ratio(*every))


def calibrate(seen: Seen, val: DomainTiles) -> dict[str, float]:
    """Divide a classifier's logits by the temperature that suits the source's slides set aside.

    Returns it by name; nothing, and nothing is changed, where none were set aside.
    """
    if not len(val):
        return {}
    model = seen.model
    features = torch.from_numpy(np.asarray(seen.look(val, SOURCE), np.float32))
    with torch.inference_mode():
        each = model.classify(features.to(model.mean_2F.device), SOURCE).each
    logits_KMC = np.stack([logits.double().cpu().numpy() for logits in each])
    temperature = fit_temperature(logits_KMC, val.label_N)
    model.head.cool(temperature)
    return {"temperature": round(temperature, 4)}


def score_lines(metrics: Mapping[str, float], classes: Sequence[str]) -> list[str]:
    """The scores for a reader, with what the source alone reaches, and which needed labels."""
    found = []
    said_of = {f"share_{k}": f"share called {name}" for k, name in enumerate(classes)}
    for name, value in metrics.items():
        if name.startswith(PLAIN):
            continue
        said = f"{said_of.get(name, name.replace('_', ' '))} {value:.3f}"
        plain = metrics.get(f"{PLAIN}{name}")
        if plain is not None:
            said += f", by the source alone {plain:.3f}"
        said += REMARKS.get(name, "")
        found.append(said)
    return found


def balanced_accuracy(label_N: np.ndarray, answers_NC: np.ndarray) -> float:
    """Mean recall over the classes that occur."""
    from sklearn.metrics import recall_score

    occurs = np.unique(label_N)
    guess_N = answers_NC.argmax(axis=1)
    return float(recall_score(label_N, guess_N, labels=occurs, average="macro"))


def warnings_of(metrics: Mapping[str, float], classes: Sequence[str]) -> list[str]:
    """What makes an adaptation look harmful, in words.

    Of 33 adaptations that did harm these rules see 16, and warn of 7 in 203 that gained; see the
    benchmarks. The estimated loss (DEV) saw 7, and was high beside 28 good ones: it is not used.
    """
    found = []
    for k, name in enumerate(classes):
        share = metrics[f"share_{k}"]
        if share < LEAST_SHARE:
            found.append(
                f"warning: only {share:.1%} of the target's tiles are called {name}. Unless that "
                "is so, the classes have collapsed: look at some, or train with --method source"
            )
    shares, plain = (
        [metrics.get(f"{prefix}share_{k}", 0.0) for k in range(len(classes))]
        for prefix in ("", PLAIN)
    )
    moved = sum(max(0.0, one - other) for one, other in zip(shares, plain, strict=True))
    if any(plain) and moved > MOVED:
        found.append(
            f"warning: {moved:.0%} of the target's tiles changed sides: {_said(plain, classes)} "
            f"without adaptation, now {_said(shares, classes)}. One is badly wrong: look at "
            "differences.png"
        )
    density, accuracy = (
        (metrics.get(f"{PLAIN}{name}", 0.0), metrics.get(name, 1.0))
        for name in ("target_density", "source_accuracy")
    )
    lost = accuracy[0] - accuracy[1]
    fell = f"from {accuracy[0]:.3f} to {accuracy[1]:.3f}"
    if density[0] - density[1] > SPARSER and lost > LOST:
        found.append(
            f"warning: the target's answers lie apart (SND {density[1]:.2f}, without adaptation "
            f"{density[0]:.2f}), and accuracy on the source's own slides fell {fell}. Adaptation "
            "may have done harm: look at differences.png, or train with --method source"
        )
    elif lost > DROP:
        found.append(f"warning: on the source's own slides accuracy fell {fell}")
    return found


def _said(shares: Sequence[float], classes: Sequence[str]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in zip(classes, shares, strict=True))
