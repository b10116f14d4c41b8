import dataclasses
import json
import traceback

import jax
import pytest
from flax import nnx

from attnkit import files
from attnkit.errors import CheckpointError, ConfigError, DataError, NonFiniteError
from attnkit.training import nonfinite
from attnkit.training.checkpoint import MANIFEST, Checkpoints
from attnkit.training.evaluation import evaluate, make_count
from attnkit.training.load import load


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def steps_of(folder):
    return [line["step"] for line in lines(folder) if line["split"] == "train"]


class Enough(Exception):
    pass


def until(step):
    """A report that ends the run as a crash would, once `step` steps are done."""

    def report(progress):
        if progress.step >= step and progress.evaluation is None:
            raise Enough

    return report


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """A run that nothing interrupted: its folder, what it returned and what it reported."""
    folder, told = tmp_path_factory.mktemp("whole"), []
    fitted = toy.train(folder, report=told.append, steps_per_dispatch=4)
    return folder, fitted, told


def test_a_run_learns_and_says_so(whole):
    folder, fitted, told = whole
    found = lines(folder)
    assert steps_of(folder) == list(range(1, 31))
    assert [(line["step"], line["split"]) for line in found if line["split"] != "train"] == [
        (10, "valid"),
        (20, "valid"),
        (30, "valid"),
    ]
    assert found[10]["split"] == "valid" and found[11]["step"] == 11
    assert fitted.evaluation.accuracy > 0.5 and fitted.evaluation.loss < 0.7 * found[0]["loss"]
    assert (fitted.step, fitted.resumed_from, fitted.skipped) == (30, 0, 0)
    best = min((line for line in found if line["split"] != "train"), key=lambda line: line["loss"])
    assert (fitted.best_step, fitted.best_loss) == (best["step"], best["loss"])
    assert [report.step for report in told if report.evaluation is None] == [4, 8, 10, 14, 18, 20, 24, 28, 30]
    assert [report.step for report in told if report.evaluation] == [10, 20, 30]
    assert all(report.steps == 30 and report.tokens_per_second > 0 for report in told)
    assert told[-1].loss == found[-2]["loss"]


def test_the_network_handed_in_is_left_alone(toy, whole):
    network = toy.ToyNetwork(nnx.Rngs(0))
    again, _ = load(network, whole[0], "last")
    assert evaluate(again, toy.ToyDataset(), "valid", 3).loss == whole[1].evaluation.loss
    assert evaluate(whole[1].network, toy.ToyDataset(), "valid", 3).loss == whole[1].evaluation.loss
    assert evaluate(network, toy.ToyDataset(), "valid", 3).loss > 2


def test_loading_into_another_network_is_refused(toy, whole):
    with pytest.raises(CheckpointError, match=r"params/bias: expected jax float32\[13\]"):
        load(toy.ToyNetwork(nnx.Rngs(0), dim=13), whole[0])


def test_nothing_is_traced_after_the_first_step_and_evaluation(toy, tmp_path):
    # Evaluations of equal networks share a program; this one is the first of its kind.
    make_count.cache_clear()
    toy.ToyNetwork.traces, seen = 0, []
    toy.train(tmp_path, report=lambda progress: seen.append(toy.ToyNetwork.traces), steps_per_dispatch=4)
    assert seen == [1, 1, 1, *[2] * 9]


def test_two_equal_runs_are_equal_to_the_bit(toy, tmp_path, whole, state_of):
    toy.train(tmp_path, steps_per_dispatch=7)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    assert state_of(tmp_path) == state_of(whole[0])


@pytest.mark.parametrize("step", [1, 7, 10, 29])
def test_resuming_changes_no_bit(toy, tmp_path, whole, state_of, step):
    with pytest.raises(Enough):
        toy.train(tmp_path, report=until(step), steps_per_dispatch=3)
    fitted = toy.train(tmp_path, resume=True, steps_per_dispatch=3)
    assert step <= fitted.resumed_from <= step + 5
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    assert state_of(tmp_path) == state_of(whole[0])
    for one, other in zip(
        jax.tree.leaves(nnx.state(fitted.network)), jax.tree.leaves(nnx.state(whole[1].network)), strict=True
    ):
        assert one.tobytes() == other.tobytes()


