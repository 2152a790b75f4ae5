"""One training of an adaptation: its network, its batches, and features as they are by now."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pathology.adapt.balance import FeatureBalance, PixelBalance
from pathology.adapt.batch import DomainBatch
from pathology.adapt.config import AdaptConfig
from pathology.adapt.domain_norm import choose_statistics
from pathology.adapt.network import SOURCE, TARGET, DomainClassifier
from pathology.adapt.prior import class_balance
from pathology.adapt.step import AdaptStep
from pathology.core.artifact import fingerprint
from pathology.core.run_record import num_cores
from pathology.data.ahead import Ahead
from pathology.models.card import SCHEMA
from pathology.models.encode import to_images
from pathology.models.encoder import Encoder
from pathology.models.layout import choose_layout
from pathology.training.curves import draw_curves
from pathology.training.fabric import Fabric, make_fabric
from pathology.training.loop import Loop, Values, fit, read_metrics
from pathology.training.together import from_first, num_processes, rank
from pipelines.adapt_choice import chooser_of
from pipelines.adapt_domains import AdaptOptions, Domains
from pipelines.adapt_encoder import hiding_of, variations_of
from pipelines.adapt_inputs import Say
from pipelines.adapt_look import ALL, Looker, adapt_layers

DEPTH = 3  # batches of pixels that are made ahead
KEEP_EVERY, KEEP_PIXELS_EVERY = 300, 100  # steps between checkpoints
DRAW_EVERY_S = 20.0
LOOKED_AT = 512  # tiles of each domain whose features say how it is, while the encoder learns


def train_on(
    domains: Domains,
    config: AdaptConfig,
    options: AdaptOptions,
    folder: Path,
    *,
    fabric: Fabric | None = None,
    on_step: Callable[[int, Values], None] = lambda step, values: None,
    on_chosen: Callable[[int], None] = lambda step: None,
    say: Say = lambda line: None,
) -> DomainClassifier:
    """The classifier with the moving average of its weights.

    fabric     processes that were started, each of which learns from its share of a batch; None:
               one
    on_chosen  told after how many steps it was as it is returned
    """
    fabric = fabric or make_fabric(options.device, options.precision)
    source, num_classes = domains.train, len(domains.classes)
    torch.manual_seed(config.seed)
    encoder = _learner(domains.encoder, config) if config.is_pixels else None
    num_features = domains.tiles.num_features
    model = DomainClassifier(
        num_features, num_classes, config.width, config.dropout, encoder,
        is_pair=config.term_weights().is_pair,
    )  # fmt: skip
    model = model.to(fabric.device)
    if encoder is not None and not config.is_of_maps:
        size_px, is_bf16 = config.tile_px or config.size_px, options.precision == "bf16"
        choose_layout(encoder, size_px, learns=True, is_bf16=is_bf16)
    power = config.term_weights().balance
    weight_C = class_balance(source.label_N, num_classes, power, source.weight_N)
    balance = _balance(domains, config)
    if domains.start is not None:  # its head knows features as they are, not normalized ones
        known = from_first(lambda: balance(model, torch.ones(num_classes), 0)).statistics
        for domain, statistics in enumerate(known or ()):
            model.set_statistics(domain, statistics)
        domains.start.give_head(model)
    update = AdaptStep(
        config, model, torch.from_numpy(weight_C).float().to(fabric.device), balance,
        autocast=fabric.autocast, backward=fabric.backward,
    )  # fmt: skip

    chooser = chooser_of(update, domains, config)
    drawn = [time.monotonic()]

    def keep(step: int) -> None:  # a picture takes half a second, a step on features 8 ms
        if step < config.steps and time.monotonic() - drawn[0] < DRAW_EVERY_S:
            return
        drawn[0] = time.monotonic()
        draw_curves(read_metrics(folder / "metrics.jsonl"), folder / "curves.png", config.method)

    keep_every = KEEP_PIXELS_EVERY if config.is_pixels else KEEP_EVERY
    loop = Loop(config.steps, every=20, keep=keep_every)
    recipe = _recipe(domains, config)
    with _batches(domains, config, str(fabric.device)) as draw:
        start = fit(
            chooser or update, draw, loop, folder, recipe, is_first=fabric.is_global_zero,
            on_step=on_step, on_keep=keep,
        )  # fmt: skip
    on_chosen(config.steps if chooser is None else chooser.take_best())
    if config.is_pixels and config.layers_normalized_by() == "adapted":
        update.balance(config.steps)
    if start:
        say(f"went on from step {start} of an earlier run")
    return update.averaged


def _learner(encoder: Encoder | None, config: AdaptConfig) -> Encoder:
    """A copy of the encoder, of which the last blocks learn."""
    if encoder is None:
        raise ValueError("pixels need an encoder")
    made = deepcopy(encoder).requires_grad_(True)
    made.learn_last(config.encoder_blocks)
    choose_statistics(made, config.layers_normalized_by())
    return made.to(memory_format=torch.channels_last)


def _balance(domains: Domains, config: AdaptConfig) -> FeatureBalance | PixelBalance:
    """What tells the classes' shares and the features' statistics."""
    source, target, num_classes = domains.train, domains.target, len(domains.classes)
    if not config.is_pixels:
        features = (np.asarray(part.read(ALL), np.float32) for part in (source, target))
        return FeatureBalance(
            next(features), source.label_N, next(features), num_classes, config,
            weight_N=source.weight_N,
        )  # fmt: skip
    some, others = source.some(LOOKED_AT), target.some(LOOKED_AT)

    def look(model: DomainClassifier) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if config.layers_normalized_by() == "adapted":
            adapt_layers(model, target, others, config)
        looker = Looker(model, config, is_fast=len(some) + len(others) > LOOKED_AT)
        return looker(source, SOURCE, some), looker(target, TARGET, others)

    return PixelBalance(
        look, source.label_N[some], num_classes, config, source.label_N,
        None if source.weight_N is None else source.weight_N[some], source.weight_N,
    )  # fmt: skip


@contextmanager
def _batches(
    domains: Domains, config: AdaptConfig, device: str
) -> Iterator[Callable[[int], DomainBatch]]:
    """The batch of a step, or this process's share of it; pixels are made ahead."""

    taught_N = domains.taught(config)

    def draw(step: int) -> DomainBatch:
        return _draw(domains, config, taught_N, device, step)

    if not config.is_pixels:
        yield draw
        return
    with ThreadPoolExecutor(num_cores()) as pool:
        try:
            yield Ahead(pool, draw, config.steps, DEPTH)
        finally:
            pool.shutdown(cancel_futures=True)


