import json

import pytest
from flax import nnx

from attnkit import files
from attnkit.errors import NonFiniteError
from attnkit.training import nonfinite


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_spikes_are_left_out_and_end_the_run_after_too_many(toy, tmp_path):
    plan = {"spike_factor": 2.0, "skip_limit": 1, "evaluate_every": 0, "nonfinite": "skip"}
    data = toy.ToyDataset(wrong={3, 20, 26, 27}, poison={18})
    with pytest.raises(
        NonFiniteError, match=r"step 28: a spike: loss is [2-9]\.\d times its median"
    ) as caught:
        toy.train(tmp_path, dataset=data, learning_rate=0.06, **plan)
    assert "(1 steps before it were skipped)" in str(caught.value) and caught.value.exit_code == 4
    found = {line["step"]: line for line in lines(tmp_path) if line["split"] == "train"}
    # Step 4 comes before there is a median.
    assert [step for step, line in found.items() if line.get("skipped")] == [19, 21, 27]
    assert found[19]["loss"] is None and found[21]["loss"] > 2 * found[20]["loss"]
    dump = files.unsealed((tmp_path / "nonfinite.json").read_bytes())
    again = nonfinite.replay(
        toy.ToyNetwork(nnx.Rngs(0)),
        data,
        toy.Training(steps=30, batch_size=6, **plan),
        toy.Optimizer(learning_rate=0.06, warmup=3),
        tmp_path,
        dump,
    )
    assert again == (dump["what"], dump["path"])
    fitted = toy.train(tmp_path, resume=True, learning_rate=0.06, **plan)
    assert (fitted.step, fitted.skipped, fitted.resumed_from) == (30, 3, 27)
