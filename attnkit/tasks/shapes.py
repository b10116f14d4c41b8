"""Shapes: pictures of two colored shapes, to be described or to be found by their descriptions."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from attnkit.errors import ConfigError
from attnkit.option_class import options
from attnkit.tasks import draws, layout
from attnkit.tasks.contract import Batch, Dataset, DatasetInfo, Example, Task, Vocabulary
from attnkit.tasks.generated import TRAIN, Generated
from attnkit.tasks.patches import figures, joined, patched
from attnkit.tasks.picture_file import given
from attnkit.tasks.picture_groups import PictureGroups
from attnkit.tasks.stream import Stream

COLORS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.8, 0.2),
    "blue": (0.2, 0.3, 1.0),
    "yellow": (0.9, 0.9, 0.1),
}
KINDS = ("disc", "square", "triangle")
SIDE, CELL, PATCH = 3, 8, 4
CELLS = tuple(f"r{row}c{column}" for row in range(SIDE) for column in range(SIDE))
WORDS = ("a", "at", "and", *COLORS, *KINDS, *CELLS)
FIRST = len(Vocabulary.SPECIAL)
ID = {word: FIRST + place for place, word in enumerate(WORDS)}
OBJECTS = len(COLORS) * len(KINDS)
PLACES = np.stack(np.triu_indices(SIDE * SIDE, 1), axis=1)
SCENES = len(PLACES) * OBJECTS**2
GRID = (SIDE * CELL // PATCH, SIDE * CELL // PATCH)
# Places of the caption that say the color, the shape and the cell of each object.
SAID = ((1, 2, 4), (7, 8, 10))


@options
class Shapes(Task):
    """Describe a picture of two shapes, or find the pictures that belong to descriptions.

    A picture is 24 by 24 RGB, black but for two shapes in two of nine cells, with normal noise. Its caption
    is *a red disc at r0c2 and a blue square at r2c1*, cells in reading order. An encoder reads 6 by 6 patches
    of 4 by 4 pixels. No picture of `valid` and `test` shows a scene of training; in `unseen` at least one
    object is a pair of color and shape that training never shows.

    With `form = "caption"` a decoder writes the caption; with `"retrieval"` a model of two towers tells which
    members of a group belong together (`large` is one group of all test scenes).

    Attributes:
        form: captions to write, or groups of pairs.
        group: pairs of a group.
        loss: what the labels of groups are for; the model's `loss` must be the same.
        image: the right picture; a control without any (`blank`), or with that of another example.
        unseen: pairs of color and shape that are left out of training, as in *red disc*.
        noise: standard deviation of the noise.
        held_out: scenes of each split.
    """

    form: Literal["caption", "retrieval"] = "caption"
    group: Annotated[int, Ge(2), Le(256)] = 16
    loss: Literal["softmax", "sigmoid"] = "softmax"
    image: Literal["right", "blank", "shuffled"] = "right"
    unseen: tuple[str, ...] = ("red disc", "blue triangle")
    noise: Annotated[float, Ge(0.0)] = 0.05
    held_out: Annotated[int, Ge(16), Le(512)] = 256

    def load(self) -> Dataset:
        """Pictures without end. Raises `ConfigError` for pairs that are none, or leave too little."""
        known = [f"{color} {kind}" for color in COLORS for kind in KINDS]
        if wrong := [pair for pair in self.unseen if pair not in known]:
            raise ConfigError(f"unseen = {wrong}: expected pairs such as {known[0]!r}")
        if len(set(self.unseen)) > OBJECTS - 3:
            raise ConfigError(f"unseen = {list(self.unseen)}: expected at most {OBJECTS - 3} different pairs")
        if self.form == "caption":
            return ShapesDataset(self)
        if self.held_out < self.group:
            raise ConfigError(f"held_out = {self.held_out}: expected at least group = {self.group}")
        return PictureGroups(self, Scenes(self).drawn, WORDS, GRID, self.group, self.loss, self.held_out)

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """The picture in the file `text`, PNG or JPEG. Raises `DataError` if it cannot be read."""
        return layout.unanswered(text, patched(given(text, SIDE * CELL) / 255, PATCH))

    def picture(self, example: Example, info: DatasetInfo) -> np.ndarray | None:
        """The picture that the encoder reads."""
        return None if example.source_features is None else joined(example.source_features, GRID, 3)


class Scenes:
    """Which scenes each split may show, as numbers below `SCENES`."""

    def __init__(self, task: Shapes) -> None:
        self.task = task
        names = np.array([f"{color} {kind}" for color in COLORS for kind in KINDS])
        first, second = np.divmod(np.arange(SCENES) % OBJECTS**2, OBJECTS)
        new = np.isin(names, task.unseen)
        seen = np.flatnonzero(~new[first] & ~new[second])
        order = seen[draws.permutation(len(seen), 0)]
        self.pools = {
            "valid": order[: task.held_out],
            "test": order[task.held_out : 2 * task.held_out],
            TRAIN: order[2 * task.held_out :],
        }
        self.pools["large"] = self.pools["test"]
        if task.unseen:
            other = np.flatnonzero(new[first] | new[second])
            self.pools["unseen"] = other[draws.permutation(len(other), 1)]
        self.splits = ("valid", "test", "unseen") if task.unseen else ("valid", "test")

    def drawn(self, stream: Stream, rows: int, group: int, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Patches `[rows, group, 36, 48]` and captions `[rows, group, 11]` of different scenes a row."""
        pool = self.pools[split]
        scenes = pool[stream.orders(rows, len(pool))[:, :group]]
        return self.pictures(stream, scenes, axis=1), captions(scenes)

    def pictures(self, stream: Stream, scenes: np.ndarray, axis: int = 0) -> np.ndarray:
        """Patches of `scenes`; shuffled pictures move along `axis`."""
        images = painted(scenes)
        images += self.task.noise * stream.normal(*images.shape)
        found = patched(images, PATCH)
        if self.task.image == "blank":
            return np.zeros_like(found)
        return np.roll(found, 1, axis=axis) if self.task.image == "shuffled" else found


