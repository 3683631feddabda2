"""The few fixed organisations of the demonstration: the same codes whatever the seed and size of a sample."""

from mpi.sample.places import SampleOrganisation

_STORY = (
    SampleOrganisation("QMJ", "North Central London Integrated Care Board", "other", ""),
    SampleOrganisation("QKK", "South East London Integrated Care Board", "other", ""),
    SampleOrganisation("RRV", "University College London Hospitals NHS Foundation Trust", "acute", "QMJ"),
    SampleOrganisation("RV5", "South London and Maudsley NHS Foundation Trust", "mental-health", "QKK"),
    SampleOrganisation("RRU", "London Ambulance Service NHS Trust", "ambulance", ""),
    SampleOrganisation("RD8", "Milton Keynes University Hospital NHS Foundation Trust", "neighbour", "QHG"),
    SampleOrganisation("QHG", "Bedfordshire, Luton and Milton Keynes Integrated Care Board", "other", ""),
    SampleOrganisation("Y9L01", "London Borough of Camden", "borough", ""),
    SampleOrganisation("Y99001", "Story Lane Surgery", "practice", "QMJ"),
    SampleOrganisation("Y9C901", "Story House Care Home", "care-home", ""),
)


def story_organisations() -> tuple[SampleOrganisation, ...]:
    """Return the organisations of the demonstration: trusts, ambulance, borough, a practice and a care home of its own."""
    return _STORY
