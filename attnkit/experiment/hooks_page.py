"""The tables of hooks in the page about variants of one's own, written from the contracts themselves."""

import inspect
import re
from pathlib import Path
from typing import Any

from attnkit.approximate.contract import Approximate
from attnkit.hooks import Hooked, is_contract
from attnkit.layers.attention import AttentionTokenMixer
from attnkit.layers.contract import CustomTokenMixer
from attnkit.masks.contract import Mask
from attnkit.pooling.contract import Pool
from attnkit.recurrence.contract import LinearRecurrent, SteppedRecurrent
from attnkit.recurrence.feature_map import FeatureMap
from attnkit.scored.contract import Part, Position, Preset, Score, Selection
from attnkit.scored.elementwise import ElementwiseNormalizer
from attnkit.scored.exponential import ExponentialNormalizer
from attnkit.scored.implicit import ImplicitNormalizer
from attnkit.scored.ordered import OrderedNormalizer

PAGE = Path("docs/own_variants.md")
#: Contracts, each with the one whose table has the hooks that it shares with others.
CONTRACTS: tuple[tuple[type, type], ...] = (
    (Part, Hooked),
    (Score, Part),
    (Position, Part),
    (Selection, Part),
    (ExponentialNormalizer, Part),
    (ElementwiseNormalizer, Part),
    (ImplicitNormalizer, Part),
    (OrderedNormalizer, Part),
    (Preset, Hooked),
    (Mask, Hooked),
    (LinearRecurrent, Hooked),
    (SteppedRecurrent, Hooked),
    (FeatureMap, Hooked),
    (Approximate, Hooked),
    (AttentionTokenMixer, Hooked),
    (CustomTokenMixer, Hooked),
    (Pool, Hooked),
)
BETWEEN = re.compile(r"(<!-- hooks -->\n).*?(<!-- end of hooks -->)", re.S)


def tables() -> str:
    """A table for each contract: the hooks it declares, with parameters and meaning."""
    return "\n".join(map(table, *zip(*CONTRACTS, strict=True)))


def table(contract: type, shared: type) -> str:
    """The hooks of a contract but those of `shared`. What must be defined is bold."""
    own = contract.__module__
    more = "" if shared is Hooked else f", and those of `{shared.__name__}`"
    lines = [
        f"### `{contract.__name__}`\n",
        f"From `{own}`{more}.\n",
        "| method | meaning |",
        "| --- | --- |",
    ]
    function: Any
    for name, function in sorted(hooks_of(contract, shared).items()):
        call = f"`{name}({', '.join(list(inspect.signature(function).parameters)[1:])})`"
        must = getattr(function, "__isabstractmethod__", False)
        summary = (inspect.getdoc(function) or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
        lines.append(f"| {f'**{call}**' if must else call} | {summary} |")
    return "\n".join(lines) + "\n"


def hooks_of(contract: type, shared: type) -> dict[str, Any]:
    """Methods by name that subclasses of a contract may define."""
    found: dict[str, Any] = {}
    for base in reversed(contract.__mro__):
        if base not in shared.__mro__ and (is_contract(base) or base is contract):
            for name, value in vars(base).items():
                if inspect.isfunction(value) and not name.startswith("_"):
                    found[name] = value
    return found


def updated(text: str) -> str:
    """The page with the tables as they are now."""
    return BETWEEN.sub(lambda found: f"{found[1]}\n{tables()}\n{found[2]}", text)
