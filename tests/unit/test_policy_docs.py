"""What docs/policy.md shows is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fico import _native
from helpers.traces import synthetic

DOCS = Path(__file__).parents[2] / "docs" / "policy.md"


def test_the_policy_in_python_runs() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(source.splitlines()) <= 30
    scope: dict[str, Any] = {}
    exec(source, scope)
    latencies_us = scope["run"](synthetic("vgg16"))
    assert len(latencies_us) == 2
    alone_us = _native.simulate(
        [8] * 15 + [12], [_native.SimTenant([synthetic("vgg16")], (0, 16), [0.0])], "mps"
    )["end_us"]
    assert all(alone_us < latency_us < 4 * alone_us for latency_us in latencies_us)


def test_the_docs_name_the_settings_as_they_are() -> None:
    (fico,) = [row for row in _native.policies() if row["name"] == "fico"]
    initial = {row["name"]: row["initial"] for row in fico["settings"]}
    text = DOCS.read_text()
    for name in ("span_us", "span_percent", "target_percent", "linger_us", "reclaim_percent"):
        assert f"`{name}` ({initial[name]:.0f})" in text.replace("\n", " ")
    for name in ("overlap_percent", "wait_us"):
        assert name in initial
        assert f"`{name}`" in text
