"""A look at data before training: sizes, lengths, classes, what was left out, and what is suspicious."""

import collections
import dataclasses
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from attnkit.tasks.contract import Dataset, Texts
from attnkit.tasks.wording import listed, shown

QUOTES = "\"'`\u201c\u201d\u201e\u00ab\u00bb"
#: Shares above which a note is made.
UNKNOWN, CUT, SKIPPED, MAJORITY, REPEATED = 0.1, 0.1, 0.1, 0.9, 0.01
NAMED, NOTED, FILES = 3, 2, 2


@dataclasses.dataclass(frozen=True)
class Spread:
    """How long sequences are, in tokens: the 95 % are rounded up."""

    shortest: int
    median: float
    most: int
    longest: int

    @classmethod
    def of(cls, lengths: np.ndarray) -> "Spread":
        """The spread of at least one length."""
        most = np.percentile(lengths, 95, method="inverted_cdf")
        return cls(int(lengths.min()), float(np.median(lengths)), int(most), int(lengths.max()))


@dataclasses.dataclass(frozen=True)
class Audit:
    """The findings.

    Attributes:
        examples: split -> number of examples, or of characters of a text; of those that are not drawn anew.
        of_text: whether these are characters.
        lengths: side -> split -> lengths of its sequences.
        classes: class -> examples of it in training; empty where nothing is classified.
        files: what is known of each file: name, digest, lines, encoding, delimiter, columns.
        left_out: what was skipped, cut or ignored -> how often.
        unknown: side -> split -> share of its tokens that the vocabulary lacks.
        notes: a line for everything suspicious.
        samples: `split`, `prompt` and `answer` of some held-out examples.
        fingerprint: of the data.
    """

    examples: Mapping[str, int]
    of_text: bool
    lengths: Mapping[str, Mapping[str, Spread]]
    classes: Mapping[str, int]
    files: Sequence[Mapping[str, Any]]
    left_out: Mapping[str, int]
    unknown: Mapping[str, Mapping[str, float]]
    notes: Sequence[str]
    samples: Sequence[Mapping[str, str]]
    fingerprint: str


def audit(dataset: Dataset, samples: int = 0) -> Audit:
    """The findings on a data set, with at most so many `samples` of its first held-out split."""
    facts = dataset.facts
    texts = {split: found for split in ("train", *dataset.splits) if (found := dataset.texts(split))}
    sizes = facts.get("examples") or facts.get("characters") or {}
    examples = {split: n for split, n in sizes.items() if isinstance(n, int)}
    sides = {side for found in texts.values() for side in found.lengths}
    left_out = {name: n for name, n in facts.items() if isinstance(n, int) and n and is_left_out(name)}
    unknown = {
        name.removeprefix("unknown_").removesuffix("tokens").strip("_") or "source": shares
        for name, shares in facts.items()
        if name.startswith("unknown_") and isinstance(shares, Mapping)
    }
    classes = facts.get("classes", {})
    files = [file for file in facts.get("files", ()) if "file" in file]
    notes = [
        *(note for file in files for note in of_file(file)),
        *of_classes(classes),
        *of_texts(texts, bool(classes)),
        *of_shares(unknown, left_out, sum(examples.values()), is_full(dataset)),
    ]
    first = dataset.splits[0] if dataset.splits else ""
    drawn = dataset.examples(first, samples) if samples and first else []
    return Audit(
        examples=examples,
        of_text="characters" in facts,
        lengths={
            side: {split: Spread.of(found.lengths[side]) for split, found in texts.items()}
            for side in sorted(sides)
        },
        classes=classes,
        files=files,
        left_out=left_out,
        unknown=unknown,
        notes=notes,
        samples=[{"split": first, "prompt": one.prompt, "answer": one.answer} for one in drawn],
        fingerprint=dataset.fingerprint,
    )


def is_left_out(name: str) -> bool:
    """Whether a fact counts what was left out."""
    return name.endswith(("_skipped", "_cut")) or name in ("lines_with_extra_columns", "too_long_to_train_on")


