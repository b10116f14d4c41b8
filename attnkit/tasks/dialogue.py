"""Dialogue: a bot that books tables must remember what was said."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.bookings import SLOTS, STEPS, VALUES, WORDS, Held, follow, phrase, reply
from attnkit.tasks.contract import Batch, DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream
from attnkit.tasks.turns import words_by_distance
from attnkit.tasks.wording import among, shown

USER, BOT = "user :", "bot :"
LONGEST_TURN = 11
LONGEST_REPLY = 14
DRAWS_A_TURN = 8


@options
class Dialogue(Task):
    """Answer the last turn of a user who books a table.

    The user asks for food, an area, a day, a time and a number of people, one or two at a time, corrects
    himself ("sorry , on sunday instead"), refers to what he said before ("one day later"), and at last has
    the bot book ("book it": all that holds is to be said) or asks for one thing ("which day did i say ?").
    The bot's other replies are *ok*, so every value stands in one turn of the user alone. Held-out dialogues
    are drawn afresh: short ones may be in the training data as well.

    `history` takes some of the dialogue away from the model, in training and in every split: `"last"` leaves
    the user's last turn, `"shuffled"` puts the turns before it in random order, `"none"` leaves no word.

    Attributes:
        history: what the model reads.
        shortest: fewest turns of the user.
        turns: most turns of the user in training.
        more: numbers of turns of the extrapolation splits `turns<n>`.
        held_out: dialogues of each split.
    """

    history: Literal["full", "last", "shuffled", "none"] = "full"
    shortest: Annotated[int, Ge(1)] = 1
    turns: Annotated[int, Ge(1), Le(64)] = 6
    more: tuple[int, ...] = (9,)
    held_out: Annotated[int, Ge(1)] = 512

    def load(self) -> "DialogueDataset":
        """Dialogues without end. Raises `ConfigError` for numbers of turns that cannot be."""
        if self.shortest > self.turns:
            raise ConfigError(f"shortest = {self.shortest}: expected at most turns = {self.turns}")
        if len(set(self.more)) < len(self.more) or not all(1 <= n <= 64 for n in self.more):
            raise ConfigError(f"more = {list(self.more)}: expected different numbers from 1 to 64")
        return DialogueDataset(self)

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A dialogue, a turn a line, the user's first and last; or the user's only turn.

        Turns that are too old for the model to read are left out, the user's and the bot's together.

        Raises:
            DataError: for an empty last turn, and for words that the bot does not know.
        """
        turns = [line.split() for line in text.strip("\n").split("\n")]
        if not turns[-1]:
            raise DataError("an empty turn; expected what the user says")
        for word in (word for turn in turns for word in turn):
            if word not in WORDS:
                raise DataError(f"{shown(' '.join(turns[-1]))}: {word!r} is not known{among(word, WORDS)}")
        spoken = [[*(USER if number % 2 == 0 else BOT).split(), *turn] for number, turn in enumerate(turns)]
        spoken = visible_of(spoken, self.history)
        while len(spoken) > 2 and (sum(map(len, spoken)) > info.source_length or len(spoken) > info.segments):
            spoken = spoken[2:]
        source = [info.vocabulary.ids[word] for turn in spoken for word in turn][: info.source_length]
        segment = [number for number, turn in enumerate(spoken) for _ in turn][: info.source_length]
        prompt = info.vocabulary.text(source)
        return Example(prompt, "", tuple(source), (Vocabulary.BEGIN,), (), segment=tuple(segment))


