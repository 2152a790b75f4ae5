"""Losses of learning from a labelled source and an unlabelled target.

B examples (S of the source, T of the target, where they differ), C classes, F features. All take
raw logits, scores or features; what has a value for each example is reduced at the call site.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels of mmd, times the mean squared distance
LEAST = 1e-12


def focal_cross_entropy(logits_BC: Tensor, label_B: Tensor, gamma: float = 0.0) -> Tensor:
    """Cross-entropy that counts hard examples more: -(1 - p[y])**gamma * log p[y].

    gamma    0 is cross-entropy
    returns  (B,), at least 0

    Lin et al., ICCV 2017, equation 4.
    """
    log_p_B = functional.log_softmax(logits_BC, dim=1).gather(1, label_B[:, None])[:, 0]
    if not gamma:
        return -log_p_B
    missing_B = (-torch.expm1(log_p_B)).clamp_min(LEAST)
    return -(missing_B**gamma) * log_p_B


def prediction_entropy(logits_BC: Tensor) -> Tensor:
    """Shannon entropy, in nats, of each row's softmax: (B,) from 0 (certain) to log C (uniform)."""
    log_p_BC = functional.log_softmax(logits_BC, dim=1)
    return -(log_p_BC.exp() * log_p_BC).sum(dim=1)


def least_squares_adversary(source_S: Tensor, target_T: Tensor) -> tuple[Tensor, Tensor]:
    """How wrong a judge is that should give 1 to the source and 0 to the target: (S,), (T,).

    Mao et al., ICCV 2017.
    """
    return (source_S - 1) ** 2, target_T**2


def binary_adversary(source_S: Tensor, target_T: Tensor) -> tuple[Tensor, Tensor]:
    """The same as cross-entropy of two classes, scores being logits: Ganin et al., JMLR 2016."""
    return functional.softplus(-source_S), functional.softplus(target_T)


def class_confusion(
    logits_BC: Tensor, temperature: float = 2.5, *, is_by_share: bool = False
) -> Tensor:
    """How much a batch's classes are mistaken for each other: from 0 to 1 - 1/C.

    temperature  by which logits are divided first
    is_by_share  classes count by their share of the answers, and not all alike: where one hardly
                 occurs, the few answers that it has by mistake are not made surer

    Minimum class confusion (Jin et al., ECCV 2020, equations 2 to 6; shares are ours): certain
    examples count more, and no gradient passes through how much they count.
    """
    num, num_classes = logits_BC.shape
    scaled_BC = logits_BC / temperature
    p_BC = scaled_BC.softmax(dim=1)
    weight_B = 1 + (-prediction_entropy(scaled_BC)).exp().detach()
    weight_B = num * weight_B / weight_B.sum()
    together_CC = (p_BC * weight_B[:, None]).T @ p_BC
    share_CC = together_CC / together_CC.sum(dim=1, keepdim=True).clamp_min(LEAST)
    mistaken_C = share_CC.sum(dim=1) - share_CC.diagonal()
    if is_by_share:
        return (logits_BC.softmax(dim=1).mean(dim=0).detach() * mistaken_C).sum()
    return mistaken_C.sum() / num_classes


def coral(source_SF: Tensor, target_TF: Tensor, weight_S: Tensor | None = None) -> Tensor:
    """Distance of the covariances: squared Frobenius norm over 4 F**2.

    weight_S  how much each example of the source counts

    Sun and Saenko, ECCV Workshops 2016, equation 1.
    """
    apart_FF = covariance(source_SF, weight_S) - covariance(target_TF)
    return apart_FF.square().sum() / (4 * source_SF.shape[1] ** 2)


def covariance(features_BF: Tensor, weight_B: Tensor | None = None) -> Tensor:
    """Covariance (F, F) of features, each example counting by its weight or all alike."""
    num = len(features_BF)
    weight_B = features_BF.new_ones(num) if weight_B is None else weight_B
    share_B1 = (weight_B / weight_B.sum().clamp_min(LEAST))[:, None]
    centred_BF = features_BF - (share_B1 * features_BF).sum(dim=0)
    made: Tensor = (share_B1 * centred_BF).T @ centred_BF * (num / max(1, num - 1))
    return made


