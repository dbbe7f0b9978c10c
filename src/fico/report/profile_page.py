"""A profile as one HTML page that needs nothing else."""

from __future__ import annotations

from fico.records.profile import Profile
from fico.report.profile_figures import COLOURS, trace_svg
from fico.report.profile_summary import summary

_SHOWN_KERNELS = 25


def profile_page(profile: Profile) -> str:
    """The page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fico.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    traces = summary(profile)
    return environment.get_template("profile.html.j2").render(
        profile=profile,
        program=" ".join([profile.program, *profile.arguments]),
        colours={str(kernel_class): colour for kernel_class, colour in COLOURS.items()},
        traces=[(trace, trace_svg(profile, trace)) for trace in traces],
        shown_kernels=_SHOWN_KERNELS,
        gpu_units=len(profile.gpu.sms_per_unit),
    )
