"""CoUDA's two peers: what they answer, what they are taught, and what their judges look at."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from pathology.adapt.config import AdaptConfig
from pathology.adapt.network import SOURCE, TARGET
from pathology.adapt.peers import NotedLabels, PeerJudges, doubt
from pathology.models.tile_head import PeerHead
from tests.adapt.test_adapt_step import NUM, batch, new_step


def test_peers_answer_by_their_mean() -> None:
    torch.manual_seed(0)
    head, x = PeerHead(NUM, 3, 8, 0.0), torch.randn(5, 4, NUM)
    wanted = (head.one(x).softmax(dim=-1) + head.other(x).softmax(dim=-1)) / 2
    assert torch.allclose(head(x).exp(), wanted, atol=1e-6)
    assert not torch.allclose(head.one(x), head.other(x))


def test_examples_that_peers_read_differently_count_more() -> None:
    sure = torch.tensor([[50.0, -50.0], [50.0, -50.0], [0.0, 0.0]])
    other = torch.tensor([[50.0, -50.0], [-50.0, 50.0], [50.0, -50.0]], requires_grad=True)
    found = doubt((sure, other))
    assert found.tolist() == pytest.approx([1.0, 2.0, 2 - 1 / math.sqrt(2)])
    assert not found.requires_grad
    assert doubt((sure,)).tolist() == [1.0, 1.0, 1.0]


def test_noted_labels_begin_with_the_share_that_is_thought_mistaken() -> None:
    surely = 1e3 * torch.eye(3)
    found = NotedLabels(3, 0.2)(surely).exp()
    wanted = torch.full((3, 3), 0.1).fill_diagonal_(0.8)
    assert torch.allclose(found, wanted)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_the_source_is_taught_through_one_softmax(gamma: float) -> None:
    """The released code puts the refined probabilities through a second one; here it would differ
    by more than a fifth.
    """
    step = new_step(method="couda", dropout=0.0, terms={"focal": gamma}, learning_rate=0.02)
    for number in range(30):
        step(batch(number), number)
    some = batch(30)
    with torch.no_grad():
        each = step.model(some.source, SOURCE).each
        q = functional.softmax(step.noted.noise_CC, dim=1)  # type: ignore[arg-type]
        refined = [logits.softmax(dim=1) @ q for logits in each]
        twice = [r.softmax(dim=1) for r in refined]
        wanted, wrong = (
            sum(
                ((1 - p) ** gamma * -p.log())[torch.arange(32), some.label_S].mean().item()
                for p in probabilities
            )
            for probabilities in (refined, twice)
        )
    found = step(some, 30)["label"]
    assert found == pytest.approx(wanted, rel=1e-5)
    assert abs(wrong / wanted - 1) > 0.2


def test_labels_that_are_mistaken_are_seen_through() -> None:
    """A third of the second class was noted as the first; the layer learns which way."""
    accuracy = {}
    for noise in (0.0, 0.2):
        step = new_step(method="couda", terms={"noise": noise, "focal": 0.0}, learning_rate=0.02)
        for number in range(60):
            some = batch(number)
            random = np.random.default_rng([3, number])
            is_wrong = torch.from_numpy(random.random(32) < 0.35) & (some.label_S == 1)
            step(some._replace(label_S=torch.where(is_wrong, 0, some.label_S)), number)
        some = batch(1000, num=2000)
        with torch.no_grad():
            answers = step.averaged(some.source, SOURCE).logits_BC
        is_second = answers.softmax(dim=1)[some.label_S == 1, 1] > 0.8
        accuracy[noise] = float(is_second.float().mean())
    q = functional.softmax(step.noted.noise_CC, dim=1)  # type: ignore[arg-type]
    assert q[1, 0] > 2 * q[0, 1]
    assert accuracy[0.2] > accuracy[0.0] + 0.2  # sure of them, in spite of what was noted


def test_peers_drift_apart_by_their_last_layers_alone() -> None:
    terms = {"adversary": 0.0, "focal": 0.0, "noise": 0.0, "diversity": 1.0}
    step = new_step(method="couda", terms=terms, dropout=0.0)
    some = batch(0)
    source, target = step.model.pair(some.source, some.target, is_one_batch=True)
    step._diversity(source, target).backward()
    moved = {n for n, p in step.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {
        f"head.{peer}.head.{n}" for peer in ("one", "other") for n in ("weight", "bias")
    }
    apart = {}
    for weight in (0.0, 10.0):
        step = new_step(method="couda", terms={**terms, "diversity": weight})
        for number in range(60):
            step(batch(number), number)
        with torch.no_grad():
            each = step.model.eval()(some.target, TARGET).each
        apart[weight] = float((each[0].softmax(dim=1) - each[1].softmax(dim=1)).abs().mean())
    assert apart[10.0] > 1.5 * apart[0.0]


def test_each_judge_sees_its_own_peer() -> None:
    torch.manual_seed(0)
    judges, hidden, logits = PeerJudges(8, 2, 4, is_conditional=False), torch.randn(3, 8), None
    before = judges(hidden, logits)
    hidden[:, 4:] += 1
    after = judges(hidden, logits)
    assert torch.equal(before[0], after[0]) and not torch.allclose(before[1], after[1])


def test_diversity_takes_two() -> None:
    with pytest.raises(ValueError, match="diversity needs two heads"):
        AdaptConfig(method="dman", terms={"diversity": 0.1})
