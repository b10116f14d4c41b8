"""Captioned images: learn to describe the user's own pictures."""

import collections
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Lt

from attnkit.errors import ConfigError, DataError
from attnkit.option_class import options
from attnkit.tasks import layout
from attnkit.tasks.contract import Batch, Dataset, DatasetInfo, Example, Texts, Vocabulary
from attnkit.tasks.divide import held_out
from attnkit.tasks.draws import epoch_rows, permutation
from attnkit.tasks.edit_distance import character_accuracy
from attnkit.tasks.patches import joined, patched
from attnkit.tasks.picture_file import given, picture
from attnkit.tasks.tables import Column, Role, TableTask, read, words
from attnkit.tasks.token_rows import RaggedTokens, unigram_loss
from attnkit.tasks.units import learn, spaced

EXAMPLE_ORDER = 1
#: Usual names of columns, in small letters.
PICTURES = words("picture image image_name image_path file file_name filename path")
CAPTIONS = frozenset(["caption", "text", "description", "sentence", "comment", "title"])


@options
class CaptionedImages(TableTask):
    """Describe the pictures of a folder.

    `path` is a file of lines `picture TAB caption`, or a table in another form (CSV, JSON, Parquet);
    a picture is a PNG or JPEG file below the folder
    `images_path`, or below the folder of `path`. Pictures are scaled to `size` by `size` RGB pixels from -1
    to 1 and read in patches, row by row. The splits are parts of the file by the hash of the picture's name,
    so that a picture with several captions is in one split.

    Attributes:
        path: the captions.
        picture_column: name of the column of pictures' names, or its number from 1; by default the one with a
            usual name, or the first.
        caption_column: the same for the captions; by default the second.
        images_path: folder of the pictures.
        valid_fraction: share of the pictures that chooses the best checkpoint.
        test_fraction: share that measures the result; 0 for no test split.
        size: height and width that pictures are scaled to, a multiple of `patch`.
        patch: height and width of a patch.
        units: kind of tokens of the captions; subwords need the `tokenizers` package.
        max_vocabulary: at most so many tokens, special ones included.
        max_length: longest caption, in tokens; longer ones are skipped and counted.
    """

    picture_column: Column | None = None
    caption_column: Column | None = None
    images_path: str | None = None
    valid_fraction: Annotated[float, Gt(0), Lt(1)] = 0.1
    test_fraction: Annotated[float, Ge(0), Lt(1)] = 0.1
    size: Annotated[int, Ge(1)] = 32
    patch: Annotated[int, Ge(1)] = 4
    units: Literal["words", "characters", "subwords"] = "words"
    max_vocabulary: Annotated[int, Ge(5)] = 8000
    max_length: Annotated[int, Ge(1)] = 48

    def roles(self) -> tuple[Role, Role]:
        """The name of a picture, and its caption."""
        picture = Role("picture", self.picture_column, PICTURES, asked=True)
        return picture, Role("caption", self.caption_column, CAPTIONS)

    def load(self) -> "CaptionedImagesDataset":
        """The captions and pictures of all splits.

        Raises:
            ConfigError: if no file is named, or patches do not fit.
            DataError: with file and line for bad files and pictures, and if a split is left empty.
        """
        if self.path is None:
            raise ConfigError("path: no captions; name a file of 'picture TAB caption' lines")
        if self.size % self.patch:
            raise ConfigError(f"size = {self.size}: expected a multiple of patch = {self.patch}")
        table = read(self, self.path, self.roles())
        folder = Path(self.images_path) if self.images_path is not None else Path(self.path).parent
        lines: list[tuple[str, str]] = []
        counts: collections.Counter[str] = collections.Counter()
        pictures: dict[str, np.ndarray] = {}
        for cells, place in table.rows:
            name, caption = (cell.strip() for cell in cells)
            if not any((name, caption)):
                counts["blank_lines_skipped"] += 1
                continue
            if not name or not caption:
                what = "picture" if not name else "caption"
                raise DataError(f"{place}: the {what} is empty; expected the name of a picture and a caption")
            if name not in pictures:
                pictures[name] = picture(folder, name, self.size, place)
            lines.append((name, spaced(caption)))
        splits = {"train": lines}
        for split, fraction in (("valid", self.valid_fraction), ("test", self.test_fraction)):
            if fraction > 0:
                splits[split], splits["train"] = held_out(
                    splits["train"], split, fraction, lambda line: line[0]
                )
        return CaptionedImagesDataset(self, splits, pictures, {"files": [table.facts], **counts})

    def encode(self, text: str, info: DatasetInfo) -> Example:
        """The picture in the file `text`, PNG or JPEG. Raises `DataError` if it cannot be read."""
        return layout.unanswered(text, patched(given(text, self.size) / 127.5 - 1, self.patch))

    def picture(self, example: Example, info: DatasetInfo) -> np.ndarray | None:
        """The picture as it is read."""
        if example.source_features is None or info.grid is None:
            return None
        return (joined(example.source_features, info.grid, 3) + 1) / 2


