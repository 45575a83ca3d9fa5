"""Cores, instruction sets and devices that this process may use. Nothing here loads a model or imports torch."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def threads(cgroup: Path = CGROUP) -> int:
    """Return how many cores this process may use concurrently: the smaller of its affinity mask and its control group's quota."""
    return max(1, min(len(_affinity()), int(_quota(cgroup))))


def owns_its_cores(cgroup: Path = CGROUP) -> bool:
    """Whether no quota limits this process to a part of its cores' time."""
    return _quota(cgroup) >= len(_affinity())


def _affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _quota(cgroup: Path) -> float:
    """CPU time per period, in cores, from control groups version 2 or 1; `_UNLIMITED` without a quota."""
    for read in (_version_2, _version_1):
        try:
            quota, period = read(cgroup)
        except (OSError, ValueError):
            continue
        return quota / period if quota > 0 else _UNLIMITED
    return _UNLIMITED


_UNLIMITED = 1_000_000.0


def _version_2(cgroup: Path) -> tuple[float, float]:
    quota, period = (cgroup / "cpu.max").read_text().split()
    return (0.0 if quota == "max" else float(quota)), float(period)


def _version_1(cgroup: Path) -> tuple[float, float]:
    folder = cgroup / "cpu"
    return float((folder / "cpu.cfs_quota_us").read_text()), float((folder / "cpu.cfs_period_us").read_text())


_AMX = ("amx_tile", "amx_bf16", "amx_int8", "amx_fp16")
_FEATURES = (*_AMX, "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni", "avx2", "asimd")


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return the processor's instruction sets for matrix products, by the kernel's names; empty if the kernel does not list them."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return []
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return [feature for feature in _FEATURES if feature in flags]


def cuda_devices() -> int:
    """Count the devices that NVIDIA's management library offers to this process. Asking torch would take seconds."""
    try:
        driver = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    available = driver.nvmlInit_v2() == 0 and driver.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}
    return count.value if available and not hidden else 0
