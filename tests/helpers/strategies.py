"""Random race-free programs for hypothesis."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from helpers.race_free_programs import KINDS, MAX_THREADS, Intent, build

# Work first: hypothesis makes programs smaller towards the first kind.
WEIGHTED = ["work"] * 6 + sorted(set(KINDS) - {"work"})
NUMBER = st.integers(0, 255)
WITH_BODY = ("capture", "graph")


def intents(
    kinds: list[str], body: st.SearchStrategy[tuple[Intent, ...]]
) -> st.SearchStrategy[Intent]:
    def of_kind(kind: str) -> st.SearchStrategy[Intent]:
        return st.builds(
            Intent,
            kind=st.just(kind),
            thread=st.integers(0, MAX_THREADS - 1),
            stream=NUMBER,
            first=NUMBER,
            second=NUMBER,
            pick=NUMBER,
            body=body if kind in WITH_BODY else st.just(()),
        )

    return st.sampled_from(kinds).flatmap(of_kind)


BODIES = st.lists(intents(["work"], st.just(())), max_size=6).map(tuple)
PROGRAMS = st.builds(
    build,
    st.integers(1, MAX_THREADS),
    st.lists(intents(WEIGHTED, BODIES), min_size=1, max_size=40),
)


def random_program(seed: int, calls: int = 40) -> str:
    """A program without hypothesis: for long runs, which need many programs quickly."""
    source = random.Random(seed)
    threads = source.randint(1, MAX_THREADS)

    def intent(kinds: list[str]) -> Intent:
        kind = source.choice(kinds)
        count = source.randint(0, 6) if kind in WITH_BODY else 0
        body = tuple(intent(["work"]) for _ in range(count))
        stream, first, second, pick = (source.randrange(256) for _ in range(4))
        return Intent(kind, source.randrange(threads), stream, first, second, pick, body)

    return build(threads, [intent(WEIGHTED) for _ in range(source.randint(1, calls))])
