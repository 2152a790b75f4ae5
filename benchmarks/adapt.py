"""Training steps per second of adaptation beside a straightforward PyTorch loop, on two cores.

    python benchmarks/adapt.py --out DIR [--data FOLDER] [--repeats K]

Features of both domains are in memory (encoded on first use, not counted). Same networks, same
losses, same batch, same moving average; the plain loop has a DataLoader for each domain. Then the
whole colon task from features: training, its twin by the source alone, scores and model file.
"""

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from adapt_data import ALL, ON_CPU, ColonData, Setting
from measure import keep_to_cores
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset
from weak import table

from pathology.adapt import losses
from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import SOURCE, TARGET, DomainClassifier, Judge, weighted_statistics
from pathology.adapt.prior import class_balance
from pathology.adapt.reversal import reversal_strength, reverse_gradient
from pipelines.adapt_domains import Domains
from pipelines.adapt_train import train_adapt
from pipelines.adapt_training import train_on

LEAVE_OUT = 20  # steps before the clock starts


def ours(domains: Domains, config: AdaptConfig, folder: Path) -> float:
    """Steps per second with all that belongs to them: measurements, checkpoints, rebalancing."""
    times: list[float] = []
    train_on(
        domains, config, ON_CPU, folder,
        on_step=lambda step, _: times.append(time.perf_counter()),
    )  # fmt: skip
    return (len(times) - LEAVE_OUT) / (times[-1] - times[LEAVE_OUT - 1])


def batches(*tensors: Tensor, batch: int, steps: int) -> Iterator[list[Tensor]]:
    """Random batches of a domain, as most code draws them."""
    data = TensorDataset(*tensors)
    sampler = RandomSampler(data, replacement=True, num_samples=batch * steps)
    return iter(DataLoader(data, batch_size=batch, sampler=sampler))


def plain(domains: Domains, config: AdaptConfig) -> float:
    """DMAN and MCC as one would write them down: no rebalancing, no checkpoints, nothing kept."""
    source, target, num = domains.train, domains.target, len(domains.classes)
    terms, steps = config.term_weights(), config.steps
    model = DomainClassifier(source.values.shape[1], num, config.width, config.dropout)
    for domain, part in ((SOURCE, source), (TARGET, target)):
        model.set_statistics(domain, weighted_statistics(part.read(ALL)))
    judge = Judge(config.width, num, config.judge_width, is_conditional=False)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
    optimizer = torch.optim.AdamW(
        [*model.parameters(), *judge.parameters()], config.learning_rate,
        weight_decay=config.weight_decay,
    )  # fmt: skip
    weight_C = torch.from_numpy(class_balance(source.label_N, num, terms.balance)).float()
    labelled = batches(
        torch.from_numpy(source.read(ALL)), torch.from_numpy(source.label_N),
        batch=config.batch_size, steps=steps,
    )  # fmt: skip
    unlabelled = batches(torch.from_numpy(target.read(ALL)), batch=config.batch_size, steps=steps)
    start = 0.0
    model.train()
    for step, ((x, label), (y,)) in enumerate(zip(labelled, unlabelled, strict=True)):
        if step == LEAVE_OUT:
            start = time.perf_counter()
        strength = reversal_strength(step, round(config.ramp * steps))
        one, other = model(x, SOURCE), model(y, TARGET)
        scores = [judge(reverse_gradient(m.hidden_BW, strength), m.logits_BC) for m in (one, other)]
        wrong = losses.least_squares_adversary(*scores)
        focal_B = losses.focal_cross_entropy(one.logits_BC, label, terms.focal)
        loss = (weight_C[label] * focal_B).mean()
        loss = loss + terms.adversary * (wrong[0].mean() + wrong[1].mean())
        entropy = losses.prediction_entropy(other.logits_BC).mean()
        loss = loss + strength * terms.entropy * entropy
        confusion = losses.class_confusion(
            other.logits_BC, is_by_share=terms.confusion_by == "share"
        )
        loss = loss + strength * terms.confusion * confusion
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        averaged.update_parameters(model)
    return (steps - LEAVE_OUT) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="features are kept here")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PATHOLOGY_DATA", "")))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    keep_to_cores(2)
    torch.set_num_threads(2)
    config = AdaptConfig()
    data = ColonData(options.data, options.out / "data", config)
    domains, _ = data.domains(Setting(), 0)
    scratch = options.out / "scratch"
    runs = []
    for _ in range(options.repeats):
        shutil.rmtree(scratch, ignore_errors=True)
        few = config.model_copy(update={"steps": options.steps})
        pair = [ours(domains, few, scratch / "ours"), plain(domains, few)]
        runs.append({"steps/s on features": pair})
        print(json.dumps(runs[-1]), flush=True)
    print(table(runs))
    seconds = []
    for repeat in range(options.repeats):
        start = time.perf_counter()
        train_adapt(domains, scratch / f"{repeat}.pt", config, ON_CPU)
        seconds.append(time.perf_counter() - start)
    print(f"the whole task from features: {statistics.median(seconds):.1f} s")
    shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
