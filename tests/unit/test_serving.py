"""What a server of `fico bench` makes of its orders."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fico.bench.programs.serving import Orders, serve_orders

FAR_NS = 10**12


class Served:
    """A server in a thread, that serves what it is given."""

    def __init__(self, request: Callable[[], None]) -> None:
        orders, self._orders = os.pipe()
        self.answers: list[Any] = []
        self._heard = threading.Condition()
        self._thread = threading.Thread(
            target=serve_orders, args=({"m": request}, Orders(orders), self._hear)
        )
        self._thread.start()
        self.hear()

    def _hear(self, line: str) -> None:
        with self._heard:
            self.answers.append(json.loads(line))
            self._heard.notify()

    def tell(self, order: object) -> None:
        os.write(self._orders, json.dumps(order).encode() + b"\n")

    def hear(self) -> Any:
        with self._heard:
            assert self._heard.wait_for(lambda: bool(self.answers), 30)
            return self.answers.pop(0)

    def begin(self, **order: Any) -> None:
        self.tell({"model": "m", "core": None})
        assert self.hear() == "warm"
        defaults = {
            "begin_ns": time.monotonic_ns(),
            "window_ns": FAR_NS,
            "until_ns": FAR_NS,
            "arrivals_ns": None,
            "delay_ns": 0,
            "goes_on": False,
        }
        self.tell(defaults | order)

    def close(self) -> None:
        os.close(self._orders)
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def server() -> Iterator[Served]:
    served = Served(lambda: None)
    yield served
    served.close()


@given(st.lists(st.integers(0, 2_000_000), max_size=30).map(sorted))
@settings(max_examples=15, deadline=None)
def test_requests_are_served_in_order_and_not_before_they_come(arrivals_ns: list[int]) -> None:
    server = Served(lambda: None)
    server.begin(arrivals_ns=arrivals_ns)
    answer = server.hear()
    assert answer["arrival_ns"] == arrivals_ns
    assert answer["end_ns"] == sorted(answer["end_ns"])
    assert all(end >= at for at, end in zip(answer["arrival_ns"], answer["end_ns"], strict=True))
    server.close()


def test_a_closed_loop_ends_with_its_window(server: Served) -> None:
    server.begin(window_ns=3_000_000, delay_ns=1_000_000)
    answer = server.hear()
    assert all(1_000_000 <= at < 3_000_000 for at in answer["arrival_ns"])
    # The next is issued when one has ended.
    assert all(
        end <= at for at, end in zip(answer["arrival_ns"][1:], answer["end_ns"], strict=False)
    )


def test_a_line_stops_what_goes_on_and_is_taken(server: Served) -> None:
    for _ in range(2):
        server.begin(goes_on=True, window_ns=0)
        server.tell("stop")
        assert set(server.hear()) == {"arrival_ns", "end_ns"}
    server.begin(arrivals_ns=[0])
    assert len(server.hear()["end_ns"]) == 1


def test_nothing_is_served_after_the_last_moment(server: Served) -> None:
    server.begin(arrivals_ns=[0, 1], until_ns=0)
    assert server.hear() == {"arrival_ns": [], "end_ns": []}
    # A closed loop that goes on waits for the word that ends it.
    server.begin(goes_on=True, until_ns=0)
    server.tell("stop")
    assert server.hear() == {"arrival_ns": [], "end_ns": []}


def test_the_end_of_the_orders_ends_everything() -> None:
    for order in ({"goes_on": True}, {"arrivals_ns": [0, 1, FAR_NS // 1000]}, {}):
        server = Served(lambda: None)
        server.begin(**order)
        server.close()
