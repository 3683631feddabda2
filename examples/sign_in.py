"""Sign in as a registered system from the shell, and print its access token.

    export TOKEN=$(.venv/bin/python -m examples.sign_in uclh-portal)

The private key is read from ``$MPI_HOME/demonstration``, where ``mpi run`` put those of its demonstration clients; ``--key`` names
another. With ``--assertion`` the signed assertion is printed instead, for whoever wants to send the token request by hand.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from joserfc.jwk import RSAKey

from examples.client import ServiceClient, signed_assertion
from mpi.client import ClientError


def main(words: list[str] | None = None) -> None:
    ask = argparse.ArgumentParser(prog="python -m examples.sign_in", description="Print an access token.")
    ask.add_argument("client_id")
    ask.add_argument("--key", type=Path, help="Its private key, a JWK with a kid.")
    ask.add_argument("--assertion", action="store_true", help="Print the signed assertion, and ask nobody.")
    given = ask.parse_args(words)
    home = Path(os.environ.get("MPI_HOME", "var"))
    path = given.key or home / "demonstration" / f"{given.client_id}.jwk.json"
    url = os.environ.get("MPI_URL", "http://127.0.0.1:8080").rstrip("/")
    try:
        key = RSAKey.import_key(json.loads(path.read_text(encoding="utf-8")))
    except OSError as fault:
        sys.exit(f"no key for {given.client_id}: {fault.strerror}: {path}")
    if given.assertion:
        print(signed_assertion(given.client_id, key, f"{url}/oauth2/token"))
        return
    try:
        print(ServiceClient(url, given.client_id, key).token())
    except ClientError as refused:
        sys.exit(f"refused: {refused}")


if __name__ == "__main__":
    main()
