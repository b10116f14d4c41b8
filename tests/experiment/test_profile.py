import jax
import jax.numpy as jnp

from attnkit.experiment.profile import FOLDER, profiled
from attnkit.training.progress import Progress


def test_a_trace_of_the_dispatches_after_the_first(tmp_path, monkeypatch):
    acts, told = [], []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda place, **_: acts.append(place))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: acts.append("stop"))

    def run(steps):
        with profiled(tmp_path, told.append) as report:
            for step in range(1, steps + 1):
                report(Progress(step, steps, 0.0, 0.0, 0.0, 0.0, 0))
                acts.append(step)

    run(6)
    assert acts == [tmp_path / FOLDER, 1, 2, 3, "stop", 4, 5, 6]
    acts.clear()
    run(2)
    assert acts == [tmp_path / FOLDER, 1, 2, "stop"]
    acts.clear()
    run(1)
    assert acts == [1] and len(told) == 9


def test_the_profiler_writes_into_the_folder(tmp_path):
    with profiled(tmp_path, lambda progress: None) as report:
        report(Progress(1, 9, 0.0, 0.0, 0.0, 0.0, 0))
        (jnp.arange(7.0) @ jnp.ones(7)).block_until_ready()
    assert list((tmp_path / FOLDER).rglob("*.xplane.pb"))
