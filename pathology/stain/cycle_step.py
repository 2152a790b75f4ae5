"""One training step of the conditional CycleGAN: many source styles to one target, and back.

G renders any image in the target's style. F renders a target image, or G's output, in the style
that it is given: for the cycle the stain matrix of the original, so that it knows where to return
to (Zhou et al., MICCAI 2019). With the condition switched off this is CycleGAN.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pathology.stain import losses
from pathology.stain.cycle_config import Condition, CycleConfig
from pathology.stain.image_pool import ImagePool
from pathology.stain.jitter import channel_factors, jittered_grey
from pathology.stain.macenko import TEXTBOOK
from pathology.stain.networks import Discriminator, Role, StyleGenerator
from pathology.stain.rerender import restained, restyled
from pathology.stain.style_vector import Home, style_vector
from pathology.training.numbers import require_numbers
from pathology.training.together import in_first, num_processes, rank

Backward = Callable[[Tensor], None]
Styled = tuple[Tensor, Tensor]  # images, and the style of each
BETAS = (0.5, 0.999)  # Adam's, as in CycleGAN


class CycleBatch(NamedTuple):
    """Unpaired images of both sides, from -1 to 1, with their styles of S numbers.

    style_BS   what the way back is told of each source image, to return to it
    other_BS   the same of other source images, for targets to take
    own_BS     of each source image's slide, which the way to the target is told; home_BS the same
               of target images
    """

    source_B3HW: Tensor
    target_B3HW: Tensor
    style_BS: Tensor
    other_BS: Tensor
    own_BS: Tensor
    home_BS: Tensor


class CycleStep:
    """Both generators, both discriminators, their optimizers, and one update of them all.

    averaged  G with the running average of its weights: what is kept for use
    home      the style of the target, that both generators start from where they are told styles
    """

    def __init__(
        self,
        config: CycleConfig,
        *,
        backward: Backward = torch.Tensor.backward,
        setup: Callable[..., Any] = lambda network, optimizer: (network, optimizer),
        home: Home | None = None,
    ) -> None:
        self.config, self.backward = config, backward
        torch.manual_seed(config.seed)
        textbook = style_vector(TEXTBOOK.stains)
        home = Home(textbook, textbook, 0.0) if home is None else home
        to_target = target_generator(config, home)
        networks: dict[str, nn.Module] = {
            "to_target": to_target,
            "to_source": source_generator(config, home),
            "judge_target": Discriminator(config.discriminator),
            "judge_source": Discriminator(config.discriminator),
        }
        self.averaged = deepcopy(to_target).requires_grad_(False)
        self.networks: dict[str, Any] = {}
        self.optimizers: dict[str, Any] = {}
        for name, network in networks.items():
            network.to(memory_format=torch.channels_last)  # a quarter faster on a CPU
            optimizer = torch.optim.Adam(
                network.parameters(), config.learning_rate, BETAS, fused=True
            )
            self.networks[name], self.optimizers[name] = setup(network, optimizer)
        self.pools = {"target": ImagePool(config.pool_size), "source": ImagePool(config.pool_size)}

    def __call__(self, batch: CycleBatch, step: int) -> dict[str, float]:
        """Update everything once; returns the terms of the loss, unweighted.

        Raises ConfigError where they are no numbers.
        """
        rate = learning_rate(step, self.config)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                is_judge = name.startswith("judge")
                group["lr"] = rate * (self.config.judge_speed if is_judge else 1.0)
        random = np.random.default_rng([self.config.seed, step])
        batch = varied(batch, self.config, random)
        values, as_target, as_source = self._update_generators(batch)
        self._average(step)
        pooled = {
            "target": self.pools["target"].exchange(as_target.detach(), random),
            "source": self.pools["source"].exchange(as_source.detach(), random),
        }
        real = {"target": batch.target_B3HW, "source": batch.source_B3HW}
        for side, fakes in pooled.items():
            judge = self.networks[f"judge_{side}"]
            loss = losses.discriminator_loss(judge(real[side]), judge(fakes))
            self._descend(loss, f"judge_{side}")
            values[f"judge_{side}"] = loss.detach()
        found = torch.stack(list(values.values())).tolist()  # waits for a GPU once a step
        require_numbers(found, step + 1, self.config.learning_rate)
        return dict(zip(values, found, strict=True))

    def _update_generators(self, batch: CycleBatch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        to_target, to_source = self.to_target, self.to_source
        for name in ("judge_target", "judge_source"):
            self.networks[name].requires_grad_(False)
        weights = self.config.weights
        apart = partial(losses.l1_loss, pool_px=weights.pool_px)
        as_target, as_source, same = self._first_pass(batch, apart)
        terms = {
            "adversarial": losses.real_loss(*self.networks["judge_target"](as_target))
            + losses.real_loss(*self.networks["judge_source"](as_source)),
            "cycle_source": apart(to_source(as_target, batch.style_BS), batch.source_B3HW),
            "cycle_target": apart(to_target(as_source, batch.other_BS), batch.target_B3HW),
        }
        loss = terms["adversarial"] + weights.cycle * (
            terms["cycle_source"] + terms["cycle_target"]
        )
        if same is not None:
            terms["identity"] = same
            loss = loss + weights.identity * same
        if weights.structure:
            terms["structure"] = losses.structure_loss(as_target, batch.source_B3HW)
            loss = loss + weights.structure * terms["structure"]
        self._descend(loss, "to_target", "to_source")
        for name in ("judge_target", "judge_source"):
            self.networks[name].requires_grad_(True)
        return {name: term.detach() for name, term in terms.items()}, as_target, as_source

    def _first_pass(
        self, batch: CycleBatch, apart: Callable[..., Tensor]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images as target, as source, and what both generators change where nothing is to be
        changed.

        One that is told styles begins as a way between home and them, and has nothing to change
        where both ends are home; of one that is not, an image that has its style already is kept.
        """
        source, target = batch.source_B3HW, batch.target_B3HW
        if not self.config.weights.identity:
            return (
                self.to_target(source, batch.own_BS), self.to_source(target, batch.other_BS), None
            )  # fmt: skip
        home_BS, kept, kept_BS = batch.home_BS, source, batch.style_BS
        if is_source_told(self.config):
            home_BS = kept_BS = self.averaged.home.expand(len(target), -1)
            kept = target
        as_target, same = self._both(self.to_target, (source, batch.own_BS), (target, home_BS))
        as_source, back = self._both(self.to_source, (target, batch.other_BS), (kept, kept_BS))
        return as_target, as_source, apart(same, target) + apart(back, kept)

    def _both(
        self, network: Callable[[Tensor, Tensor], Tensor], one: Styled, other: Styled
    ) -> tuple[Tensor, Tensor]:
        """What a network makes of two batches: at once on a GPU, which fewer calls keep busy; not
        where it normalizes by its batch.
        """
        is_cpu = one[0].device.type == "cpu"
        if is_cpu or self.config.generator.norm == "running":
            return network(*one), network(*other)
        return at_once(network, one, other)

    def to_target(self, images_B3HW: Tensor, style_BS: Tensor) -> Tensor:
        """Images as the target; the style is that of their slide."""
        return told(self.networks["to_target"], images_B3HW, style_BS)

    def to_source(self, images_B3HW: Tensor, style_BS: Tensor) -> Tensor:
        """Images as a source, in that style."""
        return told(self.networks["to_source"], images_B3HW, style_BS)

    def _descend(self, loss: Tensor, *names: str) -> None:
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        self.backward(loss)
        for name in names:
            self.optimizers[name].step()

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Move the averaged weights towards the present ones; fast at first, then slowly."""
        decay = min(self.config.ema_decay, (1 + step) / (10 + step))
        present = bare(self.networks["to_target"]).state_dict()
        kept = self.averaged.state_dict()
        floats = [name for name, value in kept.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [kept[name] for name in floats], [present[name] for name in floats], 1 - decay
        )
        for name in kept.keys() - set(floats):
            kept[name].copy_(present[name])

    def state_dict(self) -> dict[str, Any]:
        """All that another step object needs to go on exactly here.

        Every process keeps images of its own past: all must call this together, and the first is
        given what all have.
        """
        pools = {name: pool.state_dict() for name, pool in self.pools.items()}
        return {
            "networks": {name: bare(n).state_dict() for name, n in self.networks.items()},
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "averaged": self.averaged.state_dict(),
            "pools": in_first(pools),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what state_dict gave; the pools only where there are as many processes."""
        for name, network in self.networks.items():
            bare(network).load_state_dict(state["networks"][name])
            self.optimizers[name].load_state_dict(state["optimizers"][name])
        self.averaged.load_state_dict(state["averaged"])
        every = state["pools"]
        every = [every] if isinstance(every, dict) else every  # once it was that of the first alone
        mine = every[rank()] if len(every) == num_processes() else {}
        for name, pool in self.pools.items():
            pool.load_state_dict(mine.get(name, {"images": []}))


