import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx

from attnkit.errors import NonFiniteError
from attnkit.training.loop import fit
from attnkit.training.plan import Optimizer, Training
from attnkit.training.population import Member, attributes, fit_population

PLAN = {
    "steps": 20,
    "batch_size": 6,
    "evaluate_every": 10,
    "evaluation_batch_size": 3,
    "label_smoothing": 0.1,
}
DIFFERENT = (
    {},
    {"seed": 1, "dropout": 0.1, "learning_rate": 0.03, "weight_decay": 0.3},
    {"seed": 2, "dropout": 0.5, "learning_rate": 0.01, "b2": 0.95, "label_smoothing": 0.3},
)


class Enough(Exception):
    pass


def member(toy, folder, seed=0, dropout=0.3, label_smoothing=0.1, plan=None, **optimizer):
    return Member(
        toy.ToyNetwork(nnx.Rngs(seed), dropout=dropout),
        Training(**{**PLAN, "seed": seed, "label_smoothing": label_smoothing, **(plan or {})}),
        Optimizer(**{"learning_rate": 0.02, "warmup": 3, **optimizer}),
        folder,
    )


def alone(one, dataset, **options):
    return fit(one.network, dataset, one.training, one.optimizer, folder=one.folder, **options)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def parameters(fitted):
    return jax.tree.leaves(nnx.state(fitted.network, nnx.Param))


def assert_alike(one, other):
    """Two outcomes of equal runs, one of them computed beside others."""
    for a, b in zip(parameters(one), parameters(other), strict=True):
        np.testing.assert_allclose(a, b, atol=3e-6)
    np.testing.assert_allclose(one.best_loss, other.best_loss, rtol=1e-5)
    assert (one.step, one.best_step, one.skipped) == (other.step, other.best_step, other.skipped)
    assert one.evaluation.split == other.evaluation.split
    np.testing.assert_allclose(one.evaluation.losses, other.evaluation.losses, rtol=1e-5)


@pytest.fixture(scope="module")
def singles(toy, tmp_path_factory):
    """Each of three different runs, trained alone."""
    place = tmp_path_factory.mktemp("alone")
    members = [member(toy, place / str(n), **options) for n, options in enumerate(DIFFERENT)]
    return [(one.folder, alone(one, toy.ToyDataset())) for one in members]


@pytest.mark.parametrize("together", [1, 0])
def test_a_population_gives_what_training_alone_gives(toy, singles, tmp_path, together):
    members = [member(toy, tmp_path / str(n), **options) for n, options in enumerate(DIFFERENT)]
    found = fit_population(members, toy.ToyDataset(), together=together)
    for one, (folder, single), fitted in zip(members, singles, found, strict=True):
        assert_alike(single, fitted)
        ours, theirs = lines(one.folder), lines(folder)
        assert [(row["step"], row.get("split")) for row in ours] == [
            (row["step"], row.get("split")) for row in theirs
        ]
        for row, other in zip(ours, theirs, strict=True):
            assert row.keys() == other.keys()
            np.testing.assert_allclose(row["loss"], other["loss"], rtol=1e-4)
        assert sorted(p.name for p in (one.folder / "checkpoints").iterdir()) == sorted(
            p.name for p in (folder / "checkpoints").iterdir()
        )


def test_members_differ_as_their_options_say(singles):
    losses = [fitted.best_loss for _, fitted in singles]
    assert len({round(loss, 4) for loss in losses}) == 3


def test_a_population_is_one_program(toy, tmp_path):
    members = [member(toy, tmp_path / str(n), seed=n) for n in range(4)]
    toy.ToyNetwork.traces, seen = 0, []
    fit_population(members, toy.ToyDataset(), report=lambda progress: seen.append(toy.ToyNetwork.traces))
    assert len(seen) > 1 and seen[0] == seen[1] and toy.ToyNetwork.traces <= 3


def test_a_population_that_was_interrupted_ends_the_same(toy, singles, tmp_path):
    members = [member(toy, tmp_path / str(n), **options) for n, options in enumerate(DIFFERENT)]

    def enough(progress):
        if progress.step >= 11:
            raise Enough

    # The first member is a step behind the others, as after a kill between two saves.
    with pytest.raises(Enough):
        alone(members[0], toy.ToyDataset(), report=lambda p: enough(dataclasses.replace(p, step=p.step + 9)))
    with pytest.raises(Enough):
        fit_population(members[1:], toy.ToyDataset(), report=enough)
    found = fit_population(members, toy.ToyDataset())
    assert {fitted.resumed_from for fitted in found} <= {0, 2, 10} and found[1].resumed_from == 10
    for (_, single), fitted in zip(singles, found, strict=True):
        assert_alike(single, fitted)
    again = fit_population(members, toy.ToyDataset())
    assert [fitted.resumed_from for fitted in again] == [20, 20, 20]


def test_a_member_that_is_not_finite_stops_alone(toy, singles, tmp_path):
    class Poisoned(toy.ToyDataset):
        def batch(self, seed, step, size):
            batch = super().batch(seed, step, size)
            if (seed, step) == (1, 13):
                batch["weights"][0, 0] = np.nan
            return batch

    members = [member(toy, tmp_path / str(n), **options) for n, options in enumerate(DIFFERENT)]
    found = fit_population(members, Poisoned())
    assert isinstance(found[1], NonFiniteError) and "step 14" in str(found[1])
    assert (members[1].folder / "nonfinite.json").is_file()
    assert [row["step"] for row in lines(members[1].folder)][-1] == 13
    for n in (0, 2):
        assert_alike(singles[n][1], found[n])


def test_a_spike_of_one_member_is_left_out_alone(toy, tmp_path):
    class Wrong(toy.ToyDataset):
        def batch(self, seed, step, size):
            self.wrong = {18} if seed == 1 else set()
            return super().batch(seed, step, size)

    plan = {"spike_factor": 2.0, "evaluate_every": 0}
    members = [
        member(toy, tmp_path / str(n), seed=n, dropout=0.0, plan=plan, learning_rate=0.1) for n in range(2)
    ]
    found = fit_population(members, Wrong())
    assert [fitted.skipped for fitted in found] == [0, 1]
    assert [[row["step"] for row in lines(one.folder) if row.get("skipped")] for one in members] == [[], [19]]


def test_members_that_differ_in_more_than_numbers_are_refused(toy, tmp_path):
    members = [member(toy, tmp_path / "0"), member(toy, tmp_path / "1", weight_decay=0.0)]
    with pytest.raises(ValueError, match="weight_decay is 0 for some members"):
        fit_population(members, toy.ToyDataset())


def test_attributes_are_the_numbers_in_which_networks_differ(toy):
    networks = [toy.ToyNetwork(nnx.Rngs(0), dropout=rate) for rate in (0.25, 0.5)]
    assert attributes(networks) == {"dropout": [0.25, 0.5]}
    assert attributes(networks[:1] * 2) == {}
