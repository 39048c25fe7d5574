"""``landscape show``: what a run is, how far it is, what was quantized and what was not."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from landscape.cli.runs import summary_lines, summary_record, write_json
from landscape.scan import read_surface
from landscape.store import RunStore

SHOWN = (
    "model",
    "weights_from",
    "data",
    "preset",
    "bits",
    "quantized",
    "calib_images",
    "images",
    "split",
    "direction",
    "dims",
    "radius",
    "seed",
)
"""Settings worth a line; all of them are in ``--json``."""


def show(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    layers: Annotated[bool, typer.Option("--layers", help="Also bits, observer and scales of every layer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Show a run: settings, progress, values, what is quantized and what stays float."""
    with RunStore.open(run) as store:
        record = _record(store)
        if as_json:
            write_json(record)
            return
        lines = _lines(store, record, layers)
    print("\n".join(lines))


def _record(store: RunStore) -> dict[str, Any]:
    settings = store.settings
    record: dict[str, Any] = {"run": str(store.folder), "kind": settings.get("kind"), "status": store.status}
    if settings.get("kind") == "scan":
        record = summary_record(store, read_surface(store))
    return {
        **record,
        "settings": settings,
        "created": store.get_meta("created"),
        "finished": store.get_meta("finished"),
        "versions": store.get_meta("versions"),
        "float_parts": store.get_meta("float_parts"),
        "image_names": store.get_meta("image_names"),
        "layers": _layers(store),
    }


def _layers(store: RunStore) -> list[dict[str, Any]]:
    from landscape.quant.summary import summarize_parameters

    prefix = "quantized/"
    arrays = {n.removeprefix(prefix): store.load_array(n) for n in store.array_names() if n.startswith(prefix)}
    return [row.to_dict() for row in summarize_parameters(arrays, store.settings["scheme"])] if arrays else []


def _lines(store: RunStore, record: dict[str, Any], layers: bool) -> list[str]:
    settings = store.settings
    kind = "compare" if len(settings.get("methods") or []) > 1 else record["kind"]  # both store their runs as optimize
    lines = [f"{kind} in {record['run']}: {record['status']}"]
    if "done" in record:
        lines[0] += f", {record['done']} of {record['points']} points"
    hidden = ("preset", "bits") if settings.get("quantized") else ()  # the file decides them
    shown = [name for name in SHOWN if settings.get(name) is not None and name not in hidden]
    lines += [f"  {name:14} {settings[name]}" for name in shown]
    scales = settings.get("scales") or []
    lines.append(
        f"  {'moving scales':14} {', '.join(scales[:3])}{f' and {len(scales) - 3} more' if scales[3:] else ''}"
    )
    if settings.get("kind") == "scan":
        lines += ["", *summary_lines(read_surface(store))]
    lines += ["", "not quantized:", *(f"  {part}" for part in _shortened(store.get_meta("float_parts") or []))]
    if layers:
        from landscape.cli.runs import aligned

        rows = record["layers"]
        header = list(rows[0]) if rows else []
        lines += ["", *aligned([header, *([_cell(row[name]) for name in header] for row in rows)])]
    return lines


def _shortened(parts: list[str], most: int = 12) -> list[str]:
    return parts if len(parts) <= most else [*parts[:most], f"... and {len(parts) - most} more (--json lists all)"]


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
