"""Contract classes refuse, when a subclass is made, what would have no effect: unknown hooks and attributes.

A class that derives from `Hooked` or `abc.ABC` directly, or declares an abstract method, is a contract: its
public methods and attributes are the hooks of its subclasses. Any other subclass of `Hooked` may define those
hooks, options (annotated fields) and private helpers, whose names start with an underscore, and nothing else.
"""

import abc
import difflib
import functools
import inspect
import linecache
import re
import sys
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

import pydantic

from attnkit.variant import Kind, Kinds

PLAIN = pydantic.ConfigDict(arbitrary_types_allowed=True, strict=True)
CLAIMS = ("translation", "permutation", "causality")


def known_claim(name: str) -> str:
    """The name of a symmetry. Raises `ValueError` for another word."""
    if name not in CLAIMS:
        raise ValueError(f"expected one of {', '.join(map(repr, CLAIMS))}")
    return name


class Hooked:
    """Base of every contract. Raises `TypeError`, with file and line, for a subclass with a mistake.

    >>> class Bias(Hooked, abc.ABC):
    ...     def bias(self, p, q): return 0
    >>> class Slope(Bias):
    ...     def biass(self, p, q): return p
    Traceback (most recent call last):
    TypeError: Slope.biass: not a hook of Bias (did you mean 'bias'?); a private helper starts with an \
underscore (<doctest attnkit.hooks.Hooked[1]>:2)
    """

    #: source, equation and costs, for the catalogue
    card: ClassVar[Any] = None
    #: symmetries that the conformance checks hold it to; `None` for those of its kind
    claims: ClassVar[tuple[Annotated[str, pydantic.AfterValidator(known_claim)], ...] | None] = None
    #: properties that it is known not to have, each with the reason
    unclaimed: ClassVar[Mapping[str, str]] = {}
    #: options that stand for the defaults in a check, so that few tokens show all it does
    checked_with: ClassVar[Mapping[str, Any]] = {}
    #: kinds of the parameters that `init` gives, by name; the optimizer decides by them what decays
    kinds: ClassVar[Kinds] = {}

    def kind_of(self, name: str) -> Kind:
        """The kind of a parameter: `other`, which never decays, unless `kinds` says it."""
        return self.kinds.get(name, "other")

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        for name, message in mistakes(cls):
            raise TypeError(f"{cls.__name__}.{name}: {message} ({place(cls, name)})")


def mistakes(cls: type) -> Iterable[tuple[str, str]]:
    """Each attribute of a class that has no effect or a wrong form, with what is wrong."""
    annotations = inspect.get_annotations(cls)
    known = {name for base in cls.__mro__[1:] for name in (*vars(base), *inspect.get_annotations(base))}
    contract = is_contract(cls)
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        if name in known:
            if message := wrong_override(cls, name, value):
                yield name, message
        elif not contract and is_hook(value):
            owner = next(filter(is_contract, cls.__mro__[1:]))
            advice = "a private helper starts with an underscore"
            yield name, f"not a hook of {owner.__name__}{nearest(name, known)}; {advice}"
        elif not contract and name not in annotations:
            advice = f"an option is written `{name}: {type(value).__name__} = {value!r}`"
            yield name, f"has no annotation, so it is no option{nearest(name, known)}; {advice}"
    for name, annotation in annotations.items():
        if not contract and name not in known and not name.startswith("_") and is_class_attribute(annotation):
            advice = "a private attribute starts with an underscore"
            yield name, f"not an attribute of a contract{nearest(name, known)}; {advice}"
    if not contract and not any(is_abstract(getattr(cls, name, None)) for name in known):
        for name, base in required(cls):
            yield name, f"missing; {base.__name__} needs it, a `{of_class(base, name)}`"


