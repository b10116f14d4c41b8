"""A run folder as objects, for a notebook."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnkit.inspection.notebook import Page

if TYPE_CHECKING:
    import pandas

    from attnkit.experiment.session import Session
    from attnkit.models.contract import Network
    from attnkit.tasks.contract import DatasetInfo
    from attnkit.variant import MapKind


@dataclasses.dataclass(frozen=True, repr=False)
class Tokenizer:
    """Text to tokens and back, as the run's task does it.

    Attributes:
        dataset: the description of the task's data.
    """

    dataset: "DatasetInfo"

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokens of a text as the encoder reads it, or the decoder of a network without encoder."""
        example = self.dataset.encode(text)
        return example.inputs if example.source is None else example.source

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens that the network writes, up to the first end token."""
        return self.dataset.vocabulary.text(tokens)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Spelling of every token that the network writes."""
        return self.dataset.vocabulary.tokens

    def __repr__(self) -> str:
        return f"Tokenizer({len(self.tokens)} tokens)"


@dataclasses.dataclass(frozen=True, repr=False)
class Metrics:
    """Record of training: one row a recorded step or evaluation.

    Attributes:
        rows: as in `metrics.jsonl`, each with the `time` of recording in seconds since 1970; the `split` of
            steps of training is `train`.
    """

    rows: tuple[Mapping[str, Any], ...]

    def names(self) -> tuple[str, ...]:
        """Names of all metrics."""
        every = dict.fromkeys(name for row in self.rows for name in row)
        return tuple(name for name in every if name not in ("step", "split", "time"))

    def curve(self, name: str, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of a metric on a split. Raises `KeyError` for unknown names."""
        rows = [row for row in self.rows if name in row and row.get("split") == split]
        if not rows:
            raise KeyError(f"{name} of split {split}: not recorded; have {', '.join(self.names())}")
        return np.array([row["step"] for row in rows]), np.array([row[name] for row in rows])

    def frame(self) -> "pandas.DataFrame":
        """`rows` as a data frame; needs pandas."""
        import pandas

        return pandas.DataFrame(self.rows)

    def _repr_html_(self) -> str:
        from attnkit.experiment.summary import curves
        from attnkit.inspection.notebook import frame

        return frame(curves=tuple(curves(self.rows, {})))

    def __repr__(self) -> str:
        return f"Metrics({len(self.rows)} rows of {', '.join(self.names())})"


@dataclasses.dataclass(frozen=True, repr=False)
class AttentionMap:
    """Attention weights on one example.

    Attributes:
        weights: `[heads, queries, keys]`.
        queries: the token of each query; of a decoder, the one that it writes.
        keys: the token of each key.
        name: the layer, as in `decoder.0.cross`.
        kind: what its rows are: `distribution`, `share` or `signed`.
    """

    weights: np.ndarray
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    name: str = ""
    kind: "MapKind" = "distribution"

    def _repr_html_(self) -> str:
        from attnkit.inspection.report import AttentionMap as Drawn

        return Drawn(self.name, self.weights, self.queries, self.keys, kind=self.kind)._repr_html_()

    def __repr__(self) -> str:
        heads, queries, keys = self.weights.shape
        return f"AttentionMap({heads} heads, {queries} queries, {keys} keys)"


@dataclasses.dataclass(frozen=True, repr=False)
class Run:
    """A finished or interrupted run, with the parameters of its best checkpoint.

    Attributes:
        path: its folder.
        step: the step that the parameters are of.
        config: its config with every default filled in, as nested dictionaries.
        model: its network, an `nnx.Module`.
        params: the network's parameters, as nested dictionaries of arrays.
        tokenizer: text to tokens and back.
        metrics: what training recorded.
        result: what was measured at the end, as in `result.json`; empty of an interrupted run.
        session: the objects that the config stands for: description of the data, training, decoding.
    """

    path: Path
    step: int
    config: Mapping[str, Any]
    model: "Network"
    params: Mapping[str, Any]
    tokenizer: Tokenizer
    metrics: Metrics
    result: Mapping[str, Any]
    session: "Session"

    def predict(self, text: str | Sequence[str], *, seed: int = 0, **decoding: Any) -> Any:
        """The network's output for a text, or a list of outputs for several.

        Args:
            text: what it translates, continues or classifies.
            seed: of the random numbers of sampling.
            **decoding: options of decoding to change, such as `max_length`.

        Raises:
            DataError: if a text cannot be read.
            ConfigError: for options of decoding that do not go together.
            TypeError: for options that do not exist.
        """
        texts = [text] if isinstance(text, str) else list(text)
        found = [one.output for one in self._write(texts, seed, decoding)]
        return found[0] if isinstance(text, str) else found

    def attention(self, text: str, *, seed: int = 0, **decoding: Any) -> dict[str, AttentionMap]:
        """Attention weights of every layer, by name, on a text and the output that `predict` gives for it."""
        from attnkit.experiment import attention

        (written,) = self._write([text], seed, decoding)
        (read,) = attention.read(self.session, [written.example], [written.tokens])
        drawn = {name: attention.drawable(self.session, read, name) for name in read.maps}
        return {
            name: AttentionMap(np.asarray(one.weights), tuple(one.queries), tuple(one.keys), name, one.kind)
            for name, one in drawn.items()
        }

    def export(self, out: str | Path | None = None) -> Path:
        """Write the network for use without attnkit, as `attnkit export` does, and return the new folder.

        Raises:
            ConfigError: if packages are missing, the folder is not new, or the network cannot be exported.
        """
        from attnkit.experiment.export import write

        return write(self.session, self.path, None if out is None else str(out))

    def _write(self, texts: Sequence[str], seed: int, decoding: Mapping[str, Any]) -> Any:
        from attnkit.experiment.predict import Writer
        from attnkit.experiment.run import changed

        writer = Writer(self.session, changed(self.session.decoding, decoding), None, seed)
        return writer.write([(text, writer.encode(text)) for text in texts])

    def report(self) -> Page:
        """Its page `report.html`, which a notebook shows in a frame. Raises `ConfigError` without one."""
        from attnkit.experiment import folder

        return Page(folder.read_bounded(self.path / folder.REPORT).decode("utf-8"))

    def _repr_html_(self) -> str:
        from attnkit.experiment import summary
        from attnkit.inspection import results_page
        from attnkit.inspection.writing import text

        said = f"<p><b>{text(repr(self))}</b></p>"
        if not self.result:
            return said
        found = results_page.table(tuple(summary.results(self.result)))
        return f"{said}<p>{text(summary.verdict(self.result))}</p>{found}"

    def __repr__(self) -> str:
        import jax

        numbers = sum(a.size for a in jax.tree.leaves(self.params))
        return f"Run({str(self.path)!r}, step={self.step}, {numbers:,} parameters)"


def load_run(path: str | Path, *, allow_import: bool = False, allow_changed_code: bool = False) -> Run:
    """A run folder as objects.

    Args:
        path: the run folder.
        allow_import: whether kinds in its config may run code of installed packages, or of files in it.
        allow_changed_code: whether to go on if code has changed since; `run.session.changes` says what.

    The training data is not read.

    Raises:
        ConfigError: if `path` is not a run folder, or code has changed; both digests are named.
        CheckpointError: if the folder is damaged, or no checkpoint can be used.

    `run.predict("twenty-one")`, `run.attention("twenty-one")["decoder.0.cross"].weights` and
    `run.metrics.curve("loss", "valid")` are what a notebook wants most; `run.config["model"]`, `run.params`,
    `run.model` and `run.tokenizer` are there, too.

    >>> import attnkit as ak
    >>> ak.load_run("no/such/run")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    attnkit.errors.ConfigError: no/such/run: not a run folder (no config.toml in it); ...
    """
    from flax import nnx

    from attnkit.experiment import folder
    from attnkit.experiment.provenance import Allow
    from attnkit.experiment.session import reopen
    from attnkit.training.load import timed_metrics

    run = Path(path)
    session = reopen(run, Allow(imports=allow_import, code=allow_changed_code))
    result = run / folder.RESULT
    return Run(
        path=run,
        step=session.step,
        config=tomllib.loads((run / folder.CONFIG).read_text(encoding="utf-8")),
        model=session.network,
        params=nnx.to_pure_dict(nnx.state(session.network, nnx.Param)),
        tokenizer=Tokenizer(session.dataset),
        metrics=Metrics(tuple(timed_metrics(run))),
        result=folder.read_json(result) if result.is_file() else {},
        session=session,
    )
