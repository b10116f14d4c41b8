"""Every task can be learned: a small network, trained for real, gets well beyond the task's floor.

All but the first two take long and run with `-m slow`.
"""

import pytest
from flax import nnx

from attnkit.masks.causal import Causal
from attnkit.models.classifier import Classifier
from attnkit.models.contract import Sizes
from attnkit.models.decoder import Decoder
from attnkit.models.encoder_decoder import EncoderDecoder
from attnkit.pooling.learned_query import LearnedQuery
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.preset.attention import Attention
from attnkit.tasks.adding import Adding
from attnkit.tasks.copy import Copy
from attnkit.tasks.dates import Dates
from attnkit.tasks.induction import Induction
from attnkit.tasks.listops import Listops
from attnkit.tasks.long_lm import LongLm
from attnkit.tasks.recall import Recall
from attnkit.tasks.regression import Regression
from attnkit.tasks.scan import Scan
from attnkit.tasks.selective_copy import SelectiveCopy
from attnkit.tasks.set import Set
from attnkit.tasks.toy_translate import ToyTranslate
from attnkit.training.evaluation import evaluate
from attnkit.training.loop import fit
from attnkit.training.plan import Optimizer, Training

pytestmark = pytest.mark.one_python

SMALL = {"model_dim": 32, "heads": 2, "mlp_ratio": 2.0}
ALIBI = Attention(position=(Alibi(),), mask=Causal())
POOLED = Classifier(**SMALL, depth=1, pool=LearnedQuery())
CONVOLVED = Decoder(**SMALL, depth=2, short_convolution=3)
TRANSLATOR = EncoderDecoder(**SMALL)


def measured(task, model, steps, folder, rate=3e-3):
    """The data set, and what a network reaches on its first held-out split after `steps` steps."""
    data = task.load()
    sizes = Sizes(
        vocabulary=0 if data.numbers else len(data.vocabulary),
        length=data.length,
        source_vocabulary=len(data.source_vocabulary or ()),
        source_length=data.source_length,
        features=data.features,
        source_features=data.source_features,
    )
    plan = Training(steps=steps, batch_size=32, log_every=1000)
    optimizer = Optimizer(learning_rate=rate, warmup=20, weight_decay=0.01)
    trained = fit(model.build(sizes, nnx.Rngs(0)), data, plan, optimizer, folder=folder)
    return data, evaluate(trained.network, data, data.splits[0])


def test_the_maximum_is_learned_fast(tmp_path):
    model = Classifier(model_dim=16, depth=0, pool=LearnedQuery())
    data, found = measured(Set(sizes=()), model, 200, tmp_path, rate=1e-2)
    assert found.loss < 0.3 * data.floors["loss"]


def test_recall_is_learned_fast(tmp_path):
    task = Recall(vocabulary=16, pairs=3, length=16, queries="dense", lengths=())
    model = Decoder(**SMALL, depth=1, short_convolution=3)
    data, found = measured(task, model, 250, tmp_path)
    assert found.accuracy > data.floors["token_accuracy"] + 0.3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "model", "steps", "metric", "reach"),
    [
        (
            Induction(lengths=()),
            Decoder(model_dim=64, heads=2, mlp_ratio=0.0, depth=2, tied=True),
            600,
            "accuracy",
            0.9,
        ),
        (SelectiveCopy(letters=8, copied=4, length=32, lengths=()), CONVOLVED, 800, "accuracy", 0.8),
        (
            Copy(longest=8, letters=8, lengths=()),
            Decoder(**SMALL, depth=2, mixer=ALIBI),
            800,
            "accuracy",
            0.9,
        ),
        (LongLm(lengths=()), Decoder(**SMALL, depth=2, mixer=ALIBI), 800, "loss", 1.7),
        (Regression(), Decoder(**SMALL, depth=3), 1500, "loss", 3.0),
        (Listops(), Classifier(**SMALL, depth=2), 800, "accuracy", 0.35),
        (Dates(), TRANSLATOR, 800, "accuracy", 0.9),
        (ToyTranslate(words=10, longest=8, lengths=()), TRANSLATOR, 800, "accuracy", 0.9),
        (Scan(longest=14, most=24), TRANSLATOR, 600, "accuracy", 0.9),
        (Adding(length=10, lengths=()), POOLED, 300, "loss", 0.05),
        (Set(read="tokens", greatest=20), POOLED, 800, "accuracy", 0.7),
    ],
    ids=lambda value: type(value).__name__.lower() if not isinstance(value, int | float | str) else "",
)
def test_every_task_is_learned(task, model, steps, metric, reach, tmp_path):
    data, found = measured(task, model, steps, tmp_path)
    if metric == "accuracy":
        assert found.accuracy > reach > data.floors["token_accuracy"]
    else:
        assert found.loss < reach < data.floors["loss"]
