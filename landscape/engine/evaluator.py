"""Evaluation of many networks that differ in a few scales: the part they share is computed once.

Whatever lies before the first scale that moves gives the same codes for every candidate. Those codes are kept, see
`landscape.engine.prefix_cache`, and each candidate starts from there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from landscape.engine.prefix_cache import PrefixCache
from landscape.engine.reference import Reference
from landscape.engine.together import Together, can_run_together
from landscape.engine.values import Codes, Value, as_float, joined, rows_of
from landscape.graph import Graph, Node
from landscape.images import ImageSet
from landscape.quant.network import QuantizedNetwork

Arithmetic = Callable[[QuantizedNetwork, Reference | None], Reference]


@dataclass
class _Chunk:
    """Some of the images, and what is kept of the shared part on them (None: not yet computed)."""

    start: int
    stop: int
    kept: dict[str, Value] | None = None


class Evaluator:
    """Logits of a quantized network on fixed images, for candidates that differ from it in given scales.

    Args:
        network: The centre.
        images: What it is evaluated on.
        moved: Names of the scales in which candidates may differ (``blocks.5.attn.qkv.weight``).
        arithmetic: The engine.
        chunk: Images at a time, or more or fewer where the engine asks for that; has no influence on any value.
        cache_bytes: Memory for the shared part; what does not fit goes to a temporary file.

    Attributes:
        cache: Where the shared part is kept.
        changing: Names of the nodes whose values depend on a scale that may move.
    """

    def __init__(
        self,
        network: QuantizedNetwork,
        images: ImageSet,
        moved: Collection[str],
        arithmetic: Arithmetic = Reference,
        chunk: int = 8,
        cache_bytes: int = 2 << 30,
    ) -> None:
        self.network, self.images = network, images
        self.centre = arithmetic(network, None)
        self._arithmetic = arithmetic
        graph = network.graph
        self.changing = graph.downstream({name.rpartition(".")[0] for name in moved})
        self._shared = _needed(graph, {n.name for n in graph if n.name not in self.changing}, self._border(graph))
        least, most = (getattr(self.centre, name, None) for name in ("images_at_once", "most_images_at_once"))
        step = max(chunk, least or 1)
        self._step = step = min(step, most or step)
        self._chunks = [_Chunk(i, min(i + step, len(images))) for i in range(0, len(images), step)]
        self._passed: tuple[QuantizedNetwork, Reference] | None = None  # of the last `passes`: one point takes several
        self.cache = PrefixCache(cache_bytes, getattr(self.centre, "device", "cpu"))
        self._prepared = False

    def _border(self, graph: Graph) -> set[str]:
        """Shared nodes whose values the changing part reads (or the logits, if nothing changes)."""
        read = {name for node in graph if node.name in self.changing for name in node.inputs}
        return {name for name in (read or {graph.output}) if name not in self.changing}

    def _arithmetic_of(self, network: QuantizedNetwork) -> Reference:
        """The arithmetic of a candidate.

        Candidates take over what the centre has prepared (packed weights, step tables), so the centre must have been
        through all layers once; evaluating the shared part alone leaves out those behind it.
        """
        if network is self.network:
            return self.centre
        if not self._prepared:
            self._run(self.centre, _Chunk(0, 1), self.network.graph.output)
            self._prepared = True
        return self._arithmetic(network, self.centre)

    def logits(self, network: QuantizedNetwork, progress: Callable[[int], None] | None = None) -> Tensor:
        """Logits of a candidate.

        Args:
            network: Equal to the centre but for the scales that may move.
            progress: Told the number of images after each chunk.

        Returns:
            float64 (images, classes).
        """
        arithmetic = self._arithmetic_of(network)
        logits = []
        for chunk in self._chunks:
            logits.append(as_float(self._run(arithmetic, chunk, self.network.graph.output)))
            if progress is not None:
                progress(chunk.stop - chunk.start)
        return torch.cat(logits).to("cpu", torch.float64)

    @property
    def candidates_at_once(self) -> int:
        """How many candidates the engine had best be given together: 1 on CPUs, several on GPUs."""
        return int(getattr(self.centre, "candidates_at_once", 1))

    def logits_of(
        self,
        networks: Sequence[QuantizedNetwork],
        progress: Callable[[int], None] | None = None,
        at_once: int | None = None,
    ) -> list[Tensor]:
        """Logits of several candidates; on engines that gain from it, several are evaluated in one batch.

        Args:
            networks: As in `logits`.
            progress: Told the number of images after each chunk of each candidate.
            at_once: How many in a batch; what the engine asks for if None.

        Returns:
            float64 (images, classes), one a candidate.
        """
        size = at_once or self.candidates_at_once
        found: list[Tensor] = []
        for start in range(0, len(networks), size):
            group = networks[start : start + size]
            if len(group) > 1 and can_run_together(group, self.network):
                found.extend(self._logits_together(group, progress))
            else:
                found.extend(self.logits(network, progress) for network in group)
        return found

    def _logits_together(
        self, networks: Sequence[QuantizedNetwork], progress: Callable[[int], None] | None
    ) -> list[Tensor]:
        arithmetics = [self._arithmetic_of(network) for network in networks]
        together = Together(self.centre, arithmetics, self.network, networks)
        changing = [node for node in self.network.graph if node.name in self.changing]
        last = {name: node.name for node in changing for name in node.inputs}
        output, logits = self.network.graph.output, []
        for chunk in self._chunks:
            images = chunk.stop - chunk.start
            start = self._start_values(chunk, self.centre)
            values: dict[str, Value | list[Value]] = {n: together.stacked(n, v) for n, v in start.items()}
            for node in changing:
                values[node.name] = together.evaluate(node, [values[name] for name in node.inputs], images)
                for name in set(node.inputs):
                    if last[name] == node.name and name != output:
                        del values[name]
            logits.append(torch.stack([as_float(part) for part in together.parts(output, values[output])]))
            if progress is not None:
                progress(images * len(networks))
        return list(torch.cat(logits, 1).to("cpu", torch.float64).unbind())

    def codes(self, network: QuantizedNetwork, names: Sequence[str], count: int) -> dict[str, Tensor]:
        """Integers that the named nodes hold, on the first images.

        Args:
            network: A candidate.
            names: Nodes with a quantizer.
            count: How many images at least (whole chunks are computed, then cut).

        Returns:
            int32 tensors on the CPU by name, in the shapes of the nodes' values (for views that merge images with
            windows: with their multiples).
        """
        arithmetic = self._arithmetic_of(network)
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        for chunk in self._chunks:
            if chunk.start >= count:
                break
            images = min(chunk.stop, count) - chunk.start
            for node, value in self._walk(arithmetic, _Chunk(chunk.start, chunk.start + images), set(names)):
                if node.name in found and isinstance(value, Codes):
                    found[node.name].append(value.integers.to("cpu", torch.int32))
        axes = {name: self._image_axis(name) for name in names}
        return {n: parts[0] if (axis := axes[n]) is None else torch.cat(parts, axis) for n, parts in found.items()}

    def passes(
        self, network: QuantizedNetwork, keep: Collection[str], chosen: Collection[int] | None = None
    ) -> Iterator[tuple[list[int], dict[str, Value]]]:
        """The values inside a candidate, some images at a time: what a backward pass needs of the forward one.

        Args:
            network: Equal to the centre but for the scales that may move.
            keep: Names among `changing`; the values of other nodes there are passed over.
            chosen: Images; all if None.

        Yields:
            Which images, and the values of the kept nodes, of the logits, and of the nodes before the first moving
            scale that are read after it.
        """
        if self._passed is None or self._passed[0] is not network:
            self._passed = network, self._arithmetic_of(network)
        arithmetic, graph = self._passed[1], self.network.graph
        changing = [node for node in graph if node.name in self.changing]
        kept = {*keep, *self._border(graph), graph.output}
        rows = sorted(range(len(self.images)) if chosen is None else chosen)
        for start in range(0, len(rows), self._step):
            some = rows[start : start + self._step]
            yield some, _run_nodes(arithmetic, changing, self._start_of(some, arithmetic), kept, len(some))

    def _start_of(self, rows: Sequence[int], arithmetic: Reference) -> dict[str, Value]:
        """What the changing part reads of the shared part, for images of any chunks."""
        parts: list[dict[str, Value]] = []
        for chunk in self._chunks:
            local = [row - chunk.start for row in rows if chunk.start <= row < chunk.stop]
            count = chunk.stop - chunk.start
            if local:
                values = self._start_values(chunk, arithmetic)
                parts.append(self.picked(values, local, count))
        if len(parts) == 1:
            return parts[0]
        return {n: joined([part[n] for part in parts], self._image_axis(n)) for n in parts[0]}

    def picked(self, values: Mapping[str, Value], rows: Sequence[int], count: int) -> dict[str, Value]:
        """The values of nodes on some of `count` images; those of all of them as they are."""
        if len(rows) == count:
            return dict(values)
        return {n: rows_of(value, rows, count, self._image_axis(n)) for n, value in values.items()}

    def _image_axis(self, name: str) -> int | None:
        """Along which axis of a node's value the images (or multiples of them) lie; None for constants."""
        shape = self.network.graph[name].shape
        return shape.index(-1) if -1 in shape else None

    def _run(self, arithmetic: Reference, chunk: _Chunk, output: str) -> Value:
        values = self._start_values(chunk, arithmetic)
        if output in values:
            return values[output]
        changing = [node for node in self.network.graph if node.name in self.changing]
        return _run_nodes(arithmetic, changing, values, {output}, chunk.stop - chunk.start)[output]

    def _start_values(self, chunk: _Chunk, arithmetic: Reference) -> dict[str, Value]:
        """What the changing part reads of the shared part: computed when it is first asked for, then kept."""
        if chunk.kept is None:
            chunk.kept = self.cache.keep(self._prefix(chunk))
        values = self.cache.read(chunk.kept)
        if "input" in self.changing:  # the images' own scale moves
            values["input"] = self._input(arithmetic, chunk)
        return values

    def _prefix(self, chunk: _Chunk) -> dict[str, Value]:
        border = self._border(self.network.graph)
        values = {"input": self._input(self.centre, chunk)}
        return _run_nodes(self.centre, self._shared, values, border, chunk.stop - chunk.start)

    def _input(self, arithmetic: Reference, chunk: _Chunk) -> Value:
        return arithmetic.pixels(self.images, slice(chunk.start, chunk.stop))

    def _walk(self, arithmetic: Reference, chunk: _Chunk, keep: set[str]) -> Iterator[tuple[Node, Value]]:
        values: dict[str, Value] = {}
        yield from self._start(arithmetic, chunk, values, list(self.network.graph), keep)

    def _start(
        self, arithmetic: Reference, chunk: _Chunk, values: dict[str, Value], nodes: list[Node], keep: set[str]
    ) -> Iterator[tuple[Node, Value]]:
        values["input"] = self._input(arithmetic, chunk)
        yield self.network.graph["input"], values["input"]
        yield from _evaluate(arithmetic, nodes, values, keep, chunk.stop - chunk.start)


