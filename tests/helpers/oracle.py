"""What a program for op_runner must leave behind: its lines done one after the other.

The order of the lines is an order the program could run in, so a program without a race ends like
this on every schedule. Nothing of CUDA is known here but what each call does to memory.
"""

from __future__ import annotations

from collections.abc import Callable

MASK = 0xFFFFFFFF
Memory = dict[str, list[int]]
Work = Callable[[Memory], None]


def mix_word(word: int, seed: int) -> int:
    """The step of the kernel mix, as in op_runner_world.cpp."""
    word = (word ^ seed) * 0x9E3779B1 & MASK
    word ^= word >> 15
    word = (word + seed) * 0x85EBCA77 & MASK
    return word ^ (word >> 13)


def kernel(words: list[str]) -> Work:
    """The effect of `mix d0 7`, `mix2 d0 d1 7`, `axpy d0 d1 3` or `fill d0 9`."""
    name, to = words[0], words[1]
    value = int(words[-1])

    def run(memory: Memory) -> None:
        target = memory[to]
        source = list(memory[words[2]]) if name in ("mix2", "axpy") else []
        for i, word in enumerate(target):
            if name == "fill":
                target[i] = value
            elif name == "mix":
                target[i] = mix_word(word, value + i)
            elif name == "mix2":
                other = 3 * mix_word(source[i], value)
                target[i] = mix_word((word + other) & MASK, value + i)
            else:
                target[i] = (word + value * source[i]) & MASK

    return run


def copy(to: str, source: str) -> Work:
    def run(memory: Memory) -> None:
        memory[to] = list(memory[source])

    return run


def memset(to: str, width: str, value: str) -> Work:
    bits = int(width)
    piece = int(value) & (1 << bits) - 1
    word = sum(piece << shift for shift in range(0, 32, bits))

    def run(memory: Memory) -> None:
        memory[to] = [word] * len(memory[to])

    return run


def host_mix(name: str, seed: str) -> Work:
    return kernel(["mix", name, seed])


class Oracle:
    def __init__(self) -> None:
        self.words = 32
        self.memory: Memory = {}
        self.dynamic: set[str] = set()
        self.graphs: dict[str, list[list[Work]]] = {}
        """For each graph its nodes; a child graph is a node of several pieces."""
        self.execs: dict[str, list[list[Work]]] = {}
        self.capturing: dict[tuple[str, str], list[Work]] = {}
        """The work captured so far, by thread and stream. All captured streams share a list."""
        self.captured_events: dict[str, list[Work]] = {}

    def run(self, text: str) -> dict[str, str]:
        """The hash of every buffer that lives at the program's end."""
        for line in text.splitlines():
            words = line.split()
            if words and not line.startswith("#"):
                self.line(words)
        return {
            name: f"{hash_words(words)}"
            for name, words in self.memory.items()
            if name not in self.dynamic or words
        }

    def line(self, words: list[str]) -> None:
        if words[0] == "words":
            self.words = int(words[1])
        elif words[0] in ("device", "host"):
            name = words[0][0] + words[1]
            start = int(words[1]) * 256 + ord(name[0])
            self.memory[name] = [mix_word(i, start) for i in range(self.words)]
        elif words[0] == "dynamic":
            self.memory["d" + words[1]] = []
            self.dynamic.add("d" + words[1])
        elif words[0] != "contexts":
            self.call(words[0], words[1], words[2:])

    def call(self, thread: str, name: str, args: list[str]) -> None:
        work = self.stream_work(name, args)
        if work is not None:
            captured = self.capturing.get(stream_key(thread, args[0]))
            if captured is not None:
                captured.append(work)
            else:
                work(self.memory)
        elif name == "host_mix":
            host_mix(args[0], args[1])(self.memory)
        elif name == "copy":
            copy(args[1], args[2])(self.memory)
        elif name == "memset":
            memset(args[1], args[2], args[3])(self.memory)
        elif name == "malloc_async":
            self.memory[args[1]] = [0] * self.words
        elif name in ("free_async", "free"):
            self.memory[args[-1]] = []
        else:
            self.capture_call(thread, name, args)
            self.graph_call(name, args)

    def stream_work(self, name: str, args: list[str]) -> Work | None:
        if name == "launch":
            return kernel(args[2:])
        if name in ("copy_async", "copy_unified"):
            return copy(args[1], args[2])
        if name == "memset_async":
            return memset(args[1], args[2], args[3])
        if name in ("host_function", "callback"):
            return host_mix(args[1], args[2])
        if name == "graph_launch":
            nodes = self.execs[args[0]]
            args[0] = args[1]

            def run(memory: Memory) -> None:
                for node in nodes:
                    for work in node:
                        work(memory)

            return run
        return None

    def capture_call(self, thread: str, name: str, args: list[str]) -> None:
        if name == "begin_capture":
            self.capturing[stream_key(thread, args[0])] = []
        elif name == "record":
            captured = self.capturing.get(stream_key(thread, args[1]))
            self.captured_events.pop(args[0], None)
            if captured is not None:
                self.captured_events[args[0]] = captured
        elif name == "wait" and args[1] in self.captured_events:
            self.capturing[stream_key(thread, args[0])] = self.captured_events[args[1]]
        elif name == "end_capture":
            captured = self.capturing[stream_key(thread, args[0])]
            self.graphs[args[1]] = [[work] for work in captured]
            self.capturing = {k: v for k, v in self.capturing.items() if v is not captured}

    def graph_call(self, name: str, args: list[str]) -> None:
        if name == "graph_create":
            self.graphs[args[0]] = []
        elif name.startswith("node_"):
            rest = args[3:]
            node: list[Work] = []
            if name == "node_kernel":
                node = [kernel(rest)]
            elif name == "node_memset":
                node = [memset(*rest)]
            elif name == "node_copy":
                node = [copy(*rest)]
            elif name == "node_host":
                node = [host_mix(*rest)]
            elif name == "node_child":
                node = [work for child in self.graphs[rest[0]] for work in child]
            self.graphs[args[0]].append(node)
        elif name in ("instantiate", "exec_update"):
            self.execs[args[0]] = list(self.graphs[args[1]])
        elif name == "exec_set":
            self.execs[args[0]] = list(self.execs[args[0]])
            self.execs[args[0]][int(args[2])] = [kernel(args[3:])]
        elif name in ("exec_child", "exec_memset"):
            child = [work for node in self.graphs.get(args[3], []) for work in node]
            changed = child if name == "exec_child" else [memset(*args[3:])]
            self.execs[args[0]] = list(self.execs[args[0]])
            self.execs[args[0]][int(args[2])] = changed


def stream_key(thread: str, stream: str) -> tuple[str, str]:
    """Streams of a thread's own are told apart by the thread, all others by their name alone."""
    base = stream.split("@")[0]
    if base == "pt" or stream == "null@p":
        return thread, "pt"
    return "", "null" if base == "legacy" else base


def hash_words(words: list[int]) -> str:
    """FNV-1a over the words, as op_runner prints it."""
    value = 14695981039346656037
    for word in words:
        value = (value ^ word) * 1099511628211 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"
