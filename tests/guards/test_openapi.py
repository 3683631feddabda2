"""The checked-in description is the one that is served."""

from pathlib import Path

from app import create_app, openapi_text
from foundation.settings import Settings

KEPT = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


def test_the_checked_in_description_is_the_one_that_is_served(tmp_path: Path):
    served = openapi_text(Settings.from_environment({"MPI_HOME": str(tmp_path)}))

    assert KEPT.read_text("utf-8") == served, (
        "docs/openapi.json is not as served. Renew it with: make openapi"
    )


def test_the_description_is_the_same_whatever_the_settings(tmp_path: Path):
    others = {"MPI_HOME": str(tmp_path), "MPI_PUBLIC_URL": "https://mpi.example.nhs.uk", "MPI_PORT": "9000"}
    usual, other = ({"MPI_HOME": str(tmp_path)}, others)

    assert openapi_text(Settings.from_environment(usual)) == openapi_text(Settings.from_environment(other))


def test_the_served_description_says_the_same_in_its_own_order(tmp_path: Path):
    app = create_app(Settings.from_environment({"MPI_HOME": str(tmp_path)}))
    served = app.test_client().get("/api/v1/openapi.json")

    assert served.status_code == 200
    assert served.json["paths"].keys() == app.extensions["api"].spec.to_dict()["paths"].keys()
