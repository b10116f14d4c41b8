"""Floating-point operations of a function, counted in its trace, loops and blocks included."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

from attnkit.forms.block_op import BlockOp
from attnkit.forms.passes import block_map_p


def count_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Operations of the matrix products and convolutions of `function`; nothing is compiled or computed.

    A multiplication and an addition are two. A scan counts as often as it runs, a block operation for each
    block that its mask leaves, a branch as the dearest; a loop whose end is not known before counts once.
    Elementwise operations do not count, as in the papers that state costs of networks.

    >>> import jax.numpy as jnp
    >>> count_flops(lambda a, b: jnp.tanh(a @ b), jnp.ones((3, 5)), jnp.ones((5, 7)))
    210
    """
    return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of_jaxpr(jaxpr: Any) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, inputs = equation.primitive.name, [variable.aval for variable in equation.invars]
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        depth = math.prod(inputs[0].shape[axis] for axis in contracted)
        return int(2 * math.prod(equation.outvars[0].aval.shape) * depth)
    if name == "conv_general_dilated":
        kernel = inputs[1].shape
        outputs = equation.params["dimension_numbers"].rhs_spec[0]
        return int(2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) // kernel[outputs])
    if equation.primitive is block_map_p:
        return _of_blocks(equation.params["op"], inputs)
    inner = [_of_jaxpr(jaxpr) for jaxpr in _inside(equation.params)]
    if name == "cond":
        return max(inner, default=0)
    return sum(inner) * (equation.params["length"] if name == "scan" else 1)


def _of_blocks(op: BlockOp, inputs: list[Any]) -> int:
    """All blocks of a block operation, as one of them."""
    given = op.block_shapes(inputs)
    state = jax.eval_shape(lambda *blocks: op.start(blocks), *given)
    steps = sum(len(full) + len(partial) for full, partial in op.block_mask.steps())
    return math.prod(op.sizes) * steps * count_flops(op.step(True), state, *given)


def _inside(params: Any) -> Iterator[Any]:
    """The programs that an operation calls."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            program = getattr(item, "jaxpr", item)
            if hasattr(program, "eqns"):
                yield program
