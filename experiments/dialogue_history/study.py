"""What of a dialogue's past a network uses: answers with all of it, with its turns shuffled, and without.

    python experiments/dialogue_history/study.py [--form worded] [--steps 800] [--trained full,shuffled,none]

Trains configs/dialogue/dialogue_state.toml once for each kind of past, and asks each network again with the
pasts it was not trained on: right answers by how many turns back the answer was said in the true order.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attnkit.experiment import config, decode
from attnkit.experiment.session import Session, start
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Example
from attnkit.tasks.dialogue_state import QUESTION, DialogueState, DialogueStateDataset
from attnkit.tasks.stream import Stream
from attnkit.training.loop import fit

CONFIG = Path(__file__).parents[2] / "configs" / "dialogue" / "dialogue_state.toml"
PASTS = ("full", "shuffled", "none")


class WithPast(DialogueStateDataset):
    """Dialogues of which a network reads a part; the right answer stays that of the whole in its order."""

    def __init__(self, task: DialogueState, past: str) -> None:
        self.past = past
        super().__init__(task)

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Dialogues as the task draws them, then changed."""
        whole = super().draw(stream, count, split)
        return layout.at_places(
            seen(whole["inputs"][:, 1:], self, self.past, stream),
            seen(whole["labels"][:, 1:], self, self.past, None),
        )

    def known(self, example: Example) -> Example:
        """The example: where the answer stands is known of whole dialogues alone."""
        return super().known(example) if self.past == "full" else example

    def _shortcuts(self, examples: Sequence[Example]) -> dict[str, list[bool]]:
        """Answers to a part of the question, which only whole dialogues tell."""
        return (
            super()._shortcuts(examples)
            if self.past == "full"
            else {"last value": [False], "most frequent value": [False]}
        )


def seen(tokens: np.ndarray, data: DialogueStateDataset, past: str, stream: Stream | None) -> np.ndarray:
    """Rows of turns and a question as a network reads them; without a stream, turns stay where they are."""
    asks = len(QUESTION[data.task.form].split())
    question = tokens[:, -asks:]
    if past == "none":
        return question
    turns = tokens[:, :-asks].reshape(len(tokens), -1, data.wide)
    if past == "shuffled" and stream is not None:
        turns = np.take_along_axis(turns, stream.orders(*turns.shape[:2])[..., None], axis=1)
    return np.concatenate([turns.reshape(len(tokens), -1), question], axis=1)


def answers(session: Session, whole: DialogueStateDataset, split: str, past: str) -> dict[str, float]:
    """Right answers of a network that reads `past`, by distance in the whole dialogues."""
    examples = whole.examples(split, session.decoding.scored)
    stream, read = Stream(3, 0), []
    for example in examples:
        told = seen(np.array([example.inputs[1:]]), whole, past, stream)[0]
        read.append(dataclasses.replace(example, inputs=(example.inputs[0], *told.tolist()), evidence=None))
    written = decode.write(session, read, session.decoding)
    return whole.score(examples, [whole.vocabulary.text(tokens) for tokens in written])


def train(session: Session, task: DialogueState, past: str) -> Session:
    """The session with a network trained on dialogues of which it reads `past`."""
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(
            session.network, WithPast(task, past), session.training, session.optimizer, folder=Path(folder)
        )
    return dataclasses.replace(session, network=fitted.network)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--form", default="worded", choices=("worded", "coded"))
    parser.add_argument("--convolution", type=int, default=3, help="tokens of the short convolution")
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trained", default=",".join(PASTS), help="pasts to train on, with commas between")
    chosen = parser.parse_args()
    words = [
        f"task.form={chosen.form}",
        f"model.short_convolution={chosen.convolution}",
        f"training.steps={chosen.steps}",
        f"training.seed={chosen.seed}",
    ]
    fresh = start(
        config.load(CONFIG, [*words, "training.evaluate_every=0", "task.lengths=[]", "decoding.scored=512"])
    )
    whole = fresh.dataset
    assert isinstance(whole, DialogueStateDataset)
    print(f"a frequent or the last value: {whole.floors['exact_match']:.3f}; CPU seconds are of training")
    for past in chosen.trained.split(","):
        begun = time.process_time()
        trained = train(fresh, whole.task, past)
        spent = time.process_time() - begun
        for told in PASTS:
            found = answers(trained, whole, "test", told)
            cells = ", ".join(f"{name} {share:.3f}" for name, share in found.items())
            print(f"trained on {past} ({spent:.0f} s), asked with {told}: {cells}", flush=True)


if __name__ == "__main__":
    main()
