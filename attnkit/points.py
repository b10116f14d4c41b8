"""Named points of a computation, which can be read and replaced from outside.

Code that computes says `q = point("q", q)` and knows nothing of observers. An observer calls
`observe(f, read=..., edit=...)`, a pure function of the arguments of `f` that composes with `jit`, `vmap` and
`grad`. Without an observer a point is its value: nothing of it is in the program.

>>> import jax.numpy as jnp
>>> def layer(x):
...     with within("layer", 0):
...         return 2 * point("hidden", x + 1)
>>> observe(layer, read=["layer.*.hidden"])(jnp.ones(2)).values
{'layer.0.hidden': Array([2., 2.], dtype=float32)}
>>> observe(layer, edit={"layer.0.hidden": jnp.zeros_like})(jnp.ones(2)).output
Array([0., 0.], dtype=float32)

Points are of three kinds. A `point` is part of the computation: it can be read and replaced. A `view` lies
beside it: it is computed only for a reader. An `opened` point belongs to the definition of what is computed
in another way (the weights of blockwise attention, or of a recurrence): it is computed for a reader, and
where it is replaced the output follows the definition.

Names are paths; patterns are those of `fnmatch`, where `*` matches dots too. A name that is met again is
numbered: `q`, `q#1`. Points under a transformation (`scan`, `vmap`, `checkpoint`, `jit`) can be replaced from
outside it, and read if it is called through `points.scan` or `points.carried`.
"""

import contextlib
import dataclasses
import difflib
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from attnkit.jax_api import current_trace, make_user_context

Edit = Callable[[Any], Any]
#: Names to read: a pattern or several, each of which must match, or a rule that may match nothing.
Read = str | Sequence[str] | Callable[[str], bool]

#: The observer and the path at the line that is being traced. It is part of the key of JAX's caches: no
#: program that was traced for one observer serves another, or none.
_scope = make_user_context(None)


class Observed(NamedTuple):
    """The output of an observed function, and the values that were read, by name."""

    output: Any
    values: dict[str, Any]


class PointError(ValueError):
    """A point that does not exist, is met twice, or cannot be read or replaced where it is."""


@dataclasses.dataclass(frozen=True, eq=False)
class Observer:
    """One observation: the points to read and replace, and the values found. It lives as long as one call.

    Attributes:
        read: patterns of names to read, or a rule.
        edit: replacements by pattern.
        trace: the trace whose values can be read.
        found: values read so far.
        unreadable: shapes of points under transformations, instead of an error; `None` to raise.
        used: patterns that matched.
        seen: all names met.
        count: how often each name was met in `trace`.
        notes: notes of points by name.
        absent: by name, why there is no such point.
    """

    read: tuple[str, ...] | Callable[[str], bool]
    edit: dict[str, Edit]
    trace: object
    unreadable: dict[str, Any] | None = None
    found: dict[str, Any] = dataclasses.field(default_factory=dict)
    used: set[str] = dataclasses.field(default_factory=set)
    seen: dict[str, None] = dataclasses.field(default_factory=dict)
    count: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: dict[str, str] = dataclasses.field(default_factory=dict)
    absent: dict[str, str] = dataclasses.field(default_factory=dict)

    def next_name(self, name: str) -> str:
        """The name that the next point called `name` will have."""
        number = self.count.get(name, 0) if self.trace == current_trace() else 0
        return f"{name}#{number}" if number else name

    def numbered(self, name: str) -> str:
        """The same, which counts as met."""
        full = self.next_name(name)
        if self.trace == current_trace():
            self.count[name] = self.count.get(name, 0) + 1
        self.seen[full] = None
        return full

    def reads(self, name: str) -> bool:
        """Whether the point is read."""
        if callable(self.read):
            return self.read(name)
        return bool(sum(self.matches(name, pattern) for pattern in self.read))  # all are noted

    def edits(self, name: str) -> list[Edit]:
        """The replacements of the point, in the order given."""
        return [change for pattern, change in self.edit.items() if self.matches(name, pattern)]

    def matches(self, name: str, pattern: str) -> bool:
        """Whether the pattern matches, which is noted."""
        matches = fnmatch.fnmatchcase(name, pattern)
        if matches:
            self.used.add(pattern)
        return matches

    def keep(self, name: str, value: Any) -> None:
        """Note a value that is read."""
        if self.trace != current_trace():
            if self.unreadable is None:
                raise PointError(
                    f"point {name!r} lies under a transformation (scan, vmap, jit, ...), and its value "
                    "cannot leave; observe the function before it is transformed, or call the transformation "
                    "through points.scan or points.carried"
                )
            self.unreadable[name] = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), value)
        elif name in self.found:
            raise PointError(f"point {name!r} is met twice; tell the places apart with points.within")
        else:
            self.found[name] = value

    def check(self) -> None:
        """Raise `PointError` if a pattern matched nothing."""
        patterns = {*self.edit, *(() if callable(self.read) else self.read)}
        missing = sorted(patterns - self.used)
        for pattern in missing:
            for name, reason in self.absent.items():
                if fnmatch.fnmatchcase(name, pattern):
                    raise PointError(f"no point {name!r}: {reason}")
        if missing:
            near = difflib.get_close_matches(missing[0], self.seen, n=3, cutoff=0.4)
            known = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {[*self.seen]}"
            raise PointError(f"no point {', '.join(map(repr, missing))}; {known}")