def wrong_override(cls: type, name: str, value: Any) -> str | None:
    """The mistake in an attribute that a base class declares; `None` if there is none."""
    owner = next(b for b in cls.__mro__[1:] if name in vars(b) or name in inspect.get_annotations(b))
    base = vars(owner).get(name)
    if inspect.isfunction(base):
        if not inspect.isfunction(value):
            return f"must be a method, as in {owner.__name__}"
        got, expected = parameters(value), parameters(base)
        if got is not None and expected is not None and got != expected:
            return f"parameters ({', '.join(got)}), expected ({', '.join(expected)})"
        return None
    if inspect.isfunction(value):
        return f"is a method, but an attribute of {owner.__name__}"
    declared = declaration(owner, name)
    if declared is None or isinstance(value, property | functools.cached_property):
        return None
    if not is_class_attribute(declared):
        if name not in inspect.get_annotations(cls):
            return f"has no annotation, so the option keeps its default of {owner.__name__}"
        return None
    expected_type = typing.get_args(declared)[0] if typing.get_args(declared) else Any
    try:
        pydantic.TypeAdapter(expected_type, config=adapted(expected_type)).validate_python(value)
    except pydantic.ValidationError as error:
        problem = error.errors(include_url=False)[0]
        choices = re.findall(r"'(\w+)'", problem["msg"])
        message = problem["msg"].removeprefix("Value error, ").lower()
        return f"{problem['input']!r}: {message}{nearest(problem['input'], choices)}"
    return None


def adapted(expected: Any) -> pydantic.ConfigDict | None:
    """The settings for a type, unless it is a dataclass or model, which brings its own."""
    own = hasattr(expected, "__dataclass_fields__") or hasattr(expected, "model_fields")
    return None if own else PLAIN


def required(cls: type) -> Iterable[tuple[str, type]]:
    """Class attributes that a contract declares without a value and the class lacks, with the contract."""
    settled: set[str] = set()
    for base in cls.__mro__:
        settled |= {name for name in vars(base) if not name.startswith("_")}
        for name, annotation in inspect.get_annotations(base).items():
            if is_class_attribute(annotation) and name not in settled:
                yield name, base


def of_class(owner: type, name: str) -> str:
    """The class that an attribute must be an instance of, for a message."""
    found = typing.get_args(declaration(owner, name))
    return getattr(found[0], "__name__", str(found[0])) if found else name


def is_contract(cls: type) -> bool:
    """Whether a class declares hooks for its subclasses."""
    own = abc.ABC in cls.__bases__ or Hooked in cls.__bases__
    return own or any(map(is_abstract, vars(cls).values()))


def declaration(owner: type, name: str) -> Any:
    """The annotation of an attribute, resolved where its names are known."""
    annotation = inspect.get_annotations(owner).get(name)
    if isinstance(annotation, str):
        annotation = typing.get_type_hints(owner, include_extras=True).get(name)
    return annotation


def is_class_attribute(annotation: Any) -> bool:
    """Whether an annotation is `ClassVar`."""
    if isinstance(annotation, str):
        return "ClassVar" in annotation
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def is_hook(value: Any) -> bool:
    """Whether a class attribute is a method of any kind."""
    return inspect.isfunction(value) or isinstance(
        value, staticmethod | classmethod | property | functools.cached_property
    )


def is_abstract(value: Any) -> bool:
    """Whether a method must be defined by a subclass."""
    return bool(getattr(value, "__isabstractmethod__", False))


def parameters(function: Any) -> list[str] | None:
    """Names of the parameters of a method; `None` if it takes any."""
    found = inspect.signature(function).parameters.values()
    any_number = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    if any(one.kind in any_number for one in found):
        return None
    return [one.name for one in found]


def nearest(name: Any, known: Iterable[str]) -> str:
    """A question that names the known word most like `name`; empty if there is none."""
    words = [word for word in known if not word.startswith("_")]
    found = difflib.get_close_matches(str(name), words, n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def place(cls: type, name: str) -> str:
    """File and line of an attribute that is being defined, or of its class."""
    value = getattr(vars(cls).get(name), "__func__", vars(cls).get(name))
    if inspect.isfunction(value):
        return f"{value.__code__.co_filename}:{value.__code__.co_firstlineno}"
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__") in (__name__, "abc"):
        frame = frame.f_back
    file, first = frame.f_code.co_filename, frame.f_lineno
    for line, text in enumerate(linecache.getlines(file)[first - 1 :], first):
        if re.match(rf"\s+{re.escape(name)}\s*[:=]", text):
            return f"{file}:{line}"
    return f"{file}:{first}"