def mmd(source_SF: Tensor, target_TF: Tensor, weight_S: Tensor | None = None) -> Tensor:
    """Squared maximum mean discrepancy by five Gaussian kernels; 0 for equal batches.

    weight_S  how much each example of the source counts
    returns   at least 0

    Long et al., ICML 2015. Kernels are as wide as examples lie apart, times BANDWIDTHS; no gradient
    passes through the width.
    """
    num = len(source_SF)
    weight_S = source_SF.new_ones(num) if weight_S is None else weight_S
    every_BF = torch.cat([source_SF, target_TF])
    share_B = torch.cat(
        [
            weight_S / weight_S.sum().clamp_min(LEAST),
            -target_TF.new_ones(len(target_TF)) / len(target_TF),
        ]
    )
    square_BB = squared_distances(every_BF)
    width = square_BB.detach().mean().clamp_min(LEAST)
    kernel_BB = torch.stack([(-square_BB / (b * width)).exp() for b in BANDWIDTHS]).mean(dim=0)
    return (share_B @ kernel_BB @ share_B).clamp_min(0)


def squared_distances(features_BF: Tensor) -> Tensor:
    """Squared Euclidean distances (B, B) of rows."""
    square_B = features_BF.square().sum(dim=1)
    product_BB = features_BF @ features_BF.T
    return (square_B[:, None] + square_B[None] - 2 * product_BB).clamp_min(0)


def consistency(logits_BC: Tensor, teacher_BC: Tensor, confidence: float) -> Tensor:
    """Cross-entropy with what a teacher is sure of: (B,), 0 where it is not.

    teacher_BC  logits of a teacher, through which no gradient passes
    confidence  least probability of the teacher's class

    FixMatch (Sohn et al., NeurIPS 2020, equation 4).
    """
    sure_B, label_B = teacher_BC.detach().softmax(dim=1).max(dim=1)
    apart_B = functional.cross_entropy(logits_BC, label_B, reduction="none")
    return torch.where(sure_B >= confidence, apart_B, 0.0)


def masked_consistency(logits_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """Cross-entropy of answers on masked tiles with a teacher's on whole ones: (B,).

    teacher_BC  logits of the teacher, through which no gradient passes; each example counts by the
                probability of its answer

    MIC (Hoyer et al., CVPR 2023, equations 6 to 8), for classes of images.
    """
    sure_B, label_B = teacher_BC.detach().softmax(dim=1).max(dim=1)
    return sure_B * functional.cross_entropy(logits_BC, label_B, reduction="none")


def peer_disagreement(one_BC: Tensor, other_BC: Tensor) -> Tensor:
    """Twice the Jensen-Shannon divergence of two networks' answers: (B,) from 0 to 2 log 2.

    CoUDA (Zhang et al., IEEE TIP 2020): its two peers are kept from becoming one.
    """
    logs = [functional.log_softmax(logits, dim=1) for logits in (one_BC, other_BC)]
    middle_BC = torch.logaddexp(*logs) - torch.log(torch.tensor(2.0, dtype=one_BC.dtype))
    parts = [(log_p.exp() * (log_p - middle_BC)).sum(dim=1) for log_p in logs]
    return parts[0] + parts[1]


def noisy_log_probabilities(logits_BC: Tensor, noise_CC: Tensor) -> Tensor:
    """Log-probabilities (B, C) of the labels that were noted, mistakes included.

    noise_CC  logits of row c: which labels examples of class c were given

    The noise-adaptation layer of CoUDA, p @ softmax(Q). The released code puts what comes out
    through a second softmax; here it is not, being normalized already.
    """
    log_p_BC1 = functional.log_softmax(logits_BC, dim=1)[:, :, None]
    log_q_CC = functional.log_softmax(noise_CC, dim=1)
    return torch.logsumexp(log_p_BC1 + log_q_CC, dim=1)
