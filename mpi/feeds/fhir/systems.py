"""Identifier systems: which address of FHIR stands for which numbers. The one rule by which local ids get an address of their own."""

import re
from dataclasses import dataclass

from mpi.records import RecordKey
from mpi.service.lookup import NHS_NUMBER_SYSTEM

ODS = "https://fhir.nhs.uk/Id/ods-organization-code"
CHI = "https://fhir.nhs.scot/Id/chi-number"
HEALTH_AND_CARE = "https://fhir.hscni.net/Id/hcn"

_LOCAL = re.compile(r"([A-Z0-9]{2,12})/([A-Za-z0-9][A-Za-z0-9._:/-]{0,63})")


@dataclass(frozen=True, slots=True)
class Systems:
    """The identifier systems of an index. ``public_url`` is where it is served.

    The local ids of an organisation's system have ``{public_url}/Id/{ODS code}/{system}``: who may send what is read off it, and nobody has
    to register anything. The ids of persons have ``{public_url}/Id/person``.
    """

    public_url: str

    @property
    def base(self) -> str:
        """The address of the FHIR interface, which stands for the ids of its Patients too."""
        return f"{self.public_url}/fhir/R4"

    @property
    def person(self) -> str:
        return f"{self.public_url}/Id/person"

    def local(self, organisation: str, system: str) -> str:
        return f"{self.public_url}/Id/{organisation}/{system}"

    def key_of(self, system: str, value: str) -> RecordKey | None:
        """Return the record that has this local id; None where the system is not one of local ids."""
        begun = f"{self.public_url}/Id/"
        found = _LOCAL.fullmatch(system.removeprefix(begun)) if system.startswith(begun) else None
        return RecordKey(found[1], found[2], value) if found else None

    def person_of(self, system: str, value: str) -> str | None:
        """Return the text of a person's id, by its own system or as a Patient of this interface; None for any other identifier."""
        if system == self.person:
            return value
        if system.rstrip("/") == self.base and value.startswith("Patient/"):
            return value.removeprefix("Patient/")
        return None

    def is_general(self, system: str) -> bool:
        """Whether many organisations use the numbers of this system, so that their bearer is no organisation's patient by them."""
        return system in (NHS_NUMBER_SYSTEM, CHI, HEALTH_AND_CARE)
