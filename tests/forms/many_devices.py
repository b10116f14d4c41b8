"""Prints what several devices compute against one, as JSON; run in a process of its own that has eight.

With the argument `whole`, every feature on every number of devices; with `second_order`, second derivatives;
with `layers`, layers in a `jax.shard_map`; with `mixers`, the layer of every mixer on a mesh around it.
"""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, PartitionSpec

from attnkit import forms
from attnkit.api.nnx import MultiHeadAttention, TokenMixer
from attnkit.conformance import distributed
from attnkit.conformance.distributed import Comparison, passed_errors, resources
from attnkit.conformance.programs import QUICK_COMPILE
from attnkit.conformance.subject import Sizes, make_subject
from attnkit.experiment import catalogue, costs
from attnkit.forms.sharing import sharing
from attnkit.layers.token_mixer.latent import Latent
from attnkit.layers.token_mixer.talking_heads import MixScores
from attnkit.masks.causal import Causal
from attnkit.masks.contract import Data
from attnkit.masks.padding import Padding
from attnkit.masks.same_document import SameDocument
from attnkit.masks.window import Window
from attnkit.recurrence.variant.delta_net import DeltaNet
from attnkit.recurrence.variant.gla import Gla
from attnkit.recurrence.variant.mamba2 import Mamba2
from attnkit.recurrence.variant.retnet import Retnet
from attnkit.recurrence.variant.rwkv6 import Rwkv6
from attnkit.scored.normalizer.inverted import Inverted
from attnkit.scored.normalizer.sigmoid import Sigmoid
from attnkit.scored.normalizer.sink import Sink
from attnkit.scored.normalizer.stick_breaking import StickBreaking
from attnkit.scored.position.alibi import Alibi
from attnkit.scored.position.fire import Fire
from attnkit.scored.position.fox import Fox
from attnkit.scored.position.kerple_power import KerplePower
from attnkit.scored.position.rotary import Rotary
from attnkit.scored.position.t5_buckets import T5Buckets
from attnkit.scored.preset.attention import Attention
from attnkit.scored.score.additive import Additive
from attnkit.scored.selection.moba import Moba
from attnkit.variant import HeadShape

TRUSTED = {
    "causal": Attention(mask=Causal()),
    "window": Attention(mask=Window(back=20)),
    "ordered": Attention(mask=Causal(), normalizer=StickBreaking()),
}
#: what JAX's check of varying axes has refused
CHECKED = {
    "heads and hidden units": Attention(
        mask=Causal(),
        score=Additive(hidden=2),
        position=(Fire(hidden=2), KerplePower(), MixScores()),
    )
}
#: variant, heads of keys, form, devices, depth
SHARED = {
    "ring of 8": (
        Attention(
            position=(T5Buckets(buckets=4, max_distance=9), Alibi()),
            mask=Causal() & SameDocument() & Padding(),
            normalizer=Sink(),
            dropout=0.2,
        ),
        *(2, "ring", 8, "gradient"),
    ),
    "ring of 4": (
        Attention(
            position=Fox(),
            mask=Window(back=9),
            normalizer=Sigmoid(),
            selection=Moba(size=5, count=2),
        ),
        *(8, "ring", 4, "gradient"),
    ),
    "ring of 2": (Attention(normalizer=Inverted()), *(8, "ring", 2, "forward")),
    "ring of 4 by kernels": (
        Attention(
            position=(T5Buckets(buckets=4, max_distance=9), Fox()), mask=Causal() & Padding(), dropout=0.2
        ),
        *(2, "ring_pallas", 4, "gradient"),
    ),
    "ulysses of 4": (
        Attention(position=Alibi(), mask=Causal(), normalizer=StickBreaking()),
        *(2, "ulysses", 4, "gradient"),
    ),
}


def spread():
    """Errors of a batch on two devices, inside a `shard_map`, with and without the check of varying axes."""
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    same, cut = PartitionSpec(), PartitionSpec("batch")
    random = np.random.default_rng(0)
    worst = {}
    for name, variant in {**TRUSTED, **CHECKED}.items():
        scored, heads = variant.scored(), 1 + (name in CHECKED)
        tokens = 20 if name in CHECKED else 150
        arrays = [jnp.asarray(random.normal(size=(2, heads, tokens, 4))) for _ in range(3)]
        params = scored.init(jax.random.key(0), HeadShape(heads, 4, 4))
        block = (8, 7) if name in CHECKED else None

        def total(given, q, k, v, scored=scored, block=block):
            scale, params = given
            one = jax.vmap(lambda *own: forms.attend(scored, params, *own, block=block).output)
            return jnp.sum(one(q * scale, k, v * scale) ** 2)

        def checked(*given, total=total):
            return jax.grad(total, (0, 1))(*given)

        def trusted(*given, total=total):
            slopes = jax.grad(total, (0, 1))(*given)
            return jax.lax.psum(slopes[0], "batch"), slopes[1]

        replicated = jnp.ones(4), params
        true = jax.jit(checked)(replicated, *arrays)
        for check, function in ((True, checked), (False, trusted)):
            if name in CHECKED and not check:
                continue
            over = jax.shard_map(
                function, mesh=mesh, in_specs=(same, cut, cut, cut), out_specs=(same, cut), check_vma=check
            )
            got = jax.jit(over)(replicated, *arrays)
            gaps = [
                np.abs(a - b).max() / max(1e-3, np.abs(b).max())
                for a, b in zip(*map(jax.tree.leaves, (got, true)), strict=True)
            ]
            worst[f"{name}, {'checked' if check else 'trusted'}"] = float(max(gaps))
    return worst


