"""What people see of profiles."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fico.cli import main
from fico.profiling.analysis import analyse
from fico.report.kernel_names import short_name
from fico.runtime.profile_file import save
from helpers.raw_records import Call, closed_loop, decoder_step, measurement, network

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profiles")
    calls = closed_loop(network(20), 8, graph=True)
    generation = [
        Call(network(8, width=700, name="prefill"), idle_us=60.0),
        *(Call(decoder_step(100 + n), idle_us=60.0) for n in range(8)),
    ]
    save(analyse(measurement(calls)), folder / "net.fico")
    save(analyse(measurement(calls, seed=40)), folder / "again.fico")
    save(analyse(measurement(generation * 4, units=(8, 16))), folder / "llm.fico")
    return folder


@pytest.fixture
def fico(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(files)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["profile", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_show(fico: Run) -> None:
    code, out, err = fico("show", "net.fico", "--top", "2")
    assert (code, err) == (0, "")
    assert "serve.py --batch 8\nNVIDIA H200, driver 580.1, CUDA 13.0, 16 units, 132 SMs" in out
    assert "request 0: 63 launches of CUDA graphs, seen 8 times" in out
    rows = [line.split() for line in out.splitlines()]
    shares = {row[0]: row[1:] for row in rows if row and row[0] in ("dominant", "neutral")}
    assert all(share.endswith("%") for row in shares.values() for share in row)
    assert ["conv_gemm", "20"] in [row[:2] for row in rows]
    assert "  and 4 more" in out


def test_show_several_kinds(fico: Run) -> None:
    _, out, _ = fico("show", "llm.fico", "--top", "0")
    assert "request 0: 34 launches" in out
    assert "request 1: 27 launches" in out


def test_diff_of_the_same_program(fico: Run) -> None:
    code, out, _ = fico("diff", "net.fico", "again.fico")
    assert code == 0
    assert "63 launches in common, 0 in A only, 0 in B only" in out
    assert "they agree" in out


def test_diff_of_other_programs(fico: Run) -> None:
    code, out, _ = fico("diff", "net.fico", "llm.fico")
    assert code == 0
    assert "do not agree" in out
    assert "of B is in B only" in out


class Page(HTMLParser):
    """Counts elements and notes what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        outside = ("src", "href", "xlink:href")
        self.loaded += [
            value for name, value in attrs if name in outside and value and value[0] != "#"
        ]


def test_plot_makes_a_page_that_needs_nothing_else_and_figures(fico: Run, files: Path) -> None:
    code, out, _ = fico("plot", "llm.fico")
    assert code == 0
    assert out.split() == ["llm.html", "llm-0.svg", "llm-1.svg"]
    page = Page()
    text = (files / "llm.html").read_text()
    page.feed(text)
    assert page.tags.count("svg") == 2
    assert page.tags.count("h2") == 2
    assert page.loaded == []
    assert "attention" in text
    for name in ("llm-0.svg", "llm-1.svg"):
        assert ET.parse(files / name).getroot().tag.endswith("svg")


def test_plot_is_the_same_every_time(fico: Run, files: Path) -> None:
    for name in ("one.html", "two.html"):
        assert fico("plot", "net.fico", "-o", name)[:2] == (0, f"{name}\n")
    assert (files / "one.html").read_bytes() == (files / "two.html").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "no program is given"),
        (("shew", "x"), "shew"),
        (("show", "absent"), "profile absent cannot be read: No such file"),
        (("show", "net.fico", "--top", "-1"), "--top -1 is less than none"),
        (("plot", "net.fico", "-o", "x.png"), "x.png is neither .html nor .svg"),
        (("show", "net.fico", "--", "x"), "fico profile show runs no program"),
    ],
)
def test_wrong_usage_is_one_line(fico: Run, arguments: tuple[str, ...], line: str) -> None:
    code, out, err = fico(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert line in err


def test_a_damaged_file_is_one_line(fico: Run, files: Path) -> None:
    (files / "half.fico").write_bytes((files / "net.fico").read_bytes()[:5000])
    for action in (("show", "half.fico"), ("plot", "half.fico"), ("diff", "net.fico", "half.fico")):
        code, _, err = fico(*action)
        assert (code, err.count("\n")) == (1, 1)
        assert "half.fico is damaged, or no profile" in err


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("conv", "conv"),
        ("", ""),
        ("void cudnn::bn_fw_inf_1C11_kernel_NCHW<float, true>(int)", "bn_fw_inf_1C11_kernel_NCHW"),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::AUnaryFunctor<float>, "
            "std::array<char*, 2ul> >(int, at::native::AUnaryFunctor<float>)",
            "vectorized_elementwise_kernel<AUnaryFunctor>",
        ),
        (
            "void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_64x64>(Params)",
            "cutlass_80_tensorop_s1688gemm_64x64",
        ),
        (
            "void at::native::elementwise_kernel<128, 2, at::native::gpu_kernel_impl_nocast<"
            "at::native::BinaryFunctor<float, at::native::binary_internal::MulFunctor<float> > >"
            "(int)::{lambda(int)#1}>(int, float)",
            "elementwise_kernel<MulFunctor>",
        ),
        (
            "void at::native::vectorized_elementwise_kernel<8, at::native::(anonymous namespace)::"
            "silu_kernel(at::TensorIteratorBase&)::{lambda()#1}, std::array<char*, 2ul> >(int)",
            "vectorized_elementwise_kernel<silu_kernel>",
        ),
        (
            "sm90_xmma_fprop_implicit_gemm_f32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x64x32_"
            "warpgroupsize1x1x1_g1_execute_segment_k_off_kernel__5x_cudnn",
            "sm90_xmma_fprop_implicit_gemm_128x64x32",
        ),
        (
            "void (anonymous namespace)::softmax_warp_forward<float, 8>(float*)",
            "softmax_warp_forward",
        ),
        (f"begin{'_' * 100}end", f"begin{'_' * 30}…{'_' * 15}end"),
    ],
)
def test_short_names(name: str, short: str) -> None:
    found = short_name(name)
    assert found == short
    assert len(found) <= 54
