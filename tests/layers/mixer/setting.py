"""Layers in float64 with parameters moved away from where they start, and their parameters as numpy."""

import dataclasses

import numpy as np
from flax import nnx

from attnkit.conformance.chain import moved
from attnkit.layers.mixer_layer import Width, mixer_layer
from attnkit.masks.causal import Causal

DIM, HEADS, TOKENS = 24, 6, 5


def made(mixer, kv_heads=HEADS, depth=0, start=False, **more):
    width = dataclasses.replace(Width.of(DIM, HEADS, kv_heads), depth=depth)
    layer = mixer_layer(mixer, width, rngs=nnx.Rngs(depth), **more)
    graph, params = nnx.split(layer)
    return layer if start else nnx.merge(graph, moved(params, depth))


def tokens(seed=1, batch=2, count=TOKENS):
    return np.random.default_rng(seed).normal(size=(batch, count, DIM))


def number(param):
    return np.asarray(param[...], np.float64)


def apart(a, b):
    return float(np.abs(np.asarray(a) - np.asarray(b)).max())


def decoded(layers, x, pieces=(2, 1, 2)):
    """Step by step, each layer added to what goes in."""
    states, at, found = [layer.start(len(x), x.shape[1], x.dtype) for layer in layers], 0, []
    for size in pieces:
        h, below = x[:, at : at + size], {}
        for n, layer in enumerate(layers):
            y, states[n], below = layer.relay_step(h, states[n], below=below)
            h = h + y
        found.append(h)
        at += size
    return np.concatenate(found, axis=1)


def whole(layers, x):
    """All tokens at once; the same sum, and the maps of each layer."""
    below, maps = {}, []
    for layer in layers:
        y, weights, below = layer.relay(x, below=below, look=True)
        x = x + y
        maps.append(weights)
    return x, maps


CAUSAL = {"mask": Causal()}
