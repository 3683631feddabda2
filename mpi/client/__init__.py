"""What a system imports to speak to the index; it needs requests and Python, and none of the server's packages.

client = Client("https://mpi.example", token)                    # token: a function that returns a bearer token
found = client.match(names=[Name("Marlowe", ("Ines",))], birth_date="1971-04-03")

Whoever keeps something under the index's ids follows what changes, and stops serving when that can no longer be trusted:

follower = Follower(client, apply=forget_person, start_over=forget_all)
threading.Thread(target=follower.run, daemon=True).start()
follower.check()                                                 # before each answer: raises Behind where it is not to be given
"""

from mpi.client.answers import (
    Address,
    Candidate,
    Contact,
    Event,
    EventPage,
    Identifier,
    Link,
    Links,
    Matched,
    Member,
    Name,
    Person,
    Received,
    Record,
    StoredRecord,
    Task,
    TaskPage,
)
from mpi.client.client import Client
from mpi.client.errors import (
    Behind,
    ClientError,
    Conflict,
    Fault,
    Forbidden,
    Gone,
    NotFound,
    NotUnderstood,
    Refused,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from mpi.client.follow import DIRECTIVE_TOPICS, Follower
from mpi.client.sign_in import AccessToken

__all__ = [
    "DIRECTIVE_TOPICS",
    "AccessToken",
    "Address",
    "Behind",
    "Candidate",
    "Client",
    "ClientError",
    "Conflict",
    "Contact",
    "Event",
    "EventPage",
    "Fault",
    "Follower",
    "Forbidden",
    "Gone",
    "Identifier",
    "Link",
    "Links",
    "Matched",
    "Member",
    "Name",
    "NotFound",
    "NotUnderstood",
    "Person",
    "Received",
    "Record",
    "Refused",
    "StoredRecord",
    "Task",
    "TaskPage",
    "TooMany",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
]
