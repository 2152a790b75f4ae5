"""Which method carries a classifier from slides to a microscope's photos? All on the same tiles.

Labelled tiles of GlaS fields are the source; photos of LC25000 are the target: 60 % of their groups
without labels to adapt to, the others to test on. Every run is the project's own training; each
result is a line of DIR/LABEL.jsonl, so a run that was stopped goes on.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from adapt_data import ALL, ON_CPU, WORSE, ColonData, Setting
from measure import keep_to_cores
from stain_scanners import spread

from pathology.adapt.balance import probabilities
from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import TARGET
from pathology.core.config import load_config
from pipelines.adapt_domains import Domains
from pipelines.adapt_inputs import DomainTiles
from pipelines.adapt_scores import balanced_accuracy, see, warnings_of
from pipelines.adapt_train import has_twin, scores_of
from pipelines.adapt_training import train_on

PLAIN = Setting()
TABLES = ("methods", "ablation", "curves")


@dataclass(frozen=True)
class Row:
    """One line of a table: a method, terms that take the place of its own, and what it sees."""

    name: str
    method: str
    setting: Setting = PLAIN
    terms: tuple[tuple[str, float], ...] = ()

    @property
    def key(self) -> str:
        """The same for rows that are one training."""
        return json.dumps([self.method, asdict(self.setting), self.terms])


def method_rows() -> list[Row]:
    """Without adaptation, by each method, with normalization, and with labels of the target."""
    plain = (
        "adabn", "coral", "mmd", "dann", "cdan", "entropy", "mcc", "sdat", "cdan+mcc+sdat",
        "self-training", "dman", "dman+mcc", "couda",
    )  # fmt: skip
    return [
        Row("source", "source"),
        Row("source, augmented", "source", Setting(source="augmented")),
        *[Row(f"source, {how}", "source", Setting(target=how)) for how in ("reinhard", "macenko")],
        *[Row(method, method) for method in plain],
        *[Row(f"dman, {how}", "dman", Setting(target=how)) for how in ("reinhard", "macenko")],
        Row("dman, augmented", "dman", Setting(source="augmented")),
        Row("oracle", "target"),
        *[
            Row(f"{share:.0%} of labels", "source", Setting(labelled=share))
            for share in (0.01, 0.05, 0.25, 1.0)
        ],
    ]


def ablation_rows() -> list[Row]:
    """DMAN without its parts; without all of them it is adabn."""
    parts = {
        "adversary": ("adversary",), "entropy": ("entropy",), "reweighting": ("focal", "balance"),
    }  # fmt: skip
    parts["all"] = tuple(term for terms in parts.values() for term in terms)
    without = [
        Row(f"without {name}", "dman", terms=tuple((term, 0.0) for term in terms))
        for name, terms in parts.items()
    ]
    return [Row("dman", "dman"), *without]


def curve_rows(methods: list[str]) -> list[Row]:
    """Few photos, classes that are rare, worse photos."""
    settings = {f"{num} photos": Setting(num=num) for num in (8, 32, 128)}
    settings["all photos"] = Setting()
    for share in (0.5, 0.2, 0.05):
        settings[f"{1 - share:.0%} benign"] = Setting(malignant=share)
    settings |= {name: Setting(target=name) for name in WORSE}
    return [Row(f"{n} | {m}", m, setting) for n, setting in settings.items() for m in methods]


class Source(Protocol):
    """What gives the domains of a run, and the part of the target that tests."""

    def domains(self, setting: Setting, seed: int) -> tuple[Domains, DomainTiles]: ...


class Bench:
    """Results by row and seed, found in the file or made."""

    def __init__(self, options: argparse.Namespace, data: Source) -> None:
        self.base = load_config(AdaptConfig, None, options.set)
        self.folder = options.out / options.label
        self.lines = options.out / f"{options.label}.jsonl"
        options.out.mkdir(parents=True, exist_ok=True)
        self.data = data
        self.found: dict[tuple[str, int], dict[str, Any]] = {}
        if self.lines.exists():
            for line in self.lines.read_text().splitlines():
                one = json.loads(line)
                self.found[one["key"], one["seed"]] = one
        self.twin = cache(self._twin)

    def config(self, row: Row, seed: int) -> AdaptConfig:
        """The settings of a run."""
        terms = {} if row.method == "source" else self.base.terms
        changed = {"method": row.method, "seed": seed, "terms": terms | dict(row.terms)}
        return AdaptConfig.model_validate(self.base.model_dump() | changed)

    def result(self, row: Row, seed: int) -> dict[str, Any]:
        """Balanced accuracy on the photos that test, and what would have been warned of."""
        if (row.key, seed) not in self.found:
            start = time.perf_counter()
            config = self.config(row, seed)
            domains, test = self.data.domains(row.setting, seed)
            model = self._trained(row, seed)
            metrics = scores_of(see(model, domains.target, config), domains, config)
            if has_twin(config):
                plain = self.config(Row("source", "source"), seed)
                twin = self.twin(_without_target(row.setting), seed)
                twin = scores_of(see(twin, domains.target, plain), domains, plain)
                metrics |= {f"source_only_{name}": value for name, value in twin.items()}
            answers = probabilities(model, test.read(ALL), TARGET)
            one = {
                "row": row.name,
                "seed": seed,
                "accuracy": round(balanced_accuracy(test.label_N, answers), 6),
                "warnings": warnings_of(metrics, domains.classes),
                "seconds": round(time.perf_counter() - start, 1),
                "metrics": metrics,
                "key": row.key,
            }
            with self.lines.open("a") as stream:
                stream.write(json.dumps(one) + "\n")
            print(f"{row.name}, seed {seed}: {one['accuracy']:.3f}", flush=True)
            self.found[row.key, seed] = one
        return self.found[row.key, seed]

    def _trained(self, row: Row, seed: int) -> Any:
        if row.method == "source":
            return self.twin(_without_target(row.setting), seed)
        domains, _ = self.data.domains(row.setting, seed)
        config = self.config(row, seed)
        return train_on(domains, config, ON_CPU, self._run(row, seed))

    def _twin(self, setting: Setting, seed: int) -> Any:
        """Taught by the source alone: one for all targets."""
        row = Row("source", "source", setting)
        domains, _ = self.data.domains(setting, seed)
        return train_on(domains, self.config(row, seed), ON_CPU, self._run(row, seed))

    def _run(self, row: Row, seed: int) -> Path:
        changed = [f"{k}={v}" for k, v in asdict(row.setting).items() if v is not None]
        changed += [f"{name}={value}" for name, value in row.terms]
        return self.folder / "_".join([row.method, *changed, str(seed)]).replace(" ", "-")


def _without_target(setting: Setting) -> Setting:
    """What a training without the target depends on."""
    return Setting(
        source=setting.source, malignant=setting.malignant and 0.5, labelled=setting.labelled
    )


def is_warned(one: dict[str, Any]) -> bool:
    """Whether the command would warn of a run today, whatever it said then."""
    shares = [name for name in one["metrics"] if name.startswith("share_")]
    return bool(warnings_of(one["metrics"], shares))


def table(bench: Bench, rows: list[Row], seeds: range) -> str:
    """Markdown: mean and standard deviation over seeds, the worst, and in how many it warned."""
    lines = ["| | balanced accuracy | worst | warned |", "|---|--:|--:|--:|"]
    for row in rows:
        known = [bench.found[row.key, s] for s in seeds if (row.key, s) in bench.found]
        if known:
            values = [one["accuracy"] for one in known]
            warned = sum(map(is_warned, known))
            cells = [spread(values, 3), f"{min(values):.3f}", f"{warned} of {len(known)}"]
            lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def curves(bench: Bench, rows: list[Row], seeds: range) -> str:
    """Markdown: a line for each setting, for every method mean, worst and warnings."""
    methods = list(dict.fromkeys(row.method for row in rows))
    heads = [f"{m} | worst | warned" for m in methods]
    lines = [f"| | {' | '.join(heads)} |", "|---" + "|--:" * 3 * len(methods) + "|"]
    by_setting: dict[str, list[str]] = {}
    for row in rows:
        known = [bench.found[row.key, s] for s in seeds if (row.key, s) in bench.found]
        values = [one["accuracy"] for one in known]
        warned = sum(map(is_warned, known))
        cells = [spread(values, 3), f"{min(values):.3f}", f"{warned}"] if known else [""] * 3
        by_setting.setdefault(row.name.split(" | ")[0], []).extend(cells)
    return "\n".join([*lines, *(f"| {n} | {' | '.join(c)} |" for n, c in by_setting.items())])


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("PATHOLOGY_DATA", "")
    parser.add_argument(
        "--data", type=Path, default=Path(default), help="holds glas and lc25000_colon"
    )
    parser.add_argument("--out", type=Path, required=True, help="everything is kept here")
    parser.add_argument("--only", nargs="*", choices=TABLES, default=list(TABLES))
    parser.add_argument("--methods", nargs="*", help="names of rows; default: all")
    parser.add_argument("--curve-methods", nargs="*", default=["source", "dman"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="for the encoder")
    parser.add_argument("--label", default="results", help="name of these settings' results")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args(words)


def main(words: list[str]) -> None:
    options = parse(words)
    keep_to_cores(2)
    base = load_config(AdaptConfig, None, options.set)
    bench = Bench(options, ColonData(options.data, options.out / "data", base, options.device))
    every = {
        "methods": method_rows(), "ablation": ablation_rows(),
        "curves": curve_rows(options.curve_methods),
    }  # fmt: skip
    asked = {
        name: [row for row in every[name] if not options.methods or row.name in options.methods]
        for name in options.only
    }
    seeds = range(options.seeds)
    for rows in asked.values():
        for row in rows:
            for seed in seeds:
                bench.result(row, seed)
    for name, rows in asked.items():
        print(f"\n{name}\n\n{(curves if name == 'curves' else table)(bench, rows, seeds)}")
    times = [one["seconds"] for one in bench.found.values()]
    print(f"\nseconds a run, median: {np.median(times):.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