def of_file(file: Mapping[str, Any]) -> Iterator[str]:
    """Notes on one file."""
    name = file["file"]
    if cells := file.get("header_suspected"):
        yield (
            f"{name}: is the first line a header ({', '.join(map(shown, cells))})? Say header = true or "
            "header = false"
        )
    if sign := file.get("c1_controls"):
        yield (
            f"{name}:{sign['line']}: {sign['first']} is a control character, {sign['count']:,} in all: "
            "Windows-1252 was taken for Latin-1; read the original with encoding = 'cp1252'"
        )
    if sign := file.get("decoded_twice"):
        yield (
            f"{name}:{sign['line']}: {sign['first']} looks like UTF-8 that was taken for Windows-1252, "
            f"{sign['count']:,} in all; convert the original again"
        )
    if replaced := file.get("replaced_bytes"):
        yield f"{name}: {replaced:,} bytes are not UTF-8 and were replaced; is it in another encoding?"


def folded(text: str) -> str:
    """A text without what people do not see or mean: case, quotes, forms of characters, outer spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(QUOTES + " .")


def of_classes(classes: Mapping[str, int]) -> Iterator[str]:
    """Notes on the names and sizes of classes."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        alike.setdefault(folded(name), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            several = " and ".join(f"{shown(name)} ({classes[name]:,})" for name in names)
            yield f"classes {several} differ only in case, quotes or spaces: are they one?"
    if quoted := [name for name in classes if in_quotes(name)]:
        yield f"class {shown(quoted[0])} stands in quotes: quoting = true?"
    once = [name for name, count in classes.items() if count == 1]
    if once and 2 * len(once) <= len(classes) + 1:
        some = ", ".join(map(shown, once[:NAMED]))
        more = f" and {len(once) - NAMED} more" if len(once) > NAMED else ""
        yield f"classes with one training example: {some}{more}"
    total = sum(classes.values())
    name, count = max(classes.items(), key=lambda item: item[1], default=("", 0))
    if total and count / total >= MAJORITY:
        yield (
            f"{count / total:.1%} of the training examples are {shown(name)}: always saying so is right as "
            "often; look at macro_f1"
        )


def in_quotes(text: str) -> bool:
    """Whether a text begins and ends with a quote."""
    return len(text) > 1 and text[0] in QUOTES and text[-1] in QUOTES


def of_texts(texts: Mapping[str, Texts], classified: bool) -> Iterator[str]:
    """Notes on texts that are in two splits, repeated, contradictory or in quotes."""
    if "train" not in texts:
        return
    train = texts["train"]
    keys = [folded(text) for text in train.prompts]
    known = set(keys)
    for split, found in texts.items():
        again = sum(folded(text) in known for text in found.prompts) if split != "train" else 0
        if again:
            yield f"{again:,} of {len(found.prompts):,} texts of {split} are in train, too: leakage?"
    repeated = len(keys) - len(set(zip(keys, train.answers, strict=True)))
    if repeated > REPEATED * len(keys):
        yield f"{repeated:,} of {len(keys):,} training examples are repeated"
    if classified:
        labels: dict[str, set[str]] = collections.defaultdict(set)
        for key, answer in zip(keys, train.answers, strict=True):
            labels[key].add(answer)
        if several := [key for key, found in labels.items() if len(found) > 1]:
            yield f"{len(several):,} training texts have more than one class: {shown(several[0])}"
    quoted = sum(map(in_quotes, train.prompts))
    if 2 * quoted > len(keys):
        yield f"{quoted:,} of {len(keys):,} training texts stand in quotes: quoting = true?"


def is_full(dataset: Dataset) -> bool:
    """Whether training has more kinds of tokens than `max_vocabulary` lets in."""
    most = getattr(dataset.task, "max_vocabulary", None)
    vocabularies = (dataset.vocabulary, dataset.source_vocabulary)
    return any(one is not None and len(one) == most for one in vocabularies)


