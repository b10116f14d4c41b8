"""Training, evaluating and reporting: what the commands do once a config is right."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from attnkit import signals
from attnkit.errors import CheckFailed, ConfigError
from attnkit.experiment import attention, config, decode, display, folder, measure, summary, toml
from attnkit.experiment.diagnostics import printable
from attnkit.experiment.footprint import Footprint, footprint
from attnkit.experiment.session import Session, best, reopen, start
from attnkit.generation.plan import Decoding
from attnkit.inspection.maps import Head
from attnkit.models.contract import Network
from attnkit.tasks.contract import Example
from attnkit.training import nonfinite
from attnkit.training.evaluation import Evaluation
from attnkit.training.loop import fit
from attnkit.training.progress import Fitted

PICTURES = 3
DUMPED = {"step": int, "what": str, "path": str, "seed": int, "batch": int}
TIMES = (
    "command",
    "steps",
    *(field.name for field in dataclasses.fields(Footprint)),
    "seconds",
    "training_seconds",
    "best_step",
    "best_loss",
    "skipped",
)


def train(
    loaded: config.Config,
    *,
    out: str | None = None,
    resume: bool = False,
    quiet: bool = False,
    command: str = "",
) -> tuple[Path, dict[str, Any]]:
    """Train what a config says, measure it and write its run folder.

    Args:
        loaded: the config.
        out: the run folder, below the working directory; by default `runs/<config name>-<n>`.
        resume: go on with the run that is there.
        quiet: show no progress.
        command: the command line, for the record.

    Returns:
        The run folder and what its `result.json` holds.

    Raises:
        AttnkitError: as `fit` and `start` do.
    """
    begun = time.perf_counter()
    check_resumed(loaded, folder.choose(loaded.name, out, resume), resume)
    session = start(loaded)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(folder.claim(loaded.name, out, resume))
        stack.enter_context(signals.last_act(lambda: f"go on with --resume --out {place}"))
        check_resumed(loaded, place, resume)

        def ready() -> None:
            folder.write(place / folder.CONFIG, loaded.toml())
            folder.write_json(place / folder.ENVIRONMENT, folder.environment(loaded))

        sizes = footprint(session)
        if not quiet:
            print(said(sizes), file=sys.stderr)
        session, fitted = trained(session, place, resume, quiet, ready)
        facts = facts_of(fitted, sizes, command)
        return place, finish(session, place, loaded.name, facts, begun, known_of(session, fitted))


def said(sizes: Footprint) -> str:
    """The sizes of a network as a line."""
    state = f", {sizes.state_bytes:,} bytes of state" if sizes.state_bytes is not None else ""
    return f"{sizes.parameters:,} parameters{state}, {sizes.flops_per_token:,.0f} FLOPs per token"


def facts_of(fitted: Fitted, sizes: Footprint, command: str) -> dict[str, Any]:
    """What `result.json` says of the training."""
    return {
        "command": command,
        "steps": fitted.step,
        **dataclasses.asdict(sizes),
        "training_seconds": round(fitted.seconds, 2),
        "best_step": fitted.best_step,
        "best_loss": fitted.best_loss,
        "skipped": fitted.skipped,
    }


def known_of(session: Session, fitted: Fitted) -> Evaluation | None:
    """The last evaluation of training, if it is of the session's parameters and of all examples."""
    complete = session.step == fitted.step and not session.training.evaluation_batches
    return fitted.evaluation if complete else None


def check_resumed(loaded: config.Config, place: Path, resume: bool) -> None:
    """Raise `ConfigError` if the run in `place` is to go on, but not with this config."""
    if resume and (place / folder.CONFIG).is_file():
        folder.agree(toml.read(place / folder.CONFIG)[0], loaded.table(), place)


def trained(
    session: Session, place: Path, resume: bool, quiet: bool, ready: Callable[[], None]
) -> tuple[Session, Fitted]:
    """The session with the parameters of the best step, after training in the folder `place`.

    `ready` is called before anything is written there.
    """
    if not quiet:
        print(printable(f"training {session.config.name} in {place}"), file=sys.stderr)
    with display.shown(quiet) as report:
        fitted = fit(
            session.network,
            session.dataset,
            session.training,
            session.optimizer,
            folder=place,
            resume=resume,
            ready=ready,
            report=report,
        )
    if fitted.step == fitted.resumed_from and not quiet:
        print(f"nothing to train: step {fitted.step} is done; raise training.steps to go on", file=sys.stderr)
    return with_best(session, fitted, place), fitted


def with_best(session: Session, fitted: Fitted, place: Path) -> Session:
    """The session with the parameters of the best step of a training in the folder `place`."""
    if fitted.best_step in (None, fitted.step):
        return dataclasses.replace(session, network=cast(Network, fitted.network), step=fitted.step)
    return best(session, place)