def test_resuming_again_and_again_changes_no_bit(toy, tmp_path, whole, state_of):
    step = interruptions = 0
    while True:
        try:
            toy.train(tmp_path, resume=True, report=until(step + 3), steps_per_dispatch=3)
            break
        except Enough:
            interruptions += 1
            newest = Checkpoints(tmp_path / "checkpoints").steps()[-1]
            assert newest > step
            step = newest
    assert interruptions >= 4
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    assert state_of(tmp_path) == state_of(whole[0])


def test_lines_beyond_the_checkpoint_are_written_again_once(toy, tmp_path, whole):
    with pytest.raises(Enough):
        toy.train(tmp_path, report=until(12))
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 25, "loss": 1.0}\n{"step": 26, "lo')
    toy.train(tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()


def test_falling_back_to_an_earlier_checkpoint_changes_no_bit(toy, tmp_path, whole, state_of, caplog):
    with pytest.raises(Enough):
        toy.train(tmp_path, report=until(22), keep=3)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    newest = checkpoints.steps()[-1]
    (checkpoints._path(newest) / MANIFEST).write_text("{}")
    with pytest.raises(CheckpointError, match="not a manifest"):
        toy.fit(
            toy.ToyNetwork(nnx.Rngs(0)),
            toy.ToyDataset(),
            toy.Training(steps=30, batch_size=6),
            toy.Optimizer(),
            folder=tmp_path,
            resume=True,
            strict=True,
        )
    fitted = toy.train(tmp_path, resume=True, keep=3)
    assert fitted.resumed_from == 20 and "falling back" in caplog.text
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    assert state_of(tmp_path) == state_of(whole[0])


def test_a_crash_between_an_evaluation_and_its_note_logs_it_once(toy, tmp_path, whole, state_of, monkeypatch):
    def crash(self, *given):
        raise Enough

    with monkeypatch.context() as patch, pytest.raises(Enough):
        patch.setattr(Checkpoints, "annotate", crash)
        toy.train(tmp_path)
    assert lines(tmp_path)[-1]["split"] == "valid"
    toy.train(tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole[0] / "metrics.jsonl").read_bytes()
    assert state_of(tmp_path) == state_of(whole[0])


def test_a_damaged_checkpoint_of_a_later_step_does_not_push_out_new_ones(toy, tmp_path):
    with pytest.raises(Enough):
        toy.train(tmp_path, report=until(26), steps_per_dispatch=1, keep=2)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    newest = checkpoints.steps()[-1]
    assert newest > 25
    (checkpoints._path(newest) / MANIFEST).write_text("{}")
    toy.train(tmp_path, resume=True, evaluate_every=5)
    assert checkpoints.steps()[-1] == 30
    assert steps_of(tmp_path) == list(range(1, 31))


def test_a_finished_run_is_not_trained_again(toy, tmp_path, whole, state_of, caplog):
    caplog.set_level("INFO")
    toy.train(tmp_path, steps=10)
    before = state_of(tmp_path), (tmp_path / "metrics.jsonl").read_bytes()
    fitted = toy.train(tmp_path, steps=10, resume=True)
    assert (fitted.step, fitted.resumed_from, fitted.best_step) == (10, 10, 10)
    assert "nothing to train" in caplog.text
    assert (state_of(tmp_path), (tmp_path / "metrics.jsonl").read_bytes()) == before


def test_a_folder_with_a_run_in_it_is_not_overwritten(toy, whole):
    with pytest.raises(ConfigError, match="holds a run of 30 steps"):
        toy.train(whole[0])


def test_resuming_on_another_number_of_devices_says_so(toy, tmp_path, monkeypatch, caplog):
    toy.train(tmp_path, steps=2)
    restore = Checkpoints.restore

    def elsewhere(self, *arguments, **options):
        found = restore(self, *arguments, **options)
        facts = {**found.manifest.facts, "devices": 64}
        return dataclasses.replace(found, manifest=dataclasses.replace(found.manifest, facts=facts))

    toy.train(tmp_path, steps=2, resume=True)
    assert "trained on" not in caplog.text
    monkeypatch.setattr(Checkpoints, "restore", elsewhere)
    toy.train(tmp_path, steps=2, resume=True)
    assert "device(s), trained on 64 before: equal to about 1e-5, not to the bit" in caplog.text


def test_resuming_with_another_plan_or_other_data_is_refused(toy, tmp_path):
    toy.train(tmp_path, steps=2, evaluate_every=0)
    with pytest.raises(ConfigError, match="batch_size = 12: the run to resume has batch_size = 6"):
        toy.train(tmp_path, resume=True, batch_size=12)
    with pytest.raises(ConfigError, match="seed = 3: the run to resume has seed = 0"):
        toy.train(tmp_path, resume=True, seed=3)
    other = toy.ToyDataset()
    other.fingerprint = "77"
    with pytest.raises(DataError, match=r"fingerprint 77.* 3f"):
        toy.train(tmp_path, resume=True, dataset=other)


def test_an_error_in_the_data_keeps_its_traceback_and_the_steps_before(toy, tmp_path):
    with pytest.raises(RuntimeError, match="the disk is on fire") as caught:
        toy.train(tmp_path, dataset=toy.ToyDataset(broken=17), steps_per_dispatch=4)
    assert "raise RuntimeError" in "".join(traceback.format_exception(caught.value))
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == 14
    assert steps_of(tmp_path) == list(range(1, 15))


@pytest.mark.parametrize(("name", "value"), [("inputs", 11), ("labels", -1), ("inputs", -7)])
def test_ids_outside_the_vocabulary_are_refused(toy, tmp_path, name, value):
    class Wrong(toy.ToyDataset):
        def batch(self, seed, step, size):
            batch = super().batch(seed, step, size)
            if step == 5:
                batch[name][2, 3] = value
            return batch

    with pytest.raises(
        DataError, match=rf"training batch 5: {name}\[2, 3\] = {value}: token ids lie in 0..10"
    ):
        toy.train(tmp_path, dataset=Wrong(), steps_per_dispatch=1)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [5]


def test_batches_of_other_shapes_are_refused(toy, tmp_path):
    class Wrong(toy.ToyDataset):
        def batch(self, seed, step, size):
            return super().batch(seed, step, size + (step == 5))

    with pytest.raises(DataError, match="training batch 5: has shapes"):
        toy.train(tmp_path, dataset=Wrong())


def test_a_bad_batch_ends_the_run_with_the_steps_before_it_saved(toy, tmp_path, state_of):
    with pytest.raises(
        NonFiniteError, match="step 13: batch is not finite, first at batch/weights"
    ) as caught:
        toy.train(tmp_path, dataset=toy.ToyDataset(poison={12}), steps_per_dispatch=4)
    assert caught.value.exit_code == 4
    assert steps_of(tmp_path) == list(range(1, 13))
    good = tmp_path / "good"
    with pytest.raises(Enough):
        toy.train(good, report=until(12), steps_per_dispatch=1, evaluate_every=12)
    assert state_of(tmp_path, 12) == state_of(good, 12)
    dump = files.unsealed((tmp_path / "nonfinite.json").read_bytes())
    assert dump == {
        "step": 13, "what": "batch", "path": "batch/weights", "seed": 0, "batch": 12, "key": [0, 0],
    }  # fmt: skip
    again = nonfinite.replay(
        toy.ToyNetwork(nnx.Rngs(0)),
        toy.ToyDataset(poison={12}),
        toy.Training(steps=30, batch_size=6),
        toy.Optimizer(learning_rate=0.02, warmup=3),
        tmp_path,
        dump,
    )
    assert again == ("batch", "batch/weights") and "Look at batch 12 of the data" in str(caught.value)
    with pytest.raises(NonFiniteError, match="step 13"):
        toy.train(tmp_path, dataset=toy.ToyDataset(poison={12}), resume=True)
    assert toy.train(tmp_path, resume=True).step == 30
    assert steps_of(tmp_path) == list(range(1, 31))


def test_a_failing_save_ends_the_run_at_that_step(toy, tmp_path, monkeypatch):
    def full(folder, flat):
        raise OSError(28, "No space left on device")

    def report(progress):
        if progress.step == 20:
            monkeypatch.setattr("attnkit.training.checkpoint._write_arrays", full)

    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint of step 20.*No space left"):
        toy.train(tmp_path, report=report)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [10]


def test_log_every_and_no_held_out_split(toy, tmp_path):
    data = toy.ToyDataset()
    data.splits = ()
    fitted = toy.train(tmp_path, dataset=data, log_every=7)
    assert steps_of(tmp_path) == [7, 14, 21, 28]
    assert (fitted.evaluation, fitted.best_step) == (None, None)
