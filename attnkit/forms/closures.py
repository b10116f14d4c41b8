"""Traced arrays that hooks close over: an engine that differentiates and maps hooks cannot know of them."""

import inspect
from collections.abc import Iterator
from typing import Any

import jax

#: How many functions deep helpers of a hook are searched.
DEPTH = 3


def check_closures(owners: Any) -> None:
    """Raise `ValueError` if a hook of a mask or part closes over a traced array, or an option is one.

    Under `jax.jit` alone such a hook works while one block suffices; elsewhere, and in every derivative, JAX
    raises `UnexpectedTracerError` from inside of the engine.
    """
    for owner in owners:
        name = type(owner).__name__
        for option, value in vars(owner).items():
            if isinstance(value, jax.core.Tracer):
                raise ValueError(f"{name}: {option} is a traced array, {jax.typeof(value)}; {ADVICE}")
        for cls in type(owner).__mro__:
            for hook, function in vars(cls).items():
                for variable, value in closed_over(function, DEPTH):
                    place = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
                    raise ValueError(
                        f"{name}.{hook} closes over {variable}, a traced array {jax.typeof(value)}; "
                        f"{ADVICE} [{place}]"
                    )


ADVICE = (
    "make it a parameter (`init`) or run-time data (`needs`), or use attnkit.from_score_mod or "
    "attnkit.from_mask_mod, whose functions may close over arrays"
)


def closed_over(function: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """Traced arrays among the variables that a function and its helpers close over, by name."""
    if not inspect.isfunction(function) or not function.__closure__ or not depth:
        return
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        if inspect.isfunction(content):
            yield from closed_over(content, depth - 1)
        elif isinstance(content, jax.core.Tracer):
            yield variable, content
        elif isinstance(content, dict | list | tuple):
            found = (leaf for leaf in jax.tree.leaves(content) if isinstance(leaf, jax.core.Tracer))
            yield from ((variable, leaf) for leaf in found)
