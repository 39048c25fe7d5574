"""The runs behind the figures: the commands that made them, and how they are kept in the repository.

A kept run is `kept/NAME.sqlite.xz` (a scan or a search without the network's own parameters) or `kept/NAME.json` (a
record); results of benchmarks are read where they lie. `python figures/runs.py [NAME ...]` makes them anew.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures.packing import keep
from figures.places import CACHE, HERE, HOME, Place, place_for

DATA = "../shared/data"
"""Real networks and images, from the repository's folder; see CONTRIBUTING.md."""
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
        FileNotFoundError: It is not kept; make it with `python figures/runs.py NAME`.
    """
    if name == "roughness":
        return RESULTS / TABLES[name][0]
    if name in TABLES:
        return _study_file(name)
    packed = _kept(name, place)
    if packed is None:
        raise FileNotFoundError(f"{place.kept / name}.* is not there; make it with: python figures/runs.py {name}")
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
        return f"landscape scan {SCANS[name].format(data=DATA)} --out {shown_place(name)}"
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


def rerun(name: str, images: int | None = None) -> Path | None:
    """Make a run anew and keep it; results of benchmarks take hours and are left to their own commands.

    Args:
        name: Of the run.
        images: In place of the figure's number; the run is then kept in `QUICK`.

    Returns:
        The kept file; None for a result of a benchmark.
    """
    place = place_for(images)
    place.make()
    fewer = [] if images is None else ["--images", str(images)]
    if name in SCANS:
        words = [*shlex.split(SCANS[name].format(data=DATA)), *fewer]
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / name
            landscape = str(Path(sys.executable).with_name("landscape"))
            subprocess.run([landscape, "scan", *words, "--out", str(out)], check=True, cwd=HERE.parent)
            return keep(out, place.kept / f"{name}.sqlite.xz")
    if name == "deit_paths":
        subprocess.run([sys.executable, *shlex.split(SCRIPTS[name]), *fewer], check=True, cwd=HERE.parent)
        return place.kept / f"{name}.json"
    if name in STUDY_FOLDERS and (HERE.parent / STUDY_FOLDERS[name] / "run.sqlite").is_file():
        return keep(HERE.parent / STUDY_FOLDERS[name], place.kept / f"{name}.sqlite.xz")
    print(f"{name}: left as it is; it is made anew by: {command_of(name)}")
    return None


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
        raise FileNotFoundError(f"{RESULTS / TABLES[name][0]} has no {name}; make it with: {command_of(name)}")
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


def main() -> None:
    """Make runs anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"of {', '.join((*SCANS, *SCRIPTS, *TABLES))}; all by default")
    parser.add_argument("--images", type=int, help="fewer images, for a quick try; kept in runs/figures/quick")
    options = parser.parse_args()
    for name in options.names or [*SCANS, *SCRIPTS]:
        made = rerun(name, options.images)
        if made is not None:
            print(f"{name}: {made.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
