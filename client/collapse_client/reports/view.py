"""Fields of a JSON object as attributes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, Dict, Union, get_args, get_origin, get_type_hints

Convert = Callable[[Any], Any]


class View(Dict[str, Any]):
    """A JSON object, unchanged, whose declared fields are attributes as well; a field that did not come is None.

    Objects within it become views where they are read as attributes; read as items they are plain, as in the JSON.

    >>> class Point(View):
    ...     x: float
    >>> Point(x=1.0).x, Point(x=1.0)["x"], Point().x
    (1.0, 1.0, None)
    """

    def __getattr__(self, name: str) -> Any:
        convert = _converters(type(self)).get(name)
        if convert is None:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}; it has {', '.join(fields(type(self)))}")
        value = self.get(name)
        return None if value is None else convert(value)


def fields(view: type[View]) -> Dict[str, Any]:
    """The declared fields of a view, name → type."""
    return {name: hint for name, hint in get_type_hints(view).items() if not name.startswith("_")}


@lru_cache(maxsize=None)
def _converters(view: type[View]) -> Dict[str, Convert]:
    return {name: _converter(hint) for name, hint in fields(view).items()}


def _converter(hint: Any) -> Convert:
    """Return what makes a value of this type from JSON, in which it is not null."""
    if isinstance(hint, type) and issubclass(hint, View):
        return hint
    arguments = [argument for argument in get_args(hint) if argument is not type(None)]
    if get_origin(hint) is Union:
        return _converter(arguments[0]) if len(arguments) == 1 else _unchanged
    inner = _converter(arguments[-1]) if arguments else _unchanged
    if inner is _unchanged:
        return _unchanged
    if get_origin(hint) is list:
        return lambda items: [inner(item) for item in items]
    return lambda items: {name: inner(item) for name, item in items.items()}


def _unchanged(value: Any) -> Any:
    return value
