import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
from flax import nnx

from attnkit.errors import ConfigError
from attnkit.experiment import attention, decode, display, measure, run, summary
from attnkit.experiment.intervals import intervals
from attnkit.generation.plan import Decoding
from attnkit.models.contract import Sizes
from attnkit.models.encoder import Encoder
from attnkit.tasks.adding import Adding
from attnkit.tasks.contract import Example, Vocabulary
from attnkit.tasks.number_words import NumberWords
from attnkit.training.evaluation import Evaluation
from attnkit.training.progress import Progress


def example(source=(5, 6, 7), inputs=(1,), labels=(8, 2), evidence=None):
    return Example("prompt", "answer", source, inputs, labels, evidence)


def test_writing_ends_with_the_first_end_token():
    assert decode.ended([5, 7, 2, 0, 0]) == (5, 7, 2)
    assert decode.ended([5, 7]) == (5, 7) and decode.ended([2, 5]) == (2,)


def test_an_encoder_writes_no_more_than_it_reads():
    sizes = Sizes(vocabulary=9, length=5, source_vocabulary=11, source_length=5)
    network = Encoder(depth=0, model_dim=4, heads=1).build(sizes, nnx.Rngs(0))
    session = SimpleNamespace(network=network, dataset=SimpleNamespace(length=5, source_length=5))
    asked = [example((5, 6, 7)), example((5,))]
    written = decode.write(session, asked, Decoding(max_length=4, method="sample"))
    assert all(0 < len(row) <= len(one.source) for row, one in zip(written, asked, strict=True))


def test_few_different_numbers_of_rows():
    assert [decode.rows(n) for n in (1, 16, 17, 100, 128)] == [16, 16, 32, 128, 128]


def test_sources_are_padded_to_the_longest():
    batch = decode.sources([example((5, 6)), example((7, 8, 9))], 2)
    assert np.asarray(batch["source"]).tolist() == [[5, 6, 0], [7, 8, 9]]
    assert np.asarray(batch["source_length"]).tolist() == [2, 3]
    assert np.asarray(decode.sources([example((5,))], 4)["source"]).shape == (1, 4)
    assert decode.sources([example(None)], 4) == {}


def test_maps_are_cut_to_the_places_where_labels_are_written():
    weights = np.arange(2 * 7 * 11.0).reshape(2, 7, 11)
    translated = example((5, 6, 7), (1,), (8, 9, 2))
    assert (
        attention.trimmed("encoder.0.self", weights, translated, (8, 9, 2)).tolist()
        == weights[:, :3, :3].tolist()
    )
    assert (
        attention.trimmed("decoder.0.cross", weights, translated, (8, 2)).tolist()
        == weights[:, :2, :3].tolist()
    )
    continued = example(None, (3, 4, 5), (8, 2))
    cut = attention.trimmed("decoder.0.self", weights, continued, (8, 2))
    assert cut.tolist() == weights[:, 2:4, :4].tolist()


def test_evidence_is_compared_with_cross_attention_or_with_the_prompt():
    evidence = np.zeros((2, 3), bool)
    evidence[0, 1] = True
    maps = {"encoder.0.self": np.ones((1, 3, 3)), "decoder.0.self": np.ones((1, 2, 2))}
    read = attention.Read(
        example(evidence=evidence), (1, 8), (8, 2), {**maps, "decoder.0.cross": np.ones((1, 2, 3))}
    )
    (found,) = attention.observations([read])
    assert list(found.maps) == ["decoder.0.cross"]
    alone = attention.Read(
        example(None, (3, 4, 5), (8, 2), evidence),
        (3, 4, 5, 8),
        (8, 2),
        {"decoder.0.self": np.ones((1, 2, 4))},
    )
    (found,) = attention.observations([alone])
    assert found.maps["decoder.0.self"].shape == (1, 2, 3)
    assert attention.observations([attention.Read(example(), (1, 8), (8, 2), maps)]) == []


def test_names_of_maps():
    assert attention.pretty("decoder.1.cross") == "decoder cross-attention, L1"
    assert attention.pretty("strange") == "strange"


def test_options_of_decoding_choose_their_method():
    plain = Decoding(method="greedy", beams=3)
    assert run.changed(plain, {}) == plain
    assert run.changed(plain, {"top_k": 5}) == Decoding(method="sample", top_k=5, beams=3)
    assert run.changed(plain, {"beams": 7, "max_length": 11}) == Decoding(
        method="beam", beams=7, max_length=11
    )
    with pytest.raises(ConfigError, match="--temperature is for sampling"):
        run.changed(plain, {"temperature": 0.5, "beams": 2})
    with pytest.raises(ConfigError, match="beams = 0"):
        run.changed(plain, {"beams": 0})


