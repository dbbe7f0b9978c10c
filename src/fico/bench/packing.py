"""Things into as few bins as possible, where only a test tells which fit together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Bin = tuple[int, ...]

MOST_EXACT = 8
"""Up to so many things the number of bins is the least; beyond, first fit, which may be one off."""


def pack(order: Sequence[int], fits: Callable[[Bin], bool]) -> list[Bin]:
    """Put the things into bins, each of which fits; every thing fits alone.

    `fits` is asked for sorted bins. What fits still does with less in it. Things are placed in the
    given order; the largest first finds few bins soon.
    """
    most = len(order)
    if most > MOST_EXACT:
        return _first_fit(order, fits)
    for count in range(1, most + 1):
        bins = _place(list(order), [], count, fits)
        if bins is not None:
            return bins
    return []


def _place(
    left: list[int], bins: list[Bin], count: int, fits: Callable[[Bin], bool]
) -> list[Bin] | None:
    """The bins with all that is left in them too, at most `count`; None if that can't be."""
    if not left:
        return bins
    thing, *rest = left
    for number, content in enumerate(bins):
        fuller = tuple(sorted((*content, thing)))
        if fits(fuller):
            done = _place(rest, [*bins[:number], fuller, *bins[number + 1 :]], count, fits)
            if done is not None:
                return done
    # Empty bins are all the same: one is enough to try.
    return _place(rest, [*bins, (thing,)], count, fits) if len(bins) < count else None


def _first_fit(order: Sequence[int], fits: Callable[[Bin], bool]) -> list[Bin]:
    bins: list[Bin] = []
    for thing in order:
        for number, content in enumerate(bins):
            fuller = tuple(sorted((*content, thing)))
            if fits(fuller):
                bins[number] = fuller
                break
        else:
            bins.append((thing,))
    return bins
