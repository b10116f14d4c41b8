"""Training, evaluating and reporting: what the commands do once a config is right."""

import contextlib
import dataclasses
import datetime
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jax.numpy as jnp

from attnkit import signals
from attnkit.errors import CheckFailed, ConfigError
from attnkit.experiment import attention, audit, config, display, folder, measure, provenance, summary, toml
from attnkit.experiment.diagnostics import printable
from attnkit.experiment.footprint import Footprint, footprint, parameters
from attnkit.experiment.profile import profiled
from attnkit.experiment.provenance import NOTHING, Allow
from attnkit.experiment.session import Session, best, described, reopen, start, with_data
from attnkit.generation.plan import Decoding
from attnkit.inspection.maps import Head
from attnkit.models.contract import Network
from attnkit.tasks.contract import Dataset
from attnkit.training import nonfinite
from attnkit.training.checkpoint import Checkpoints
from attnkit.training.devices import make_mesh
from attnkit.training.evaluation import Evaluation
from attnkit.training.load import FOLDER
from attnkit.training.loop import fit
from attnkit.training.optimizer import schedule
from attnkit.training.processes import is_first, shared
from attnkit.training.progress import Fitted

PICTURES = 3
DUMPED = {"step": int, "what": str, "path": str, "seed": int, "batch": int}
SIZES = tuple(field.name for field in dataclasses.fields(Footprint))
TIMES = ("command", "steps", *SIZES, "training_seconds", "best_step", "best_loss", "skipped")
MEASURING = ("task.", "decoding.", "training.evaluation_batch_size=", "training.evaluation_batches=")


def train(
    loaded: config.Config,
    *,
    out: str | None = None,
    resume: bool = False,
    quiet: bool = False,
    profile: bool = False,
    command: str = "",
    allow: Allow = NOTHING,
) -> tuple[Path, dict[str, Any]]:
    """Train what a config says, measure it and write its run folder.

    Args:
        loaded: the config.
        out: the run folder; by default `runs/<config name>-<n>`.
        resume: go on with the run that is there.
        quiet: show no progress.
        profile: record a trace of a few dispatches into the run folder.
        command: the command line, for the record.
        allow: whether a run may go on with changed code or data.

    Returns:
        The run folder and what its `result.json` holds. Of several processes only the first measures: the
        others return when the training has ended, with an empty result.

    Raises:
        AttnkitError: as `fit`, `start` and `resumed` do.
    """
    begun, quiet = time.perf_counter(), quiet or not is_first()
    resumed(loaded, folder.choose(loaded.name, out, resume), resume, allow)
    session = start(loaded)
    with contextlib.ExitStack() as stack:
        place = Path(shared(lambda: str(stack.enter_context(folder.claim(loaded.name, out, resume)))))
        stack.enter_context(signals.last_act(lambda: f"go on with --resume --out {place}"))
        record, changes = resumed(loaded, place, resume, allow)
        if record is not None:
            known = provenance.info(record, loaded.experiment.task.made, place)
            changes += provenance.data_differences(known, session.data, allow)
            session = dataclasses.replace(session, dataset=provenance.in_ids_of(known, session.data))
        session, used = dataclasses.replace(session, changes=tuple(changes)), provenance.own(loaded).keys()

        def ready() -> None:
            if record is None or steps_done(place) < session.training.steps:
                provenance.write(place, loaded, session.data, changes)

        if not quiet:
            data = audit.short(audit.audit(session.data), str(loaded.file))
            for line in [*data, said(session)]:
                print(printable(line), file=sys.stderr)
        session, fitted = trained(session, place, resume, quiet, profile, ready, allow.data)
        if not is_first():
            return place, {}
        if (place / folder.RESULT).is_file() and fitted.step == fitted.resumed_from:
            there = folder.read_json(place / folder.RESULT)
            # It may be of fewer steps, if the run was interrupted after the last one.
            if there.get("steps") == fitted.step:
                return place, there
        facts = {**facts_of(fitted, footprint(session), command), "changed": changes}
        if not quiet:
            print(printable(f"measuring {', '.join(session.dataset.splits)}"), file=sys.stderr)
        result = finish(session, place, facts, begun, known_of(session, fitted))
        if provenance.own(loaded).keys() > used:
            # Some files were imported only now.
            provenance.write(place, loaded, session.data, changes)
        return place, result


