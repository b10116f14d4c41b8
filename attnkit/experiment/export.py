"""A run's network for use without attnkit: parameters as safetensors and a `jax.export` program."""

import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import export as jax_export

from attnkit import files
from attnkit.errors import ConfigError
from attnkit.experiment import attention, exported, folder, measure
from attnkit.experiment.session import Session, explained
from attnkit.tasks.contract import DatasetInfo, Example, Vocabulary

PLATFORMS = ("cpu", "cuda", "tpu")
ABOUT, PARAMETERS, PROGRAM, EXAMPLE = (
    "export.json",
    "model.safetensors",
    "network.jaxexport",
    "example.safetensors",
)
README = """\
# {name}

The network of the run `{name}` at step {step}, exported by attnkit {attnkit}. It needs jax, flatbuffers,
numpy and safetensors, and no attnkit.

    python run.py                        # compares its logits with those of the run

    from run import Exported
    network = Exported(Path("."))
    logits = network.logits({{{inputs}}})

| input | shape | type |
|---|---|---|
{rows}

`logits` are `[batch, {answers}, {vocabulary}]`. Token ids are places in the lists of `export.json`:
`vocabulary` is what the network writes, `source_vocabulary` what its encoder reads, `speller` how subwords
are made; 0 is padding, 1 begins a text, 2 ends it. Programs are for: {platforms}.

| file | content |
|---|---|
| `model.safetensors` | {count:,} parameters and constants by name |
| `network.jaxexport` | the program, `jax.export.deserialize` reads it |
| `export.json` | inputs, vocabularies, versions |
| `example.safetensors` | one example and the run's logits |
"""


def write(session: Session, run: Path, out: str | None) -> Path:
    """Export the network of a run into a new folder, which is returned.

    Args:
        session: the run with its best parameters.
        run: its folder.
        out: the new folder; the name of the run with `-export`, beside it, if not given.

    Raises:
        ConfigError: if safetensors is missing, the folder is not new, or the network cannot be exported.
    """
    try:
        import flatbuffers  # noqa: F401 (jax.export needs it)
        from safetensors.numpy import save
    except ModuleNotFoundError as error:
        raise ConfigError(f"export: needs the package {error.name}; install attnkit[export]") from None
    run = run.resolve()
    place = folder.checked(out) if out is not None else run.with_name(f"{run.name}-export")
    folder.refuse_full(place)
    parameters, call = as_function(session)
    batch, begun = example(session, run)
    program, reasons = lowered(session, call, parameters, batch)
    logits = np.asarray(jax.jit(call)(parameters, batch))
    about = {
        "name": run.name,
        "step": session.step,
        "versions": {"attnkit": version(), "jax": jax.__version__},
        "platforms": list(program.platforms),
        "not_exported_for": reasons,
        "inputs": {name: [shape(program, name), str(array.dtype)] for name, array in batch.items()},
        "example_begun": begun,
        **described(session.dataset),
    }
    with folder.writable(place):
        place.mkdir(parents=True, exist_ok=True)
        files.write(place / PARAMETERS, save(parameters, {"name": run.name}))
        files.write(place / PROGRAM, bytes(program.serialize()))
        files.write(place / EXAMPLE, save({**batch, "logits": logits}))
        files.write(place / "run.py", inspect.getsource(exported))
        files.write(place / "README.md", readme(about, parameters, logits.shape))
        files.write(place / ABOUT, json.dumps(folder.finite(about), indent=1, ensure_ascii=False))
    return place


def version() -> str:
    """The version of attnkit."""
    import attnkit

    return attnkit.__version__


def as_function(session: Session) -> tuple[dict[str, np.ndarray], Any]:
    """All arrays of the network by name, and its logits as a function of these and of a batch."""
    graph, state = nnx.split(session.network)
    found, structure = jax.tree_util.tree_flatten_with_path(nnx.to_pure_dict(state))
    names = [".".join(str(getattr(step, "key", step)) for step in path) for path, _ in found]
    arrays = {name: np.asarray(leaf) for name, (_, leaf) in zip(names, found, strict=True)}

    def call(parameters: Mapping[str, Any], batch: Mapping[str, Any]) -> jax.Array:
        values = jax.tree.unflatten(structure, [parameters[name] for name in names])
        abstract = jax.tree.map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(abstract, values)
        logits: jax.Array = nnx.merge(graph, abstract)(dict(batch)).logits
        return logits

    return arrays, call


