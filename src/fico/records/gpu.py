"""A GPU as a session sees it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU and the units that its SMs are handed out in."""

    index: int
    """Its number in the order of the PCI bus, as nvidia-smi counts."""
    uuid: str
    name: str
    driver_version: str
    sms_per_unit: tuple[int, ...]
    """SMs of each unit, in the driver's order; the remainder of the split is the last."""
    emulated: bool = False

    @property
    def sms(self) -> int:
        """SMs of all units together."""
        return sum(self.sms_per_unit)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Gpu":
        """Read what `dataclasses.asdict` gave. KeyError or TypeError if it is something else."""
        return cls(
            index=int(fields["index"]),
            uuid=str(fields["uuid"]),
            name=str(fields["name"]),
            driver_version=str(fields["driver_version"]),
            sms_per_unit=tuple(int(sms) for sms in fields["sms_per_unit"]),
            emulated=bool(fields["emulated"]),
        )