def finish(
    session: Session,
    place: Path,
    name: str,
    facts: Mapping[str, Any],
    begun: float,
    known: Evaluation | None = None,
    page: bool = True,
) -> dict[str, Any]:
    """Measure a network and write `result.json` and `report.html`.

    Args:
        session: the network.
        place: its run folder.
        name: of the experiment.
        facts: what `result.json` says besides the measurements.
        begun: when the work began, by `time.perf_counter`.
        known: an evaluation of this network that need not be made again.
        page: whether to write the report, too.
    """
    measured = measure.measure(session, known)
    result = {**measure.result(session, measured), "name": name, **facts}
    result["seconds"] = facts.get("seconds", round(time.perf_counter() - begun, 2))
    folder.write_json(place / folder.RESULT, result)
    if page:
        shown = measured.samples[:PICTURES]
        examples, written = [sample.example for sample in shown], [sample.written for sample in shown]
        write_report(session, place, name, examples, written, measured.alignment)
    return folder.read_json(place / folder.RESULT)


def write_report(
    session: Session,
    place: Path,
    name: str,
    examples: Sequence[Example],
    written: Sequence[Sequence[int]],
    alignment: Mapping[str, Any],
) -> Path:
    """Write `report.html` with the attention on examples, or a line that says why there is none."""
    try:
        pictures, problem = attention.looks(session, examples, written, head_of(alignment)), ""
    except attention.MapsError as error:
        pictures, problem = (), str(error)
        print(printable(f"warning: {problem}"), file=sys.stderr)
    return summary.write_report(place, name, session.config, pictures, problem)


def head_of(alignment: Mapping[str, Any]) -> Head | None:
    """The head that a result's alignment names."""
    return Head(alignment["map"], alignment["head"]) if "map" in alignment else None


def evaluate(run: Path, imports: bool = False) -> dict[str, Any]:
    """Measure the best checkpoint of a run again, and rewrite its `result.json` and `report.html`."""
    begun = time.perf_counter()
    session = reopen(run, imports)
    earlier = folder.read_json(run / folder.RESULT) if (run / folder.RESULT).is_file() else {}
    facts = {name: earlier[name] for name in TIMES if name in earlier}
    with folder.lock(run):
        return finish(session, run, earlier.get("name", run.resolve().name), facts, begun)


def replay(run: Path, imports: bool = False) -> tuple[dict[str, Any], tuple[str, str]]:
    """Make the step again at which a run met a number that is not finite.

    Returns:
        What the run wrote down, and what was found now: the same.

    Raises:
        ConfigError: if the run met none.
        CheckFailed: if something else is found now.
    """
    file = folder.existing(run) / nonfinite.DUMP
    if not file.is_file():
        raise ConfigError(f"{run}: holds no {nonfinite.DUMP}: no step of this run failed")
    dump = folder.read_json(file)
    try:
        dump = {name: kind(dump[name]) for name, kind in DUMPED.items()}
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {type(error).__name__}: {error}") from None
    session = start(config.load(run / folder.CONFIG, imports=imports))
    found = nonfinite.replay(session.network, session.dataset, session.training, session.optimizer, run, dump)
    if found != (dump["what"], dump["path"]):
        raise CheckFailed(
            f"step {dump['step']}: the run found {dump['what']} at {dump['path']}, now it is {found[0]} at "
            f"{found[1]}; data, code or devices have changed"
        )
    return dump, found


def report(run: Path, imports: bool = False) -> Path:
    """Write `report.html` again from what a run's folder holds."""
    folder.existing(run)
    result = folder.read_json(run / folder.RESULT)
    session = reopen(run, imports)
    prompts = list(result.get("samples", []))[:PICTURES]
    examples = again(session, prompts)
    written = decode.write(session, examples, session.decoding, session.training.seed) if examples else []
    with folder.lock(run):
        # Results of earlier versions had no units.
        known = {**result, "units": measure.units(session, result["splits"])}
        folder.write_json(run / folder.RESULT, known)
        name = result.get("name", run.resolve().name)
        return write_report(session, run, name, examples, written, result.get("alignment", {}))


def again(session: Session, samples: Sequence[Mapping[str, Any]]) -> list[Example]:
    """The examples that a result shows."""
    found = []
    for sample in samples:
        if sample["split"] in session.dataset.splits:
            some = session.dataset.examples(sample["split"], measure.SHOWN)
            found += [example for example in some if example.prompt == sample["prompt"]][:1]
    return found


def changed(decoding: Decoding, changes: Mapping[str, Any]) -> Decoding:
    """`decoding` with some options changed, and the method that they are options of.

    Raises:
        ConfigError: if they are options of different methods, or out of range.
    """
    sampling = [name for name in ("temperature", "top_k", "top_p") if name in changes]
    if sampling and "beams" in changes:
        raise ConfigError(
            f"--{sampling[0].replace('_', '-')} is for sampling and --beams for beam search; give one"
        )
    method = {"method": "sample"} if sampling else {"method": "beam"} if "beams" in changes else {}
    options: dict[str, Any] = {**method, **changes}
    try:
        return dataclasses.replace(decoding, **options)
    except ValueError as error:
        raise ConfigError(str(error)) from None
