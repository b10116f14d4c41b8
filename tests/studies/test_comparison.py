import dataclasses
import math
import xml.etree.ElementTree as xml

import pytest

from attnkit.studies import figures, page, tables
from attnkit.studies.comparison import Criteria, Run, compare

UNITS = {"loss": "nats per token", "token_accuracy": "fraction"}
#: mixer -> rate -> accuracies on (valid, test) of each seed
RUNS = {
    "softmax": {"0.1": [(0.90, 0.80), (0.92, 0.84), (0.94, 0.88)], "0.3": [(0.5, 0.99)] * 3},
    "line_ar": {
        "0.1": [(0.20, 0.30), (0.22, 0.31), (0.24, 0.41)],
        "0.3": [(0.7, 0.6), (0.7, 0.7), (None, 0.8)],
    },
}


def run(mixer, rate, seed, valid, test, **result):
    history = [{"step": n, "split": "train", "loss": 1.0, "tokens": 50.0} for n in (1, 2, 3, 4)]
    history += [{"step": 2, "split": "valid", "accuracy": 0.4, "loss": 2.0, "tokens": 9.0}]
    history += [{"step": 4, "split": "valid", "accuracy": valid, "loss": 1.0, "tokens": 9.0}]
    splits = {"valid": valid, "test": test, "length64": None if valid is None else valid / 2}
    return Run(
        name=f"{mixer}-{rate}-{seed}",
        labels={"mixer": mixer, "rate": rate, "task": "recall"},
        seed=seed,
        result={
            "splits": {name: {"loss": 1.0, "token_accuracy": value} for name, value in splits.items()},
            "units": UNITS,
            "lengths": {"valid": 32, "length64": 64},
            "parameters": 1000,
            "state_bytes": 64 if mixer == "softmax" else None,
            "flops_per_token": 2000.0,
            "training_seconds": 8.0,
            "steps": 4,
            **result,
        },
        history=history,
    )


@pytest.fixture(scope="module")
def runs():
    return [
        run(mixer, rate, seed, *values)
        for mixer, rates in RUNS.items()
        for rate, seeds in rates.items()
        for seed, values in enumerate(seeds)
    ]


@pytest.fixture(scope="module")
def made(runs):
    return compare(runs, Criteria(rows=("mixer",), columns=("task",), tune=("rate",), threshold=0.9))


def test_a_rate_is_chosen_on_validation_and_reported_on_test(made):
    softmax = made.group("softmax", "recall")
    assert softmax.split == "test" and {run.labels["rate"] for run in softmax.runs} == {"0.1"}
    assert softmax.value.mean == pytest.approx(0.84) and softmax.tried == 2
    # Of the other, the rate that is better where it works failed once, and is not taken.
    assert {run.labels["rate"] for run in made.group("line_ar", "recall").runs} == {"0.1"}


def test_all_seeds_count_and_never_the_best_one(made):
    group = made.group("line_ar", "recall")
    assert group.value.mean == pytest.approx((0.30 + 0.31 + 0.41) / 3) and group.value.runs == 3
    assert group.by_seed() == {0: 0.30, 1: 0.31, 2: 0.41}


def test_rows_are_tested_against_the_baseline_by_seed(made, runs):
    (test,) = made.tests
    assert (test.row, test.baseline, test.column) == ("line_ar", "softmax", "recall")
    assert test.paired.difference.mean == pytest.approx(0.34 - 0.84) and test.paired.difference.runs == 3
    other = compare(runs, Criteria(rows=("mixer",), columns=("task",), tune=("rate",), baseline="line_ar"))
    assert other.tests[0].paired.difference.mean == pytest.approx(0.84 - 0.34)


def test_thresholds_speed_and_sizes(made):
    group = made.group("softmax", "recall")
    assert group.success(0.84).successes == 2
    assert [step for _, step in group.reached(0.91)] == [4, 4]
    assert group.runs[0].tokens_per_step == 50 and group.runs[0].seconds_per_step == 2
    assert group.tokens_per_second == 25
    row = tables.details(made).rows[0]
    assert row[-4:] == ("0 of 3", "4", "200", "8")
    assert tables.sizes(made).rows[0][2:5] == ("1,000", "64", "2,000")
    assert tables.sizes(made).rows[1][3] == tables.NOTHING


