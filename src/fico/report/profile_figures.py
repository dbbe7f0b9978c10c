"""Figures of a profile, as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fico.records.profile import KernelClass, Profile
from fico.report.profile_summary import KernelRow, TraceSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by people who see no red or no green, too (Okabe and Ito 2008).
COLOURS = {
    KernelClass.DOMINANT: "#d55e00",
    KernelClass.NEUTRAL: "#999999",
    KernelClass.INSENSITIVE: "#0072b2",
}
_INK = "#222222"
_SHOWN_KERNELS = 10
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fico",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "sans-serif"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def trace_svg(profile: Profile, trace: TraceSummary) -> str:
    """The latency of a request over SMs, the curves of its top kernels, and its classes."""
    return as_svg(trace_figure(profile, trace))


def trace_figure(profile: Profile, trace: TraceSummary) -> Figure:
    """The same as a figure of matplotlib."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 5.2), layout="constrained")
        axes = figure.subplot_mosaic(
            [["latency", "kernels"], ["classes", "classes"]], height_ratios=(3.4, 1)
        )
        unit_sms = np.cumsum(profile.gpu.sms_per_unit)
        _latency(axes["latency"], profile, trace, unit_sms)
        _kernels(axes["kernels"], trace.kernels, unit_sms)
        _classes(axes["classes"], trace)
    return figure


def as_svg(figure: Figure) -> str:
    """The figure as an <svg> element, the same bytes for the same figure."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]


def _sm_axis(axes: Axes, unit_sms: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    axes.set_xlabel("SMs")
    axes.set_xlim(0, unit_sms[-1] * 1.02)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)


def _latency(
    axes: Axes,
    profile: Profile,
    trace: TraceSummary,
    unit_sms: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> None:
    predicted_ms = np.array(trace.predicted_us) / 1e3
    measured_ms = np.array(trace.latency_us) / 1e3
    sms = unit_sms[np.array(profile.measured_units) - 1]
    axes.plot(unit_sms, predicted_ms, color=_INK, linewidth=1.4, label="from the kernels' curves")
    axes.plot(sms, measured_ms, "o", mfc="white", mec=_INK, markersize=5, label="measured")
    axes.set_title("Latency of a request, alone")
    axes.set_ylabel("ms")
    axes.legend()
    _sm_axis(axes, unit_sms)


def _kernels(
    axes: Axes,
    kernels: Sequence[KernelRow],
    unit_sms: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> None:
    from matplotlib.lines import Line2D

    shown = kernels[:_SHOWN_KERNELS]
    largest = max((row.share for row in shown), default=1.0)
    for row in shown:
        axes.plot(
            unit_sms,
            row.relative,
            color=COLOURS[row.kernel_class],
            linewidth=0.8 + 2.6 * row.share / largest,
            alpha=0.85,
        )
    axes.set_title(f"Top {len(shown)} kernels: duration over that on all SMs")
    axes.set_ylabel("times as long")
    found = {row.kernel_class for row in shown}
    axes.legend(
        [Line2D([], [], color=COLOURS[kind], linewidth=2) for kind in COLOURS if kind in found],
        [str(kind) for kind in COLOURS if kind in found],
        title="line width: share of time",
        title_fontsize=8,
    )
    # Logarithmic: a kernel that all SMs speed up alike is a straight line, and small gains show.
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel("SMs")
    ticks = [sms for sms in unit_sms.tolist() if (sms & (sms - 1)) == 0 or sms == unit_sms[-1]]
    # 128 and 132 would lie upon each other.
    if len(ticks) > 1 and ticks[-1] < 1.2 * ticks[-2]:
        del ticks[-2]
    axes.set_xticks(ticks, [str(sms) for sms in ticks])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.axhline(1, color=_INK, linewidth=0.6, linestyle=":")


def _classes(axes: Axes, trace: TraceSummary) -> None:
    for height, found in enumerate((trace.by_count, trace.by_time)):
        left = 0.0
        for kernel_class in KernelClass:
            share = 100 * getattr(found, kernel_class.value)
            axes.barh(
                height,
                share,
                left=left,
                color=COLOURS[kernel_class],
                label=str(kernel_class) if height == 0 else None,
                height=0.62,
            )
            if share >= 4:
                axes.text(
                    left + share / 2,
                    height,
                    f"{share:.0f}%",
                    color="white",
                    ha="center",
                    va="center",
                )
            left += share
    axes.set_yticks([0, 1], ["by number", "by time"])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 100)
    axes.set_xticks([])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_title("Classes of kernels")
    axes.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 0.98), borderaxespad=0)