class Scope(NamedTuple):
    """An observer, the path so far, and the scope of the observer around it."""

    observer: Observer
    path: tuple[str, ...] = ()
    outer: "Scope | None" = None

    def name(self, name: str) -> str:
        """The full name of a point met here, which counts as met."""
        return self.observer.numbered(".".join((*self.path, name)))

    def next_name(self, name: str) -> str:
        """The full name that the next point called `name` will have."""
        return self.observer.next_name(".".join((*self.path, name)))

    def deeper(self, path: tuple[str, ...]) -> "Scope":
        """The scope with a longer path, for every observer."""
        outer = None if self.outer is None else self.outer.deeper(path)
        return Scope(self.observer, (*self.path, *path), outer)


def scopes() -> Iterator[Scope]:
    """The scopes here, the innermost observer first."""
    scope = _scope.value
    while scope is not None:
        yield scope
        scope = scope.outer


def point(name: str, value: Any) -> Any:
    """`value`, an array or pytree, or its replacement by an observer (of the same shapes and types)."""
    for scope in scopes():
        full, observer = scope.name(name), scope.observer
        for change in observer.edits(full):
            value = like(full, value, change(value))
        if observer.reads(full):
            observer.keep(full, value)
    return value


def view(name: str, compute: Callable[[], Any], note: str = "") -> None:
    """A point beside the computation: computed only if it is read, and never replaced.

    Args:
        name: the last part of its name.
        compute: gives its value.
        note: a fact about the value that its array does not tell, such as the kind of a map; see `notes`.

    Raises:
        PointError: if an observer replaces it.
    """
    made: list[Any] = []
    for scope in scopes():
        full, observer = scope.name(name), scope.observer
        observer.notes[full] = note
        if observer.edits(full):
            raise PointError(f"point {full!r} can only be read: the computation does not use it")
        if observer.reads(full):
            if not made:
                with _scope(None):  # points of `compute` belong to nobody
                    made = [compute()]
            observer.keep(full, made[0])


def opened(
    name: str, compute: Callable[[], Any], output: Any, change: Callable[[Any, Any], Any], note: str = ""
) -> Any:
    """`output`, of a computation that does not make the point: as if it did, where an observer replaces it.

    Computed only if it is read or replaced. A replacement adds `change(value, replacement)` to the output.

    Args:
        name: the last part of the point's name.
        compute: gives its value, by the definition.
        output: the output of the computation.
        change: the difference that a replacement makes to the output.
        note: as for `view`.
    """
    if not edited(name):
        view(name, compute, note)
        return output
    for scope in scopes():
        scope.observer.notes[scope.next_name(name)] = note
    with _scope(None):
        value = compute()
    replacement = point(name, value)
    with _scope(None):
        return output + change(value, replacement).astype(output.dtype)


def edited(name: str) -> bool:
    """Whether an observer replaces the next point called `name`."""
    return any(scope.observer.edits(scope.next_name(name)) for scope in scopes())


def absent(name: str, reason: str) -> None:
    """There is no point `name` here, although similar computations have one: asking for it gives `reason`."""
    for scope in scopes():
        scope.observer.absent[scope.next_name(name)] = reason


@contextlib.contextmanager
def within(*path: Any) -> Iterator[None]:
    """Names of points met inside begin with `path`."""
    scope = _scope.value
    if scope is None:
        yield
        return
    with _scope(scope.deeper(tuple(map(str, path)))):
        yield


