"""The torchvision models of the benchmarks, with random weights that still compute something."""

from __future__ import annotations

import os

import torch
import torchvision
from torch import nn

NAMES = ("resnet152", "resnet101", "densenet201", "vgg16", "mobilenet_v2")
IMAGE = (3, 224, 224)


def be_deterministic() -> None:
    """Let PyTorch choose only kernels that give the same bits every time. Before CUDA is used."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True


def build(name: str, seed: int) -> nn.Module:
    """A model on the GPU, ready for inference. The same seed gives the same weights."""
    torch.manual_seed(seed)
    with torch.device("cuda"):
        model: nn.Module = getattr(torchvision.models, name)(weights=None)
    _calibrate(model)
    return model.eval()


def _calibrate(model: nn.Module) -> None:
    """Give the batch norms the statistics of a pass over random images.

    With their initial ones the activations of random weights grow from layer to layer, up to
    infinity.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(torch.randn(8, *IMAGE, device="cuda"))


def images(count: int, batch: int, seed: int) -> list[torch.Tensor]:
    """Inputs of `count` requests, in pinned host memory."""
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, *IMAGE, generator=source).pin_memory() for _ in range(count)]