def source_condition(config: CycleConfig) -> Condition:
    """How the way back is told a style: not at all where all sources are one grey domain."""
    return config.condition if config.intermediate == "none" else "none"


def is_source_told(config: CycleConfig) -> bool:
    """Whether the way to the target is told the style that it starts from."""
    return config.is_source_told and source_condition(config) != "none"


def target_generator(config: CycleConfig, home: Home | None = None) -> StyleGenerator:
    """A new generator towards the target, as these settings have it."""
    role: Role = "to home" if is_source_told(config) else ""
    is_grey = config.intermediate == "grey"
    condition = source_condition(config) if role else "none"
    return StyleGenerator(config.generator, condition, role=role, home=home, is_grey=is_grey)


def source_generator(config: CycleConfig, home: Home | None = None) -> StyleGenerator:
    """A new generator towards the sources."""
    role: Role = "from home" if is_source_told(config) else ""
    return StyleGenerator(config.generator, source_condition(config), role=role, home=home)


def at_once(
    network: Callable[[Tensor, Tensor], Tensor], one: Styled, other: Styled
) -> tuple[Tensor, Tensor]:
    """What a network makes of two batches, in one pass."""
    images_B3HW, style_BS = (torch.cat(pair) for pair in zip(one, other, strict=True))
    made = network(images_B3HW, style_BS)
    return made[: len(one[0])], made[len(one[0]) :]