def said(session: Session) -> str:
    """The size of a network, and the devices that train it, as a line; other sizes take a trace."""
    used = make_mesh(session.training).devices.ravel()
    devices = f"{len(used)} {used[0].device_kind} device{'s' if len(used) > 1 else ''}"
    return f"model: {parameters(session.network):,} parameters, on {devices}"


def unit_of(dataset: Dataset) -> str:
    """Name of what the speed of training counts."""
    return "numbers" if dataset.numbers else "labels" if dataset.length == 1 else "tokens"


def facts_of(fitted: Fitted, sizes: Footprint, command: str) -> dict[str, Any]:
    """Entries of `result.json` about the training."""
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


def resumed(
    loaded: config.Config, place: Path, resume: bool, allow: Allow
) -> tuple[provenance.Record | None, list[str]]:
    """Record of the run that is to go on, and a line for all code that has changed since.

    Raises:
        ConfigError: if it cannot go on with this config, code or precision.
        CheckpointError: if the folder is damaged.
    """
    if not resume or not provenance.holds(place):
        return None, []
    record = provenance.read(place)
    trained_with = toml.read(place / folder.CONFIG)[0]
    folder.agree(trained_with, provenance.portable(loaded), place)
    refuse_schedule(trained_with, loaded, place)
    changes = [*provenance.code_differences(record, loaded)]
    provenance.refuse_code(changes, allow)
    provenance.refuse_flags(record, loaded, place)
    return record, [*record.environment.get("changed", []), *changes]


def refuse_schedule(old: Mapping[str, Any], loaded: config.Config, place: Path) -> None:
    """Raise `ConfigError` if the steps made so far had other learning rates than this config gives them."""
    training, optimizer = loaded.experiment.training.made, loaded.experiment.optimizer.made
    steps, done = old["training"]["steps"], steps_done(place)
    before = dataclasses.replace(optimizer, decay_steps=old["optimizer"]["decay_steps"])
    made = jnp.arange(done)
    if training.steps > done and not jnp.array_equal(
        schedule(before, steps, made), schedule(optimizer, training.steps, made)
    ):
        raise ConfigError(
            f"training.steps = {training.steps}: the learning rate of the run in {place} falls over "
            f"{before.decay_steps or steps} steps, and would jump; to train on at its last rate add "
            f"optimizer.decay_steps={before.decay_steps or steps}, or start another run"
        )


def steps_done(place: Path) -> int:
    """The step of the newest checkpoint of a run; 0 without one."""
    return max(Checkpoints(place / FOLDER).steps(), default=0)


def trained(
    session: Session,
    place: Path,
    resume: bool,
    quiet: bool,
    profile: bool,
    ready: Callable[[], None],
    changed_data: bool,
) -> tuple[Session, Fitted]:
    """The session with the parameters of the best step, after training in the folder `place`.

    `ready` is called before anything is written there.
    """
    if not quiet:
        where = f"training {session.config.name} in {place}; the first step waits for the compiler"
        print(printable(where), file=sys.stderr)
    with contextlib.ExitStack() as stack:
        report = stack.enter_context(display.shown(quiet, unit_of(session.data)))
        if profile:
            report = stack.enter_context(profiled(place, report))
        fitted = fit(
            session.network,
            session.data,
            session.training,
            session.optimizer,
            folder=place,
            resume=resume,
            ready=ready,
            changed_data=changed_data,
            report=report,
        )
    if fitted.step == fitted.resumed_from and not quiet:
        print(f"nothing to train: step {fitted.step} is done; raise training.steps to go on", file=sys.stderr)
    return (with_best(session, fitted, place) if is_first() else session), fitted


def with_best(session: Session, fitted: Fitted, place: Path) -> Session:
    """The session with the parameters of the best step of a training in the folder `place`."""
    if fitted.best_step in (None, fitted.step):
        return dataclasses.replace(session, network=cast(Network, fitted.network), step=fitted.step)
    return best(session, place)


def finish(
    session: Session,
    place: Path,
    facts: Mapping[str, Any],
    begun: float,
    known: Evaluation | None = None,
    page: bool = True,
) -> dict[str, Any]:
    """Measure a network that was trained and write `result.json` and `report.html`.

    Args:
        session: the network.
        place: its run folder.
        facts: what `result.json` says besides the measurements.
        begun: when the work began, by `time.perf_counter`.
        known: an evaluation of this network that need not be made again.
        page: whether to write the report, too.
    """
    measured = measure.measure(session, known)
    result = {**measure.result(session, measured), **facts}
    result["seconds"] = facts.get("seconds", round(time.perf_counter() - begun, 2))
    folder.write_json(place / folder.RESULT, result)
    folder.write_json(place / folder.EXAMPLES, measure.packed(measured.samples))
    if page:
        write_report(session, place, folder.read_json(place / folder.RESULT), measured.samples)
    return folder.read_json(place / folder.RESULT)


