"""What a figure must travel with: the machine and the versions."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from unvanish.core.machine import own_version, usable_cores
from unvanish.train.native.library import missing


def environment(device: torch.device) -> dict[str, Any]:
    """JSON-able facts about the process that trains."""
    return {
        "unvanish": own_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": usable_cores(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": "1 a process, denormals flushed",
        "native step": missing() or "compiled",
        "blas": _blas(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _blas() -> str:
    """The library of PyTorch's matrix products, as it names it."""
    named = (line.strip(" -") for line in torch.__config__.show().splitlines())
    return next((line for line in named if "Math Kernel" in line or "BLAS" in line.split(",")[0]), "unknown")