def observe(
    function: Callable[..., Any], *, read: Read = (), edit: Mapping[str, Edit] | None = None
) -> Callable[..., Observed]:
    """`function` with some of its points read or replaced. A point that is both is read after.

    Args:
        function: any function; its arguments stay those of the result.
        read: a pattern of names, several, or a function of a name that says whether to read it.
        edit: by pattern, a function of the value that returns its replacement.

    Raises:
        PointError: when called, if a pattern matches no point, or a value cannot be read where it arises.
    """

    def run(*args: Any, **kwargs: Any) -> Observed:
        wanted = (read,) if isinstance(read, str) else read if callable(read) else tuple(read)
        observer = Observer(wanted, dict(edit or {}), current_trace())
        with _scope(Scope(observer, (), _scope.value)):
            output = function(*args, **kwargs)
        observer.check()
        values = dict(observer.found)
        observer.found.clear()  # JAX's caches may keep the observer as a key
        observer.edit.clear()
        return Observed(output, values)

    return run


def observed() -> bool:
    """Whether somebody observes here."""
    return _scope.value is not None


def reading(function: Callable[..., Any], *, read: Read) -> Callable[..., Observed]:
    """`observe` where somebody observes, else `function` without values: for views made of other points."""
    if observed():
        return observe(function, read=read)
    return lambda *args, **kwargs: Observed(function(*args, **kwargs), {})


def names(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """All points of `function(*args, **kwargs)` with their shapes; nothing is computed.

    Points that can be replaced but not read, for they lie under a transformation, have the shape there.
    """
    return met_points(function, *args, **kwargs)[0]


def notes(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Notes of points by name, and for points that do not exist the reason; nothing is computed."""
    observer = met_points(function, *args, **kwargs)[1]
    return {name: note for name, note in observer.notes.items() if note}, observer.absent


def met_points(
    function: Callable[..., Any], *args: Any, **kwargs: Any
) -> tuple[dict[str, jax.ShapeDtypeStruct], Observer]:
    """Shapes of all points in order, and the observer that met them."""
    made = Observer(lambda name: True, {}, None, {})

    def run(*args: Any) -> dict[str, Any]:
        observer = dataclasses.replace(made, trace=current_trace(), found={})
        with _scope(Scope(observer)):
            function(*args, **kwargs)
        return observer.found

    readable = jax.eval_shape(run, *args)
    shapes = {**(made.unreadable or {}), **readable}
    return {name: shapes[name] for name in made.seen if name in shapes}, made


def carried(transform: Callable[[Callable[..., Any]], Any], function: Callable[..., Any]) -> Any:
    """`transform(function)`, out of which values that are read come as the transformation returns them.

    >>> import jax, jax.numpy as jnp
    >>> double = carried(jax.vmap, lambda x: 2 * point("x", x))
    >>> observe(double, read=["x"])(jnp.arange(3)).values
    {'x': Array([0, 1, 2], dtype=int32)}
    """

    def run(*args: Any) -> Any:
        scope = _scope.value
        if scope is None:
            return transform(function)(*args)

        def inner(*args: Any) -> tuple[Any, list[dict[str, Any]]]:
            return inside(scope, lambda: function(*args))

        output, found = transform(inner)(*args)
        give_back(found)
        return output

    return run


def scan(body: Callable[..., Any], init: Any, xs: Any, **options: Any) -> Any:
    """`jax.lax.scan`, out of which values that are read in the body come stacked along the first axis."""
    scope = _scope.value
    if scope is None:
        return jax.lax.scan(body, init, xs, **options)

    def step(carry: Any, x: Any) -> Any:
        (carry, y), found = inside(scope, lambda: body(carry, x))
        return carry, (y, found)

    last, (ys, found) = jax.lax.scan(step, init, xs, **options)
    give_back(found)
    return last, ys


def inside(scope: Scope, run: Callable[[], Any]) -> tuple[Any, list[dict[str, Any]]]:
    """The result of `run` in a transformation, and the values each observer read in it, innermost first."""
    chain = [scope]
    while chain[-1].outer is not None:
        chain.append(chain[-1].outer)
    observers = [
        dataclasses.replace(each.observer, trace=current_trace(), found={}, count={}) for each in chain
    ]
    again: Scope | None = None
    for each, observer in zip(reversed(chain), reversed(observers), strict=True):
        again = Scope(observer, each.path, again)
    with _scope(again):
        output = run()
    return output, [observer.found for observer in observers]


def give_back(found: list[dict[str, Any]]) -> None:
    """Give the values read inside a transformation to the observers outside it."""
    for scope, values in zip(scopes(), found, strict=True):
        for name, value in values.items():
            scope.observer.keep(name, value)


def like(name: str, old: Any, new: Any) -> Any:
    """`new` in the types of `old`; `PointError` if its shapes are others."""

    def one(a: Any, b: Any) -> Any:
        b = jnp.asarray(b, a.dtype)
        if b.shape != a.shape:
            raise PointError(f"point {name!r} has shape {a.shape}, its replacement {b.shape}")
        return b

    return jax.tree.map(one, old, new)
