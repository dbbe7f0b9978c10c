"""Names of kernels, short enough for a table."""

from __future__ import annotations

import re

# Templates that say nothing by themselves; what they were made with does.
_GENERIC = re.compile(r"(?:.*_)?(?:kernel\w*|Kernel\d*|launch\w*)$|GemmUniversal|device_kernel")
_TELLING = re.compile(
    r"\b(?:\w*(?:tensorop|gemm|fprop|dgrad|conv|softmax|attention|flash|norm)\w*|\w+(?:Functor|Op|Ops))\b",
    re.IGNORECASE,
)


def short_name(name: str, width: int = 48) -> str:
    """A demangled name without its parameters: `vectorized_elementwise_kernel<CUDAFunctorOnSelf>`.

    At most `width` characters; the middle is left out of longer ones, since both ends tell.
    """
    outer, arguments = _split(name)
    base = outer.split("::")[-1].strip() or outer.strip() or name
    if _GENERIC.search(base) and arguments:
        telling = [word for word in _TELLING.findall(arguments) if word != base]
        if telling:
            base = f"{base}<{telling[0]}>"
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
