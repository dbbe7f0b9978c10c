"""Captures and graphs in programs whose result is determined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from helpers.happens_before import History
from helpers.race_free import CAPTURE, Builder, Stream

MODES = ("global", "thread", "relaxed")


@dataclass(frozen=True)
class Effect:
    """A piece of work as a stream or a graph takes it.

    `stream_line` has a place for the stream, `node_text` is what follows the dependencies.
    """

    stream_line: str
    node_kind: str
    node_text: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    context: int | None
    """The context of its device buffers; None for work on host memory alone."""

    def reseeded(self, number: int) -> Effect:
        """The same work with another last number, as an update of a graph may change it."""
        line, text = (t.rsplit(" ", 1) for t in (self.stream_line, self.node_text))
        if not line[1].isdigit():
            return self
        return Effect(
            f"{line[0]} {number}",
            self.node_kind,
            f"{text[0]} {number}",
            self.reads,
            self.writes,
            self.context,
        )


@dataclass
class Graph:
    """The nodes of a graph in an order they could run in, and what orders them."""

    name: str
    context: int
    effects: list[Effect] = field(default_factory=list)
    history: History = field(default_factory=History)
    recipe: list[str] = field(default_factory=list)
    """The calls that made it. A {name} stands for the graph and {0}, {1}, … for the effects."""
    own: int = 0
    """How many of the effects are its own nodes; the others are a child graph's."""
    streams: tuple[Stream, ...] = ()
    """What it was captured on; nothing where it was made by hand."""
    events: tuple[str, ...] = ()

    def add(self, effect: Effect, before: int) -> int:
        node = self.history.add(before)
        self.history.touch(node, effect.reads, effect.writes)
        self.effects.append(effect)
        return node


@dataclass
class Exec:
    name: str
    graph: Graph
    effects: list[Effect]
    """As they will run at the next launch: updates change them."""
    last: int = 0
    """The mask of its launches up to now."""


