"""Block operations of a program."""

import jax


def block_operations(jaxpr):
    """The equations of all block operations of a program and of those inside it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "block_map":
            yield equation
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda a: hasattr(a, "eqns") or hasattr(a, "jaxpr")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from block_operations(inner)
