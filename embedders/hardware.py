"""What this process may use: the device, and how many cores. Nothing here loads a model."""

from __future__ import annotations

import os
from pathlib import Path

from embedders.refusal import Refusal

CGROUP = Path("/sys/fs/cgroup")


def pick(wanted: str) -> str:
    """`auto` is the first there is of cuda, mps and cpu. Raises Refusal (`no-such-device`) where a named one is missing."""
    available = _available()
    if wanted == "auto":
        return available[0]
    if wanted not in available:
        raise Refusal("no-such-device", f"device {wanted} is not available; there is: {', '.join(available)}")
    return wanted


def _available() -> list[str]:
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [device for device, is_there in there.items() if is_there]


def threads(cgroup: Path = CGROUP) -> int:
    """Cores this process may run on at once: its affinity mask, or its control group's quota where that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(_quota(cgroup))))


def _quota(cgroup: Path) -> float:
    """Cores' worth of time per period, by version 2 of control groups or version 1; infinite where there is no limit."""
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