class GraphBuilder(Builder):
    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.execs: list[Exec] = []

    # --- captures ------------------------------------------------------------------------------

    def capture(
        self,
        thread: int,
        streams: Sequence[Stream],
        mode: str,
        body: Sequence[tuple[int, Effect]],
        pick: int,
    ) -> Graph:
        """Capture the work on the first stream and on others that join it.

        `body` gives the index of a stream in `streams` for each piece of work. All streams are of
        one context. What would race inside of the graph is ordered by an event.
        """
        origin = streams[0]
        self.enter(thread, origin.context)
        names = [s.name for s in streams]
        self.obtain(thread, [], [*names, CAPTURE])
        graph = Graph("", origin.context, streams=tuple(streams))
        tails: dict[int, int] = {0: 0}
        owner: dict[int, int] = {}
        lines: list[str] = []
        events: list[str] = []

        def edge(source: int, to: int) -> None:
            event = self.fresh("e")
            events.append(event)
            lines.append(f"record {event} {streams[source].spell(pick)}")
            lines.append(f"wait {streams[to].spell(pick // 3)} {event}")
            tails[to] = tails.get(to, 0) | tails[source]

        for where, effect in body:
            if where not in tails:
                edge(max(tails) if pick % 2 else 0, where)
            for node in graph.history.races(tails[where], effect.reads, effect.writes):
                if not tails[where] >> node & 1:
                    edge(owner[node], where)
            lines.append(
                effect.stream_line.format(stream=streams[where].spell(pick)).rsplit(" ", 1)[0]
                + f" {{{len(graph.effects)}}}"
            )
            node = graph.add(effect, tails[where])
            owner[node] = where
            tails[where] |= 1 << node
        for where in list(tails):
            if where != 0:
                edge(where, 0)
        first, last = origin.spell(pick), origin.spell(pick // 7)
        graph.recipe = [f"begin_capture {first} {mode}", *lines, f"end_capture {last} {{name}}"]
        for event in events:
            self.call(thread, f"event_create {event}", [CAPTURE], [event])
        graph.events = tuple(events)
        graph.own = len(graph.effects)
        self.make(thread, graph)
        return graph

    def make(self, thread: int, graph: Graph) -> None:
        """Write the calls that make a graph, under a new name."""
        graph.name = self.fresh("g")
        changes = [*(s.name for s in graph.streams), *graph.events]
        changes += [CAPTURE] if graph.streams else []
        last = [effect.stream_line.rsplit(" ", 1)[1] for effect in graph.effects]
        for number, line in enumerate(graph.recipe):
            ends = number in (0, len(graph.recipe) - 1)
            text = line.format(*last, name=graph.name)
            self.call(thread, text, writes=[*changes, graph.name] if ends else [])

    # --- graphs made by hand -------------------------------------------------------------------

    def manual(
        self, thread: int, context: int, body: Sequence[tuple[int, Effect]], child: Graph | None
    ) -> Graph:
        """Make a graph node by node; the number beside each effect picks its dependencies."""
        self.enter(thread, context)
        graph = Graph("", context)
        graph.recipe.append("graph_create {name}")
        ends: list[int] = []
        for number, (pick, effect) in enumerate(body):
            wanted = {i for i in range(number) if pick >> i & 1}
            before = 0
            for i in sorted(wanted):
                before |= graph.history.upto(ends[i])
            for node in graph.history.races(before, effect.reads, effect.writes):
                if not before >> node & 1:
                    wanted.add(ends.index(node))
                    before |= graph.history.upto(node)
            after = ",".join(map(str, sorted(wanted))) or "-"
            text = effect.node_text.rsplit(" ", 1)[0]
            graph.recipe.append(f"{effect.node_kind} {{name}} {number} {after} {text} {{{number}}}")
            ends.append(graph.add(effect, before))
        graph.own = len(graph.effects)
        if child is not None:
            self.obtain(thread, [child.name])
            everything = (1 << len(graph.effects)) - 1
            after = ",".join(map(str, range(len(ends)))) or "-"
            graph.recipe.append(f"node_child {{name}} {len(ends)} {after} {child.name}")
            shift = len(graph.effects)
            for index, effect in enumerate(child.effects):
                before = everything | child.history.before[index] << shift
                graph.add(effect, before)
        self.make(thread, graph)
        return graph

    # --- execution -----------------------------------------------------------------------------

    def instantiate(self, thread: int, graph: Graph) -> Exec:
        self.enter(thread, graph.context)
        made = Exec(self.fresh("x"), graph, list(graph.effects))
        line = f"instantiate {made.name} {graph.name}"
        self.call(thread, line, [CAPTURE, graph.name], [made.name])
        self.execs.append(made)
        return made

    def launch_graph(self, thread: int, made: Exec, stream: Stream, pick: int) -> None:
        """Launch; it runs after the stream's work and after the graph's own last launch."""
        self.enter(thread, made.graph.context)
        self.obtain(thread, [CAPTURE], [made.name])
        reads = sorted({name for effect in made.effects for name in effect.reads})
        writes = sorted({name for effect in made.effects for name in effect.writes})
        # The last launches order this one, so only what is not among them is looked at.
        stream = self.settle(thread, stream, reads, writes, pick, after=made.last)
        line = f"graph_launch {made.name} {stream.spell(pick)}"
        self.enter(thread, stream.context)
        changes = [made.name]
        uses = [*self.objects(stream), *self.held(thread, stream), CAPTURE]
        call = self.call(thread, line, uses, changes)
        before = self.ahead(thread, stream) | made.last
        nodes: list[int] = []
        for index, effect in enumerate(made.effects):
            mask = before
            for i, node in enumerate(nodes):
                if made.graph.history.before[index] >> i & 1:
                    mask |= self.history.upto(node)
            node = self.history.add(mask)
            nodes.append(node)
            self.history.touch(node, effect.reads, effect.writes)
        end = before
        for node in nodes:
            end |= self.history.upto(node)
        made.last = self.history.upto(self.history.add(end))
        for node in (*nodes, len(self.history.before) - 1):
            self.note(thread, stream, call, node)

    def update(self, thread: int, made: Exec, seed: int) -> None:
        """Make the graph again with other numbers and update the executable graph from it."""
        graph = made.graph
        if not all(self.can_name(thread, stream) for stream in graph.streams):
            return
        effects = [
            effect.reseeded(seed + i) if i < graph.own else effect
            for i, effect in enumerate(graph.effects)
        ]
        self.enter(thread, graph.context)
        again = replace(graph, effects=effects)
        self.obtain(thread, [graph.name], [s.name for s in graph.streams])
        self.make(thread, again)
        line = f"exec_update {made.name} {again.name}"
        self.call(thread, line, [CAPTURE, again.name], [made.name])
        made.effects = effects

    def set_node(self, thread: int, made: Exec, index: int, seed: int) -> None:
        """Change one kernel node of an executable graph that was made by hand."""
        effect = made.effects[index]
        by_hand = not made.graph.streams and index < made.graph.own
        if not by_hand or effect.node_kind != "node_kernel":
            return
        changed = effect.reseeded(seed)
        self.enter(thread, made.graph.context)
        line = f"exec_set {made.name} {made.graph.name} {index} {changed.node_text}"
        self.call(thread, line, [CAPTURE, made.graph.name], [made.name])
        made.effects = [*made.effects[:index], changed, *made.effects[index + 1 :]]

    def destroy_exec(self, thread: int, made: Exec) -> None:
        self.enter(thread, made.graph.context)
        self.call(thread, f"exec_destroy {made.name}", [CAPTURE], [made.name])
        self.execs.remove(made)
