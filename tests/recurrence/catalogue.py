"""Every variant of recurrent attention with transitions, found by walking the catalogue's folder."""

import importlib
import pkgutil

import jax
import numpy as np

from attnkit.experiment.catalogue import camel
from attnkit.forms import recur
from attnkit.recurrence import variant
from attnkit.recurrence.contract import LinearRecurrent


def variants():
    """`(name, class)` of each."""
    found = []
    for entry in pkgutil.iter_modules(variant.__path__):
        module = importlib.import_module(f"{variant.__name__}.{entry.name}")
        kind = getattr(module, camel(entry.name))
        if issubclass(kind, LinearRecurrent):
            found.append((entry.name, kind))
    return found


def draw(chosen, shape, tokens, seed=0):
    """Parameters away from where they start, and standard normal inputs."""
    random, key = np.random.default_rng(seed), jax.random.key(seed)
    params = {
        name: np.asarray(a, np.float64) + 0.2 * random.normal(size=a.shape)
        for name, a in (chosen.init(key, shape) | chosen.random_constants(key, shape)).items()
    }
    inputs = {}
    for name, need in chosen.inputs(shape).items():
        size = (tokens, need.width) if need.shared else (shape.heads, tokens, need.width)
        inputs[name] = random.normal(size=size)
    return params, inputs


def computed(chosen, shape, params, inputs, **how):
    """`recur` as one program, compiled without optimization, in the types of what is given."""
    run = jax.jit(lambda params, inputs: recur(chosen, shape, params, inputs, **how))
    return jax.tree.map(np.asarray, run(params, inputs))
