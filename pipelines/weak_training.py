"""A training of a tile classifier: its tiles, its network, and what an epoch ends with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pathology import __version__
from pathology.core.artifact import content_digest, fingerprint, write_text
from pathology.core.config import StageConfig
from pathology.core.errors import ConfigError
from pathology.core.run_record import num_cores
from pathology.data.ahead import Ahead
from pathology.data.augment import augment
from pathology.data.bag_sampler import draw_bags
from pathology.data.splits import Split
from pathology.data.tile_source import SlideTable, StoreTiles
from pathology.evaluation.slide_ranking import auroc_error, mean_auroc
from pathology.models.card import SCHEMA, ModelCard, TileContract, save_classifier
from pathology.models.encode import to_images
from pathology.models.encoder import Encoder, make_encoder
from pathology.models.kept_maps import KeptMaps
from pathology.training.curves import draw_curves
from pathology.training.fabric import Precision, make_fabric
from pathology.training.loop import Loop, Values, fit, read_metrics
from pathology.training.tensorboard import also_to
from pathology.weak.bag import BagBatch
from pathology.weak.config import WeakConfig
from pathology.weak.network import BagClassifier, bag_network
from pathology.weak.slide_rule import fit_slide_rule
from pathology.weak.step import WeakStep
from pipelines.features import weights_digest
from pipelines.tile_places import truth_of_slides
from pipelines.weak_data import BlockReader, number_tiles
from pipelines.weak_inputs import LabelledSlides
from pipelines.weak_scores import own_scores, score_slides
from pipelines.weak_start import encoder_of_maps, start_from

DEPTH = 3  # batches that are made ahead, at least
MOST_AHEAD = 8  # at most, where there are cores to make them
DRAW_EVERY_S = 20.0


@dataclass(frozen=True)
class WeakOptions:
    """How a training is run; nothing here is a setting of the model.

    splits     CLAM's splits_K.csv; None: the manifest's column, or drawn by case
    val_share  of the training slides that are set aside where none are marked val
    weights    a file of the encoder's, where pixels are trained on
    start      a model whose weights training starts from, as far as it has them
    tensorboard  whether measurements are also written for it
    """

    device: str = "auto"
    num_devices: int = 1
    precision: Precision = "32"
    splits: Path | None = None
    val_share: float = 0.2
    weights: Path | None = None
    start: Path | None = None
    tensorboard: bool = False


class Training:
    """One training: its tiles, its network, and what is done at the end of each epoch."""

    def __init__(
        self,
        found: LabelledSlides,
        split: Split,
        root: Path,
        out: Path,
        config: WeakConfig,
        options: WeakOptions,
    ) -> None:
        self.found, self.split, self.out, self.config = found, split, out, config
        self.options = options
        self.folder = out.with_name(f"{out.stem}.run")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.fabric = make_fabric(
            options.device, options.precision, options.num_devices,
            has_unused=config.method.startswith("clam"),  # a grade's instance classifier
        )  # fmt: skip
        num, size = self.fabric.world_size, config.slides_per_step
        if size % num:
            raise ConfigError(
                f"slides_per_step={size}: {num} processes share a batch, as many slides each. "
                f"Set slides_per_step={num * -(-size // num)}"
            )
        self.fabric.launch()
        self.device = str(self.fabric.device)
        by_id = {slide.record.slide_id: slide for slide in found.slides}
        self.slides = [by_id[i] for part in (split.train, split.val) for i in part if i in by_id]
        self.num_train = sum(slide_id in by_id for slide_id in split.train)
        is_first = self.fabric.is_global_zero
        cache = self.folder / "features.npy"
        if is_first:
            self.tiles = number_tiles(found, self.slides, cache, self.num_train)
        self.fabric.barrier()
        if not is_first:
            self.tiles = number_tiles(found, self.slides, cache, self.num_train, is_first=False)
        self.truth_N = self._truth(root)
        cores = num_cores()
        self.pool = ThreadPoolExecutor(cores)
        self.depth = min(max(DEPTH, cores), MOST_AHEAD) if self.tiles.is_pixels else 1
        kept = KeptMaps(self.folder, int(self.tiles.table.num_S.sum()))
        self.reader = BlockReader(self.tiles, self.pool, kept, self.device, config.tile_px)
        self.wait_seconds, self.drawn = 0.0, time.monotonic()

    @property
    def train_table(self) -> SlideTable:
        """The slides that are trained on; they stand first."""
        table, num = self.tiles.table, self.num_train
        return SlideTable(table.slide_ids[:num], table.grade_S[:num], table.num_S[:num])

    def run(self, on_step: Callable[[int, Values], None], say: Callable[[str], None]) -> ModelCard:
        """Train, and save the weights that validated best."""
        config, table = self.config, self.train_table
        torch.manual_seed(config.seed)
        encoder = self._encoder()
        num_features = encoder.num_features if encoder else self.found.tiles.num_features
        recipe = self._recipe(num_features, encoder)
        model = BagClassifier(bag_network(config, num_features), encoder)
        if self.options.start is not None:
            start_from(model, self.options.start, config.grades)
        rank, ranks = self.fabric.global_rank, self.fabric.world_size
        step = WeakStep(
            config, model, table.slide_N, table.grade_N,
            lambda: own_scores(step.bare, self.reader, self.num_train, rank, ranks),
            backward=self.fabric.backward, setup=self.fabric.setup,
        )  # fmt: skip
        if self.options.tensorboard and self.fabric.is_global_zero:
            on_step = also_to(self.folder / "tensorboard", on_step)
        loop = Loop(step.total_steps, every=config.steps_per_epoch, keep=config.steps_per_epoch)
        draw = Ahead(self.pool, self._draw, loop.steps, self.depth)

        def validate(done: int) -> bool:
            return self._validate(step, done // config.steps_per_epoch)

        start = fit(
            step, draw, loop, self.folder, recipe,
            is_first=self.fabric.is_global_zero, on_step=on_step, before_keep=validate,
            on_keep=lambda done: self._show(step, is_last=False),
        )  # fmt: skip
        if start:
            say(f"went on from step {start} of an earlier run")
        if len(step.history) < config.epochs:
            say(
                f"ended after epoch {len(step.history)} of {config.epochs}: {config.patience} "
                f"without one as good as epoch {step.best['epoch']:.0f}, which is kept"
            )
        if self.fabric.is_global_zero:
            self._show(step, is_last=True)
        self.wait_seconds = draw.seconds
        card = self._card(step, encoder)
        if self.fabric.is_global_zero:
            save_classifier(self.out, card, step.best["weights"])
            self.tiles.remove_files()
        self.pool.shutdown()
        return card

    def _draw(self, number: int) -> BagBatch:
        """The batch of a step, or this process's share of its slides."""
        config = self.config
        random = np.random.default_rng([config.seed, number])
        slides, rows = draw_bags(
            random, self.train_table, config.slides_per_step, config.tiles_per_slide
        )
        rank = self.fabric.global_rank
        mine = np.array_split(np.arange(len(slides)), self.fabric.world_size)[rank]
        slides, rows = slides[mine], rows[mine]
        source, vary = self.tiles.source, np.random.default_rng([config.seed, number, 1 + rank])
        if isinstance(source, StoreTiles):
            images = to_images(source.read(rows.ravel()), self.device, config.tile_px)
            images = augment(images, vary, config.augment)
            tiles = images.reshape(*rows.shape, *images.shape[1:])
        else:
            read = source.draw(rows.ravel(), vary)
            tiles = torch.from_numpy(read).to(self.device).reshape(*rows.shape, -1)
        truth = self.truth_N[rows] if len(self.truth_N) else np.full(rows.shape, -1)
        return BagBatch(
            tiles,
            torch.from_numpy(self.train_table.grade_S[slides]).to(self.device),
            torch.ones(rows.shape, device=self.device),
            torch.from_numpy(rows),
            torch.from_numpy(truth).to(self.device),
        )

    def _validate(self, step: WeakStep, epoch: int) -> bool:
        """Score the slides that choose, remember the best weights, and say whether to give up."""
        val = range(self.num_train, len(self.slides))
        found = [scores.slide_C for _, scores in score_slides(step.bare, self.reader, val)]
        grade_S = self.tiles.table.grade_S[self.num_train :]
        value = mean_auroc(np.array(found), grade_S) if len(found) else float("nan")
        if np.isnan(value):
            return step.keep_best(epoch, -1.0)
        return step.keep_best(epoch, round(value, 6), lambda best: auroc_error(best, grade_S))

    def _show(self, step: WeakStep, *, is_last: bool) -> None:
        """Write epochs.jsonl anew, and draw the curves now and then, which takes a second."""
        lines = "".join(json.dumps(row) + "\n" for row in step.history)
        write_text(self.folder / "epochs.jsonl", lines)
        if not is_last and time.monotonic() - self.drawn < DRAW_EVERY_S:
            return
        self.drawn = time.monotonic()
        rows = read_metrics(self.folder / "metrics.jsonl")
        validated = [row | past for row, past in zip(rows, step.history, strict=False)]
        draw_curves(validated, self.folder / "curves.png", self.out.stem)

    def _card(self, step: WeakStep, encoder: Encoder | None) -> ModelCard:
        """The card of the best weights, with the slide rule that the choosing slides teach."""
        step.bare.load_state_dict(step.best["weights"])
        val = range(self.num_train, len(self.slides))
        learn = val if len(val) else range(self.num_train)
        scored = [scores for _, scores in score_slides(step.bare, self.reader, learn)]
        grade_S = self.tiles.table.grade_S[list(learn)]
        rule = fit_slide_rule([scores.tile_NC for scores in scored], grade_S)
        num_S = self.tiles.table.num_S
        return ModelCard(
            grades=self.config.grades,
            tiles=self._contract(encoder),
            method=self.config.method,
            settings=self.config.model_dump(mode="json"),
            slide_rule=rule.model_dump(mode="json"),
            num_slides={"train": self.num_train, "val": len(val)},
            num_tiles={
                "train": int(num_S[: self.num_train].sum()),
                "val": int(num_S[self.num_train :].sum()),
            },
            centres=tuple(sorted({s.record.centre for s in self.slides if s.record.centre})),
            training_data=self._data(),
            metrics={"val_mean_auroc": step.best["value"], "epoch": float(step.best["epoch"])},
            has_encoder=encoder is not None,
            version=__version__,
        )

    def _contract(self, encoder: Encoder | None) -> TileContract:
        """What the model is to be given; by its maps, a model of their last blocks knows them."""
        tiles = self.found.tiles
        if encoder is None or not self.tiles.is_pixels:
            return tiles
        return tiles.model_copy(
            update={
                "encoder": encoder.name,
                "weights": weights_digest(encoder),
                "encoder_px": self.config.tile_px,
                "num_features": encoder.num_features,
            }
        )

    def _encoder(self) -> Encoder | None:
        """The encoder of pixels, or of maps that were kept for its last blocks, or None."""
        config = self.config
        if self.found.tiles.blocks_left:
            encoder = encoder_of_maps(self.found.tiles, config, self.options.weights)
        elif self.tiles.is_pixels:
            encoder = make_encoder(config.encoder, weights=self.options.weights)
            encoder.learn_last(config.encoder_blocks if config.encoder_rate else 0)
        else:
            return None
        if config.batch_norm == "frozen":
            encoder.keep_statistics()
        return encoder.to(memory_format=torch.channels_last)  # faster on a CPU

    def _truth(self, root: Path) -> NDArray[np.int64]:
        """Grades of the training tiles themselves, for the oracle alone."""
        if self.config.method != "oracle":
            return np.zeros(0, np.int64)
        return truth_of_slides(self.slides[: self.num_train], root)

    def _data(self) -> str:
        """Digest of the tiles and labels of the slides, in their order."""
        inputs = {
            f"{slide.record.slide_id}": f"{slide.digest} {slide.record.label}"
            for slide in self.slides
        }
        return fingerprint("training data", SCHEMA, StageConfig(), inputs)

    def _recipe(self, num_features: int, encoder: Encoder | None) -> str:
        """Fingerprint of all that shapes the weights; the encoder is as it came."""
        inputs = {
            "data": self._data(), "num_train": str(self.num_train), "features": str(num_features)
        }  # fmt: skip
        if encoder is not None:
            inputs["encoder"] = weights_digest(encoder)
        if self.options.start is not None:
            inputs["start"] = content_digest(self.options.start)
        return fingerprint("weak training", SCHEMA, self.config, inputs)
