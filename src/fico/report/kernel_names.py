"""Names of kernels, short enough for a table."""

from __future__ import annotations

import re

# Templates that say nothing by themselves; what they were made with does.
_GENERIC = re.compile(r"(?:.*_)?(?:kernel\w*|Kernel\d*|launch\w*)$|GemmUniversal|device_kernel")
_EMPTY = re.compile(r"Kernel\d*$")
"""Says so little that it is left out."""
_TELLING = re.compile(
    r"\b(?:\w*(?:tensorop|gemm|fprop|dgrad|conv|softmax|attention|flash|norm)\w*|\w+(?:Op|Ops)"
    r"|\w*Functor\w*|launch_clamp\w*|(?!gpu_kernel)\w+_kernel(?:_cuda|_impl)?)\b",
    re.IGNORECASE,
)
_WRAPPER = re.compile(r"(?:Binary|AUnary|BUnary)Functor$")
"""Around a functor that tells more."""
_TILED = re.compile(r"(.*?)_(?:[it]?f\d+|bf\d+|i8)+_.*tilesize(\d+x\d+x\d+)")
"""Names of cuDNN and cuBLAS: what it is, types and layouts, tile, and what does not tell."""


def short_name(name: str, width: int = 54) -> str:
    """A demangled name without its parameters: `vectorized_elementwise_kernel<CUDAFunctorOnSelf>`.

    At most `width` characters; the middle is left out of longer ones, since both ends tell.
    """
    outer, arguments = _split(name)
    base = outer.split("::")[-1].strip() or outer.strip() or name
    if _GENERIC.search(base) and arguments:
        telling = [word for word in _TELLING.findall(arguments) if word != base]
        if len(telling) > 1 and _WRAPPER.match(telling[0]):
            del telling[0]
        if telling:
            base = telling[0] if _EMPTY.match(base) else f"{base}<{telling[0]}>"
    if tiled := _TILED.match(base):
        base = f"{tiled[1]}_{tiled[2]}"
    if len(base) <= width:
        return base
    head = (width - 1) * 2 // 3
    return f"{base[:head]}…{base[head + 1 - width :]}"


def _split(name: str) -> tuple[str, str]:
    """The name up to its template arguments or parameters, without the type of the result; and its
    template arguments."""
    text = name.removeprefix("void ").replace("(anonymous namespace)::", "")
    at = min((place for place in (text.find("<"), text.find("(")) if place > 0), default=len(text))
    outer, rest = text[:at], text[at:]
    if not rest.startswith("<"):
        return outer.split(" ")[-1], ""
    depth = 0
    for place, letter in enumerate(rest):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if depth == 0:
            more, arguments = rest[place + 1 :], rest[1:place]
            if more.startswith("::"):
                inner, inner_arguments = _split(more[2:])
                return f"{outer.split(' ')[-1]}::{inner}", f"{arguments},{inner_arguments}"
            return outer.split(" ")[-1], arguments
    return outer.split(" ")[-1], rest[1:]
