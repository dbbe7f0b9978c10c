"""The clock of a GPU's SMs while something runs."""

from __future__ import annotations

import threading
from types import TracebackType

_EVERY_S = 0.1


class ClockWatch:
    """Looks at the clock now and then, from `with` to its end."""

    def __init__(self, gpu_uuid: str) -> None:
        self._uuid = gpu_uuid
        self._seen: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ClockWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mhz(self) -> tuple[int, int] | None:
        """Lowest and highest, after the end; None where the driver does not tell."""
        return (min(self._seen), max(self._seen)) if self._seen else None

    def _watch(self) -> None:
        import pynvml

        try:
            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(self._uuid)
            # Not at once: the clock rises with the first work.
            while not self._over.wait(_EVERY_S):
                clock = pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)
                self._seen.append(int(clock))
        except pynvml.NVMLError:
            return