def two_axes():
    """The error of sequences in a batch, on a mesh that cuts both."""
    mesh = jax.make_mesh((2, 4), ("data", "sequence"), axis_types=(AxisType.Auto,) * 2)
    scored = Attention(mask=Causal()).scored()
    q, k, v = jnp.asarray(np.random.default_rng(1).normal(size=(3, 2, 1, 16, 4)))

    def attend(q, k, v, axis=None):
        return jax.vmap(lambda *own: forms.attend(scored, None, *own, axis=axis).output)(q, k, v)

    cut = PartitionSpec("data", None, "sequence")
    own = jax.shard_map(lambda *a: attend(*a, "sequence"), mesh=mesh, in_specs=cut, out_specs=cut)
    whole = jax.vmap(lambda *a: forms.attend(scored, None, *a, mesh=mesh).output)
    true = attend(q, k, v)
    return max(float(np.abs(jax.jit(run)(q, k, v) - true).max()) for run in (own, whole))


def lost():
    """Where a key that is not finite leaves no numbers, on four devices and on one."""
    shape = HeadShape(1, 2, 2)
    inputs = {n: np.ones((1, 24, need.width)) for n, need in Gla().inputs(shape).items()}
    inputs["k"][:, 13] = np.inf
    segments = jnp.where(jnp.arange(24) < 19, 0, 1)

    def outputs(**where):
        return jax.jit(lambda own: forms.recur(Gla(), shape, {}, own, segments=segments, **where).output)(
            inputs
        )

    found, true = outputs(mesh=distributed.mesh_of(4)), outputs(implementation="scan")
    at = np.flatnonzero(np.isnan(found[0, :, 0]))
    return {
        "of": found.shape[1],
        "first": int(at[0]),
        "last": int(at[-1]),
        "as alone": bool(np.allclose(found, true, equal_nan=True) and len(at) == at[-1] - at[0] + 1),
    }


def second_order():
    """The error of products with the second derivative (forward over reverse) of four devices, by form."""
    jax.config.update("jax_enable_x64", True)
    random, mesh = np.random.default_rng(5), distributed.mesh_of(4)
    scored, shape = Attention(position=Alibi(), mask=Causal()).scored(), HeadShape(4, 4, 4)
    rows = tuple(jnp.asarray(random.normal(size=(3, 4, 16, 4))))
    needs = Gla().inputs(shape)
    inputs = {n: jnp.asarray(random.normal(size=(4, 16, need.width))) for n, need in needs.items()}

    def attended(form, **where):
        return lambda qkv: forms.attend(scored, None, *qkv, implementation=form, **where).output

    def recurred(form, **where):
        return lambda own: forms.recur(Gla(), shape, {}, own, implementation=form, **where).output

    def product(run, given):
        slope = jax.grad(lambda own: jnp.sum(jnp.sin(run(own))))
        return jax.jit(lambda own: jax.jvp(slope, (own,), (jax.tree.map(jnp.cos, own),))[1])(given)

    def error(many, one, given):
        pairs = zip(*(jax.tree.leaves(product(run, given)) for run in (many, one)), strict=True)
        return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)

    return {
        "ring": error(attended("ring", mesh=mesh), attended("reference"), rows),
        "ulysses": error(attended("ulysses", mesh=mesh), attended("reference"), rows),
        "passed": error(recurred("passed", mesh=mesh), recurred("scan"), inputs),
    }


def sample():
    """All that is quick."""
    errors = {}
    for name, (variant, groups, form, devices, depth) in SHARED.items():
        subject = make_subject(variant, Sizes(8, groups, 12, 7, distributed.TOKENS, distributed.TOKENS))
        errors[name] = Comparison(subject, depth).errors(form, devices)
    errors["corrected state"] = passed_errors(DeltaNet(), 4)
    errors["positions"] = passed_errors(Retnet(), 8, "forward")
    errors["both directions"] = passed_errors(Gla(direction="both"), 4, "forward")
    jax.config.update("jax_enable_x64", True)
    return {
        "spread": spread(),
        "two axes": two_axes(),
        "lost": lost(),
        "layer": layer_error(CONVOLVED, "forward", Data(key=DOCUMENTS)),
        "errors": errors,
        "resources": {n: resources("ring", n, 1024, (32, 32)) for n in (2, 8)},
    }


def whole():
    """Every feature on every number of devices."""
    return {
        str(cell): Comparison(distributed.feature(*cell[:2])).errors(*cell[2:])
        for cell in distributed.matrix()
    }


