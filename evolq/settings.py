"""Settings of a method as one text: ``passes=2,population=20``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from evolq.optimizer import Optimizer
from landscape.errors import UserError


def parse_settings(text: str | None, kind: type[Optimizer]) -> dict[str, Any]:
    """Settings from ``name=value`` with commas, in the types of the method's options.

    Raises:
        UserError: It is not of that form.
    """
    if not text:
        return {}
    hints = get_type_hints(kind.Options)  # the same whether the options' file postpones annotations or not
    types = {entry.name: hints[entry.name] for entry in fields(kind.Options)}
    settings: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UserError(f"--settings {part!r} is not of the form name=value")
        if name not in types:
            raise UserError(
                f"--settings: the method has no setting {name!r}; it has {', '.join(sorted(types)) or 'none'}"
            )
        try:
            settings[name] = _typed(value, types[name])
        except ValueError:
            words = " or ".join(getattr(option, "__name__", str(option)) for option in _options(types[name]))
            raise UserError(f"--settings {name}={value}: expected a value of type {words}") from None
    return settings


def _typed(value: str, kind: Any) -> Any:
    """A value from its text; for a union, of the first of its types that takes it.

    Raises:
        ValueError: The text is no such value, or values of that type have no text.
    """
    options, word = _options(kind), value.lower()
    if NoneType in options and word == "none":
        return None
    if bool in options and word in ("true", "false"):
        return word == "true"
    for option in options:
        if option in (int, float, str):
            with suppress(ValueError):
                return option(value)
    raise ValueError(value)


def _options(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) or (kind,)
