"""A run inside a page: what it is, what was quantized and what was not, and the command that makes it again."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from landscape.plots.runs import Run
from landscape.scan import ScanOptions
from landscape.setup import ProblemOptions
from landscape.store import RunStore

_LONG = 400
"""Letters of a setting's text that a page shows."""


def run_data(run: Run) -> dict[str, Any]:
    """What a page says of a run besides its surface and its searches."""
    with RunStore.open(run.folder) as store:
        meta = {key: store.get_meta(key) for key in ("versions", "created", "finished", "seconds_so_far", "engine")}
        float_parts = store.get_meta("float_parts") or []
        arrays, status = store.array_names(), store.status
    return {
        "name": run.name,
        "status": status,
        "settings": [[name, words(value)] for name, value in sorted(run.settings.items()) if value is not None],
        "scheme": [[name, words(value)] for name, value in dict(run.settings.get("scheme") or {}).items()],
        "quantized": quantized_parts(arrays),
        "float_parts": list(float_parts),
        "versions": [[name, str(value)] for name, value in dict(meta["versions"] or {}).items()],
        "created": meta["created"],
        "finished": meta["finished"],
        "seconds": meta["seconds_so_far"],
        "engine": meta["engine"],
        "command": _command(run) if run.is_scan else "",
    }


def empty_data(name: str) -> dict[str, Any]:
    """The same of what is no run folder."""
    none = {key: None for key in ("created", "finished", "seconds", "engine")}
    lists: dict[str, Any] = {key: [] for key in ("settings", "scheme", "quantized", "float_parts", "versions")}
    return {"name": name, "status": "", "command": "", **none, **lists}


def _command(run: Run) -> str:
    """The command line that makes a scan again, and the one that refined it."""
    refine = run.settings.get("refine")
    if refine is None:
        return scan_command(run.settings, run.name)
    origin = Path(str(run.meta("refined_from") or "run")).name
    given = {name: value for name, value in dict(refine).items() if value is not None}
    options = [f"--{name}={','.join(map(str, v)) if isinstance(v, list) else v}" for name, v in given.items()]
    refined = shlex.join(["landscape", "refine", f"runs/{origin}", *options, "--out", f"runs/{run.name}"])
    return f"{scan_command(run.settings, origin)}\n{refined}"


def quantized_parts(arrays: Iterable[str]) -> list[dict[str, Any]]:
    """Quantized tensors, those that differ only in the numbers of their blocks in one row.

    Args:
        arrays: Names of a run's fixed arrays; those of quantized tensors are ``quantized/NAME.scale``.

    Returns:
        For each pattern: ``pattern`` with ``*`` for numbers, ``count``, and ``kind`` (weights or activations).
    """
    found = re.compile(r"quantized/(.+)\.scale")
    names = [match[1] for match in map(found.fullmatch, arrays) if match]
    patterns = Counter(re.sub(r"\.\d+(?=\.|$)", ".*", name) for name in names)
    kinds = {"weight": "weights", "output": "activations"}
    return [
        {"pattern": pattern, "count": count, "kind": kinds.get(pattern.rpartition(".")[2], "")}
        for pattern, count in patterns.items()
    ]


def scan_command(settings: Mapping[str, Any], out: str) -> str:
    """The command line that makes a scan again: every option that differs from its default."""
    words = ["landscape", "scan"]
    for kind in (ProblemOptions, ScanOptions):
        for field in fields(kind):
            default = None if field.default is MISSING else field.default
            value = settings.get(field.name, default)
            if value is None or value == default or field.name == "split" or _same(value, default):
                continue
            flag = "--" + field.name.replace("_", "-")
            if value is True:
                words.append(flag)
            elif isinstance(value, list | tuple):
                words += [flag, ",".join(map(str, value))]
            else:
                words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join([*words, "--out", f"runs/{out}"])


def _same(value: Any, default: Any) -> bool:
    """Whether two settings are equal but for list and tuple."""
    return isinstance(default, tuple) and list(default) == value


def words(value: Any) -> str:
    """A setting on one line, cut where it is long."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]} ..."
