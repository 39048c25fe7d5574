"""Options of commands, made from the dataclasses that the Python interface takes: same names, defaults and words.

A command is a function whose parameters are dataclasses (and plain values, for what is its own)::

    @command("scan")
    def scan(problem: ProblemOptions, grid: ScanOptions, run: RunOptions) -> None: ...

Every field becomes an option: ``calib_images`` is ``--calib-images``, and its help is what the docstring of the
dataclass says under "Attributes:".
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from landscape.errors import UserError
from landscape.progress import Progress, silent

Command = Callable[..., None]


@dataclass(frozen=True)
class EngineOptions:
    """How values are computed; has no influence on them.

    Attributes:
        engine: auto takes the fastest at hand; or an engine by name (see `landscape engines`).
        device: cpu or cuda, for engines that have the choice.
        cache_gb: Memory in GiB for the part of the network that no moving scale reaches; more goes to disk.
        chunk: Images at a time.
    """

    engine: str = "auto"
    device: str = "cpu"
    cache_gb: float = 2.0
    chunk: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.cache_gb < math.inf:
            raise UserError(f"--cache-gb {self.cache_gb:g} is not possible; give 0 or a positive number of GiB")
        if self.chunk < 1:
            raise UserError(f"--chunk {self.chunk} is not possible; give at least 1 image at a time")


@dataclass(frozen=True)
class RunOptions:
    """Where a run goes.

    Attributes:
        out: Folder of the run; a new one below runs/ by default.
        resume: Continue the run in --out; a finished one is left as it is.
        json: Print one JSON object on standard output.
    """

    out: str | None = None
    resume: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        if self.resume and self.out is None:
            raise UserError("--resume needs --out: the folder of the run to continue")


def takes_options(function: Command, defaults: dict[str, Any] | None = None) -> Command:
    """A function for typer whose parameters are options, one for each field of the dataclasses that `function` takes.

    A field that two dataclasses have, such as the seed, is one option that both get.

    Args:
        function: Its dataclass parameters become options; other parameters stay as they are.
        defaults: Defaults that this command has instead of the dataclasses' own.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, type] = {}
    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        if not is_dataclass(hint):
            parameters[name] = parameter.replace(annotation=hint)
            continue
        assert isinstance(hint, type)
        groups[name] = hint
        for each in _parameters(hint, defaults or {}):
            parameters.setdefault(each.name, each)

    def run(*args: Any, **values: Any) -> None:
        values = {name: _expanded(value) for name, value in values.items()}
        if values.get("out") == "":
            raise UserError("--out is empty; give a name")
        built = {name: _build(kind, {f.name: values[f.name] for f in fields(kind)}) for name, kind in groups.items()}
        own = {name: value for name, value in values.items() if name in hints and name not in groups}
        function(*args, **own, **built)

    ordered = sorted(parameters.values(), key=lambda p: p.kind)
    run.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in ordered}
    run.__doc__, run.__name__, run.__module__ = function.__doc__, function.__name__, function.__module__
    return run


def _expanded(value: Any) -> Any:
    """The value; a leading ``~`` is the home folder also in ``--out=~/x``, where the shell leaves it as it is."""
    if isinstance(value, list):
        return [_expanded(each) for each in value]
    return os.path.expanduser(value) if isinstance(value, str) else value


def attribute_help(kind: type) -> dict[str, str]:
    """What the docstring of a dataclass says about each field under "Attributes:", in one line each."""
    section = re.split(r"\n\s*Attributes:\n", inspect.getdoc(kind) or "", maxsplit=1)
    if len(section) < 2:
        return {}
    texts: dict[str, str] = {}
    name = ""
    for line in section[1].splitlines():
        if line.strip() and not line.startswith("    "):
            break
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name = start[1]
            texts[name] = start[2]
        elif name and line.strip():
            texts[name] += " " + line.strip()
    return {name: re.sub(r"[`*]+", "", text) for name, text in texts.items()}


def _parameters(kind: type, defaults: dict[str, Any]) -> list[inspect.Parameter]:
    hints, texts = get_type_hints(kind), attribute_help(kind)
    return [_parameter(field, hints[field.name], texts.get(field.name, ""), defaults) for field in fields(kind)]


def _parameter(field: Field[Any], hint: Any, text: str, defaults: dict[str, Any]) -> inspect.Parameter:
    default = defaults.get(field.name, field.default)
    flag = "--" + field.name.replace("_", "-")
    if _is_tuple(hint):
        hint, default = str | None, None if not default else ",".join(map(str, default))
        text += " Numbers with commas."
    option = typer.Option(flag, help=text) if default is not MISSING else typer.Option(flag, help=text + " Required.")
    empty = inspect.Parameter.empty
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=empty if default is MISSING else default,
        annotation=Annotated[hint, option],
    )


def _is_tuple(hint: Any) -> bool:
    choices = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return any(get_origin(choice) is tuple for choice in choices)


def _build(kind: type, values: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    for name, value in values.items():
        if _is_tuple(hints[name]) and isinstance(value, str):
            values[name] = _numbers(name, value, hints[name])
    return kind(**values)


def _numbers(name: str, text: str, hint: Any) -> tuple[Any, ...]:
    choices = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    number = next(get_args(choice)[0] for choice in choices if get_origin(choice) is tuple)
    try:
        return tuple(number(part.strip()) for part in text.split(","))
    except ValueError:
        flag = "--" + name.replace("_", "-")
        raise UserError(f"{flag} {text!r} is not a list of numbers with commas, such as 0.485,0.456,0.406") from None


def progress_bar() -> Progress:
    """Progress on standard error, with the time left; silent where that is no terminal."""
    import sys

    if not sys.stderr.isatty():
        return silent
    from landscape.cli.progress import rich_progress

    return rich_progress
