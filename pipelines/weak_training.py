"""A training of a tile classifier: its tiles, its network, and what an epoch ends with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pathology import __version__
from pathology.core.errors import ConfigError
from pathology.core.output_place import run_folder
from pathology.core.run_record import num_cores
from pathology.data.ahead import Ahead
from pathology.data.augment import augment
from pathology.data.bag_sampler import draw_bags
from pathology.data.splits import Split
from pathology.data.tile_source import SlideTable, StoreTiles
from pathology.evaluation.slide_ranking import auroc_error
from pathology.models.card import ModelCard, save_classifier, taught_by
from pathology.models.encode import USUAL_PX, to_images
from pathology.models.encoder import Encoder
from pathology.models.kept_maps import KeptMaps
from pathology.models.layout import choose_layout
from pathology.training.fabric import Precision, make_fabric
from pathology.training.loop import Loop, Values, fit
from pathology.training.tensorboard import also_to
from pathology.weak.bag import BagBatch
from pathology.weak.config import WeakConfig
from pathology.weak.network import BagClassifier, bag_network
from pathology.weak.predict import SlideScores
from pathology.weak.slide_rule import fit_slide_rule
from pathology.weak.step import WeakStep
from pipelines.tile_places import truth_of_slides
from pipelines.weak_data import BlockReader, number_tiles
from pipelines.weak_epochs import EpochLog, order_reached, slide_figures
from pipelines.weak_inputs import LabelledSlides
from pipelines.weak_recipe import recipe_of, training_data
from pipelines.weak_scores import own_scores, score_slides
from pipelines.weak_start import contract_of, encoder_that_learns, start_from

BEST_EVERY_S = 2.0
DEPTH = 3  # batches that are made ahead, at least
MOST_AHEAD = 8  # at most, where there are cores to make them


@dataclass(frozen=True)
class WeakOptions:
    """How a training is run; nothing here is a setting of the model.

    splits     CLAM's splits_K.csv; None: the manifest's column, or drawn by case
    val_share  of the training slides that are set aside where none are marked val
    weights    a file of the encoder's, where pixels are trained on
    start      a model whose weights training starts from, as far as it has them
    tensorboard  whether measurements are also written for it
    data_root  where relative paths of maps of grades start; None: where the manifest lies
    """

    device: str = "auto"
    num_devices: int = 1
    precision: Precision = "32"
    splits: Path | None = None
    val_share: float = 0.2
    weights: Path | None = None
    start: Path | None = None
    tensorboard: bool = False
    data_root: Path | None = None


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
        self.folder = run_folder(out)
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
        maps = root if config.method == "oracle" else None  # of grades, which teach it alone
        train = self.slides[: self.num_train]
        self.truth_N = (
            truth_of_slides(train, maps, config.grades) if maps else np.zeros(0, np.int64)
        )
        self.data = training_data(self.slides, self.num_train, maps)
        self.taught: tuple[str, ...] = ()
        cores = num_cores()
        self.pool = ThreadPoolExecutor(cores)
        self.depth = min(max(DEPTH, cores), MOST_AHEAD) if self.tiles.is_pixels else 1
        kept = KeptMaps(self.folder, int(self.tiles.table.num_S.sum()))
        self.reader = BlockReader(self.tiles, self.pool, kept, self.device, config.tile_px)
        self.log = EpochLog(self.folder, out.stem, config.steps_per_epoch)
        self.wait_seconds = 0.0
        self.kept = float("-inf")  # when best.pt was written
        self.scored: list[SlideScores] = []  # of the last epoch, of the slides that choose

    @property
    def train_table(self) -> SlideTable:
        """The slides that are trained on; they stand first."""
        table, num = self.tiles.table, self.num_train
        return SlideTable(table.slide_ids[:num], table.grade_S[:num], table.num_S[:num])

    def run(self, on_step: Callable[[int, Values], None], say: Callable[[str], None]) -> ModelCard:
        """Train, and save the weights that validated best.

        Raises ConfigError where the loss becomes no number.
        """
        config, table = self.config, self.train_table
        torch.manual_seed(config.seed)
        tiles, start_model = self.found.tiles, self.options.start
        encoder = encoder_that_learns(
            tiles, config, self.options.weights, is_pixels=self.tiles.is_pixels
        )
        if encoder is not None and self.tiles.is_pixels:
            size_px = config.tile_px or tiles.size_px or USUAL_PX
            is_bf16 = self.options.precision == "bf16"
            choose_layout(encoder.to(self.device), size_px, learns=True, is_bf16=is_bf16)
        num_features = encoder.num_features if encoder else tiles.num_features
        recipe = recipe_of(config, self.data, num_features, encoder, start_model)
        model = BagClassifier(bag_network(config, num_features), encoder)
        start_card = start_from(model, start_model, config.grades) if start_model else None
        self.taught = taught_by([slide.record for slide in self.slides], start_card)
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
        start = fit(
            step, draw, loop, self.folder, recipe,
            is_first=self.fabric.is_global_zero, on_step=on_step,
            before_keep=lambda done: self._validate(step, done),
            on_keep=lambda done: self._keep(step, encoder),
        )  # fmt: skip
        if start:
            say(f"went on from step {start} of an earlier run")
        if len(step.history) < config.epochs:
            say(
                f"ended after epoch {len(step.history)} of {config.epochs}: {config.patience} "
                f"without one as good as epoch {step.best['epoch']:.0f}, which is kept"
            )
        self.wait_seconds = draw.seconds
        card = self._finish(step, encoder)
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

    def _validate(self, step: WeakStep, done: int) -> bool:
        """Score the slides that choose, remember the best weights, and say whether to give up."""
        epoch, val = done // self.config.steps_per_epoch, range(self.num_train, len(self.slides))
        self.scored = [scores for _, scores in score_slides(step.bare, self.reader, val)]
        for scores in self.scored:
            step.require_numbers(scores.tile_NC, done)
        grade_S = self.tiles.table.grade_S[self.num_train :]
        value = order_reached(self.scored, grade_S)
        if value < 0:
            return step.keep_best(epoch, value)
        return step.keep_best(epoch, value, lambda best: auroc_error(best, grade_S))

    def _keep(self, step: WeakStep, encoder: Encoder | None) -> None:
        """Show the epoch; where no weights were better, those of now become a model, too.

        Not more often than every few seconds: of cached features an epoch takes less.
        """
        self.log.show(step.history, is_last=False)
        epoch, value, now = step.best["epoch"], step.best["value"], time.monotonic()
        if epoch == len(step.history) and now - self.kept > BEST_EVERY_S:
            self.kept = now
            card = self._card(encoder, epoch, value, self.scored)
            save_classifier(self.folder / "best.pt", card, step.best["weights"])

    def _finish(self, step: WeakStep, encoder: Encoder | None) -> ModelCard:
        """Save the last weights in the folder and the best ones as the model; returns its card."""
        is_first, best, num_epochs = self.fabric.is_global_zero, step.best, len(step.history)
        scored = self.scored or self._score(step)  # none where training had ended before
        if is_first:
            self.log.show(step.history, is_last=True)
            last = self._card(encoder, num_epochs, step.history[-1]["validation"], scored)
            save_classifier(self.folder / "last.pt", last, step.weights())
        if best["epoch"] != num_epochs:
            step.bare.load_state_dict(best["weights"])
            scored = self._score(step)
        card = self._card(encoder, best["epoch"], best["value"], scored)
        if is_first:
            for path in (self.folder / "best.pt", self.out):
                save_classifier(path, card, best["weights"])
            self.tiles.remove_files()
        return card

    @property
    def teachers(self) -> range:
        """The slides that teach the slide rule: those that choose; where none do, that train."""
        num_train, num = self.num_train, len(self.slides)
        return range(num_train, num) if num > num_train else range(num_train)

    def _score(self, step: WeakStep) -> list[SlideScores]:
        return [scores for _, scores in score_slides(step.bare, self.reader, self.teachers)]

    def _card(
        self, encoder: Encoder | None, epoch: int, value: float, scored: Sequence[SlideScores]
    ) -> ModelCard:
        """The card of the network's present weights, with the slide rule that its scores teach.

        scored  of the slides that teach it; none: a slide is the mean of its tiles
        """
        num_val, grade_S = len(self.slides) - self.num_train, self.tiles.table.grade_S
        grade_S = grade_S[list(self.teachers)]
        tiles_S = [scores.tile_NC for scores in scored]
        rule = fit_slide_rule(tiles_S, grade_S) if scored else None
        figures = (
            slide_figures(rule, scored, grade_S, self.config.grades) if rule and num_val else {}
        )
        num_S = self.tiles.table.num_S
        return ModelCard(
            grades=self.config.grades,
            tiles=contract_of(
                self.found.tiles, self.config, encoder, is_pixels=self.tiles.is_pixels
            ),
            method=self.config.method,
            settings=self.config.model_dump(mode="json"),
            slide_rule=rule.model_dump(mode="json") if rule else None,
            num_slides={"train": self.num_train, "val": num_val},
            num_tiles={
                "train": int(num_S[: self.num_train].sum()),
                "val": int(num_S[self.num_train :].sum()),
            },
            centres=tuple(sorted({s.record.centre for s in self.slides if s.record.centre})),
            training_data=self.data,
            taught=self.taught,
            metrics={"val_mean_auroc": value, "epoch": float(epoch)} | figures,
            has_encoder=encoder is not None,
            version=__version__,
        )
