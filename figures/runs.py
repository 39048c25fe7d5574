"""The runs behind the figures: the commands that made them, and how they are kept in the repository.

A kept run is `kept/NAME.sqlite.xz` (a scan or a search without the network's own parameters) or `kept/NAME.json` (a
record); results of benchmarks are read where they lie. `python figures/runs.py [NAME ...]` makes them anew.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.command_line import INTERRUPTED, Parser, add_place, place_of, run_script
from figures.packing import keep
from figures.places import CACHE, HERE, HOME, SHOWN_DATA, Place, shared_data
from landscape.errors import UserError
from landscape.store import RunStore

RESULTS = HERE.parent / "benchmarks" / "results"

_LINE = (
    "--preset fq-vit++ --weight-observer omse --bias-correction weight --bits w4a8 --dims 1 --points 41 --radius 0.05 "
    "--images 1000"
)
_PLANE = "--preset fq-vit++ --weight-observer omse --bias-correction weight --bits w4a8 --points 11 --radius 0.1"
_WEIGHTS = "--model deit_tiny_patch16_224 --weights {data}/weights/deit_tiny_patch16_224.safetensors"
_CROP = "--resize none --crop 224"
_DEIT = f"{_WEIGHTS} --data {{data}}/imagenette-mini --calib-data {{data}}/imagenet-mini {_CROP}"
_RESNET = (
    "--model {data}/cnn_models.py:resnet20 --weights {data}/weights/resnet20_cifar10.safetensors "
    "--data {data}/cifar10-mini --resize none --crop 32 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
)
SCANS: dict[str, str] = {
    "deit_block5": f"{_DEIT} {_LINE} --block 5",
    "resnet20": f"{_RESNET} {_LINE} --layers 'layer2.1.*'",
    "deit_plane": f"{_WEIGHTS} --data {{data}}/imagenet-mini {_CROP} {_PLANE} --images 400 --infonce-batch 40 "
    "--block 5",
    "resnet20_plane": f"{_RESNET} {_PLANE} --images 400 --infonce-batch 40 --layers 'layer2.1.*'",
}
"""Name of a run -> the rest of `landscape scan ...`, without --out."""

SCRIPTS: dict[str, str] = {
    "deit_paths": "figures/deit_paths.py",
    "deit_search": "-m benchmarks.optimizer_study run --bits w3a8 --seeds 3 --minutes 600",
}
"""Name of a run -> the rest of `python ...`."""

STUDY_FOLDERS = {"deit_search": "runs/optimizer-study/w3a8"}
"""Where the scripts of benchmarks leave their runs."""

TABLES: dict[str, tuple[str, str]] = {
    "roughness": ("roughness.json", "-m benchmarks.roughness_study scan --minutes 600"),
    "reliability": ("curvature.json", "-m benchmarks.curvature_study --parts reliability"),
    "models": ("curvature.json", "-m benchmarks.curvature_study --parts models"),
    "scales": ("curvature.json", "-m benchmarks.curvature_study --parts scales"),
}
"""Name of a result -> its file in benchmarks/results, and the script that writes it."""

PARTS = ("reliability", "models", "scales")
"""Results that are a part of a file of the study of curvature."""

NETWORKS = ("deit_tiny", "digits_vit")
"""Of which the first that has a part of the study of curvature is drawn."""


def is_there(name: str, place: Place = HOME) -> bool:
    """Whether a run is kept, or a result is there."""
    if name == "roughness":
        return (RESULTS / TABLES[name][0]).is_file()
    return bool(_part(name)) if name in TABLES else bool(_kept(name, place))


def folder_of(name: str, place: Place = HOME) -> Path:
    """The run unpacked, or the file of a study or record.

    Raises:
        UserError: It is not kept; make it with `python figures/runs.py NAME`.
    """
    if name == "roughness":
        return RESULTS / TABLES[name][0]
    if name in TABLES:
        return _study_file(name)
    packed = _kept(name, place)
    if packed is None:
        raise UserError(f"{place.kept / name}.* is not there; make it with: python figures/runs.py {name}")
    if packed.suffix == ".json":
        return packed
    folder = CACHE / name if packed.parent == HOME.kept else place.root / name
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "run.sqlite"
    if not database.is_file() or database.stat().st_mtime < packed.stat().st_mtime:
        database.write_bytes(lzma.decompress(packed.read_bytes()))
    return folder


def command_of(name: str) -> str:
    """The command line that makes a run, for a reader."""
    if name in SCANS:
        return f"landscape scan {SCANS[name].format(data=SHOWN_DATA)} --out {shown_place(name)}"
    if name in SCRIPTS:
        return f"python {SCRIPTS[name]}"
    part = None if name == "roughness" else _part(name)
    return part[1]["command"] if part else f"python {TABLES[name][1]}"


def shown_place(name: str) -> str:
    """Where a reader finds a run after that command."""
    if name in SCANS:
        return f"runs/{name}"
    if name in TABLES:
        return f"benchmarks/results/{TABLES[name][0]}"
    return STUDY_FOLDERS.get(name, f"figures/kept/{name}.json")


def rerun(names: Iterable[str], place: Place = HOME, images: int | None = None) -> None:
    """Make runs anew and keep them; results of benchmarks take hours and are left to their own commands.

    After an interruption the same call goes on, for what it made meanwhile lies in a folder until all is done.

    Args:
        names: Of the runs.
        place: Where they are kept.
        images: In place of the figure's number.

    Raises:
        UserError: There are no networks and images.
        subprocess.CalledProcessError: A command failed, and said why.
    """
    names = list(dict.fromkeys(names))
    for name in names:
        made = _rerun(name, place, images)
        print(f"{name}: {made}" if made else f"{name}: left as it is; it is made by: {command_of(name)}", flush=True)
    for name in names:
        shutil.rmtree(_meanwhile(name, place, images), ignore_errors=True)


def _rerun(name: str, place: Place, images: int | None) -> Path | None:
    """The kept file; None for a result of a benchmark."""
    if name in SCANS:
        return _rerun_scan(name, place, images)
    if name == "deit_paths":
        fewer = [] if images is None else ["--images", str(images)]
        _run([sys.executable, *shlex.split(SCRIPTS[name]), *fewer, "--out", str(place.root)])
        return place.kept / f"{name}.json"
    if name in STUDY_FOLDERS and (HERE.parent / STUDY_FOLDERS[name] / "run.sqlite").is_file():
        return keep(HERE.parent / STUDY_FOLDERS[name], place.kept / f"{name}.sqlite.xz")
    return None


def scan_words(name: str, data: Path | str, images: int | None = None) -> list[str]:
    """The rest of ``landscape scan``; on few images, with batches of infoNCE so small that there are four of them."""
    words = shlex.split(SCANS[name].format(data=shlex.quote(str(data))))
    if images is None:
        return words
    batch = int(words[words.index("--infonce-batch") + 1]) if "--infonce-batch" in words else 100
    return [*words, "--images", str(images), "--infonce-batch", str(min(batch, images // 4))]


def _rerun_scan(name: str, place: Place, images: int | None) -> Path:
    folder = _meanwhile(name, place, images)
    if not _finished(folder):
        landscape = str(Path(sys.executable).with_name("landscape"))
        _run([landscape, "scan", *scan_words(name, shared_data(), images), "--out", str(folder), "--resume"])
    return keep(folder, place.kept / f"{name}.sqlite.xz")


def _finished(folder: Path) -> bool:
    if not RunStore.exists(folder):
        return False
    with RunStore.open(folder) as store:
        return store.status == "finished"


def _meanwhile(name: str, place: Place, images: int | None) -> Path:
    """Where a scan is made."""
    return place.cache / "rerun" / (name if images is None else f"{name}-{images}")


def _run(words: Sequence[str]) -> None:
    """Run a command; after Ctrl-C, which it gets as well, let it come to its end and say so."""
    with subprocess.Popen(words, cwd=HERE.parent) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            code = process.wait() or INTERRUPTED
    if code:
        raise subprocess.CalledProcessError(code, list(words))


def _kept(name: str, place: Place) -> Path | None:
    """The kept file; that of the repository where a quick try has none of its own."""
    for folder in dict.fromkeys((place.kept, HOME.kept)):
        for ending in ("json", "sqlite.xz"):
            if (folder / f"{name}.{ending}").is_file():
                return folder / f"{name}.{ending}"
    return None


def _part(name: str) -> tuple[str, dict[str, Any]] | None:
    """A part of the study of curvature: what it is of, and what it found; of the first network that has it."""
    path = RESULTS / TABLES[name][0]
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for network in NETWORKS:
        for key, parts in entries.items():
            if key.startswith(network) and name in parts:
                return key, parts[name]
    return None


def _study_file(name: str) -> Path:
    """That part as a file of `landscape curvature` or `reliability`."""
    found = _part(name)
    if found is None:
        raise UserError(f"{RESULTS / TABLES[name][0]} has no {name}; make it with: {command_of(name)}")
    key, part = found
    network, block, loss, *_ = (word.strip() for word in key.split(","))
    model, bits = network.split()
    settings = {
        "model": model,
        "bits": bits,
        "block": int(block.split()[1]),
        "which": "weight",
        "study": {"loss": loss},
    }
    settings |= {"images": part["images"], **part.get("settings", {})}
    if name == "reliability":
        record = {**part, "settings": settings}
    else:
        record = {"settings": settings, "curvatures": part.get("curvatures", []), "fits": part.get("fits", [])}
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{name}.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Make runs anew."""
    known = (*SCANS, *SCRIPTS, *TABLES)
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(known)}; all by default")
    add_place(parser)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in known]
    if unknown:
        raise UserError(f"no run is called {unknown[0]!r}; there are {', '.join(known)}")
    place = place_of(options)
    rerun(options.names or [*SCANS, *SCRIPTS], place, options.images)


if __name__ == "__main__":
    run_script(main)
