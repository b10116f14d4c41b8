"""The checks every variant must pass, from one call."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from attnkit.approximate.contract import Approximate
from attnkit.conformance import (
    agreement,
    chance,
    decoding,
    influence,
    parts,
    precision,
    stability,
    symmetry,
)
from attnkit.conformance.approximate import APPROXIMATE
from attnkit.conformance.layers import LAYERS
from attnkit.conformance.mask import MASKS
from attnkit.conformance.matrix import Matrix
from attnkit.conformance.programs import BY_BLOCKS, FIRST, FORMS, LATER, Bench
from attnkit.conformance.recurrent import RECURRENT
from attnkit.conformance.subject import Sizes, make_subject
from attnkit.conformance.suite import Check, Suite
from attnkit.layers.contract import CustomTokenMixer
from attnkit.masks.contract import Mask
from attnkit.recurrent.contract import Recurrent
from attnkit.recurrent.feature_map import FeatureMap
from attnkit.recurrent.variant.linear import Linear

Level = Literal["brief", "quick", "full"]

PRECISIONS = (
    "float32",
    "bfloat16",
    "float16",
    "bfloat16, large scores",
    "float16, large scores",
)

CHECKS: Mapping[str, Check] = {
    "hooks": parts.hooks,
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
    "more blocks": agreement.more_blocks,
    "skipped blocks": agreement.skipped,
    "translation": symmetry.translation,
    "padding": stability.padding,
    "short sequences": stability.lengths,
    "dropout mean": chance.expectation,
    "optimized": stability.optimized,
    "without jit": stability.without_jit,
    "repeated": stability.repeated,
}
BRIEF = frozenset(
    {"agreement", "differences", "large scores", "causality", "masked content", "masked nan", "visible nan"}
    | {"empty rows", "permutation", "repeated"}
)
QUICK = BRIEF | {"hooks", "decoding", "translation", "skipped blocks", "dropout", "precision"}
BY_AGREEMENT = "follows from agreeing with reference"
RULER = "the ruler that the other forms are measured with"
REASONS: Mapping[tuple[str, str], str] = {
    **dict.fromkeys(((name, "reference") for name in PRECISIONS), RULER),
    **dict.fromkeys(((name, "step") for name in PRECISIONS), "compared in float64 only"),
    ("bfloat16", "dense"): LATER,
    ("same bits twice", "step"): "not repeated",
    ("optimized", "reference"): RULER,
    ("optimized", "step"): "compiled without optimization only",
    ("skipped blocks", "reference"): "computes every pair",
    ("skipped blocks", "dense"): "computes every pair",
    ("skipped blocks", "step"): "computes every pair",
    **dict.fromkeys(((name, "step") for name in ("dropout", "dropout mean")), "decoding has no dropout"),
    **dict.fromkeys(
        (("without jit", form) for form in BY_BLOCKS), "its loop is compiled as one operation in any case"
    ),
}


def cases(thing: Any, level: str, sizes: Sizes | None) -> Iterator[Bench]:
    """A variant of scored attention, or one part put into plain attention."""
    forms = {"brief": ("reference", "blockwise"), "quick": FIRST, "full": FORMS}[level]
    yield Bench(make_subject(thing, sizes), brief=level != "full", forms=forms)


#: `brief` compiles two programs, the definition and the form by blocks, with all derivatives; `full` adds
#: block shapes, precisions, short sequences and more.
SCORED = Suite(
    columns=(*FORMS, "step"),
    checks=CHECKS,
    levels={"brief": BRIEF, "quick": QUICK, "full": frozenset(CHECKS)},
    cases=cases,
    otherwise=BY_AGREEMENT,
    reasons=lambda bench: REASONS | bench.absent,
)
FAMILIES: tuple[tuple[type, Suite], ...] = (
    (CustomTokenMixer, LAYERS),
    (Mask, MASKS),
    (Approximate, APPROXIMATE),
    (Recurrent, RECURRENT),
    (object, SCORED),
)


def check(
    thing: Any, *, level: Level = "quick", sizes: Any = None, only: frozenset[str] = frozenset()
) -> Matrix:
    """Whether a variant computes the same thing in every form, and behaves as attention must.

    Args:
        thing: any token mixer or mask, a `Scored`, one part of it (put into plain attention), or a class of
            these. What has its default options, made for long texts, or a class that has no defaults, is
            checked with those in its `checked_with`.
        level: `brief`, `quick` (seconds) or `full` (minutes), which of the family's checks run.
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
    variant = thing() if isinstance(thing, type) else thing
    if isinstance(variant, FeatureMap):
        variant = Linear(feature=variant)
    suite = next(suite for kind, suite in FAMILIES if isinstance(variant, kind))
    return suite.run(variant, level, sizes, only)


def shrunk(thing: Any) -> Any:
    """The same with its `checked_with`, if it has default options, or none; else `None`.

    `checked_with = {"option": value}` is a class attribute, beside `claims` and `unclaimed`: options that let
    few tokens show all that a variant does.
    """
    kind = thing if isinstance(thing, type) else type(thing)
    few = getattr(kind, "checked_with", None)
    return kind(**few) if few and (thing is kind or (not required(kind) and thing == kind())) else None


def required(kind: type) -> list[str]:
    """The options of a class that have no default."""
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    return [f.name for f in fields if f.default is missing and f.default_factory is missing]
