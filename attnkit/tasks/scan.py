"""SCAN: commands such as `jump around left twice` into sequences of actions."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks import draws
from attnkit.tasks.contract import Dataset, DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.pair_dataset import PairDataset, TokenPairs
from attnkit.tasks.prompted import Prompted
from attnkit.tasks.scan_grammar import actions, commands
from attnkit.tasks.token_rows import RaggedTokens, vocabulary_of
from attnkit.tasks.wording import hint, shown

ACTIONS = ("JUMP", "LOOK", "LTURN", "RTURN", "RUN", "WALK")
MOST_WORDS = 9


@options
class Scan(Task):
    """Write the actions of a command, among them more actions than any training command has.

    Commands of up to `longest` actions are trained on, but for `valid_size` random ones of them, split
    `valid`. Split `longer` is random commands of `longest` + 1 to `most` actions. The original length split
    is longest = 22, most = 48; longest = 14, most = 24 is a miniature of it.

    >>> data = Scan(valid_size=10).load()
    >>> data.held_out["valid"].prompts[0]
    'jump opposite right twice after turn opposite left twice'
    >>> data.held_out["valid"].answers[0]
    'LTURN LTURN LTURN LTURN RTURN RTURN JUMP RTURN RTURN JUMP'

    Attributes:
        layout: what reads the command: an encoder, or a decoder as its prompt.
        longest: most actions of a training command.
        most: most actions of a command of split `longer`.
        valid_size: commands that choose the best checkpoint.
        longer_size: most commands of split `longer`.
        split_seed: which commands are held out.

    Source: Lake and Baroni 2018, arXiv 1711.00350 (experiment 2, length split); position encodings compared
    in Kazemnejad et al. 2023, arXiv 2305.19466.
    """

    layout: Literal["source", "prompt"] = "source"
    longest: Annotated[int, Ge(1), Le(48)] = 22
    most: Annotated[int, Ge(2), Le(48)] = 48
    valid_size: Annotated[int, Ge(1)] = 500
    longer_size: Annotated[int, Ge(1)] = 500
    split_seed: Annotated[int, Ge(0)] = 0

    def load(self) -> Dataset:
        """The commands of all splits.

        Raises:
            ConfigError: for sizes that leave nothing to train on or to test.
        """
        known, longer = [], []
        for words in commands():
            count = len(actions(words))
            if count <= self.longest:
                known.append(words)
            elif count <= self.most:
                longer.append(words)
        if not longer:
            raise ConfigError(f"most = {self.most}: no command has {self.longest + 1} to {self.most} actions")
        if self.valid_size >= len(known):
            raise ConfigError(
                f"valid_size = {self.valid_size}: expected less than {len(known)}, the commands of up to "
                f"{self.longest} actions"
            )
        order = draws.permutation(len(known), self.split_seed, 1)
        chosen = draws.permutation(len(longer), self.split_seed, 2)[: self.longer_size]
        valid, train = np.split(order, [self.valid_size])
        splits = {
            "train": [known[row] for row in np.sort(train)],
            "valid": [known[row] for row in valid],
            "longer": [longer[row] for row in chosen],
        }
        pairs = ScanDataset(self, splits)
        return Prompted(pairs) if self.layout == "prompt" else pairs

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A command.

        Raises:
            DataError: for words that no command has, and for a text that is too long.
        """
        vocabulary = info.source_vocabulary or info.vocabulary
        # In a prompt's vocabulary the words of commands come first, then the actions and `=`.
        end = len(vocabulary) if info.separator is None else info.separator - len(ACTIONS)
        known, most = vocabulary.tokens[len(Vocabulary.SPECIAL) : end], info.source_length or MOST_WORDS
        words = text.split()
        for word in words:
            if word not in known:
                raise DataError(f"{shown(text)}: {word!r} is in no command{hint(word, known)}")
        if not 0 < len(words) <= most:
            raise DataError(f"{shown(text)}: {len(words)} words; expected 1 to {most}")
        prompt, ids = " ".join(words), tuple(vocabulary.ids[word] for word in words)
        if info.separator is not None:
            return Example(
                prompt, "", source=None, inputs=(Vocabulary.BEGIN, *ids, info.separator), labels=()
            )
        return Example(prompt, "", source=ids, inputs=(Vocabulary.BEGIN,), labels=())


class ScanDataset(PairDataset):
    """Commands and actions. The evidence of an action is the verb or direction that names it."""

    def __init__(self, task: Scan, splits: dict[str, list[tuple[str, ...]]]) -> None:
        everything = [words for split in splits.values() for words in split]
        source = vocabulary_of(sorted({word for words in everything for word in words}), " ")
        target = vocabulary_of(ACTIONS, " ")
        pairs = {}
        for split, some in splits.items():
            answers = [[action for action, _ in actions(words)] for words in some]
            pairs[split] = TokenPairs(
                prompts=[" ".join(words) for words in some],
                answers=[" ".join(answer) for answer in answers],
                sources=RaggedTokens.of([[source.ids[word] for word in words] for words in some]),
                targets=RaggedTokens.of(
                    [[*map(target.ids.__getitem__, answer), target.END] for answer in answers]
                ),
            )
        train = pairs.pop("train")
        super().__init__(
            task=task,
            train=train,
            held_out=pairs,
            vocabulary=target,
            source_vocabulary=source,
            facts={"held_out": "commands that are not in the training part"},
            longer=["longer"],
        )
        self.ceilings = {"loss": 0.0, "token_accuracy": 1.0, "exact_match": 1.0}

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match`."""
        return super(PairDataset, self).score(examples, predictions)

    def evidence(self, prompt: str, answer: str) -> np.ndarray | None:
        """`[len(labels), len(source)]` bool: the word that names each action; `END` has none."""
        words = prompt.split()
        places = [place for _, place in actions(words)]
        return np.pad(np.eye(len(words), dtype=bool)[places], ((0, 1), (0, 0)))
