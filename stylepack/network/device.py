"""Choice of the device, its precision and its memory."""

import ctypes
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stylepack.errors import DeviceError, UsageError, option

AMPERE = (8, 0)  # the first NVIDIA GPUs that multiply bfloat16
NO_MEMORY = re.compile(
    "out of memory|can't allocate memory|alloc(ation)?_failed|unable to find an engine"
    "|could not create a primitive(?! descriptor)",  # with "descriptor" it is unsupported
    re.IGNORECASE,
)
DEVICES = ("auto", "cpu", "cuda", "mps")


def pick_device(name: str = "auto") -> torch.device:
    """The device named `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.

    Raises:
        UsageError: there is no such kind of device.
        DeviceError: this machine does not have it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"no device '{name}'; use one of {', '.join(DEVICES)}") from None
    missing = (device.type == "cuda" and not torch.cuda.is_available()) or (
        device.type == "mps" and not torch.backends.mps.is_available()
    )
    if missing or device.type not in DEVICES:
        raise DeviceError(f"this machine has no {name} device; use {option('device', 'auto')}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise DeviceError(
            f"no {name}: there are cuda:0 to cuda:{count - 1}; use {option('device', 'auto')}"
        )
    return device


def training_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it faster than float32, else float32.

    The weights stay float32; only activations and the products are in this dtype.
    """
    if device.type == "cuda":
        fast = bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= AMPERE
    elif device.type == "cpu":
        fast = _cpu_multiplies_bfloat16()
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """On CUDA, within the block, multiply float32 in TF32 and let cuDNN benchmark algorithms."""
    if device.type != "cuda":
        yield
        return
    precision, benchmark = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.benchmark = benchmark


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """On CUDA, within the block, convolve float32 in float32, not in TF32, torch's default."""
    if device.type != "cuda":
        yield
        return
    convolution = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolution.fp32_precision
    convolution.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolution.fp32_precision = before


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out.  Torch has an exception for that only on CUDA.

    When memory is short cuDNN reports that it finds no engine, cuDNN and cuBLAS that an allocation
    failed (CUBLAS_STATUS_ALLOC_FAILED), and oneDNN that it cannot create a primitive.
    """
    from_torch = isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None
    return from_torch or isinstance(error, MemoryError)


def keep_large_blocks() -> None:
    """Make glibc keep freed memory; does nothing on other C libraries.

    A network allocates and frees the same large activations again and again.  By default glibc maps
    and unmaps each of them, and the page faults cost up to half of the time.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    m_trim_threshold, m_mmap_threshold = -1, -3  # malloc.h
    mallopt(m_mmap_threshold, 1 << 30) or mallopt(m_mmap_threshold, 1 << 25)  # older glibc
    mallopt(m_trim_threshold, (1 << 31) - 1)


def trim_heap() -> None:
    """Give the memory that glibc kept back to the system; does nothing on other C libraries."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _cpu_multiplies_bfloat16() -> bool:
    """AMX or AVX512-BF16, by torch's own detection (its names differ between versions)."""
    return has_amx() or getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()


def has_amx() -> bool:
    """Whether the processor has AMX tiles."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())
