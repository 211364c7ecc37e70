"""What makes training on a CPU faster and is no matter of the network: memory that is kept, and half precision.

Half precision (`--precision bf16`) pays where the processor multiplies in bfloat16 (AVX-512 BF16, AMX) once grouped
convolutions stay in float32: oneDNN has no kernels in bfloat16 for the gradients of depthwise ones of 5x5, and for a
strided one its reference code takes a third of the step (docs/log.md).
"""

import ctypes
import os
from typing import Final

import torch
from torch import Tensor, nn

_TRIM_THRESHOLD: Final = -1  # names of glibc's options in malloc.h
_MMAP_MAX: Final = -4
_NEVER: Final = 2**31 - 1


def keep_freed_memory() -> None:
    """Let the process keep what it frees, where the C library is glibc.

    A step frees and asks for the same gigabyte again; given back to the system in between, all of it must be cleared.
    """
    try:
        option = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # another C library
        return
    option(_MMAP_MAX, 0)
    option(_TRIM_THRESHOLD, _NEVER)


def own_threads(device: torch.device, workers: int) -> int:
    """Return how many threads a training takes by itself: torch's choice, but on a CPU a core is left to each worker.

    Threads that wait for each other stand still together where a worker takes the core of one: on two cores one thread
    beside a worker is a fifth faster than two (docs/log.md).
    """
    most = torch.get_num_threads()
    if device.type != "cpu" or not workers:
        return most
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(most, cores - workers))


class Float32Conv(nn.Conv2d):
    """A convolution that autocast leaves in float32."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def grouped_in_float32(net: nn.Module) -> None:
    """Replace a network's grouped convolutions by such as autocast leaves alone, with the same parameters and names."""
    for parent in net.modules():
        for name, conv in parent.named_children():
            if type(conv) is nn.Conv2d and conv.groups > 1:
                size = conv.in_channels, conv.out_channels, conv.kernel_size
                how = conv.stride, conv.padding, conv.dilation, conv.groups, conv.bias is not None, conv.padding_mode
                own = Float32Conv(*size, *how, device="meta")  # pyright: ignore[reportArgumentType]
                own.weight, own.bias = conv.weight, conv.bias
                setattr(parent, name, own.train(conv.training))