class CaptionedImagesDataset(Dataset):
    """Pictures and their captions as token ids."""

    def __init__(
        self,
        task: CaptionedImages,
        splits: dict[str, list[tuple[str, str]]],
        pictures: dict[str, np.ndarray],
        facts: dict[str, Any],
    ):
        self.task: CaptionedImages = task
        speller = learn((caption for _, caption in splits["train"]), task.units, task.max_vocabulary)
        self.lines: dict[str, list[tuple[str, str]]] = {}
        self.tokens: dict[str, RaggedTokens] = {}
        long = 0
        for split, lines in splits.items():
            both = [(line, speller.encode(line[1])) for line in lines]
            kept = [(line, ids) for line, ids in both if len(ids) <= task.max_length]
            long += len(both) - len(kept)
            if not kept:
                raise DataError(f"{task.path}: no captions for {split}; use more lines or a larger fraction")
            self.lines[split] = [line for line, _ in kept]
            self.tokens[split] = RaggedTokens.of([[*ids, Vocabulary.END] for _, ids in kept])
        self.names = {name: number for number, name in enumerate(pictures)}
        self.pictures = np.stack(list(pictures.values()))
        self.vocabulary = speller.vocabulary
        self.splits = tuple(split for split in splits if split != "train")
        side = task.size // task.patch
        self.grid = (side, side)
        self.source_length, self.source_features = side * side, 3 * task.patch**2
        self.length = max(rows.longest for rows in self.tokens.values())
        self.facts = {
            **facts,
            "examples": {split: len(lines) for split, lines in self.lines.items()},
            "pictures": len(pictures),
            **({"too_long_captions_skipped": long} if long else {}),
        }
        running = hashlib.sha256(repr((task.size, task.patch, self.vocabulary, self.lines)).encode())
        running.update(self.pictures.tobytes())
        self.fingerprint = running.hexdigest()
        train, valid = self.tokens["train"], self.tokens[self.splits[0]]
        answer = collections.Counter(caption for _, caption in self.lines["train"]).most_common(1)[0][0]
        right = [caption == answer for _, caption in self.lines[self.splits[0]]]
        self.floors = {
            "loss": unigram_loss(train.flat, valid.flat, len(self.vocabulary)),
            "exact_match": sum(right) / len(right),
        }

    def batch(self, seed: int, step: int, size: int, rows: slice = slice(None)) -> Batch:
        """Training batch `step`: consecutive pieces of one permutation of the captions after another."""
        return self._arrays("train", epoch_rows(len(self.lines["train"]), seed, step, size)[rows])

    def evaluation(self, split: str, size: int) -> Iterator[Batch]:
        """Every caption of `split` once, in order; rows that fill up the last batch have weight 0."""
        count = len(self._split(split))
        for first in range(0, count, size):
            rows = np.arange(first, first + size)
            batch = self._arrays(split, np.minimum(rows, count - 1))
            batch["weights"][rows >= count] = 0
            yield batch

    def examples(self, split: str, count: int) -> list[Example]:
        """The first `count` captions of `split` in a fixed random order."""
        lines = self._split(split)
        found = []
        for row in permutation(len(lines), EXAMPLE_ORDER)[:count].tolist():
            (features,) = self._features(split, np.array([row]))
            found.append(
                Example(
                    prompt=lines[row][0],
                    answer=lines[row][1],
                    source=None,
                    inputs=(Vocabulary.BEGIN,),
                    labels=self.tokens[split].row(row),
                    source_features=features,
                )
            )
        return found

    def texts(self, split: str) -> Texts:
        """The names of the pictures and their captions."""
        lines = self.lines["train"] if split == "train" else self._split(split)
        names, captions = zip(*lines, strict=True)
        return Texts(names, captions, {"target": self.tokens[split].lengths - 1})

    def score(self, examples: Sequence[Example], predictions: Sequence[str]) -> dict[str, float]:
        """`exact_match` and `character_accuracy`."""
        if not examples:
            return {}
        answers = [example.answer for example in examples]
        return super().score(examples, predictions) | {
            "character_accuracy": character_accuracy(answers, predictions)
        }

    def _split(self, split: str) -> list[tuple[str, str]]:
        if split not in self.splits:
            raise ValueError(f"split = {split!r}: expected one of {', '.join(self.splits)}")
        return self.lines[split]

    def _features(self, split: str, rows: np.ndarray) -> np.ndarray:
        at = [self.names[self.lines[split][row][0]] for row in rows.tolist()]
        return patched(self.pictures[at] / 127.5 - 1, self.task.patch)

    def _arrays(self, split: str, rows: np.ndarray) -> Batch:
        return layout.beside_vectors(
            self._features(split, rows), self.tokens[split].padded(rows, self.length)
        )
