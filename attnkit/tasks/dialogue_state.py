"""Dialogue state: what a speaker said last about one thing."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.generated import Generated
from attnkit.tasks.stream import Stream
from attnkit.tasks.turns import by_distance

SPEAKERS = ("anna", "ben")
SLOTS = ("hat", "coat", "car", "door")
VALUES = ("red", "blue", "green", "black", "white", "brown", "gray", "pink")
OTHER = (":", "my", "is", "no", "make", "it", "like", "what", "a", "fine", "day", "for", "?")
WORDS = (*SPEAKERS, *SLOTS, *VALUES, *OTHER)
FIRST = len(Vocabulary.SPECIAL)
ID = {word: FIRST + place for place, word in enumerate(WORDS)}
TELL, CORRECT, REFER, CHAT = range(4)
SOME = 256
# S, L and V stand for the speaker, the slot and the value, O for the other speaker.
WORDED = ("S : my L is V", "S : no make it V", "S : my L like O", "S : what a fine day")
CODED = ("S L V",)
PASTS = ("full", "shuffled", "none")
Past = Literal["full", "shuffled", "none"]
QUESTION = {"worded": "what L for S ?", "coded": "? S L"}


class Acts(NamedTuple):
    """Dialogue acts: `[dialogues, turns]` each, kinds of turns and indices of speakers, slots and values."""

    kind: np.ndarray
    speaker: np.ndarray
    slot: np.ndarray
    value: np.ndarray


class State(NamedTuple):
    """Dialogue state at the end, `[dialogues, speakers, slots]` each; -1 where no value was given.

    `value` is its index, `set_in` the turn that made it hold, and `said_in` the turn that said the word.
    """

    value: np.ndarray
    set_in: np.ndarray
    said_in: np.ndarray


@options
class DialogueState(Task):
    """Say which value a speaker gave a slot last, after a dialogue of two speakers.

    `form = "coded"`: each turn is speaker, slot, value. `form = "worded"`: a turn is a sentence; besides
    statements there are corrections ("no make it blue" is about the thing that its speaker mentioned last),
    references ("my hat like anna" takes over what Anna's is by then) and chatter. The question asks for one
    of the pairs of speaker and slot that have a value, drawn evenly.

    With `layout = "prompt"` a decoder reads the dialogue and the question; with `"source"` an encoder does,
    and `source_segment` says the turn of each token. Each entry `n` of `lengths` adds a split `turns<n>`.

    Less than the dialogue may be read: its turns in random order, or the question alone. The answer stays
    that of the dialogue. `past` says what training, `valid` and `test` read, and each entry of `asked` adds
    a split of that name with another past: a perturbation at the time of the test, as in Sankar et al. 2019,
    arXiv 1906.01603. Evidence and distances are known where the turns that are read tell the answer.

    >>> example, = DialogueState(form="worded", turns=4, lengths=()).load().examples("valid", 1)
    >>> example.prompt.split(" ben", 2)[2], example.answer
    (' : my coat is pink what car for ben ?', 'green')

    Attributes:
        form: turns of three tokens, or of six words.
        layout: a decoder's prompt, or an encoder's source.
        turns: turns of a training dialogue.
        lengths: turns of the extrapolation splits.
        past: turns that are read: `full`, in their order, `shuffled`, or `none`.
        asked: pasts of further splits.
        held_out: dialogues of each split.
    """

    form: Literal["coded", "worded"] = "coded"
    layout: Literal["prompt", "source"] = "prompt"
    turns: Annotated[int, Ge(1), Le(512)] = 16
    lengths: tuple[int, ...] = (16, 32, 64)
    past: Past = "full"
    asked: tuple[Past, ...] = ()
    held_out: Annotated[int, Ge(1)] = 512

    def load(self) -> "DialogueStateDataset":
        """Dialogues without end. Raises `ConfigError` for lengths that cannot be, or a past twice."""
        if len(set(self.asked)) < len(self.asked):
            raise ConfigError(f"asked = {list(self.asked)}: expected different ones of {', '.join(PASTS)}")
        if len(set(self.lengths)) < len(self.lengths) or min(self.lengths, default=1) < 1:
            raise ConfigError(f"lengths = {list(self.lengths)}: expected different numbers of at least 1")
        return DialogueStateDataset(self)

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """A user's own dialogue, turns as long as those of the examples, and the question.

        Raises:
            DataError: for a word that the task lacks, and for a text that is too long.
        """
        example = super().encode(text, info)
        if example.source is None:
            return example
        words = len(templates(self.form)[0].split())
        turns = max(0, example.source_size - len(QUESTION[self.form].split())) // words
        segment = tuple(min(place // words, turns) for place in range(example.source_size))
        return dataclasses.replace(example, segment=segment)


class DialogueStateDataset(Generated):
    """Dialogues and a question. The evidence is the turn that holds, and the one it refers to."""

    def __init__(self, task: DialogueState) -> None:
        self.task = task
        self.templates = templates(task.form)
        self.wide = len(self.templates[0].split())
        words = Vocabulary((*Vocabulary.SPECIAL, *WORDS), joiner=" ")
        if task.layout == "prompt":
            self.vocabulary, self.first_value = words, ID[VALUES[0]]
        else:
            self.vocabulary, self.first_value = Vocabulary((*Vocabulary.SPECIAL, *VALUES)), FIRST
            self.source_vocabulary = words
        self.lengths = {f"turns{n}": n for n in task.lengths}
        longer = [split for split, n in self.lengths.items() if n > task.turns]
        super().__init__(
            task, splits=("valid", "test", *self.lengths, *task.asked), size=task.held_out, longer=longer
        )
        some = self.examples("valid", SOME)
        right = {name: float(np.mean(hits)) for name, hits in self._shortcuts(some).items()}
        better = max(right.get(name, 0.0) for name in ("last value", "most frequent value"))
        self.floors = {
            **self.floors,
            **{name: max(self.floors[name], better) for name in ("token_accuracy", "exact_match")},
        }
        self.facts = {**self.facts, "right_with_part_of_the_question": right}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Dialogues of as many turns as `split` says."""
        turns = self.lengths.get(split, self.task.turns)
        shares = np.array([1.0] if self.task.form == "coded" else [0.4, 0.2, 0.2, 0.2])
        acts, state = follow(
            Acts(
                kind=stream.categories(shares, count, turns),
                speaker=stream.below(len(SPEAKERS), count, turns),
                slot=stream.below(len(SLOTS), count, turns),
                value=stream.below(len(VALUES), count, turns),
            )
        )
        chance = stream.uniform(count, len(SPEAKERS), len(SLOTS))
        asked = np.where(state.value >= 0, chance, -1).reshape(count, -1).argmax(axis=1)
        answer = self.first_value + state.value.reshape(count, -1)[np.arange(count), asked]
        said = self._said(acts, split if split in PASTS else self.task.past, stream)
        told = np.concatenate([said, self._question(asked)], axis=1)
        if self.task.layout == "prompt":
            labels = np.zeros_like(told)
            labels[:, -1] = answer
            return layout.at_places(told, labels)
        last = said.shape[1] // self.wide
        segment = np.minimum(np.arange(told.shape[1]) // self.wide, last).astype(np.int32)
        return {
            **layout.classified(told, answer),
            "source_segment": np.broadcast_to(segment, told.shape).copy(),
        }

    def with_evidence(self, example: Example) -> Example:
        """The turns that decide the answer, where those that are read tell it."""
        told, before = self._told(example)
        if not self._answers(told, example):
            return example
        _acts, state, asked = self._read(told)
        turns = {int(where[0].flat[asked]) for where in (state.set_in, state.said_in)}
        evidence = np.zeros((1, before + len(told)), bool)
        for turn in turns:
            evidence[0, before + turn * self.wide : before + (turn + 1) * self.wide] = True
        return dataclasses.replace(example, evidence=evidence)

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match`, whole, by distance in turns, and in the worded form by the kind of turn."""
        right = [said.split()[:1] == [e.answer] for said, e in zip(predictions, examples, strict=True)]
        if not right:
            return {}
        found = {"exact_match": float(np.mean(right))}
        if not all(self._answers(self._told(example)[0], example) for example in examples):
            return found
        distances, kinds = [], []
        for example in examples:
            acts, state, asked = self._read(self._told(example)[0])
            distances.append(acts.kind.shape[1] - int(state.said_in.flat[asked]))
            kinds.append(int(acts.kind[0, state.set_in.flat[asked]]))
        found |= by_distance(distances, right)
        if self.task.form == "worded":
            for kind, name in ((TELL, "told"), (CORRECT, "corrected"), (REFER, "referred")):
                of_kind = [hit for hit, one in zip(right, kinds, strict=True) if one == kind]
                found |= {f"right_{name}": float(np.mean(of_kind))} if of_kind else {}
        return found

    def _said(self, acts: Acts, past: str, stream: Stream) -> np.ndarray:
        """`[dialogues, turns * words]` token ids of the turns that are read of `past`."""
        dialogues, turns = acts.kind.shape
        if past == "none":
            return np.zeros((dialogues, 0), np.int64)
        parts = {
            "S": FIRST + acts.speaker,
            "O": FIRST + 1 - acts.speaker,
            "L": ID[SLOTS[0]] + acts.slot,
            "V": ID[VALUES[0]] + acts.value,
        }
        said = np.stack([spelled(template, parts, acts.kind.shape) for template in self.templates])
        chosen = np.take_along_axis(said, acts.kind[None, ..., None], axis=0)[0]
        if past == "shuffled":
            chosen = np.take_along_axis(chosen, stream.orders(dialogues, turns)[..., None], axis=1)
        return chosen.reshape(dialogues, -1)

    def _has_turns(self, told: np.ndarray) -> bool:
        """Whether anything stands before the question."""
        return len(told) > len(QUESTION[self.task.form].split())

    def _answers(self, told: np.ndarray, example: Example) -> bool:
        """Whether the answer follows from the turns of `told`."""
        if not self._has_turns(told):
            return False
        _acts, state, asked = self._read(told)
        value = state.value.flat[asked]
        return bool(value >= 0 and VALUES[value] == example.answer)

    def _question(self, asked: np.ndarray) -> np.ndarray:
        """`[dialogues, words]` token ids of the question for pair `asked`."""
        speaker, slot = np.divmod(asked, len(SLOTS))
        parts = {"S": FIRST + speaker, "L": ID[SLOTS[0]] + slot}
        return spelled(QUESTION[self.task.form], parts, asked.shape)

    def _told(self, example: Example) -> tuple[np.ndarray, int]:
        """Token ids of a dialogue with its question, and how many tokens stand before them."""
        if example.source is not None:
            return np.array(example.source), 0
        return np.array(example.inputs[1:]), 1

    def _read(self, told: np.ndarray) -> tuple[Acts, State, int]:
        """Acts of one dialogue, the state at its end, and the (speaker, slot) pair of the question."""
        asks = len(QUESTION[self.task.form].split())
        turns = told[:-asks].reshape(1, -1, self.wide)
        if self.task.form == "coded":
            kind, slot, value = np.zeros(turns.shape[:2], np.int64), turns[..., 1], turns[..., 2]
        else:
            third, fourth = turns[..., 2], turns[..., 4]
            kind = np.select(
                [third == ID["no"], third == ID["what"], fourth == ID["like"]], [CORRECT, CHAT, REFER], TELL
            )
            slot, value = turns[..., 3], turns[..., 5]
        acts = Acts(
            kind,
            turns[..., 0] - FIRST,
            np.clip(slot - ID[SLOTS[0]], 0, len(SLOTS) - 1),
            np.clip(value - ID[VALUES[0]], 0, len(VALUES) - 1),
        )
        words = told[-asks:]
        speaker = int(words[words < ID[SLOTS[0]]][0]) - FIRST
        slot_asked = int(words[(words >= ID[SLOTS[0]]) & (words < ID[VALUES[0]])][0]) - ID[SLOTS[0]]
        return *follow(acts), speaker * len(SLOTS) + slot_asked

    def _shortcuts(self, examples: Sequence[Example]) -> dict[str, list[bool]]:
        """Which examples are right for someone who reads the turns and a part of the question, or nothing."""
        found: dict[str, list[bool]] = {}
        for told_to, answer in ((self._told(example)[0], example.answer) for example in examples):
            if not self._has_turns(told_to):
                continue
            acts, state, asked = self._read(told_to)
            speaker, slot = divmod(asked, len(SLOTS))
            value, when = state.value[0], state.set_in[0]
            told = acts.value[0][(acts.kind[0] == TELL) | (acts.kind[0] == CORRECT)]
            guesses: dict[str, Any] = {
                "last value": told[-1],
                "most frequent value": np.bincount(told).argmax(),
                "slot alone": value[when[:, slot].argmax(), slot],
                "speaker alone": value[speaker, when[speaker].argmax()],
            }
            for name, guess in guesses.items():
                found.setdefault(name, []).append(VALUES[guess] == answer)
        return found


def templates(form: str) -> tuple[str, ...]:
    """The sentences of turns, by kind."""
    return CODED if form == "coded" else WORDED


def spelled(template: str, parts: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """`[*shape, words]` ids of a template: letters of `parts` stand for token ids, all else for itself."""
    return np.stack(
        [parts[word] if word in parts else np.full(shape, ID[word]) for word in template.split()], axis=-1
    )


def follow(acts: Acts) -> tuple[Acts, State]:
    """State after all turns. A correction or reference of nothing becomes a statement, in `acts` too."""
    count, turns = acts.kind.shape
    kinds, slots = acts.kind.copy(), acts.slot.copy()
    kinds[:, 0] = TELL
    value, set_in, said_in = (np.full((count, len(SPEAKERS), len(SLOTS)), -1) for _ in range(3))
    topic = np.full((count, len(SPEAKERS)), -1)
    row = np.arange(count)
    for turn in range(turns):
        kind, speaker = kinds[:, turn], acts.speaker[:, turn]
        corrected = (kind == CORRECT) & (topic[row, speaker] >= 0)
        slot = np.where(corrected, topic[row, speaker], slots[:, turn])
        referred = (kind == REFER) & (value[row, 1 - speaker, slot] >= 0)
        kind = np.where((kind == CHAT) | corrected | referred, kind, TELL)
        kinds[:, turn], slots[:, turn] = kind, slot
        at = row[kind != CHAT], speaker[kind != CHAT], slot[kind != CHAT]
        other = at[0], 1 - at[1], at[2]
        taken = referred[kind != CHAT]
        new = np.where(taken, value[other], acts.value[at[0], turn])
        said = np.where(taken, said_in[other], turn)
        value[at], said_in[at], set_in[at] = new, said, turn
        topic[at[:2]] = at[2]
    return acts._replace(kind=kinds, slot=slots), State(value, set_in, said_in)