class RunsNodes(Protocol):
    """What an arithmetic may offer besides `Reference.evaluate`: whole lists of nodes in one call."""

    def run_nodes(
        self, nodes: Sequence[Node], values: Mapping[str, Value], keep: Collection[str], images: int
    ) -> dict[str, Value] | None:
        """Values of the kept nodes.

        Args:
            nodes: In order; each reads only nodes before it and `values`.
            values: What the first ones read; left as it is.
            keep: Names among the nodes and the given values.
            images: How many images are in the batch.

        Returns:
            The kept values by name, or None where the list is not covered: then it is evaluated node by node.
        """
        ...


def _run_nodes(
    arithmetic: Reference, nodes: list[Node], values: dict[str, Value], keep: Collection[str], images: int
) -> dict[str, Value]:
    """Values of the kept nodes: in one call where the engine can, else node by node."""
    run = getattr(arithmetic, "run_nodes", None)
    found: dict[str, Value] | None = run(nodes, values, keep, images) if run is not None else None
    if found is None:
        for _ in _evaluate(arithmetic, nodes, values, set(keep), images):
            pass
        found = {name: values[name] for name in keep}
    return found


def _evaluate(
    arithmetic: Reference, nodes: list[Node], values: dict[str, Value], keep: set[str], images: int
) -> Iterator[tuple[Node, Value]]:
    """Evaluate nodes in order, dropping each value after its last reader unless it is to be kept."""
    last = {name: node.name for node in nodes for name in node.inputs}
    for node in nodes:
        if node.op != "input":
            values[node.name] = arithmetic.evaluate(node, [values[name] for name in node.inputs], images)
            yield node, values[node.name]
        for name in set(node.inputs):
            if last[name] == node.name and name not in keep:
                del values[name]


def _needed(graph: Graph, among: set[str], wanted: set[str]) -> list[Node]:
    """Of some nodes those that the wanted ones depend on, in order."""
    needed = set(wanted)
    for node in reversed(list(graph)):
        if node.name in needed:
            needed.update(node.inputs)
    return [node for node in graph if node.name in needed and node.name in among]
