"""Names that attnkit had before it took the field's words, and must not get again."""

import ast
import pathlib
import re

import pytest

import attnkit
from attnkit import lazy

ROOT = pathlib.Path(__file__).parents[1]
ENGINE = ("attnkit/forms", "attnkit/scored", "attnkit/recurrence", "attnkit/masks", "attnkit/approximate")
LAYERS = ("attnkit/layers", "attnkit/models", "attnkit/generation")
FORMS, RECURRENT, SCORED = ("attnkit/forms",), ("attnkit/recurrence",), ("attnkit/scored",)
ALL = ("",)

# Words of ordinary prose (level, look, below) are forbidden only where they named a thing of the interface.
CLASSES = {
    "Leveled": "ImplicitNormalizer",
    "Competing": 'a normalizer with axis = "queries"',
    "Attended": "AttentionOutput",
    "Recurred": "RecurrentOutput",
    "Pooled": "PoolOutput",
    "Asked": "an ...Output, or a name for what it holds",
    "Passed": "an ...Output, or a name for what it holds",
    "Judged": "an ...Output, or a name for what it holds",
    "Told": "the class itself",
    "Visit": "BlockOp",
    "Fold": "RowFold",
    "Plan": "BlockMask",
    "Moving": "partition and combine",
    "Lead": "FirstPassState",
    "LedRecurrent": "a name with TwoPass",
    "Join": "OutputProjection",
    "Mixer": "TokenMixer",
    "LayerMixer": "TokenMixer",
    "HeadMixer": "TokenMixer",
    "LayerTokenMixer": "TokenMixer",
    "HeadTokenMixer": "TokenMixer",
    "Mixing": "a layer class of its family",
    "RecurrentMixing": "a layer class of its family",
    "Way": "BenchCase",
}
FUNCTIONS = {
    "transform_logits": (ALL, ("rescore",)),
    "transform_capped_logits": (ALL, ("perturb",)),
    "transform_weights": (ALL, ("reweigh",)),
    "position_ids": (SCORED, ("places",)),
    "scan_keys": (ALL, ("walk",)),
    "initial_carry": (SCORED, ("ahead",)),
    "is_sequential": (ALL, ("walks",)),
    "fold_keys": (ENGINE, ("sweep",)),
    "row_statistics": (ALL, ("survey",)),
    "select": (ENGINE, ("chosen", "shows", "hides")),
    "lse or threshold": (ENGINE, ("level",)),
    "key_logsumexp": (ENGINE, ("contest", "contested")),
    "match_vma": (ENGINE, ("alike",)),
    "varying_axes": (ENGINE, ("differs",)),
    "shape_like": (ENGINE, ("shaped", "nothing")),
    "avoid_lhs_transpose": (ENGINE, ("upright", "turned", "is_lying")),
    "active, tile, merge_width": (FORMS, ("live", "lay", "span")),
    "out_shapes, accumulate": (FORMS, ("made", "grown")),
    "two-pass": (ENGINE, ("led", "answer")),
    "auxiliary_inputs, aux_state": (ENGINE, ("accompany", "aside")),
    "self_weight": (ENGINE, ("own",)),
    "readout": (ENGINE, ("emit",)),
    "encode_memory, query_memory": ((*FORMS, *LAYERS), ("remember", "recall")),
    "decay": (RECURRENT, ("fade",)),
    "check_... methods": (ALL, ("told", "odd", "no_place", "no_memory", "no_direction", "no_sharing")),
    "weights": ((*FORMS, *LAYERS), ("look",)),
    "carry": (LAYERS, ("relay", "relay_step")),
    "requires_below": (LAYERS, ("beneath",)),
    "receptive_field": (LAYERS, ("sight",)),
    "a layer class": (ALL, ("mixer_layer",)),
}
FIELDS = {
    "uses_content": (ENGINE, ("looks",)),
    "is_sequential": (ENGINE, ("walks",)),
    "needs_all_keys": (ENGINE, ("whole",)),
    "select": (ENGINE, ("hides", "shows")),
    "stats": (ENGINE, ("facts",)),
    "lse": (FORMS, ("level",)),
    "aux_state": (ENGINE, ("aside",)),
    "window_size": (("attnkit/scored", "attnkit/layers"), ("window", "reach")),
    "dt_bias": (RECURRENT, ("step_bias",)),
    "A_log": (RECURRENT, ("log_speed",)),
    "conv_size": (RECURRENT, ("taps", "conv")),
}
PARAMETERS = {
    "implementation": (("attnkit/forms/attend.py", "attnkit/forms/recurrent/recur.py"), ("form",)),
    "taps are gone: points": ((*FORMS, *LAYERS), ("look",)),
    "config": (("attnkit/layers", "attnkit/pooling"), ("chosen",)),
    "fold_keys": (ENGINE, ("sweep",)),
    "stats": (SCORED, ("facts",)),
}
MODULES = {
    "attnkit/experiment": ("ways", "fits", "chosen", "source", "annotation"),
    "attnkit/training": ("leaves",),
    "attnkit/forms": (
        "plan",
        "visit",
        "sums",
        "levels",
        "loop",
        "stream",
        "problem",
        "contest",
        "recurrent_led",
    ),
    "attnkit/recurrence": ("led",),
    "attnkit/layers": ("mixing", "mixer_layer", "taps"),
    "attnkit": ("mixer",),
}
WRITTEN = re.compile(
    r"`[^`\n]*\b(?:Leveled|Competing|LayerMixer|HeadMixer|LayerTokenMixer|mixer_layer|Attended|Recurred|visit_p"
    r"|rescore|perturb|reweigh|walks|survey|accompany|segment_[ij]|\w+_[ij]\b\")[^`\n]*`"
    r"|[Ww]hat is said of|[Ww]hat can be looked up"
)


