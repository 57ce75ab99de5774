"""NVIDIA GPUs through NVML (package `nvidia-ml-py`, module `pynvml`), where there are any.

Tested with a module of the same functions as pynvml; it has not run on a GPU. A value that a GPU
does not give is None; `Nvidia.read` says why.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

NOT_INSTALLED = "the package nvidia-ml-py is not installed"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; a field that it does not give is null.

    `utilization_percent` is the share of time in which a kernel ran, `memory_utilization_percent`
    the share in which memory was read or written.
    """

    index: int
    name: str | None
    utilization_percent: float | None
    memory_utilization_percent: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_celsius: float | None
    power_watts: float | None


def load_pynvml() -> Any:
    """Return NVML's module; raises ImportError when it is not installed."""
    return import_module("pynvml")


class Nvidia:
    """Opens NVML at the first reading, once. For one thread."""

    def __init__(self, load: Callable[[], Any] = load_pynvml) -> None:
        self._load = load
        self._nvml: Any = None
        self._absent: str | None = None

    def read(self) -> tuple[tuple[Gpu, ...], dict[str, str]]:
        """Return every GPU, and for each value that is missing its name with the reason."""
        if self._nvml is None and self._absent is None:
            self._open()
        if self._absent is not None:
            return (), {"gpus": self._absent}
        try:
            n_gpus = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError as exc:
            return (), {"gpus": f"NVML: {exc}"}
        unread: dict[str, str] = {}
        return tuple(self._gpu(index, unread) for index in range(n_gpus)), unread

    def close(self) -> None:
        """Give NVML back; reading opens it again."""
        if self._nvml is None:
            return
        nvml, self._nvml = self._nvml, None
        try:
            nvml.nvmlShutdown()
        except nvml.NVMLError:
            return  # the driver is gone already: there is nothing to give back

    def _open(self) -> None:
        try:
            nvml = self._load()
        except ImportError:
            self._absent = NOT_INSTALLED
            return
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as exc:
            self._absent = f"NVML: {exc}"
            return
        self._nvml = nvml

    def _gpu(self, index: int, unread: dict[str, str]) -> Gpu:
        nvml = self._nvml
        read = _Reader(nvml.NVMLError, f"gpus[{index}]", unread)
        handle = read.value("handle", lambda: nvml.nvmlDeviceGetHandleByIndex(index))
        if handle is None:
            return Gpu(index, *(None,) * 7)
        use = read.value("utilization_percent", lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        memory = read.value("memory_used_bytes", lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
        power = read.value("power_watts", lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return Gpu(
            index=index,
            name=_text(read.value("name", lambda: nvml.nvmlDeviceGetName(handle))),
            utilization_percent=None if use is None else float(use.gpu),
            memory_utilization_percent=None if use is None else float(use.memory),
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            temperature_celsius=read.value(
                "temperature_celsius",
                lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            ),
            power_watts=None if power is None else power / 1000,  # NVML gives milliwatts
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Asks for one value after the other, and writes down why one is missing."""

    error: type[Exception]
    where: str
    unread: dict[str, str]

    def value(self, name: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except self.error as exc:
            self.unread[f"{self.where}.{name}"] = f"NVML: {exc}"
            return None


def _text(name: str | bytes | None) -> str | None:
    """Return a name as text; older versions of the package give bytes."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name