def layer_error(make, depth, data=None):
    """The error of a layer on four devices that share the sequences, against one.

    `make(axis)` gives the layer; with the depth `gradient`, the error of its gradient by parameters as well.
    """
    mesh, x = distributed.mesh_of(4), jnp.asarray(np.random.default_rng(6).normal(size=(2, 16, 12)))
    cut, data = PartitionSpec(None, "sequence"), data or Data()

    def spread(graph, params):
        return jax.shard_map(
            lambda params, x, data: nnx.merge(graph, params)(x, data=data),
            mesh=mesh,
            in_specs=(PartitionSpec(), cut, jax.tree.map(lambda _: cut, data)),
            out_specs=cut,
        )(params, x, data)

    def whole(graph, params):
        return nnx.merge(graph, params)(x, data=data)

    def found(run, axis):
        graph, params, rest = nnx.split(make(axis), nnx.Param, ...)
        params = jax.tree.map(lambda a: a.astype(jnp.float64), params)

        def output(params):
            return run(graph, nnx.merge_state(params, rest))

        def both(params):
            return output(params), jax.grad(lambda params: jnp.sum(jnp.sin(output(params))))(params)

        return jax.jit(both if depth == "gradient" else output, compiler_options=QUICK_COMPILE)(params)

    pairs = zip(*(jax.tree.leaves(found(*how)) for how in ((spread, "sequence"), (whole, None))), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def mixer(variant, heads=4):
    """Makes the layer of a mixer, for an axis."""
    return lambda axis: TokenMixer(heads, 12, variant=variant, axis=axis, rngs=nnx.Rngs(0))


#: three documents, whose first tokens follow those of the same device and those of another
DOCUMENTS = {"segment": jnp.asarray(np.repeat([[0] * 4 + [1] * 5 + [2] * 7], 2, axis=0))}
CONVOLVED = mixer(Mamba2(documents=True))


def layers():
    """Errors of layers and their gradients."""
    jax.config.update("jax_enable_x64", True)
    variant = Attention(position=(Rotary(), Fox()), mask=Causal())
    types = {"dtype": jnp.float64, "param_dtype": jnp.float64, "decode": False}

    def plain(axis):
        return MultiHeadAttention(3, 12, variant=variant, axis=axis, rngs=nnx.Rngs(0), **types)

    return {
        "flax's call": layer_error(plain, "gradient"),
        "attention": layer_error(mixer(variant, heads=2), "gradient"),
        "latent": layer_error(mixer(Latent(mask=Causal())), "gradient"),
        "token shift": layer_error(mixer(Rwkv6()), "gradient"),
        "convolution": layer_error(CONVOLVED, "gradient", Data(key=DOCUMENTS)),
    }


def mixers():
    """Errors of gradients of layers whose tokens and heads devices share; how often each device sends."""
    jax.config.update("jax_enable_x64", True)
    x = jnp.asarray(np.random.default_rng(7).normal(size=(2, 16, 16)))
    mesh = jax.make_mesh((1, 2, 2), ("data", "sequence", "heads"), axis_types=(AxisType.Auto,) * 3)
    whole, cut, found = PartitionSpec(), PartitionSpec("data"), {}
    for entry in catalogue.catalogue("TokenMixer"):
        try:
            layer = TokenMixer(4, 16, variant=entry.cls(**costs.required_options(entry)), rngs=nnx.Rngs(0))
            graph, params, rest = nnx.split(layer, nnx.Param, ...)
            params = jax.tree.map(lambda a: a.astype(jnp.float64), params)

            def total(params, x, graph=graph, rest=rest):
                return jnp.sum(jnp.sin(nnx.merge(graph, params, rest)(x)))

            slope = jax.value_and_grad(total, (0, 1))
            true = jax.jit(slope, compiler_options=QUICK_COMPILE)(params, x)
        except ValueError:  # it needs other options, or data of its own
            continue

        def shared(params, x, slope=slope):
            with sharing("sequence", "heads"):
                total, (by_params, by_x) = slope(params, x)
            return (total, by_params), by_x

        # As in training: examples are spread by hand, unchecked, and tokens and heads by who shares them.
        spread = jax.shard_map(
            shared,
            mesh=mesh,
            in_specs=(whole, cut),
            out_specs=(whole, cut),
            axis_names={"data"},
            check_vma=False,
        )
        lie = tuple(jax.NamedSharding(mesh, spec) for spec in (whole, cut))
        program = jax.jit(spread, in_shardings=lie).lower(params, x).compile(QUICK_COMPILE)
        (value, by_params), by_x = program(*jax.device_put((params, x), lie))
        own = value, (by_params, by_x)
        pairs = zip(*map(jax.tree.leaves, (own, true)), strict=True)
        found[entry.kind] = {
            "error": max(float(np.abs(a - b).max() / max(1, np.abs(b).max())) for a, b in pairs),
            "sent": len(re.findall(r" collective-permute(?:-start)?\(", program.as_text())),
        }
    return found


if __name__ == "__main__":
    asked = {"": sample, "whole": whole, "second_order": second_order, "layers": layers, "mixers": mixers}
    json.dump(asked[" ".join(sys.argv[1:])](), sys.stdout)
