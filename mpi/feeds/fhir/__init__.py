"""FHIR R4 Patients: read as source records, and persons written as Patients. Pure: values in, values out."""

from mpi.feeds.fhir.read import ReadPatient, read_patient
from mpi.feeds.fhir.systems import Systems
from mpi.feeds.fhir.write import Known, patient_of, replaced_patient

__all__ = ["Known", "ReadPatient", "Systems", "patient_of", "read_patient", "replaced_patient"]