def example(session: Session, run: Path) -> tuple[dict[str, np.ndarray], int]:
    """A batch of one example, and how many of its inputs are given and not written.

    It is the first that the run shows; of a run that has measured nothing, one without content.
    """
    known = measure.unpacked(run / folder.EXAMPLES) if (run / folder.EXAMPLES).is_file() else ()
    sample, written = (known[0].example, known[0].written) if known else (blank(session.dataset), (2,))
    fed = attention.fed_tokens([sample], [written])
    width = max(session.dataset.length, len(fed[0]))
    batch = attention.batch_of(session, [sample], [written], width)
    if session.dataset.features:
        del batch["inputs"]
        batch["features"] = np.zeros((1, session.dataset.length, session.dataset.features), np.float32)
    return {name: np.asarray(array) for name, array in batch.items()}, len(sample.inputs)


def blank(info: DatasetInfo) -> Example:
    """An example without content: a text that begins, and a source of one such token or of zeros."""
    source = (Vocabulary.BEGIN,) if info.source_vocabulary is not None else None
    vectors = np.zeros((info.source_length, info.source_features), np.float32)
    return Example(
        prompt="",
        answer="",
        source=source,
        inputs=(Vocabulary.BEGIN,),
        labels=(),
        source_features=vectors if info.source_features else None,
        segment=(0,) * max(1, len(vectors) if info.source_features else 1) if info.segments else None,
    )


def lowered(
    session: Session, call: Any, parameters: Mapping[str, Any], batch: Mapping[str, np.ndarray]
) -> tuple[jax_export.Exported, dict[str, str]]:
    """The program for any number of examples on all platforms that it lowers for; why not, for the others."""
    rows = jax_export.symbolic_shape("batch")[0]
    shapes = (
        {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in parameters.items()},
        {name: jax.ShapeDtypeStruct((rows, *a.shape[1:]), a.dtype) for name, a in batch.items()},
    )

    def lower(platforms: tuple[str, ...]) -> jax_export.Exported:
        return jax_export.export(jax.jit(call), platforms=platforms)(*shapes)

    name = f"model {type(session.config.experiment.model.made).__name__}"
    try:
        return lower(PLATFORMS), {}
    except Exception:
        reasons = dict(refused(lower))
    able = tuple(platform for platform in PLATFORMS if platform not in reasons)
    if not able:
        raise ConfigError(f"{name}: cannot be exported: {next(iter(reasons.values()))}")
    with explained(name):
        return lower(able), reasons


def refused(lower: Any) -> Iterator[tuple[str, str]]:
    """The platforms that a program does not lower for, and why."""
    for platform in PLATFORMS:
        try:
            lower((platform,))
        except Exception as error:
            said = (str(error).strip().splitlines() or [""])[0]
            lacks = f"it reads {said}, which an example alone does not have"
            yield platform, lacks if isinstance(error, KeyError) else f"{type(error).__name__}: {said}"


def shape(program: jax_export.Exported, name: str) -> list[int | str]:
    """The shape of an input of the program; sizes of any value by name."""
    (_, batch), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    return [size if isinstance(size, int) else str(size) for size in batch[name].shape]


def described(info: DatasetInfo) -> dict[str, Any]:
    """Meaning of the token ids, as values of JSON."""
    names = ("vocabulary", "source_vocabulary", "speller", "separator", "grid", "numbers", "fingerprint")
    values = info.values()
    return {name: values[name] for name in names}


def readme(about: Mapping[str, Any], parameters: Mapping[str, np.ndarray], logits: tuple[int, ...]) -> str:
    """The page that explains the folder."""
    rows = [
        f"| `{name}` | `[{', '.join(map(str, shape))}]` | {kind} |"
        for name, (shape, kind) in about["inputs"].items()
    ]
    return README.format(
        name=about["name"],
        step=about["step"],
        attnkit=about["versions"]["attnkit"],
        inputs=", ".join(f'"{name}": {name}' for name in about["inputs"]),
        rows="\n".join(rows),
        answers=logits[1],
        vocabulary=logits[2],
        platforms=", ".join(about["platforms"]),
        count=sum(array.size for array in parameters.values()),
    )
