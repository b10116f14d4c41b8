"""Regular languages learned in context: every sequence has an automaton of its own."""

from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Lt

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream

FIRST = len(Vocabulary.SPECIAL)


@options
class RegularLanguages(Task):
    """Words of a random automaton that no other sequence has, with `|` between them.

    Each of `states` states has 1 to `edges` edges with different symbols to random states; the first state
    has one. A word is a walk from the first state, each edge equally likely; after each symbol it ends with
    probability `stop`, and the first word after one symbol. Asked for is the next symbol where only one can
    follow in the word and the state was left before in the sequence, so that it is known. The state follows
    from the word so far, not from the last symbols alone: networks that count n-grams make mistakes.

    >>> task = RegularLanguages(states=3, edges=2, symbols=4, length=24)
    >>> example, = task.load().examples("valid", 1)
    >>> example.prompt
    'c|cc|cbbbbbcccbcbbcb|'
    >>> example.answer
    'c'

    Attributes:
        states: states of an automaton.
        edges: most edges that leave a state.
        symbols: symbols of all automata.
        stop: probability that a word ends after a symbol.
        length: tokens of a training sequence.
        lengths: tokens of the sequences of the splits `length<n>`.
        held_out: sequences of each split.

    Source: Akyürek et al. 2024, arXiv 2401.12973 (RegBench), with automata that are not minimized and only
    places that have one answer.
    """

    states: Annotated[int, Ge(2)] = 6
    edges: Annotated[int, Ge(1)] = 3
    symbols: Annotated[int, Ge(2)] = 8
    stop: Annotated[float, Gt(0.0), Lt(1.0)] = 0.1
    length: Annotated[int, Ge(8)] = 128
    lengths: tuple[Annotated[int, Ge(8)], ...] = (256,)
    held_out: Annotated[int, Ge(1)] = 256

    def load(self) -> "RegularLanguagesDataset":
        """Sequences without end. Raises `ConfigError` if there are fewer symbols than edges."""
        if not self.edges <= self.symbols <= 26:
            raise ConfigError(f"symbols = {self.symbols}: expected {self.edges} (edges) to 26")
        return RegularLanguagesDataset(self)


class RegularLanguagesDataset(Generated):
    """Walks."""

    read_back = False

    def __init__(self, task: RegularLanguages) -> None:
        self.task = task
        self.gap = FIRST + task.symbols
        letters = (chr(ord("a") + number) for number in range(task.symbols))
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *letters, "|"))
        self.lengths = {"valid": task.length, **{f"length{length}": length for length in task.lengths}}
        super().__init__(task, splits=tuple(self.lengths), size=task.held_out, longer=tuple(self.lengths)[1:])

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Sequences of the length that `split` has."""
        task, length = self.task, self.lengths.get(split, self.task.length)
        rows, shape = np.arange(count), (count, task.states)
        edges = 1 + stream.below(task.edges, *shape)
        edges[:, 0] = 1
        symbols = stream.orders(count * task.states, task.symbols)[:, : task.edges].reshape(
            *shape, task.edges
        )
        targets = stream.below(task.states, *shape, task.edges)
        choice, ends = stream.words(count, length), stream.uniform(count, length) < task.stop
        ends[:, :2] = (False, True)  # a word of one symbol, so that every sequence asks for another beginning
        ends[:, 2:] &= ~ends[:, 1:-1]
        tokens, known = np.full((count, length), self.gap), np.zeros((count, length), bool)
        state, left = np.zeros(count, int), np.zeros(shape, bool)
        for place in range(length):
            goes = ~ends[:, place]
            edge = (choice[:, place] % edges[rows, state].astype(np.uint64)).astype(int)
            known[:, place] = goes & left[rows, state] & (edges[rows, state] == 1)
            tokens[goes, place] = FIRST + symbols[rows, state, edge][goes]
            left[rows[goes], state[goes]] = True
            state = np.where(goes, targets[rows, state, edge], 0)
        asked = np.where(known, tokens, Vocabulary.PAD)
        return layout.at_places(tokens[:, :-1], asked[:, 1:])