def test_without_a_test_split_a_tuned_table_says_so(runs):
    plan = Criteria(rows=("mixer",), tune=("rate",), metric="valid.token_accuracy")
    notes = "\n".join(compare(runs, plan).notes)
    assert "reported on the split that it was chosen on" in notes
    plan = Criteria(rows=("mixer",), tune=("rate",))
    assert "reported on the split that it was chosen on" not in "\n".join(compare(runs, plan).notes)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Criteria(rows=("mixr",)), "mixr: the runs have no such axis; have: mixer, rate, task"),
        (Criteria(metric="bleu"), "has no bleu; have: loss, token_accuracy"),
        (Criteria(metric="tset.loss"), "has no split tset; have: valid, test, length64"),
        (
            Criteria(rows=("mixer",), tune=("rate", "task"), baseline="gru"),
            "baseline = gru: no such row; have: softmax, line_ar",
        ),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(runs, plan, message):
    with pytest.raises(ValueError, match=message):
        compare(runs, plan)


def test_a_copy_of_a_run_is_no_second_run(runs):
    copy = dataclasses.replace(runs[0], name="copy")
    plan = Criteria(rows=("mixer",), tune=("rate",))
    with pytest.raises(ValueError, match=f"copy: has the settings and the seed of {runs[0].name}"):
        compare([*runs, copy], plan)
    assert compare([*runs, dataclasses.replace(copy, seed=9)], plan).groups[0].value.runs == 4


def test_steps_of_an_unknown_split_say_nothing_of_speed(runs):
    other = dataclasses.replace(runs[0], history=[{"step": 1, "loss": 1.0, "tokens": 50.0}])
    assert math.isnan(other.tokens_per_step) and other.curve("loss") == ([], [])


def test_tables_in_every_format(made):
    main = tables.main(made)
    assert main.header == ("mixer", "recall: token accuracy (%)")
    half = 4.302653 * 0.04 / math.sqrt(3)
    assert main.rows[0] == ("softmax", f"84.0 ± {100 * half:.1f}")
    latex = tables.as_latex(main, made.notes)
    assert rf"softmax & $84.0 \pm {100 * half:.1f}$ \\" in latex and r"line\_ar" in latex
    assert r"\toprule" in latex and r"token accuracy (\%)" in latex
    markdown = tables.as_markdown([main])
    assert markdown.splitlines()[2:4] == ["| mixer | recall: token accuracy (%) |", "|---|---:|"]
    rows = tables.as_csv(made).splitlines()
    assert len(rows) == 1 + 6 * 3 and rows[0].startswith("variant,column,run,mixer,rate,task,seed,split")
    assert "softmax,recall,softmax-0.1-0,softmax,0.1,recall,0,test,1.0,0.8,1000,64,2000.0" in rows


def test_a_table_of_runs_without_seeds_and_axes():
    made = compare([run("softmax", "0.1", 0, 0.5, 0.25)], Criteria(rows=("mixer",)))
    assert made.rows == ("softmax, 0.1, recall",) and not made.tests
    assert tables.main(made).rows[0][1] == "25.0"
    assert "One seed each" in made.notes[0]


def test_figures_show_means_and_bands(made):
    drawn = figures.curves(made)
    (axis,) = drawn.axes
    assert [line.get_label() for line in axis.lines] == ["softmax", "line_ar"]
    assert list(axis.lines[0].get_xdata()) == [2, 4]
    assert axis.lines[0].get_ydata()[1] == pytest.approx(0.92)
    assert len(axis.collections) == 2 and axis.get_ylim() == (-0.03, 1.03)
    lengths = figures.by_length(made)
    assert list(lengths.axes[0].lines[0].get_xdata()) == [32, 64]
    assert lengths.axes[0].lines[0].get_ydata()[1] == pytest.approx(0.46)
    data = figures.rendered(lengths, "svg")
    assert data == figures.rendered(lengths, "svg") and xml.fromstring(data).tag.endswith("svg")
    assert figures.rendered(drawn, "png").startswith(b"\x89PNG")


def test_lengths_are_not_drawn_where_there_are_none(runs):
    short = [run("softmax", "0.1", 0, 0.5, 0.25, lengths={})]
    assert figures.by_length(compare(short, Criteria(rows=("mixer",)))) is None


def test_the_page_is_one_file_without_script(made):
    text = page.render(
        "</title><script>x</script>", "a\n\nb", list(tables.every_table(made)), made.notes, {"A": b"<svg/>"}
    )
    assert "<script" not in text and "http" not in text.replace("http-equiv", "")
    assert "data:image/svg+xml;base64,PHN2Zy8+" in text and "84.0 ±" in text