RESULT = {
    "splits": {
        "valid": {"loss": 0.5, "exact_match": 0.75, "bleu": 0.25},
        "test": {"loss": None, "exact_match": 1.0},
    },
    "units": {"loss": "nats per token", "exact_match": "fraction", "bleu": "points"},
    "scored_examples": {"valid": 4, "test": 2},
    "floors": {"loss": 3.0, "exact_match": 0.125},
    "alignment": {
        "split": "test",
        "map": "decoder.0.cross",
        "head": 1,
        "accuracy": 0.875,
        "mass": 0.5,
        "chance": 0.25,
        "rows": 17,
    },
    "samples": [
        {"split": "valid", "prompt": "one", "expected": "eins", "got": "eins"},
        {"split": "test", "prompt": "two", "expected": "zwei", "got": "\x1b[31mdrei"},
        {"split": "test", "prompt": "To be", "expected": "", "got": " or not"},
    ],
}


def test_results_have_headlines_first_and_their_floors():
    found = list(summary.results(RESULT))
    assert [(r.name, r.split) for r in found if r.headline] == [
        ("loss", "valid"),
        ("exact match", "valid"),
        ("exact match", "test"),
        ("alignment accuracy", "test"),
    ]
    assert [r.headline for r in found] == sorted((r.headline for r in found), reverse=True)
    by_name = {(r.name, r.split): r for r in found}
    assert (
        by_name["exact match", "test"].floor == 0.125 and by_name["alignment accuracy", "test"].floor == 0.25
    )
    assert by_name["exact match", "valid"].note == "4 examples decoded"
    assert math.isnan(by_name["loss", "test"].value)


def test_the_lines_for_the_terminal():
    lines = list(summary.lines(RESULT))
    assert lines[0] == "[valid] one -> eins   (right)"
    assert lines[1] == "[test] two -> \\x1b[31mdrei   (wrong, expected: zwei)"
    assert lines[2] == "[test] To be| or not"
    assert "exact match valid 75.00% (floor 12.50%) 4 examples decoded" in [
        " ".join(x.split()) for x in lines
    ]
    assert "bleu valid 0.2500 points" in [" ".join(x.split()) for x in lines]
    assert "loss valid 0.5000 nats per token (floor 3.0000)" in [" ".join(x.split()) for x in lines]


def test_every_metric_of_a_task_has_a_unit_and_fractions_are_fractions():
    data = NumberWords(digits=3, valid_size=5, test_size=5, longer_digits=()).load()
    assert data.unit("loss") == "nats per token" and data.unit("perplexity") == "number"
    assert data.unit("exact_match") == "fraction" and data.unit("character_accuracy") == "fraction"
    assert Adding(length=3, held_out=5).load().unit("loss") == "number"
    session = SimpleNamespace(dataset=data)
    splits = {"valid": {"exact_match": 1.0, "score": 15.25}, "test": {"exact_match": 0.0, "score": 0.5}}
    assert measure.units(session, splits) == {"exact_match": "fraction", "score": measure.UNDECLARED}


def test_the_verdict_names_interval_floor_and_seed():
    result = {**RESULT, "seed": 7, "steps": 40, "intervals": {"test": {"exact_match": [0.34, 1.0]}}}
    assert summary.verdict(result).replace("\u202f", "") == (
        "100.0% of 2 answers on test are right (95 % interval 34.0% to 100.0%), more than the 12.5% of a "
        "model that learned nothing. One seed (7) and 40 steps: another seed may give another result."
    )
    result["intervals"]["test"]["exact_match"] = [0.1, 0.9]
    assert "not clearly different from the 12.5" in summary.verdict(result)
    text = {"splits": {"valid": {"loss": 3.5}}, "floors": {"loss": 3.25}, "seed": 0, "steps": 9}
    assert summary.verdict(text).startswith("The loss on valid is 3.500, not below the 3.250 of a model that")
    assert [r.interval for r in summary.results(result) if r.name == "exact match"] == [None, (0.1, 0.9)]


def test_intervals_by_hand_and_by_the_kind_of_metric():
    def score(examples, predictions):
        right = np.mean([e == p for e, p in zip(examples, predictions, strict=True)])
        half = np.mean([0.5 * (e == p) for e, p in zip(examples, predictions, strict=True)])
        late = [e == p for e, p in zip(examples, predictions, strict=True) if e == "b" or p == "b"]
        of_some = {"of some": float(np.mean(late))} if late else {}
        return {"share": right, "half": half, "squared": right**2, "absent": np.nan, **of_some}

    # Wilson: (k + z^2/2 -+ z sqrt(k (n - k) / n + z^2 / 4)) / (n + z^2) for 9 of 12.
    z = 1.959963984540054
    middle, room = 9 + z**2 / 2, z * np.sqrt(9 * 3 / 12 + z**2 / 4)
    found = intervals(score, list("aaaaaaaaabbb"), list("aaaaaaaaaaaa"))
    assert found["share"] == pytest.approx(
        ((middle - room) / (12 + z**2), (middle + room) / (12 + z**2)), abs=1e-4
    )
    low, high = found["half"]
    deviation = 0.5 * np.sqrt(0.75 * 0.25 / 12)
    assert low == pytest.approx(0.375 - 1.96 * deviation, abs=0.05) and high <= 0.5
    low, high = found["squared"]
    assert (low + high) / 2 == pytest.approx(0.5625, abs=1e-4) and 0.2 < high - low < 1.2
    # Of the 3 examples that have it, none is right: Wilson's upper end is z^2 / (n + z^2).
    assert found["of some"] == pytest.approx((0, z**2 / (3 + z**2)), abs=1e-4)
    assert found.keys() == {"share", "half", "squared", "of some"} and intervals(score, ["a"], ["a"]) == {}


