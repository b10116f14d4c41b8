"""Layers in float64 with parameters moved away from where they start, and their parameters as numpy."""

import dataclasses
import functools

import jax
import numpy as np
from flax import nnx

from attnkit.conformance.chain import moved
from attnkit.layers.build import Width, build_layer
from attnkit.masks.causal import Causal
from attnkit.points import observe

CAUSAL = {"mask": Causal()}
DIM, HEADS, TOKENS = 24, 6, 5


def made(mixer, kv_heads=HEADS, depth=0, start=False, **more):
    width = dataclasses.replace(Width.of(DIM, HEADS, kv_heads), depth=depth)
    layer = build_layer(mixer, width, rngs=nnx.Rngs(depth), **more)
    graph, params = nnx.split(layer)
    return layer if start else nnx.merge(graph, moved(params, depth))


def tokens(seed=1, batch=2, count=TOKENS):
    return np.random.default_rng(seed).normal(size=(batch, count, DIM))


def number(param):
    return np.asarray(param[...], np.float64)


def apart(a, b):
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def compiled(layers, act):
    """`act(layers, ...)` as one program: compiling its parts one by one takes longer."""
    graph, params = nnx.split(nnx.List(layers))
    run = jax.jit(lambda params, *given: act(nnx.merge(graph, params), *given))
    return functools.partial(run, params)


def called(layer, *given, data=None):
    """The layer's output."""
    return compiled([layer], lambda one, *given: one[0](*given, data=data))(*given)


def looked(layer, *given):
    """The layer's output and its weights."""
    read = compiled([layer], lambda one, *given: observe(one[0], read=["weights"])(*given))
    output, values = read(*given)
    return output, values["weights"]


def decoded(layers, x, pieces=(2, 1, 2)):
    """Step by step, each layer added to what goes in."""

    def step(layers, h, states):
        carry, after = {}, []
        for layer, state in zip(layers, states, strict=True):
            y, state, carry = layer.step_with_carry(h, state, carry=carry)
            h = h + y
            after.append(state)
        return h, after

    run, at, found = compiled(layers, step), 0, []
    states = [layer.start(len(x), x.shape[1], x.dtype) for layer in layers]
    for size in pieces:
        h, states = run(x[:, at : at + size], states)
        found.append(h)
        at += size
    return np.concatenate(found, axis=1)


def whole(layers, x):
    """All tokens at once: the same sum."""

    def run(layers, x):
        carry = {}
        for layer in layers:
            y, carry = layer.with_carry(x, carry=carry)
            x = x + y
        return x

    return compiled(layers, run)(x)
