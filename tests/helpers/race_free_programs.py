"""Programs from intents: small records of numbers, which any source of choices can give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from helpers.race_free import CAPTURE, FLAGS, Event, Stream
from helpers.race_free_graphs import MODES, Effect, Exec, GraphBuilder

MAX_THREADS = 4
HOW = ("plain", "plain", "ex", "priority", "cluster", "coop", "coop_ex")


@dataclass(frozen=True)
class Intent:
    """What a thread would like to do. Every number is taken modulo the choices there are."""

    kind: str
    thread: int
    stream: int
    first: int
    second: int
    pick: int
    body: tuple[Intent, ...] = ()


class Program(GraphBuilder):
    """Turns intents into calls. What is not possible at a point of the program is left out."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.events: list[Event] = []
        self.seed = 0
        for context in (0, 0, 1):
            self.create_stream(0, context, blocking=context == 1 or not self.streams, priority=0)

    def next_seed(self) -> int:
        self.seed += 1
        return self.seed

    def create_stream(self, thread: int, context: int, blocking: bool, priority: int) -> None:
        self.enter(thread, context)
        stream = Stream(self.fresh("s"), context, blocking)
        line = f"stream_create {stream.name} {0 if blocking else 1} {priority}"
        self.call(thread, line, [CAPTURE], [stream.name])
        self.streams.append(stream)

    def choose_stream(self, intent: Intent) -> Stream:
        """Mostly a stream of the thread's present context; the default ones among them."""
        thread, context = intent.thread, self.current[intent.thread]
        made = [s for s in self.streams if s.alive]
        near = [s for s in made if s.context == context]
        choices = [
            *near,
            self.legacy[context],
            self.per_thread[thread][context],
            *(s for s in made if s.context != context),
        ]
        return choices[intent.stream % len(choices)]

    def choose_effect(self, intent: Intent, context: int, *, pinned_only: bool) -> Effect:
        device = self.buffers.device[context]
        host = self.buffers.pinned + (() if pinned_only else self.buffers.pageable)
        to = device[intent.first % len(device)]
        source = device[intent.second % len(device)]
        memory = host[intent.second % len(host)]
        seed = self.next_seed()
        how = HOW[intent.pick % len(HOW)]
        kind = (intent.first // 4 + intent.second // 4) % 9

        def kernel(text: str, reads: tuple[str, ...]) -> Effect:
            line = f"launch {{stream}} {how} {text}"
            return Effect(line, "node_kernel", text, reads, (to,), context)

        def copy(target: str, origin: str) -> Effect:
            call = "copy_unified" if intent.pick % 3 == 2 else "copy_async"
            text = f"{target} {origin}"
            line = f"{call} {{stream}} {text}"
            return Effect(line, "node_copy", text, (origin,), (target,), context)

        if kind in (0, 1):
            return kernel(f"mix {to} {seed}", (to,))
        if kind in (2, 3):
            return kernel(f"mix2 {to} {source} {seed}", (to, source))
        if kind == 4:
            return kernel(f"axpy {to} {source} {seed}", (to, source))
        if kind == 5:
            return copy(to, source) if to != source else copy(memory, to)
        if kind == 6:
            return copy(memory, to) if intent.pick % 2 else copy(to, memory)
        if kind == 7:
            text = f"{to} {(8, 16, 32)[intent.pick % 3]} {seed % 256}"
            return Effect(
                f"memset_async {{stream}} {text}", "node_memset", text, (), (to,), context
            )
        text = f"{memory} {seed}"
        return Effect(
            f"host_function {{stream}} {text}", "node_host", text, (memory,), (memory,), None
        )

    # --- the kinds of intents ------------------------------------------------------------------

    def do_work(self, intent: Intent) -> None:
        stream = self.choose_stream(intent)
        effect = self.choose_effect(intent, stream.context, pinned_only=False)
        pageable = set(effect.reads) & set(self.buffers.pageable)
        early = bool(pageable) and effect.node_kind == "node_copy"
        self.operate(
            intent.thread,
            stream,
            lambda name: effect.stream_line.format(stream=name),
            effect.reads,
            effect.writes,
            intent.pick,
            early=early,
        )

    def do_callback(self, intent: Intent) -> None:
        stream = self.choose_stream(intent)
        memory = self.buffers.pinned[intent.first % len(self.buffers.pinned)]
        line = f"callback {{}} {memory} {self.next_seed()}"
        self.operate(
            intent.thread, stream, line.format, [memory], [memory], intent.pick, uses=[CAPTURE]
        )

    def do_host(self, intent: Intent) -> None:
        memory = (*self.buffers.pinned, *self.buffers.pageable)
        name = memory[intent.first % len(memory)]
        self.host_mix(intent.thread, name, self.next_seed(), intent.pick)

    def do_copy(self, intent: Intent) -> None:
        device = self.buffers.device[self.current[intent.thread]]
        memory = (*self.buffers.pinned, *self.buffers.pageable)
        to = device[intent.first % len(device)]
        source = memory[intent.second % len(memory)]
        if intent.pick % 3 == 1:
            to, source = source, to
        elif intent.pick % 3 == 2 and device[intent.second % len(device)] != to:
            source = device[intent.second % len(device)]
        self.copy_sync(intent.thread, to, source, intent.stream % 2 == 1, intent.pick // 3)

    def do_stream(self, intent: Intent) -> None:
        if len([s for s in self.streams if s.alive]) < 8:
            self.create_stream(
                intent.thread,
                int(intent.first % 4 == 3),
                intent.second % 2 == 0,
                intent.pick % 3,
            )

    def do_destroy(self, intent: Intent) -> None:
        """Destroy a stream, with work in it or not."""
        made = [s for s in self.streams if s.alive]
        if len(made) < 2:
            return
        stream = made[intent.stream % len(made)]
        self.enter(intent.thread, stream.context)
        self.call(intent.thread, f"stream_destroy {stream.name}", [CAPTURE], [stream.name])
        stream.alive = False

    def do_synchronise(self, intent: Intent) -> None:
        self.synchronise(intent.thread, self.choose_stream(intent), intent.pick)

    def do_query(self, intent: Intent) -> None:
        stream = self.choose_stream(intent)
        self.enter(intent.thread, stream.context)
        line = f"stream_query {stream.spell(intent.pick)}"
        self.call(intent.thread, line, [CAPTURE, stream.name])

    def do_ctx_sync(self, intent: Intent) -> None:
        self.ctx_sync(intent.thread, int(intent.first % 4 == 3))

    def do_context(self, intent: Intent) -> None:
        self.enter(intent.thread, intent.first % 2)

    def do_record(self, intent: Intent) -> None:
        """Record an event that was perhaps recorded before, with streams still waiting for it."""
        stream = self.choose_stream(intent)
        old = [e for e in self.events if e.context == stream.context]
        if not old or intent.first % 3 == 0:
            old = [self.new_event(intent.thread, stream.context)]
            self.events += old
        self.record(intent.thread, stream, old[intent.second % len(old)], intent.pick)

    def do_wait(self, intent: Intent) -> None:
        if self.events:
            event = self.events[intent.first % len(self.events)]
            self.obtain(intent.thread, [event.name])
            self.wait(intent.thread, self.choose_stream(intent), event, intent.pick)

    def do_event_sync(self, intent: Intent) -> None:
        if self.events:
            event = self.events[intent.first % len(self.events)]
            if intent.pick % 3 == 2:
                self.call(intent.thread, f"event_query {event.name}", [CAPTURE, event.name])
            else:
                self.event_sync(intent.thread, event, intent.pick % 3 == 1)

    def do_event_destroy(self, intent: Intent) -> None:
        if self.events:
            event = self.events.pop(intent.first % len(self.events))
            self.call(intent.thread, f"event_destroy {event.name}", [CAPTURE], [event.name])

    def do_allocate(self, intent: Intent) -> None:
        unused = [d for d in self.buffers.dynamic if d not in self.live_dynamic]
        if not unused:
            return
        name, stream = unused[0], self.choose_stream(intent)
        if stream.context != 0:
            return
        self.operate(
            intent.thread,
            stream,
            lambda s: f"malloc_async {s} {name}",
            [],
            [name],
            intent.pick,
            uses=[CAPTURE],
            changes=[f"{name}!"],
        )
        self.operate(
            intent.thread,
            stream,
            lambda s: f"memset_async {s} {name} 32 {self.next_seed()}",
            [],
            [name],
            intent.pick,
            uses=[f"{name}!"],
        )
        self.live_dynamic.append(name)

    def do_dynamic(self, intent: Intent) -> None:
        """A kernel on memory that was allocated in a stream."""
        stream = self.choose_stream(intent)
        if not self.live_dynamic or stream.context != 0:
            return
        name = self.live_dynamic[intent.first % len(self.live_dynamic)]
        other = self.buffers.device[0][intent.second % 4]
        to, source = (name, other) if intent.pick % 2 else (other, name)
        self.operate(
            intent.thread,
            stream,
            lambda s: f"launch {s} plain mix2 {to} {source} {self.next_seed()}",
            [to, source],
            [to],
            intent.pick,
            uses=[f"{name}!"],
        )

    def do_free(self, intent: Intent) -> None:
        stream = self.choose_stream(intent)
        if not self.live_dynamic or stream.context != 0:
            return
        name = self.live_dynamic.pop(intent.first % len(self.live_dynamic))
        self.operate(
            intent.thread,
            stream,
            lambda s: f"free_async {s} {name}",
            [],
            [name],
            intent.pick,
            uses=[CAPTURE],
            changes=[f"{name}!"],
        )

    def do_flag(self, intent: Intent) -> None:
        """Order two streams by a value in memory, whether something needs it or not."""
        first, then = self.choose_stream(intent), self.legacy[0]
        made = [s for s in self.streams if s.alive and s.context == first.context]
        if made:
            then = made[intent.second % len(made)]
        if first.context == then.context and self._counters.get("flags", 0) < FLAGS:
            self.flag(intent.thread, first, intent.thread, then, intent.pick)

    def do_capture(self, intent: Intent) -> None:
        thread, context = intent.thread, self.current[intent.thread]
        own = self.per_thread[thread][context]
        choices = [s for s in self.streams if s.alive and s.context == context] + [own]
        turn = intent.stream % len(choices)
        streams = (choices[turn:] + choices[:turn])[:3]
        body = [
            (i.stream % len(streams), self.choose_effect(i, context, pinned_only=True))
            for i in intent.body
        ]
        mode = MODES[intent.first % 3]
        graph = self.capture(thread, streams, mode, body, intent.pick)
        self.finish_graph(intent, self.instantiate(thread, graph))

    def do_graph(self, intent: Intent) -> None:
        thread, context = intent.thread, self.current[intent.thread]
        body = [(i.stream, self.choose_effect(i, context, pinned_only=True)) for i in intent.body]
        made = [x.graph for x in self.execs if x.graph.context == context and x.graph.own]
        child = made[intent.second % len(made)] if made and intent.second % 3 == 0 else None
        graph = self.manual(thread, context, body, child)
        self.finish_graph(intent, self.instantiate(thread, graph))

    def finish_graph(self, intent: Intent, made: Exec) -> None:
        if intent.pick % 4:
            self.launch_graph(intent.thread, made, self.launch_stream(intent, made), intent.pick)

    def launch_stream(self, intent: Intent, made: Exec) -> Stream:
        stream = self.choose_stream(intent)
        if stream.context != made.graph.context:
            stream = self.per_thread[intent.thread][made.graph.context]
        return stream

    def do_graph_launch(self, intent: Intent) -> None:
        if self.execs:
            made = self.execs[intent.first % len(self.execs)]
            for _ in range(1 + intent.second % 3):
                stream = self.launch_stream(intent, made)
                self.launch_graph(intent.thread, made, stream, intent.pick)

    def do_update(self, intent: Intent) -> None:
        if self.execs:
            made = self.execs[intent.first % len(self.execs)]
            self.update(intent.thread, made, self.next_seed())
            self.seed += len(made.effects)

    def do_set_node(self, intent: Intent) -> None:
        made = [x for x in self.execs if x.effects]
        if made:
            chosen = made[intent.first % len(made)]
            index = intent.second % len(chosen.effects)
            self.set_node(intent.thread, chosen, index, self.next_seed())

    def do_destroy_exec(self, intent: Intent) -> None:
        if self.execs:
            self.destroy_exec(intent.thread, self.execs[intent.first % len(self.execs)])


KINDS: dict[str, Callable[[Program, Intent], None]] = {
    "work": Program.do_work,
    "host": Program.do_host,
    "copy": Program.do_copy,
    "callback": Program.do_callback,
    "stream": Program.do_stream,
    "destroy": Program.do_destroy,
    "synchronise": Program.do_synchronise,
    "query": Program.do_query,
    "ctx_sync": Program.do_ctx_sync,
    "context": Program.do_context,
    "record": Program.do_record,
    "wait": Program.do_wait,
    "event_sync": Program.do_event_sync,
    "event_destroy": Program.do_event_destroy,
    "allocate": Program.do_allocate,
    "dynamic": Program.do_dynamic,
    "free": Program.do_free,
    "flag": Program.do_flag,
    "capture": Program.do_capture,
    "graph": Program.do_graph,
    "graph_launch": Program.do_graph_launch,
    "update": Program.do_update,
    "set_node": Program.do_set_node,
    "destroy_exec": Program.do_destroy_exec,
}


def build(threads: int, intents: list[Intent]) -> str:
    """The text of a program with these intents. It has one result, on any schedule."""
    program = Program(threads)
    for intent in intents:
        if intent.thread >= threads:
            intent = Intent(**{**vars(intent), "thread": intent.thread % threads})
        KINDS[intent.kind](program, intent)
    return program.text()