def test_answers_by_class_and_wrong_samples_first():
    examples = [Example("", answer, None, (1,), (3,)) for answer in ("cat", "dog", "dog", "cat", "cat")]
    said = ["cat", "cat", "dog", "cat", "cow"]
    assert measure.confusion(examples, said) == {
        "classes": ["cat", "cow", "dog"],
        "counts": [[2, 1, 0], [0, 0, 0], [1, 0, 1]],
    }
    longer = dataclasses.replace(examples[0], labels=(3, 2))
    assert measure.confusion([longer], ["dog"]) is None
    samples = [measure.Sample("test", example, (n,)) for n, example in enumerate(examples)]
    assert [s.written[0] for s in measure.chosen(samples, said, 4)] == [1, 4, 0, 2]
    assert [s.written[0] for s in measure.chosen(samples, said, 2)] == [1, 0]
    assert [s.written[0] for s in measure.chosen(samples, ["x"] * 5, 4)] == [0, 1, 2, 3]


def test_the_turns_of_a_sample_are_those_of_its_tokens():
    words = Vocabulary((*Vocabulary.SPECIAL, "hello", "there", "ok"), " ")
    info = SimpleNamespace(dialogue=True, source_vocabulary=words)
    said = dataclasses.replace(example((3, 4, 5, 3)), segment=(0, 0, 1, 2))
    assert list(summary.turns(info, said)) == ["hello there", "ok", "hello"]
    assert list(summary.turns(info, example())) == []


def test_curves_from_metrics():
    rows = [
        {"step": 1, "split": "train", "loss": 3.0},
        {"step": 2, "split": "train", "loss": None},
        {"step": 2, "split": "valid", "loss": 2.0, "accuracy": 0.5},
    ]
    loss, accuracy = summary.curves(rows, RESULT)
    assert [line.name for line in loss.lines] == ["training", "valid"] and loss.floor == 3.0
    assert list(loss.lines[0].steps) == [1, 2] and math.isnan(loss.lines[0].values[1])
    assert list(accuracy.lines[0].values) == [0.5]
    assert loss.log and accuracy.share
    assert list(summary.curves([], RESULT)) == []
    rows = [
        {"step": n, "split": "train", "loss": 1.0, "gradient_norm": 0.5, "learning_rate": 0.1, "tokens": 40.0}
        for n in (1, 2)
    ]
    assert [curve.title for curve in summary.curves(rows, RESULT)][1:] == ["gradient norm", "learning rate"]
    said = dict(summary.times({"training_seconds": 2.0, "seconds": 3.0}, rows, ["cpu", "cpu"]))
    assert said["devices"] == "2 x cpu" and said["tokens a second"] == 40


def progress(step, evaluated=False):
    sums = Evaluation("valid", np.asarray([4.0]), np.asarray([2.0]), np.asarray([3.0]))
    return Progress(step, 7, 1.25, 0.1, 5000.0, 3.0, 0, sums if evaluated else None)


def test_progress_as_plain_lines(capsys):
    with display.shown() as report:
        report(progress(1))
        report(progress(2))
        report(progress(2, evaluated=True))
    assert capsys.readouterr().err.splitlines() == [
        "step 1/7  loss 1.2500  5,000 tokens/s",
        "step 2/7  valid: loss 0.5000  accuracy 75.00%  (3 s)",
    ]
    with display.shown(quiet=True) as report:
        report(progress(3))
    assert capsys.readouterr().err == ""


def test_time_left_is_that_of_the_steps_after_compilation(capsys, monkeypatch):
    clock = iter((0.0, 0.0, 100.0, 100.0, 200.0, 200.0))
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    told = display.Lines("labels")
    for step, seconds in ((1, 60.0), (11, 65.0), (21, 470.0)):
        told(Progress(step, 31, 1.25, 0.1, 5000.0, seconds, 0))
    assert capsys.readouterr().err.splitlines() == [
        "step 1/31  loss 1.2500  5,000 labels/s",
        "step 11/31  loss 1.2500  5,000 labels/s  10 s left",
        "step 21/31  loss 1.2500  5,000 labels/s  3 min left",
    ]


def test_progress_as_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with display.shown() as report:
        report(progress(3))
        report(progress(3, evaluated=True))
    shown = capsys.readouterr().err
    assert "3/7" in shown and "loss 1.2500" in shown and "accuracy 75.00%" in shown and "left" in shown


def test_examples_are_the_same_if_all_that_is_read_and_written_is():
    one, again, other = example(), example(), example(labels=(9, 2))
    assert attention.identity(one) == attention.identity(again) != attention.identity(other)
    pictures = [
        Example("", "", None, (1,), (8,), source_features=np.full((2, 3), n)) for n in (0.0, 0.0, 1.0)
    ]
    a, b, c = map(attention.identity, pictures)
    assert a == b != c
