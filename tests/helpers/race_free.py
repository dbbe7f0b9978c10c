"""Builds programs for op_runner whose result is determined by the rules of CUDA alone.

The builder is told what a program would like to do and writes the calls. Before a call that would
race with an earlier one it writes what orders the two: an event and a wait, a synchronisation, a
stream memory operation, a post between threads. Everything it decides follows from the numbers it
is given, so a program can be made again and made smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from helpers.happens_before import History

WORDS = 16
CAPTURE = "capture"
"""Stands for all captures: calls that a capture in another thread forbids take it for reading."""
FLAGS = 60


@dataclass(eq=False)
class Stream:
    name: str
    context: int
    blocking: bool
    owner: int | None = None
    """The only thread that can name it: for per-thread default streams."""
    legacy: bool = False
    alive: bool = True
    ops: list[tuple[int, int]] = field(default_factory=list)
    """(the call, the execution) of everything that was put into it."""

    def spell(self, pick: int) -> str:
        """One of the ways a program can name the stream."""
        if self.legacy:
            names: tuple[str, ...] = ("null", "legacy", "legacy@p")
        elif self.owner is not None:
            names = ("pt", "null@p", "pt@p")
        else:
            names = (self.name, self.name, self.name + "@p")
        return names[pick % len(names)]


@dataclass
class Event:
    name: str
    context: int
    record: int | None = None
    """The execution of its last record."""


@dataclass(frozen=True)
class Buffers:
    """The buffers every program has, by context; one of the host buffers is pageable."""

    device: tuple[tuple[str, ...], ...] = (("d0", "d1", "d2", "d3"), ("d4", "d5"))
    dynamic: tuple[str, ...] = ("d6", "d7", "d8")
    pinned: tuple[str, ...] = ("h0", "h1", "h3")
    pageable: tuple[str, ...] = ("h2",)

    def header(self) -> list[str]:
        lines = [f"words {WORDS}", "contexts 2"]
        for context, names in enumerate(self.device):
            lines += [f"device {name[1:]} {context}" for name in names]
        lines += [f"dynamic {name[1:]} 0" for name in self.dynamic]
        lines += [f"host {name[1:]} pinned" for name in self.pinned]
        return lines + [f"host {name[1:]} pageable" for name in self.pageable]


class Builder:
    """The calls so far, what orders them, and the means to order two that would race."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.buffers = Buffers()
        self.history = History()
        self.lines: list[str] = []
        self.known = [0] * threads
        """For each thread, the mask of what is over before its next call."""
        self.current = [0] * threads
        self.legacy = [Stream(f"legacy{c}", c, True, legacy=True) for c in range(2)]
        self.per_thread = [
            [Stream(f"pt{t}.{c}", c, True, owner=t) for c in range(2)] for t in range(threads)
        ]
        self.streams: list[Stream] = []
        self.live_dynamic: list[str] = []
        self._where: dict[int, tuple[Stream, int, int]] = {}
        self._counters: dict[str, int] = {}

    def text(self) -> str:
        return "\n".join([*self.buffers.header(), *self.lines]) + "\n"

    def fresh(self, kind: str) -> str:
        """A name that was not used before: e0, e1, …"""
        number = self._counters.get(kind, 0)
        self._counters[kind] = number + 1
        return f"{kind}{number}"

    # --- calls and their order -----------------------------------------------------------------

    def link(self, first: int, then: int) -> None:
        """What `then` does from now on comes after what `first` did up to now."""
        if self.known[first] & ~self.known[then] == 0:
            return
        post = self.fresh("p")
        self.lines += [f"{first} post {post}", f"{then} await {post}"]
        self.known[then] |= self.known[first]

    def call(
        self, thread: int, line: str, reads: Iterable[str] = (), writes: Iterable[str] = ()
    ) -> int:
        """Write one call that uses (reads) or changes (writes) objects; gives its node."""
        reads, writes = list(reads), list(writes)
        for node in self.history.races(self.known[thread], reads, writes):
            first = next(t for t in range(self.threads) if self.known[t] >> node & 1)
            self.link(first, thread)
        node = self.history.add(self.known[thread])
        self.history.touch(node, reads, writes)
        self.known[thread] |= 1 << node
        self.lines.append(f"{thread} {line}")
        return node

    def enter(self, thread: int, context: int) -> None:
        if self.current[thread] != context:
            self.call(thread, f"context {context}")
            self.current[thread] = context

    def related(self, stream: Stream) -> list[Stream]:
        """The streams whose earlier work a new operation in `stream` waits for."""
        if stream.legacy:
            own = [row[stream.context] for row in self.per_thread]
            made = [s for s in self.streams if s.alive and s.blocking]
            return [stream, *own, *(s for s in made if s.context == stream.context)]
        return [stream, self.legacy[stream.context]] if stream.blocking else [stream]

    def ahead(self, thread: int, stream: Stream, *, alone: bool = False) -> int:
        """The mask of what is over before an operation that the thread puts into the stream.

        `alone`: by the order of this one stream only.
        """
        mask = self.known[thread]
        for other in [stream] if alone else self.related(stream):
            for call, execution in other.ops:
                if self.known[thread] >> call & 1:
                    mask |= self.history.upto(execution)
        return mask

    def enqueue(
        self,
        thread: int,
        stream: Stream,
        line: str,
        *,
        after: int = 0,
        alone: bool = False,
        uses: Iterable[str] = (),
        changes: Iterable[str] = (),
    ) -> int:
        """Write a call that puts one operation into a stream; gives the node of its execution."""
        self.enter(thread, stream.context)
        call = self.call(
            thread, line, [*self.objects(stream), *self.held(thread, stream), *uses], changes
        )
        execution = self.history.add(self.ahead(thread, stream, alone=alone) | after)
        self.note(thread, stream, call, execution)
        return execution

    def objects(self, stream: Stream) -> list[str]:
        """What a call that names the stream uses."""
        return [stream.name, CAPTURE] if stream.legacy else [stream.name]

    def held(self, thread: int, stream: Stream) -> list[str]:
        """The streams whose work an operation in `stream` follows: they must still be there."""
        return [
            other.name
            for other in self.related(stream)
            if any(self.known[thread] >> call & 1 for call, _ in other.ops)
        ]

    def note(self, thread: int, stream: Stream, call: int, execution: int) -> None:
        stream.ops.append((call, execution))
        self._where[execution] = (stream, call, thread)

    # --- ordering what would race --------------------------------------------------------------

    def can_name(self, thread: int, stream: Stream) -> bool:
        return stream.alive and stream.owner in (None, thread)

    def finish(self, thread: int, node: int, pick: int) -> None:
        """Make the thread's next call come after the node is over."""
        if self.known[thread] >> node & 1:
            return
        if node not in self._where:
            first = next(t for t in range(self.threads) if self.known[t] >> node & 1)
            self.link(first, thread)
            return
        stream, _, issuer = self._where[node]
        way = pick % 5
        if way == 0 and self.can_name(issuer, stream):
            self.synchronise(issuer, stream, pick // 5)
            self.link(issuer, thread)
        elif way == 1 and self.can_name(thread, stream):
            self.link(issuer, thread)
            self.synchronise(thread, stream, pick // 5)
        elif way in (2, 3) and self.can_name(issuer, stream):
            event = self.new_event(issuer, stream.context)
            self.record(issuer, stream, event, pick // 5)
            self.link(issuer, thread)
            self.event_sync(thread, event, way == 3)
        if not self.known[thread] >> node & 1:
            self.link(issuer, thread)
            self.ctx_sync(thread, stream.context)

    def order(self, thread: int, stream: Stream, node: int, pick: int) -> Stream:
        """Make what the thread next puts into the stream come after the node.

        Gives the stream to use: a legacy stream where that is what orders the two.
        """
        if self.ahead(thread, stream) >> node & 1:
            return stream
        if node not in self._where:
            self.finish(thread, node, pick)
            return stream
        other, _, issuer = self._where[node]
        way, pick = pick % 6, pick // 6
        if way == 0 and self.can_name(issuer, other):
            event = self.new_event(issuer, other.context)
            self.record(issuer, other, event, pick)
            self.link(issuer, thread)
            self.wait(thread, stream, event, pick)
        elif way == 1 and self.can_name(thread, other):
            self.link(issuer, thread)
            event = self.new_event(thread, other.context)
            self.record(thread, other, event, pick)
            self.wait(thread, stream, event, pick)
        elif way == 2 and stream.blocking and other.blocking and stream.context == other.context:
            self.link(issuer, thread)
            stream = self.legacy[stream.context]
        elif way == 3 and self.can_name(issuer, other) and stream.context == other.context:
            self.flag(issuer, other, thread, stream, pick)
        elif way == 4:
            self.link(issuer, thread)
        if not self.ahead(thread, stream) >> node & 1:
            self.finish(thread, node, pick)
        return stream

    def flag(self, first: int, other: Stream, then: int, stream: Stream, pick: int) -> None:
        """Order two streams by a value in memory. The write is called before the wait."""
        number = self._counters.get("flags", 0)
        if number >= FLAGS:
            return
        self._counters["flags"] = number + 1
        where = f"{other.context} {number} {1 + pick % 9}"
        write = self.enqueue(first, other, f"write_value {other.spell(pick)} {where}")
        self.link(first, then)
        after = self.history.upto(write)
        self.enqueue(then, stream, f"wait_value {stream.spell(pick)} {where}", after=after)

    # --- operations ----------------------------------------------------------------------------

    def new_event(self, thread: int, context: int) -> Event:
        """An event of the context: only the streams of that context can record it."""
        event = Event(self.fresh("e"), context)
        self.enter(thread, context)
        self.call(thread, f"event_create {event.name}", [CAPTURE], [event.name])
        return event

    def record(self, thread: int, stream: Stream, event: Event, pick: int) -> None:
        line = f"record {event.name} {stream.spell(pick)}"
        event.record = self.enqueue(thread, stream, line, changes=[event.name])

    def wait(self, thread: int, stream: Stream, event: Event, pick: int) -> None:
        after = 0 if event.record is None else self.history.upto(event.record)
        line = f"wait {stream.spell(pick)} {event.name}"
        # A wait for what is over may be nothing at all, so the legacy stream orders nothing by it.
        self.enqueue(thread, stream, line, after=after, alone=stream.legacy, uses=[event.name])

    def event_sync(self, thread: int, event: Event, poll: bool) -> None:
        kind = "event_poll" if poll else "event_sync"
        self.call(thread, f"{kind} {event.name}", [CAPTURE, event.name])
        if event.record is not None:
            self.known[thread] |= self.history.upto(event.record)

    def synchronise(self, thread: int, stream: Stream, pick: int) -> None:
        """Wait for the work in a stream: what the thread knows to be in it is over."""
        self.enter(thread, stream.context)
        kind = "stream_poll" if pick % 3 == 2 else "stream_sync"
        self.call(thread, f"{kind} {stream.spell(pick)}", [CAPTURE, stream.name])
        for call, execution in stream.ops:
            if self.known[thread] >> call & 1:
                self.known[thread] |= self.history.upto(execution)

    def ctx_sync(self, thread: int, context: int) -> None:
        self.enter(thread, context)
        self.call(thread, "ctx_sync", [CAPTURE])
        for execution, (stream, call, _) in self._where.items():
            if stream.context == context and self.known[thread] >> call & 1:
                self.known[thread] |= self.history.upto(execution)

    def operate(
        self,
        thread: int,
        stream: Stream,
        line: Callable[[str], str],
        reads: Sequence[str],
        writes: Sequence[str],
        pick: int,
        *,
        early: bool = False,
        uses: Sequence[str] = (),
        changes: Sequence[str] = (),
    ) -> int:
        """Write an operation with effects on memory, ordered after all that it would race with.

        `line` makes the call's text from the stream's name. `early`: the driver may do it during
        the call itself, as with pageable memory, so the thread must know the past to be over.
        """
        self.obtain(thread, uses, changes)
        stream = self.settle(thread, stream, reads, writes, pick, early=early)
        text = line(stream.spell(pick))
        execution = self.enqueue(thread, stream, text, uses=uses, changes=changes)
        self.history.touch(execution, reads, writes)
        return execution

    def settle(
        self,
        thread: int,
        stream: Stream,
        reads: Sequence[str],
        writes: Sequence[str],
        pick: int,
        *,
        early: bool = False,
        after: int = 0,
    ) -> Stream:
        """Order the thread and the stream after all that an operation there would race with.

        Gives the stream to use, which may be the legacy stream instead. `after` is what orders
        the operation besides.
        """
        if not self.can_name(thread, stream):
            raise ValueError(f"thread {thread} cannot name the stream {stream.name}")
        self.obtain(thread, self.objects(stream))
        while True:
            mask = self.known[thread] if early else self.ahead(thread, stream) | after
            wrong = self.history.races(mask, reads, writes)
            if not wrong:
                return stream
            if early:
                self.finish(thread, wrong[0], pick)
            else:
                stream = self.order(thread, stream, wrong[0], pick)
                self.obtain(thread, self.objects(stream))
            pick = pick // 2 + 1

    def obtain(self, thread: int, uses: Sequence[str], changes: Sequence[str] = ()) -> None:
        """Come after what a call with these objects must follow, before the past is looked at."""
        for node in self.history.races(self.known[thread], uses, changes):
            self.finish(thread, node, 0)

    def host_mix(self, thread: int, buffer: str, seed: int, pick: int) -> None:
        for node in self.history.races(self.known[thread], [], [buffer]):
            self.finish(thread, node, pick)
        self.call(thread, f"host_mix {buffer} {seed}", writes=[buffer])

    def copy_sync(self, thread: int, to: str, source: str, per_thread: bool, pick: int) -> None:
        """A synchronous copy; what the thread knows afterwards is as CUDA documents it."""
        context = self.current[thread]
        stream = self.per_thread[thread][context] if per_thread else self.legacy[context]
        pageable = bool({to, source} & set(self.buffers.pageable))
        line = f"copy {'@p' if per_thread else 'legacy'} {to} {source}"
        execution = self.copy_order(thread, stream, line, to, source, pick, pageable)
        if to.startswith("h") or (source.startswith("h") and not pageable):
            self.known[thread] |= self.history.upto(execution)

    def copy_order(
        self, thread: int, stream: Stream, line: str, to: str, source: str, pick: int, early: bool
    ) -> int:
        """A copy whose stream is fixed by its call: order it by what keeps the stream."""
        self.obtain(thread, [*self.objects(stream), CAPTURE])
        while True:
            mask = self.known[thread] if early else self.ahead(thread, stream)
            wrong = self.history.races(mask, [source], [to])
            if not wrong:
                break
            self.finish(thread, wrong[0], pick)
        execution = self.enqueue(thread, stream, line, uses=[CAPTURE])
        self.history.touch(execution, [source], [to])
        return execution