def write_report(
    session: Session, place: Path, result: Mapping[str, Any], shown: Sequence[measure.Sample]
) -> Path:
    """Write `report.html` with the attention on examples, or a line that says why there is none.

    Of the samples that are `shown`, the attention on some is drawn, right ones first.
    """
    head = head_of(result.get("alignment", {}))
    drawn = sorted(shown, key=lambda one: one.written != one.example.labels)[:PICTURES]
    examples, written = [s.example for s in drawn], [s.written for s in drawn]
    try:
        pictures, problem = attention.map_examples(session, examples, written, head), ""
    except attention.MapsError as error:
        pictures, problem = (), str(error)
        print(printable(f"warning: {problem}"), file=sys.stderr)
    return summary.write_report(place, session, result, shown, pictures, problem)


def head_of(alignment: Mapping[str, Any]) -> Head | None:
    """The head that a result's alignment names."""
    return Head(alignment["map"], alignment["head"]) if "map" in alignment else None


def evaluate(run: Path, allow: Allow = NOTHING, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Measure the best checkpoint of a run again, and add that to its `evaluations.jsonl` and `report.html`.

    What training wrote stays as it is. Where the folder cannot be written, or is in use, a warning says so.

    Args:
        run: the run folder.
        allow: what may be done with it.
        overrides: where its data is now, and options of decoding and evaluation.

    Raises:
        DataError: if the data is not that of the run.
        ConfigError: as `reopen` does, and for other overrides.
    """
    begun = time.perf_counter()
    refuse_overrides(overrides, MEASURING)
    session = with_data(reopen(run, allow, overrides), allow)
    trained = folder.read_json(run / folder.RESULT) if (run / folder.RESULT).is_file() else {}
    measured = measure.measure(session)
    found = {
        **measure.result(session, measured),
        "name": trained.get("name", run.resolve().name),
        **{name: trained[name] for name in TIMES if name in trained},
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "code": provenance.code(session.config).digest,
        "overrides": list(overrides),
        "changed": list(session.changes),
        "seconds": round(time.perf_counter() - begun, 2),
    }
    try:
        with folder.lock(run):
            folder.append(run / folder.EVALUATIONS, found)
            examples = measure.unpacked(run / folder.EXAMPLES) if trained else measured.samples
            write_report(session, run, trained or found, examples)
    except (ConfigError, OSError) as error:
        print(printable(f"warning: this evaluation is not recorded: {error}"), file=sys.stderr)
    return found


def refuse_overrides(overrides: Sequence[str], options: tuple[str, ...]) -> None:
    """Raise `ConfigError` for an override of a finished run that is not one of some `options`."""
    for text in overrides:
        if not text.startswith(options):
            raise ConfigError(
                f"{text}: what was trained does not change; give options of {', '.join(options)}"
            )


def replay(
    run: Path, allow: Allow = NOTHING, overrides: Sequence[str] = ()
) -> tuple[dict[str, Any], tuple[str, str], tuple[str, ...]]:
    """Make the step again at which a run met a number that is not finite, or a spike.

    Args:
        run: the run folder.
        allow: what may be done with it.
        overrides: where its data is now.

    Returns:
        What the run wrote down, what was found now: the same, and a line for everything that has changed.

    Raises:
        ConfigError: if the run met none, and for other overrides.
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
    refuse_overrides(overrides, ("task.",))
    session = with_data(described(run, allow, overrides), allow)
    found = nonfinite.replay(session.network, session.data, session.training, session.optimizer, run, dump)
    if found != (dump["what"], dump["path"]):
        was, now = nonfinite.said(dump["what"], dump["path"]), nonfinite.said(*found)
        raise CheckFailed(
            f"step {dump['step']}: in the run: {was}; now: {now}; data, code or devices have changed"
        )
    return dump, found, session.changes


def report(run: Path, allow: Allow = NOTHING) -> Path:
    """Write `report.html` again from what a run's folder holds."""
    result = folder.read_json(folder.existing(run) / folder.RESULT)
    session = reopen(run, allow)
    with folder.lock(run):
        return write_report(session, run, result, measure.unpacked(run / folder.EXAMPLES))


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
