"""The checks every variant must pass, from one call."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from attnkit.approximate.contract import Approximate
from attnkit.conformance import (
    agreement,
    chance,
    decoding,
    influence,
    precision,
    splitting,
    stability,
    symmetry,
)
from attnkit.conformance.approximate import check_approximate
from attnkit.conformance.layers import check_layer
from attnkit.conformance.mask import check_mask
from attnkit.conformance.matrix import Finding, Matrix, Unclaimed, make_matrix
from attnkit.conformance.programs import FORMS, Bench
from attnkit.conformance.recurrent import check_recurrent
from attnkit.conformance.subject import Sizes, make_subject
from attnkit.layers.mixing import LayerTokenMixer
from attnkit.masks.contract import Mask
from attnkit.recurrent.contract import Recurrent
from attnkit.recurrent.feature_map import FeatureMap
from attnkit.recurrent.variant.linear import Linear

Level = Literal["brief", "quick", "full"]
Check = Callable[[Bench], Iterator[Finding | Unclaimed]]
COLUMNS = (*FORMS, "step", "split")

PRECISIONS = (
    "float32",
    "bfloat16",
    "float16",
    "bfloat16, large scores",
    "float16, large scores",
)

QUICK: Mapping[str, Check] = {
    "agreement": agreement.agreement,
    "decoding": decoding.decoding,
    "differences": agreement.differences,
    "large scores": agreement.large_scores,
    "causality": influence.causality,
    "masked content": influence.masked_content,
    "masked nan": influence.not_finite,
    "visible nan": influence.not_lost,
    "empty rows": influence.empty_rows,
    "permutation": symmetry.permutation,
    "dropout": chance.dropout,
    "precision": precision.precision,
}
ALWAYS = ("agreement", "differences", "large scores", "causality", "masked content", "masked nan")
BRIEF: Mapping[str, Check] = {
    name: QUICK[name] for name in (*ALWAYS, "visible nan", "empty rows", "permutation")
}
FULL: Mapping[str, Check] = {
    **QUICK,
    "splitting": splitting.splitting,
    "more blocks": agreement.more_blocks,
    "skipped blocks": agreement.skipped,
    "translation": symmetry.translation,
    "padding": stability.padding,
    "short sequences": stability.lengths,
    "dropout mean": chance.expectation,
    "optimized": stability.optimized,
    "without jit": stability.without_jit,
}
LAST: Mapping[str, Check] = {"repeated": stability.repeated}
LEVELS: Mapping[str, Mapping[str, Check]] = {"brief": BRIEF, "quick": QUICK, "full": FULL}
BY_AGREEMENT = "follows from agreeing with reference"
RULER = "the ruler that the other forms are measured with"
LATER = "not part of a quick check"
EXACTLY = "compared in float64 only"
REASONS: Mapping[tuple[str, str], str] = {
    **dict.fromkeys(((name, "reference") for name in PRECISIONS), RULER),
    **dict.fromkeys(((name, form) for name in PRECISIONS for form in ("step", "split")), EXACTLY),
    ("bfloat16", "dense"): LATER,
    **dict.fromkeys(((name, "split") for name in ("output", "level", "vjp")), LATER),
    **dict.fromkeys(((name, "split") for name in ("jvp", "hvp")), "compared for results and gradients only"),
    **dict.fromkeys((("same bits twice", form) for form in ("step", "split")), "not repeated"),
    ("one trace", "split"): "not repeated",
    ("optimized", "reference"): RULER,
    ("optimized", "step"): "compiled without optimization only",
    ("optimized", "split"): "compiled without optimization only",
    ("skipped blocks", "reference"): "computes every pair",
    ("skipped blocks", "dense"): "computes every pair",
    ("skipped blocks", "step"): "computes every pair",
    **dict.fromkeys(((name, "step") for name in ("dropout", "dropout mean")), "decoding has no dropout"),
    **dict.fromkeys(((name, "split") for name in ("dropout", "dropout mean")), "takes no dropout key"),
    ("without jit", "blockwise"): "its loop is compiled as one operation in any case",
}


def check(
    thing: Any, *, level: Level = "quick", sizes: Sizes | None = None, only: frozenset[str] = frozenset()
) -> Matrix:
    """Whether a variant computes the same thing in every form, and behaves as attention must.

    Args:
        thing: a `Scored`, a `Preset`, one part (put into plain attention), or a class of these; or a mixer
            that is a layer of its own, which is checked as `check_layer` does, or a mask, as `check_mask`
            does, whatever `sizes`. What has its default options, made for long texts, or a class that has
            no defaults, is checked with those in its `checked_with`.
        level: `brief` compiles two programs, the definition and the form by blocks, with all derivatives;
            `quick` takes seconds; `full` adds block shapes, precisions, short sequences and more.
        sizes: other sizes than the usual ones, if the variant needs them.
        only: names of the checks to run; all of the level's if empty.

    Returns:
        The matrix of properties and forms; `matrix.ok` says whether all is well.

    Raises:
        TypeError, ValueError: if `thing` is not a variant or its parts do not go together.
    """
    if (small := shrunk(thing)) is not None:
        matrix = check(small, level=level, sizes=sizes, only=only)
        given = ", ".join(f"{name} = {value}" for name, value in small.checked_with.items())
        return dataclasses.replace(matrix, name=f"{matrix.name} with {given}")
    if is_layer(thing):
        return check_layer(thing, level=level, only=only)
    if issubclass(thing if isinstance(thing, type) else type(thing), Mask):
        return check_mask(thing() if isinstance(thing, type) else thing, level=level, only=only)
    if issubclass(thing if isinstance(thing, type) else type(thing), FeatureMap):
        thing = Linear(feature=thing() if isinstance(thing, type) else thing)
    if isinstance(thing, Approximate) or (isinstance(thing, type) and issubclass(thing, Approximate)):
        return check_approximate(thing() if isinstance(thing, type) else thing, level=level, only=only)
    if issubclass(thing if isinstance(thing, type) else type(thing), Recurrent):
        return check_recurrent(thing, level=level, only=only)
    subject = make_subject(thing, sizes)
    if level not in LEVELS:
        raise ValueError(f"level = {level!r}: expected one of {', '.join(LEVELS)}")
    forms = (FORMS[0], FORMS[2]) if level == "brief" else FORMS
    bench = Bench(subject, brief=level != "full", forms=forms)
    chosen = {**LEVELS[level], **LAST}
    unknown = sorted(only - set(FULL) - set(LAST))
    if unknown:
        raise ValueError(f"only = {unknown}: expected some of {', '.join({**FULL, **LAST})}")
    found: list[Finding | Unclaimed] = []
    for name, run in {**FULL, **LAST}.items() if only else chosen.items():
        if not only or name in only:
            found += guarded(name, run, bench)
    return make_matrix(
        subject.name, COLUMNS, [waived(item, subject.unclaimed) for item in found], BY_AGREEMENT, REASONS
    )


def shrunk(thing: Any) -> Any:
    """What has default options, or none, with those that let few tokens show all it does; else `None`.

    `checked_with = {"option": value}` is a class attribute, beside `claims` and `unclaimed`.
    """
    kind = thing if isinstance(thing, type) else type(thing)
    few = getattr(kind, "checked_with", None)
    return kind(**few) if few and (thing is kind or (not required(kind) and thing == kind())) else None


def required(kind: type) -> list[str]:
    """The options of a class that have no default."""
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    return [f.name for f in fields if f.default is missing and f.default_factory is missing]


def is_layer(thing: Any) -> bool:
    """Whether something is a mixer that is a layer of its own, or the class of one."""
    return issubclass(thing if isinstance(thing, type) else type(thing), LayerTokenMixer)


def guarded(name: str, run: Check, bench: Bench) -> list[Finding | Unclaimed]:
    """A check's findings; an exception in it is a finding of its own."""
    found: list[Finding | Unclaimed] = []
    try:
        for item in run(bench):
            found.append(item)
    except Exception as error:
        message = str(error).strip().split("\n")[0][:200]
        found.append(Finding(name, "reference", float("inf"), 0, f"{type(error).__name__}: {message}"))
    return found


def waived(item: Finding | Unclaimed, unclaimed: Mapping[str, str]) -> Finding | Unclaimed:
    """A finding about a property that the variant does not claim becomes its reason."""
    if item.rule in unclaimed:
        return Unclaimed(item.rule, item.form, unclaimed[item.rule])
    return item