class ShapesDataset(Generated):
    """Pictures and captions. The evidence of a color, shape or cell is the cell of its object."""

    grid = GRID

    def __init__(self, task: Shapes) -> None:
        self.task = task
        self.scenes = Scenes(task)
        self.vocabulary = Vocabulary((*Vocabulary.SPECIAL, *WORDS), joiner=" ")
        super().__init__(task, splits=self.scenes.splits, size=task.held_out)

    def draw(self, stream: Stream, count: int, split: str) -> Batch:
        """Pictures of scenes of `split`; held-out scenes once each."""
        pool = self.scenes.pools[split]
        scenes = pool[stream.below(len(pool), count)] if split == TRAIN else pool[:count]
        text = captions(scenes)
        answers = np.pad(text, ((0, 0), (0, 1)), constant_values=Vocabulary.END)
        features = self.scenes.pictures(stream, scenes)
        return layout.beside_vectors(features, answers)

    def with_evidence(self, example: Example) -> Example:
        """The four patches of the cell that each telling word is about."""
        evidence = np.zeros((len(example.labels), GRID[0] * GRID[1]), bool)
        for rows in SAID:
            cell = CELLS.index(self.vocabulary.tokens[example.labels[rows[2]]])
            evidence[list(rows)] = inside(cell)
        known = self.task.image == "right"
        return dataclasses.replace(example, evidence=evidence if known else None)

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match`, and the share of colors, shapes and cells that are right at their places."""
        found = super().score(examples, predictions)
        pairs = [(e.answer.split(), said.split()) for e, said in zip(examples, predictions, strict=True)]
        for number, name in enumerate(("colors", "shapes", "cells")):
            right = [
                rows[number] < len(got) and got[rows[number]] == wanted[rows[number]]
                for wanted, got in pairs
                for rows in SAID
            ]
            found |= {f"{name}_right": float(np.mean(right))} if right else {}
        return found


def objects(scenes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells `[*scenes, 2]` in reading order, and the numbers of color and shape `[*scenes, 2]` there."""
    place, pair = np.divmod(scenes, OBJECTS**2)
    return PLACES[place], np.stack(np.divmod(pair, OBJECTS), axis=-1)


def captions(scenes: np.ndarray) -> np.ndarray:
    """Token ids `[*scenes, 11]` of the captions."""
    cells, things = objects(scenes)
    words = []
    for number in (0, 1):
        color, kind = np.divmod(things[..., number], len(KINDS))
        words += [np.full(scenes.shape, ID["a"]), ID["red"] + color, ID[KINDS[0]] + kind]
        words += [np.full(scenes.shape, ID["at"]), ID[CELLS[0]] + cells[..., number]]
        words += [np.full(scenes.shape, ID["and"])]
    return np.stack(words[:-1], axis=-1)


def painted(scenes: np.ndarray) -> np.ndarray:
    """Images `[*scenes, 24, 24, 3]` without noise."""
    masks = {kind: np.pad(mask, 1) for kind, mask in figures(CELL - 2).items()}
    tiles = np.stack(
        [masks[kind][..., None] * np.array(color) for color in COLORS.values() for kind in KINDS]
    )
    cells, things = objects(scenes)
    board = np.zeros((*scenes.shape, SIDE * SIDE, CELL, CELL, 3))
    np.put_along_axis(board, cells[..., None, None, None], tiles[things], axis=-4)
    board = board.reshape(*scenes.shape, SIDE, SIDE, CELL, CELL, 3)
    return np.moveaxis(board, -3, -4).reshape(*scenes.shape, SIDE * CELL, SIDE * CELL, 3)


def inside(cell: int) -> np.ndarray:
    """`[36]` bool, the patches that lie in a cell."""
    row, column = np.divmod(np.arange(GRID[0] * GRID[1]), GRID[1])
    return (row * PATCH // CELL == cell // SIDE) & (column * PATCH // CELL == cell % SIDE)