def forbidden(table, path):
    """Old name -> new one, of the names that may not be used in a file."""
    place = path.relative_to(ROOT).as_posix()
    return {
        old: new
        for new, (rooms, names) in table.items()
        if any(place.startswith(room) for room in rooms)
        for old in names
    }


def names_of(tree):
    """Every name that a file defines for others: (table, name, line)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield CLASSES, node.name, node.lineno
            for entry in node.body:
                targets = entry.targets if isinstance(entry, ast.Assign) else [getattr(entry, "target", None)]
                for target in targets:
                    if isinstance(target, ast.Name):
                        yield FIELDS, target.id, entry.lineno
        elif isinstance(node, ast.FunctionDef):
            yield FUNCTIONS, node.name, node.lineno
            arguments = node.args
            for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                yield PARAMETERS, one.arg, one.lineno


@pytest.mark.parametrize("room", ["attnkit", "tests", "benchmarks", "experiments"])
def test_no_old_name_is_defined(room):
    found = []
    for path in (ROOT / room).rglob("*.py"):
        tables = [(table, forbidden(table, path)) for table in (FUNCTIONS, FIELDS, PARAMETERS)]
        for table, name, line in names_of(ast.parse(path.read_text(encoding="utf-8"))):
            known = CLASSES if table is CLASSES else next(own for one, own in tables if one is table)
            if name in known:
                found.append(f"{path.relative_to(ROOT)}:{line}: {name}, now {known[name]}")
    assert not found, "\n" + "\n".join(found)


def test_no_module_has_an_old_name():
    found = [
        f"{folder}/{name}.py"
        for folder, names in MODULES.items()
        for name in names
        if (ROOT / folder / f"{name}.py").exists() or (ROOT / folder / name).is_dir()
    ]
    assert not found


def test_no_text_has_an_old_name():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "experiments").rglob("*.md")]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group()}"
        for path in pages
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in WRITTEN.finditer(line)
    ]
    assert not found, "\n" + "\n".join(found)


def test_docstrings_say_what_a_thing_is():
    found = []
    for path in (ROOT / "attnkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            if documented and (ast.get_docstring(node) or "").startswith("What "):
                found.append(f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}")
    assert not found, "\n" + "\n".join(found)


def test_names_are_unique_across_the_catalogue():
    kinds = {}
    for package in attnkit._ROOMS.values():
        for name in lazy.classes(package):
            kinds.setdefault(name, []).append(package)
    assert not {name: packages for name, packages in kinds.items() if len(packages) > 1}
