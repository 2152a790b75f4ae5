"""Settings of the stain CycleGAN: networks, losses, training, distillation."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from pathology.core.config import StageConfig

Condition = Literal["none", "planes", "film"]
Norm = Literal["none", "instance", "running"]


class GeneratorConfig(StageConfig):
    """Size and kind of a generator.

    width            channels at full resolution; twice as many after each halving
    num_downsamples  times the image is halved before the residual blocks
    num_blocks       residual blocks at the lowest resolution
    block_px         edge of their kernels; 1 looks at color alone and is many times faster
    edge_px          edge of the kernels of the first and the last layer
    sharpness_px     radius of the blur or sharpening that comes first, since scanners differ in
                     sharpness, too; 0: none
    norm             none: blocks that start as the identity, nothing depends on the tile around;
                     instance: statistics of each tile, which makes seams; running: batch
                     normalization, with fixed statistics at inference
    is_residual      the network gives the change of the image and starts at none
    residual         share of what neither stain explains that re-rendering to the target carries
                     over in use: most of it is noise
    """

    width: int = Field(default=24, ge=4, le=256)
    num_downsamples: int = Field(default=0, ge=0, le=4)
    num_blocks: int = Field(default=3, ge=1, le=16)
    block_px: Literal[1, 3] = 1
    edge_px: Literal[1, 3] = 1
    sharpness_px: int = Field(default=3, ge=0, le=8)
    norm: Norm = "none"
    is_residual: bool = True
    residual: float = Field(default=0.5, ge=0, le=1)


class DiscriminatorConfig(StageConfig):
    """Size of a patch discriminator: width channels, doubled in each of num_layers halvings."""

    width: int = Field(default=32, ge=4, le=256)
    num_layers: int = Field(default=2, ge=1, le=5)


class LossWeights(StageConfig):
    """Factors of the generators' loss beside the adversarial term.

    cycle      of the L1 distance after a round trip
    identity   of the L1 distance of an image that already has the style
    structure  of the loss of gradients of optical density; 0: left out
    pool_px    edge of the squares over which cycle and identity are compared; 1: every pixel
    """

    cycle: float = Field(default=2.0, ge=0)
    identity: float = Field(default=1.0, ge=0)
    structure: float = Field(default=0.0, ge=0)
    pool_px: int = Field(default=4, ge=1, le=32)


class StudentConfig(StageConfig):
    """The small network that is distilled from the generator.

    width, num_layers  of its 1x1 convolutions
    sharpness_px       radius of the one blur or sharpening that it may learn; 0: color alone
    steps, batch_size, crop_px, learning_rate  of the distillation
    table_points       edge of the color grid that a slide's table is fitted on
    """

    width: int = Field(default=32, ge=4, le=256)
    num_layers: int = Field(default=3, ge=2, le=8)
    sharpness_px: int = Field(default=3, ge=0, le=8)
    steps: int = Field(default=400, ge=0)
    batch_size: int = Field(default=16, ge=1)
    crop_px: int = Field(default=32, ge=16)
    learning_rate: float = Field(default=3e-3, gt=0)
    table_points: int = Field(default=17, ge=5, le=65)


class CycleConfig(StageConfig):
    """Settings of `pathology stain train`.

    condition     how the way back learns the style of the original: constant planes beside the
                  image, FiLM in every block, or none (plain CycleGAN)
    is_source_told  whether the way to the target is told its slide's own style, too, and both ways
                  begin as the re-rendering by stains between that and the target's; no reference
                  image is needed. False: as published, it sees the image alone. Nothing is told
                  where there is no condition
    intermediate  none, or grey: sources pass through one grey domain of jittered brightness and
                  contrast first (the answer of MultiStain-CycleGAN, arXiv 2301.09431)
    stain_jitter  standard deviation of the logarithm of a factor on the optical density of each
                  channel, by which source images vary in training; the way back is told the style
                  that results. Without a condition it cannot know
    holdout_centres  centres of the sources that are kept out of training
    crop_px, batch_size, steps  of training; decay_from is the share of the steps after which the
                  learning rate falls to zero
    judge_speed   learning rate of the discriminators over that of the generators
    pool_size     images of the past that the discriminators are shown
    kept_change   share of what the generator learned beyond its start that is kept for use
    ema_decay     of the running average of the generator's weights that is kept for use
    mpp           microns per pixel of the tiles; None: the target's own
    tiles_per_slide  tiles of each slide that are read for training
    """

    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    condition: Condition = "film"
    is_source_told: bool = True
    intermediate: Literal["none", "grey"] = "none"
    stain_jitter: float = Field(default=0.15, ge=0, le=1)
    weights: LossWeights = LossWeights()
    student: StudentConfig = StudentConfig()
    holdout_centres: tuple[str, ...] = ()
    mpp: float | None = Field(default=None, gt=0)
    tile_px: int = Field(default=256, ge=32)
    tiles_per_slide: int = Field(default=64, ge=1)
    crop_px: int = Field(default=32, ge=16)
    batch_size: int = Field(default=16, ge=1)
    steps: int = Field(default=400, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    judge_speed: float = Field(default=1.0, gt=0)
    decay_from: float = Field(default=0.5, ge=0, le=1)
    pool_size: int = Field(default=50, ge=0)
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    kept_change: float = Field(default=0.75, ge=0, le=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        """A crop lies within a tile, and the networks can halve it as often as they do."""
        generator, layers = self.generator, self.discriminator.num_layers
        halvings = generator.num_downsamples
        judged = max(layers, halvings if generator.block_px > 1 else 0)
        for name, crop in (("crop_px", self.crop_px), ("student.crop_px", self.student.crop_px)):
            if crop > self.tile_px:
                raise ValueError(f"{name}={crop} is more than tile_px={self.tile_px}")
            if crop % (1 << halvings):
                raise ValueError(
                    f"{name}={crop} is no multiple of {1 << halvings}, "
                    f"as generator.num_downsamples={halvings} asks for"
                )
        if self.crop_px < 2 << judged:
            raise ValueError(
                f"crop_px={self.crop_px} is too small for networks that halve it {judged} times: "
                f"at least {2 << judged}"
            )
        if self.weights.pool_px > self.crop_px:
            raise ValueError(f"weights.pool_px={self.weights.pool_px} is more than crop_px")
        return self

    def of_training(self) -> CycleConfig:
        """Without what shapes only the use of what was trained: other values train nothing anew."""
        generator = self.generator.model_copy(update={"residual": 1.0})
        return self.model_copy(
            update={"generator": generator, "student": StudentConfig(), "kept_change": 1.0}
        )