def of_shares(
    unknown: Mapping[str, Mapping[str, float]], left_out: Mapping[str, int], examples: int, full: bool
) -> Iterator[str]:
    """Notes on unknown tokens, and on what was left out beside so many `examples`.

    A vocabulary is `full` if more tokens do not go in.
    """
    for side, shares in unknown.items():
        split, share = max(shares.items(), key=lambda item: item[1], default=("", 0.0))
        if share > UNKNOWN:
            yield (
                f"{share:.1%} of the {side} tokens of {split} are unknown: "
                f"{'raise max_vocabulary' if full else 'train on more'}, or use units = 'subwords'"
            )
    for name, count in left_out.items():
        limit = CUT if name.endswith("_cut") else SKIPPED
        if count > limit * max(examples, 1):
            advice = ": raise max_length" if name.startswith("too_long") else ""
            yield f"{name.replace('_', ' ')}: {count:,}, with {examples:,} kept{advice}"


def lines(found: Audit, name: str) -> Iterator[str]:
    """The findings for a terminal: all of them."""
    yield from brief(found, len(found.files))
    for side, splits in found.lengths.items():
        for split, spread in splits.items():
            yield (
                f"{side} tokens, {split}: {spread.shortest} to {spread.longest}, median {spread.median:g}, "
                f"95 % at most {spread.most}"
            )
    total = max(sum(found.classes.values()), 1)
    for label, count in sorted(found.classes.items(), key=lambda item: -item[1]):
        yield f"class {label}: {count:,} ({count / total:.1%})"
    for side, shares in found.unknown.items():
        some = ", ".join(f"{split} {share:.2%}" for split, share in shares.items())
        yield f"unknown {side} tokens: {some}"
    yield from (f"suspicious: {note}" for note in found.notes)
    if not found.notes:
        yield "suspicious: nothing found"
    for sample in found.samples:
        answer = f" -> {shown(sample['answer'])}" if sample["answer"] else ""
        yield f"{sample['split']}: {sample['prompt']!r:.100}{answer}"
    yield f"fingerprint of {name}: {found.fingerprint[:16]}"


def short(found: Audit, name: str) -> Iterator[str]:
    """Lines for the start of training: counts, and the most suspicious."""
    yield from brief(found)
    yield from (f"suspicious: {note}" for note in found.notes[:NOTED])
    if len(found.notes) > NOTED:
        yield f"suspicious: {len(found.notes) - NOTED} more: attnkit data {name}"


def brief(found: Audit, most: int = FILES) -> Iterator[str]:
    """Files, splits and what was left out, in a few lines: of more than `most` files the names alone."""
    if len(found.files) > most:
        yield f"read {listed(file['file'] for file in found.files)}"
    else:
        yield from (f"read {file['file']}: {', '.join(read_as(file))}" for file in found.files)
    parts = [", ".join(f"{count:,} {split}" for split, count in found.examples.items())]
    parts[0] += " characters" if found.of_text else ""
    if found.classes:
        largest = sorted(found.classes.items(), key=lambda item: -item[1])
        some = ", ".join(f"{label} {count:,}" for label, count in largest[:NAMED])
        more = f" and {len(largest) - NAMED} more" if len(largest) > NAMED else ""
        parts.append(f"classes {some}{more}")
    for side, splits in found.lengths.items():
        spread = splits.get("train") or next(iter(splits.values()))
        parts.append(f"{side} {spread.shortest} to {spread.longest} tokens (median {spread.median:g})")
    if any(parts):
        yield f"data: {'; '.join(part for part in parts if part)}"
    if found.left_out:
        told = (f"{count:,} {name.replace('_', ' ')}" for name, count in found.left_out.items())
        yield f"left out: {', '.join(told)}"


def read_as(file: Mapping[str, Any]) -> Iterator[str]:
    """How a file was read."""
    rows = file.get("lines", file.get("rows"))
    if rows is not None:
        yield f"{rows:,} {'lines' if 'lines' in file else 'rows'}"
    if "encoding" in file:
        yield f"encoding {file['encoding']}"
    if "delimiter" in file:
        yield f"cells between {file['delimiter']}s"
    if file.get("quotes_removed"):
        yield "quotes taken off"
    if "cr_lines" in file:
        yield "lines end in CR"
    if columns := file.get("columns"):
        used = ", ".join(f"{role} = {column}" for role, column in columns.items())
        headless = "delimiter" in file and "header" not in file
        yield f"{'no header, ' if headless else ''}columns {used}"