def told(network: Any, images_B3HW: Tensor, style_BS: Tensor) -> Tensor:
    """What a network makes of images, told their styles if it is one that is told."""
    made: Tensor = network(images_B3HW, *((style_BS,) if bare(network).is_told else ()))
    return made


def varied(batch: CycleBatch, config: CycleConfig, random: np.random.Generator) -> CycleBatch:
    """The batch with its sources in grey, or stained a little otherwise, with the styles to it."""
    if config.intermediate == "grey":
        return batch._replace(source_B3HW=jittered_grey(batch.source_B3HW, random))
    if not config.stain_jitter:
        return batch
    num, device = len(batch.source_B3HW), batch.source_B3HW.device
    factor, other = (channel_factors(random, num, config.stain_jitter).to(device) for _ in range(2))
    return batch._replace(
        source_B3HW=restained(batch.source_B3HW, factor),
        style_BS=restyled(batch.style_BS, factor),
        other_BS=restyled(batch.other_BS, other),
        own_BS=restyled(batch.own_BS, factor),
    )


def learning_rate(step: int, config: CycleConfig) -> float:
    """Constant for the first share of the steps, then a line to zero, as in CycleGAN."""
    start = config.decay_from * config.steps
    rest = max(config.steps - start, 1.0)
    return config.learning_rate * min(1.0, max(0.0, (config.steps - step) / rest))


def bare(network: Any) -> nn.Module:
    """The network inside what Fabric may have wrapped around it."""
    module: nn.Module = getattr(network, "module", network)
    return module