def _draw(
    domains: Domains, config: AdaptConfig, taught_N: NDArray[np.bool_], device: str, step: int
) -> DomainBatch:
    """A function of the settings, the step and which of how many processes this is."""
    source, target = domains.train, domains.target
    random = np.random.default_rng([config.seed, step])
    mine = slice(rank(), None, num_processes())
    one = random.integers(len(source), size=config.batch_size)[mine]
    other = _draw_target(random, taught_N, config)[mine]
    label_T = np.where(taught_N[other], target.label_N[other], -1)
    weight_S = np.ones(len(one)) if source.weight_N is None else source.weight_N[one]
    if config.is_pixels:
        look = _draw_maps if source.is_maps else _draw_pixels
        source_B, target_T, hidden_T = look(domains, config, (one, other), device, step)
    else:
        source_B, target_T = (
            torch.from_numpy(part.read(rows)).to(device)
            for part, rows in ((source, one), (target, other))
        )
        hidden_T = None
    return DomainBatch(
        source_B,
        torch.from_numpy(source.label_N[one]).to(device),
        torch.from_numpy(weight_S).float().to(device),
        target_T,
        torch.from_numpy(label_T).to(device),
        hidden_T,
    )


def _draw_target(
    random: np.random.Generator, taught_N: NDArray[np.bool_], config: AdaptConfig
) -> NDArray[np.int64]:
    """Tiles of the target: none where they teach nothing, or at least half with known labels."""
    num = config.batch_size
    if not config.is_supervised:
        num = num if config.is_target_seen else 0
    if not config.is_supervised or taught_N.all():
        return random.integers(len(taught_N), size=num)
    taught = np.flatnonzero(taught_N)
    num_taught = num // 2 if config.is_target_seen else num
    rest = random.integers(len(taught_N), size=num - num_taught)
    return np.concatenate([taught[random.integers(len(taught), size=num_taught)], rest])


def _draw_pixels(
    domains: Domains, config: AdaptConfig, rows: Sequence[NDArray[np.int64]], device: str, step: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tiles of both domains, varied; and the target's hidden in part, where that is learned of."""
    vary = np.random.default_rng([config.seed, step, 1 + 2 * rank()])
    images = [
        to_images(np.asarray(part.read(numbers)), device, config.tile_px)
        for part, numbers in zip((domains.train, domains.target), rows, strict=True)
    ]
    source_B, target_T = (
        how(some, vary) if len(some) else some
        for some, how in zip(images, variations_of(config), strict=True)
    )
    hide = hiding_of(config, domains.encoder)
    random = np.random.default_rng([config.seed, step, 2 + 2 * rank()])
    return source_B, target_T, None if hide is None else hide(target_T, random)


def _draw_maps(
    domains: Domains, config: AdaptConfig, rows: Sequence[NDArray[np.int64]], device: str, step: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The maps of each tile as it is, or in one of its variations; see _draw_pixels."""
    vary = np.random.default_rng([config.seed, step, 1 + 2 * rank()])
    num, (one, other) = 1 + config.augmented, rows
    which_B, which_T = (vary.integers(num, size=len(numbers)) for numbers in rows)
    asked = [(domains.train, one, which_B), (domains.target, other, which_T)]
    if hiding_of(config, domains.encoder) is not None:
        asked.append((domains.target, other, num + which_T))
    found = [torch.from_numpy(part.maps(n, which)).to(device) for part, n, which in asked]
    return found[0], found[1], found[2] if len(found) > 2 else None


def _recipe(domains: Domains, config: AdaptConfig) -> str:
    """Fingerprint of all that shapes the weights."""
    inputs = {"data": domains.digest}
    if config.is_pixels:
        inputs["encoder"] = domains.tiles.weights
    if domains.start is not None:
        inputs["start"] = domains.start.digest
    if domains.train.weight_N is not None:
        inputs["weights"] = hashlib.sha256(domains.train.weight_N.tobytes()).hexdigest()[:12]
    if config.is_supervised:
        labels = domains.target.label_S.tobytes() + domains.taught(config).tobytes()
        inputs["target labels"] = hashlib.sha256(labels).hexdigest()[:12]
    return fingerprint("adapt training", SCHEMA, config, inputs)