class DialogueDataset(Generated):
    """Dialogues and the bot's next turn. The evidence of a value is where the user said it and changed it."""

    dialogue = True

    def __init__(self, task: Dialogue) -> None:
        self.task = task
        self.vocabulary = self.source_vocabulary = Vocabulary((*Vocabulary.SPECIAL, *WORDS), joiner=" ")
        self.lengths = {f"turns{n}": n for n in task.more}
        longer = [split for split, n in self.lengths.items() if n > task.turns]
        super().__init__(task, splits=("valid", "test", *self.lengths), size=task.held_out, longer=longer)

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Dialogues of at most `turns` turns of the user, or of exactly what `split` says."""
        most = self.lengths.get(split, self.task.turns)
        sizes = stream.between(self.lengths.get(split, self.task.shortest), most, count)
        chances = stream.uniform(count, most, DRAWS_A_TURN)
        orders = stream.orders(count, most)
        read = most if self.task.history in ("full", "shuffled") else 1
        width = read * LONGEST_TURN + (read - 1) * 3
        sources, segments = (np.zeros((count, width), np.int64) for _ in range(2))
        answers = np.zeros((count, LONGEST_REPLY), np.int64)
        for row in range(count):
            turns = conversation(chances[row, : sizes[row]])
            shown_turns = visible(turns, self.task.history, orders[row])
            words = [(word, number) for number, turn in enumerate(shown_turns) for word in turn]
            sources[row, : len(words)] = [self.vocabulary.ids[word] for word, _ in words]
            segments[row] = words[-1][1]
            segments[row, : len(words)] = [number for _, number in words]
            said = [self.vocabulary.ids[word] for word in reply(turns)[0]]
            answers[row, : len(said) + 1] = [*said, Vocabulary.END]
        batch = layout.beside_source(sources, answers)
        return batch | {"source_segment": segments.astype(np.int32)}

    def with_evidence(self, example: Example) -> Example:
        """Where the values of the answer were said, as far as the model can read it."""
        evidence = np.zeros((len(example.labels), example.source_size), bool)
        if self.task.history == "full":
            words = np.array([self.vocabulary.tokens[token] for token in example.source or ()])
            segment = np.array(example.segment)
            starts = [int(np.flatnonzero(segment == n)[0]) + 2 for n in range(0, segment[-1] + 1, 2)]
            turns = [words[start:][segment[start:] == segment[start]].tolist() for start in starts]
            for row, places in reply(turns)[1].items():
                evidence[row, [starts[turn] + place for turn, place in places]] = True
        return dataclasses.replace(example, evidence=evidence)

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match`; share of the answers' slots that are right; and the same by turns back."""
        found = super().score(examples, predictions)
        right = []
        for example, prediction in zip(examples, predictions, strict=True):
            wanted, got = (follow([text.split()]) for text in (example.answer, prediction))
            right += [slot in got and got[slot].value == held.value for slot, held in wanted.items()]
        if right:
            found["slots_right"] = float(np.mean(right))
        return found | words_by_distance(self.vocabulary, examples, predictions)


def conversation(chances: np.ndarray) -> list[list[str]]:
    """The user's turns of one dialogue from `[turns, 8]` random numbers: what he says, word by word."""
    turns: list[list[str]] = []
    for number, chance in enumerate(chances):
        state = follow(turns)
        turns.append(final(state, chance) if number == len(chances) - 1 else early(state, chance))
    return turns


def early(state: Mapping[str, Held], chance: np.ndarray) -> list[str]:
    """A turn before the last: a wish, a correction, a reference or a pause. The first is a wish."""
    steps = [slot for slot in STEPS if slot in state]
    open_slots = [slot for slot in SLOTS if slot not in state]
    if state and chance[0] < 0.15:
        return ["let", "me", "think"]
    if steps and chance[0] < 0.35:
        return STEPS[one_of(steps, chance[1])].split()
    if state and (chance[0] < 0.6 or not open_slots):
        slot = one_of(list(state), chance[1])
        return f"sorry , {phrase(slot, one_of(VALUES[slot], chance[2]))} instead".split()
    first = one_of(open_slots, chance[1])
    said = f"i want {phrase(first, one_of(VALUES[first], chance[2]))}"
    rest = [slot for slot in open_slots if slot != first]
    if rest and chance[3] < 0.5:
        second = one_of(rest, chance[4])
        said += f" and {phrase(second, one_of(VALUES[second], chance[5]))}"
    return said.split()


def final(state: Mapping[str, Held], chance: np.ndarray) -> list[str]:
    """The last turn: book, ask for a slot, or as before. The first of all turns is a wish."""
    if not state:
        return early(state, chance)
    if chance[6] < 0.45:
        return ["book", "it"]
    if chance[6] < 0.85:
        return f"which {one_of(list(state), chance[7])} did i say ?".split()
    return early(state, chance)


def one_of(choices: Sequence[str], chance: float) -> str:
    """The choice that a random number from 0 to 1 falls on."""
    return choices[int(chance * len(choices))]


def visible(turns: list[list[str]], history: str, order: np.ndarray) -> list[list[str]]:
    """The turns of user and bot that a model may read, `order` a permutation for `"shuffled"`."""
    spoken: list[list[str]] = []
    for number, turn in enumerate(turns):
        spoken.append([*USER.split(), *turn])
        if number < len(turns) - 1:
            spoken.append([*BOT.split(), *reply(turns[: number + 1])[0]])
    return visible_of(spoken, history, order)


def visible_of(spoken: list[list[str]], history: str, order: np.ndarray | None = None) -> list[list[str]]:
    """`spoken`, turns of user and bot in turn, as `history` leaves them."""
    if history == "none":
        return [USER.split()]
    if history == "last":
        return spoken[-1:]
    if history == "shuffled" and order is not None:
        before = len(spoken) // 2
        mixed = [spoken[2 * pair + side] for pair in order if pair < before for side in (0, 1)]
        return [*mixed, spoken[-1]]
    return spoken
