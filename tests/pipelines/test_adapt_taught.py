"""Whose slides an adapted model remembers as its teachers: the source's, and labelled targets."""

from pathlib import Path

import pytest

from pathology.core.slide_digest import digests_of
from pipelines.adapt_train import AdaptOptions, train_adapt
from tests.pipelines.adapt_cohort import NUM, config, read_domains, write_manifest


def test_the_source_teaches_by_its_cases_and_the_target_does_not(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path
) -> None:
    """Pictures of both sides have the same names: those of the source are known by their cases."""
    plain = config(method="source", steps=2)
    read = read_domains(*domains, plain, AdaptOptions(device="cpu", weights=weights))
    card = train_adapt(read, tmp_path / "m.pt", plain)
    cases = set().union(*(digests_of("", f"cp{i}") for i in range(NUM)))
    assert set(card.taught) == cases
    assert digests_of("p0").isdisjoint(card.taught)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_labels_of_the_target_that_are_learned_from_teach(
    domains: tuple[Path, Path], weights: Path, tmp_path: Path, share: float
) -> None:
    labels = write_manifest(tmp_path / "target.csv", domains[1])
    oracle = config(method="target", steps=2, target_share=share)
    options = AdaptOptions(device="cpu", weights=weights, target_labels=labels)
    card = train_adapt(read_domains(*domains, oracle, options), tmp_path / "m.pt", oracle)
    taught = [i for i in range(NUM) if not digests_of(f"p{i}").isdisjoint(card.taught)]
    assert len(taught) == round(share * NUM)
