"""Dropout that is seeded at a step: the same as by torch.manual_seed, on this machine's CPU."""

import torch

from pathology.training.dropout import seed_dropout


def test_it_draws_what_torch_draws_by_the_same_seed() -> None:
    ones, found = torch.ones(1000), []
    for seed in (torch.manual_seed, lambda number: seed_dropout(number, torch.device("cpu"))):
        torch.rand(3)
        seed(17)
        found.append(torch.nn.functional.dropout(ones, 0.5))
    assert torch.equal(*found)
    seed_dropout(18, torch.device("cpu"))
    assert not torch.equal(torch.nn.functional.dropout(ones, 0.5), found[0])
