"""Features of every tile of a run: one file a slide, in TRIDENT's and CLAM's dialect."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from pathology.core.artifact import sweep_scratch
from pathology.core.batch import Batch
from pathology.core.errors import ArtifactError, ConfigError, reason_of
from pathology.core.run_record import environment, now, write_run_record
from pathology.core.supervise import Report, Task
from pathology.models.encode import FirstPart, prepare
from pathology.models.encoder import Encoder, make_encoder
from pathology.training.fabric import device_of
from pipelines.encoding import Encoding, weights_digest
from pipelines.feature_config import FeatureConfig, FeatureOptions
from pipelines.feature_table import TABLE, FeatureOutcome, first_rows, write_table
from pipelines.run_stores import read_stores
from pipelines.tables import WRITE_EVERY_S

__all__ = ["FeatureConfig", "FeatureOptions", "extract_features", "weights_digest"]


def extract_features(
    run: Path,
    out: Path,
    config: FeatureConfig,
    options: FeatureOptions,
    *,
    plain: Collection[str] = (),
    on_tiles: Callable[[int], None] = lambda num: None,
    on_slide: Callable[[FeatureOutcome], None] = lambda outcome: None,
) -> list[FeatureOutcome]:
    """Write OUT/<slide_id>.h5 for every tile store of a run, and OUT/features.csv on all slides.

    plain  ids of slides whose tiles are not varied, since nobody trains on them

    Slides that were done before by the same encoder, settings and tiles are kept. A slide that
    cannot be read costs itself. On a cluster each slide is a task; workers see the same folders and
    encode on their own device. Raises ConfigError for an encoder that cannot be had, ArtifactError
    where the run holds no stores, and PathologyError where no scheduler answers.
    """
    started, members, plain = now(), read_stores(run), frozenset(plain)
    if out.resolve() == run.resolve():
        raise ArtifactError(f"--out {out}: the run itself, which has its own tables. Give a folder")
    made = make_encoder(config.encoder, weights=options.weights)
    weights = weights_digest(made)
    out.mkdir(parents=True, exist_ok=True)
    sweep_scratch(out)
    found = {row.slide_id: row for row in first_rows(members, out)}

    saved = [0.0]

    def take(outcome: FeatureOutcome) -> None:
        """The table follows within two seconds, or at the end."""
        found[outcome.slide_id] = outcome
        on_slide(outcome)
        if time.monotonic() - saved[0] > WRITE_EVERY_S:
            saved[0] = time.monotonic()
            with contextlib.suppress(OSError):  # a disk that is full for the moment ends no run
                write_table(out / TABLE, list(found.values()))

    facts = {
        "stage": "features",
        "encoder": config.encoder,
        "weights": weights,
        "num_features": made.num_features,
        "config": config.model_dump(mode="json"),
    }
    try:
        if options.scheduler:
            there = replace(options, weights=options.weights and options.weights.resolve())
            work = partial(
                encode_store, config=config, options=there, out=out.resolve(), weights=weights,
                plain=plain,
            )  # fmt: skip
            batch = Batch(Task(work, _fail), scheduler=options.scheduler)
            batch.run([path.resolve() for path in members.stores], take)
        else:
            encoding = _encoding(made, config, options, out, weights, plain)
            for outcome in encoding.run(members.stores, on_tiles):
                take(outcome)
            facts |= {
                "device": encoding.options.device,
                "engine": getattr(encoding.encoder, "engine", "torch"),
                "read_seconds": round(encoding.read_seconds, 3),
                "encode_seconds": round(encoding.encode_seconds, 3),
            }
    finally:
        write_table(out / TABLE, list(found.values()))
    write_run_record(out / "run.json", started, facts, environment())
    return list(found.values())


def encode_store(
    path: Path,
    *,
    config: FeatureConfig,
    options: FeatureOptions,
    out: Path,
    weights: str,
    plain: frozenset[str],
    report: Report,
) -> FeatureOutcome:
    """The same of one store, in a worker of a cluster, which keeps its encoder.

    weights  digest of those that are meant; raises ConfigError where the worker finds others
    """
    (outcome,) = _kept_encoding(config, options, out, weights, plain).run([path], report)
    return outcome


@lru_cache(maxsize=1)
def _kept_encoding(
    config: FeatureConfig, options: FeatureOptions, out: Path, weights: str, plain: frozenset[str]
) -> Encoding:
    made = make_encoder(config.encoder, weights=options.weights)
    found = weights_digest(made)
    if found != weights:
        raise ConfigError(
            f"a worker's weights of {config.encoder} are {found}, those of the command {weights}. "
            "Give all machines the same --weights"
        )
    return _encoding(made, config, options, out, weights, plain)


def _encoding(
    made: Encoder,
    config: FeatureConfig,
    options: FeatureOptions,
    out: Path,
    weights: str,
    plain: frozenset[str],
) -> Encoding:
    device = device_of(options.device)
    encoder = (
        FirstPart(made, config.blocks_left, device)
        if config.blocks_left
        else prepare(made, device, is_bf16=config.precision == "bf16")
    )
    return Encoding(encoder, config, replace(options, device=device), out, weights, plain)


def _fail(path: Path, fault: Exception, seconds: float, error: str) -> FeatureOutcome:
    name = path.name.removesuffix(".zarr")
    return FeatureOutcome(name, "failed", 0, round(seconds, 3), reason_of(fault))
