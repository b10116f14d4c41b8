"""Relations: questions about one of six objects, or about how it stands to the others."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.generated import HELD_OUT, Generated
from attnkit.tasks.patches import figures, joined, patched
from attnkit.tasks.stream import Stream

COLORS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.8, 0.2),
    "blue": (0.2, 0.3, 1.0),
    "orange": (1.0, 0.6, 0.1),
    "gray": (0.5, 0.5, 0.5),
    "yellow": (0.9, 0.9, 0.1),
}
COUNT = len(COLORS)
KINDS = ("disc", "square")
ANSWERS = (*KINDS, "no", "yes", "one", "two", "three", "four", "five", "six")
FIRST = len(Vocabulary.SPECIAL)
SHAPE, LEFT, UPPER, NEAREST, FARTHEST, SAME = range(6)
QUESTIONS = (
    "which shape is {}?",
    "is {} on the left?",
    "is {} in the upper half?",
    "which shape is nearest to {}?",
    "which shape is farthest from {}?",
    "how many have the shape of {}?",
)
NAMES = ("shape", "left", "upper", "shape_of_nearest", "shape_of_farthest", "number_of_same_shape")
NON_RELATIONAL, RELATIONAL = (SHAPE, LEFT, UPPER), (NEAREST, FARTHEST, SAME)
SIDE, CELL = 6, 6
PIXELS = SIDE * CELL
STATE = COUNT + len(KINDS) + 2
ASKED = COUNT + len(QUESTIONS)


class Scene(NamedTuple):
    """Objects and a question: `[scenes, 6]` by color, then `[scenes]`.

    `cell` is where an object is, `y` and `x` its upper left pixel, `kind` its shape; `color` is asked about,
    `question` what.
    """

    cell: np.ndarray
    y: np.ndarray
    x: np.ndarray
    kind: np.ndarray
    color: np.ndarray
    question: np.ndarray


@options
class Relations(Task):
    """Answer questions about a scene of six objects of different colors, as in Sort-of-CLEVR.

    Every object is a disc or a square in one of 6 by 6 cells. Half of the questions are about one object: its
    shape, and whether it is on the left or in the upper half. The others relate it to all objects: the shape
    of the nearest and of the farthest (among equally far ones the first color of the list counts), and how
    many have its shape, itself included. Splits `relational` and `non_relational` hold one sort each.

    With `view = "states"` an encoder reads six vectors (color, shape, position), in random order, and one of
    the question; with `"patches"` the 36 by 36 RGB picture in patches of 6 by 6 pixels, and the question.

    Attributes:
        view: vectors of the objects, or patches of a picture.
        noise: standard deviation of the noise of pixels.
        held_out: scenes of each split.

    Source: Santoro et al. 2017, arXiv 1706.01427, section 3.2 (Sort-of-CLEVR).
    """

    view: Literal["states", "patches"] = "states"
    noise: Annotated[float, Ge(0.0)] = 0.05
    held_out: Annotated[int, Ge(1)] = 1024

    def load(self) -> "RelationsDataset":
        """Scenes without end."""
        return RelationsDataset(self)

    def picture(self, example: Example, info: DatasetInfo) -> np.ndarray | None:
        """The picture of the scene that the encoder reads."""
        if info.grid is None or example.source_features is None:
            return None
        return joined(example.source_features[:-1, :-ASKED], info.grid, 3)


class RelationsDataset(Generated):
    """Scenes, questions and answers. The evidence is the objects that the answer depends on."""

    def __init__(self, task: Relations) -> None:
        self.task = task
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *ANSWERS))
        if task.view == "patches":
            self.grid = (SIDE, SIDE)
        super().__init__(task, splits=("valid", "test", "relational", "non_relational"), size=task.held_out)
        scene, _ = self._scene("valid")
        answers = self.held_out["valid"]["labels"][:, 0]
        right = [
            np.bincount(answers[scene.question == question]).max()
            for question in range(len(QUESTIONS))
            if np.any(scene.question == question)
        ]
        better = float(np.sum(right)) / len(answers)
        self.floors = {**self.floors, "token_accuracy": better, "exact_match": better}

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Scenes with questions of the sort that `split` says."""
        scene, order = drawn(stream, count, split)
        answer, _ = solved(scene)
        asked = np.concatenate([np.eye(COUNT)[scene.color], np.eye(len(QUESTIONS))[scene.question]], axis=1)
        if self.task.view == "states":
            seen = np.take_along_axis(states(scene), order[..., None], axis=1)
        else:
            images = painted(scene)
            seen = patched(images + self.task.noise * stream.normal(*images.shape), CELL)
        features = np.zeros((count, seen.shape[1] + 1, seen.shape[2] + ASKED), np.float32)
        features[:, :-1, : seen.shape[2]] = seen
        features[:, -1, seen.shape[2] :] = asked
        return layout.beside_vectors(features, FIRST + answer[:, None])

    def examples(self, split: str, count: int) -> list[Example]:
        """The first scenes of `split`, their questions in words, and the objects that decide."""
        found = super().examples(split, count)
        scene, order = self._scene(split)
        _, decides = solved(scene)
        colors = list(COLORS)
        for row, example in enumerate(found):
            evidence = np.zeros((1, example.source_size), bool)
            if self.task.view == "states":
                evidence[0, :COUNT] = decides[row, order[row]]
            else:
                evidence[0, scene.cell[row, decides[row]]] = True
            question = QUESTIONS[scene.question[row]].format(colors[scene.color[row]])
            found[row] = dataclasses.replace(example, prompt=f"{row + 1}: {question}", evidence=evidence)
        return found

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match`, and the same for each question."""
        found = super().score(examples, predictions)
        kinds = {text.format(color): kind for kind, text in enumerate(QUESTIONS) for color in COLORS}
        for kind, name in enumerate(NAMES):
            right = [
                said == example.answer
                for example, said in zip(examples, predictions, strict=True)
                if kinds[example.prompt.partition(": ")[2]] == kind
            ]
            found |= {f"right_{name}": float(np.mean(right))} if right else {}
        return found

    def _scene(self, split: str) -> tuple[Scene, np.ndarray]:
        return drawn(Stream(HELD_OUT, self.splits.index(split)), self.sizes[split], split)


def drawn(stream: Stream, count: int, split: str) -> tuple[Scene, np.ndarray]:
    """Random scenes with questions of the sort that `split` says, and the order of their objects."""
    cell = stream.orders(count, SIDE * SIDE)[:, :COUNT]
    jitter = stream.below(2, count, COUNT, 2)
    kind = stream.below(len(KINDS), count, COUNT)
    color = stream.below(COUNT, count)
    sorts = {"relational": RELATIONAL, "non_relational": NON_RELATIONAL}
    asked = np.array(sorts.get(split, (*NON_RELATIONAL, *RELATIONAL)))
    question = asked[stream.below(len(asked), count)]
    y, x = cell // SIDE * CELL + jitter[..., 0], cell % SIDE * CELL + jitter[..., 1]
    return Scene(cell, y, x, kind, color, question), stream.orders(count, COUNT)


def solved(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The answers `[scenes]`, and which objects `[scenes, 6]` each depends on."""
    row = np.arange(len(scene.color))
    own = np.eye(COUNT, dtype=bool)[scene.color]
    kind = scene.kind[row, scene.color]
    squared = (scene.x - scene.x[row, scene.color, None]) ** 2 + (
        scene.y - scene.y[row, scene.color, None]
    ) ** 2
    near = np.where(own, squared.max() + 1, squared).argmin(axis=1)
    far = np.where(own, -1, squared).argmax(axis=1)
    same = scene.kind == kind[:, None]
    middle = (PIXELS - CELL) / 2
    no, one = ANSWERS.index("no"), ANSWERS.index("one")
    answers = np.stack(
        [
            kind,
            no + (scene.x[row, scene.color] < middle + 0.5),
            no + (scene.y[row, scene.color] < middle + 0.5),
            scene.kind[row, near],
            scene.kind[row, far],
            one + same.sum(axis=1) - 1,
        ]
    )
    needed = np.stack([own, own, own, own | near_of(near), own | near_of(far), same])
    return answers[scene.question, row], needed[scene.question, row]


def near_of(chosen: np.ndarray) -> np.ndarray:
    """`[scenes, 6]` bool, True for the chosen object."""
    return np.eye(COUNT, dtype=bool)[chosen]


def states(scene: Scene) -> np.ndarray:
    """`[scenes, 6, 10]`: color and shape as ones among zeros, and position from -1 to 1."""
    count = len(scene.color)
    place = np.stack([scene.y, scene.x], axis=-1) / ((PIXELS - CELL + 1) / 2) - 1
    colors = np.broadcast_to(np.eye(COUNT), (count, COUNT, COUNT))
    return np.concatenate([colors, np.eye(len(KINDS))[scene.kind], place], axis=-1)


def painted(scene: Scene) -> np.ndarray:
    """Images `[scenes, 36, 36, 3]` without noise; an object of 5 by 5 pixels lies inside one cell."""
    masks = figures(CELL - 1)
    images = np.zeros((len(scene.color), PIXELS, PIXELS, 3))
    rows = np.arange(len(scene.color))[:, None, None]
    down, across = np.mgrid[: CELL - 1, : CELL - 1]
    for number, color in enumerate(COLORS.values()):
        tile = np.stack([masks[kind] for kind in KINDS])[scene.kind[:, number]][..., None] * np.array(color)
        at = scene.y[:, number, None, None] + down, scene.x[:, number, None, None] + across
        images[rows, at[0], at[1]] = tile
    return images
