"""Settings, read once from the environment; with none set, everything runs from one SQLite file."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from foundation.errors import Invalid

_DEFAULT_HOME = "var"

IpNetwork = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """A national service that NHS numbers are traced at. ``key_path`` holds our private key; who it is to the service, the others say."""

    url: str
    token_url: str
    client_id: str
    key_path: Path
    key_id: str
    organisation: str | None = None
    per_second: int = 3


@dataclass(frozen=True, slots=True)
class OpenIdSettings:
    """The provider that people sign in through, and who we are to it: by a secret or by a private key, each in a file."""

    issuer: str
    client_id: str
    secret_path: Path | None
    key_path: Path | None
    key_id: str | None = None
    scope: str = "openid profile nationalrbacaccess selectedrole"
    acr_values: str | None = None
    max_age_seconds: int | None = None
    least_assurance: int = 2
    name: str = "NHS Care Identity"

    def secret(self) -> str:
        """Return what proves who we are, as it is in the file at this moment."""
        path = self.key_path or self.secret_path
        assert path is not None
        return path.read_text(encoding="utf-8").strip()


@dataclass(frozen=True, slots=True)
class Hl7Settings:
    """Where HL7 v2 senders connect, and how much is taken of them. Off this machine, only with TLS or where it is asked for."""

    host: str = "127.0.0.1"
    port: int = 2575
    certificate: Path | None = None  # with its key: TLS, and nothing without it
    key: Path | None = None
    client_ca: Path | None = None  # only clients with a certificate of these authorities
    connections: int = 64
    backlog: int = 10_000  # records that wait for linking, beyond which nothing more is read
    kept_days: int = 30  # how long a message that is sent again is known
    dead_letters: Path | None = None  # where messages that were refused are kept; without one they are not


@dataclass(frozen=True, slots=True)
class Settings:
    """What an installation chooses. ``DATABASE_URL`` and ``REDIS_URL`` alone choose the production parts."""

    home: Path  # where the embedded default keeps its files
    database_url: str = field(repr=False)  # SQLAlchemy URL: sqlite:///… or postgresql+psycopg://…
    migrator_database_url: str = field(repr=False)  # the same database under the role that owns the tables
    redis_url: str | None = field(repr=False, default=None)
    public_url: str = (
        "http://127.0.0.1:8080"  # how clients reach the service; the token audience is built from it
    )
    host: str = "127.0.0.1"
    port: int = 8080
    web_threads: int = 8
    web_processes: int = 1
    max_body_bytes: int = 1_048_576
    is_production: bool = False  # holds real people: the quick start, which loads made-up ones, is refused
    local_sign_in: bool = True  # accounts kept here; off where OpenID Connect is configured
    events_kept_days: int = 30  # how long those who follow the index may stay away
    webhook_networks: tuple[IpNetwork, ...] = ()  # private networks that webhooks may reach
    webhook_ca: Path | None = None  # whom webhooks' receivers are certified by, beside the usual ones
    trusted_proxies: tuple[IpNetwork, ...] = ()  # whose word for the caller's address is believed
    model_path: Path | None = None  # a match model other than the shipped one
    known_per_mille: int = 20  # of a thousand review tasks, how many are pairs of which the answer is known
    searches_an_hour: int = 12  # different ones that seem to be about one person and raise no alert
    searches_a_day: int = 30
    tracing: TracingSettings | None = None  # without one, no NHS number is traced and nothing is sent
    openid: OpenIdSettings | None = None  # without one, people sign in with accounts that are kept here
    hl7: Hl7Settings = Hl7Settings()
    log_level: str = "INFO"

    @property
    def is_embedded(self) -> bool:
        return self.database_url.startswith("sqlite")

    @property
    def token_url(self) -> str:
        return f"{self.public_url}/oauth2/token"

    @staticmethod
    def from_environment(environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings.

        Raises:
            Invalid: ``setting-format``, naming the variable.
        """
        env = os.environ if environ is None else environ
        home = Path(env.get("MPI_HOME", _DEFAULT_HOME)).absolute()
        database_url = _database_url(env.get("DATABASE_URL"), home)
        host = env.get("MPI_HOST", "127.0.0.1")
        port = _whole_number(env, "MPI_PORT", 8080, 1, 65_535)
        model_path = env.get("MPI_MODEL")
        openid = _openid(env)
        return Settings(
            home=home,
            database_url=database_url,
            migrator_database_url=_database_url(env.get("MIGRATOR_DATABASE_URL"), home)
            if env.get("MIGRATOR_DATABASE_URL")
            else database_url,
            redis_url=env.get("REDIS_URL") or None,
            public_url=env.get("MPI_PUBLIC_URL", f"http://{host}:{port}").rstrip("/"),
            host=host,
            port=port,
            web_threads=_whole_number(env, "MPI_WEB_THREADS", 8, 1, 64),
            web_processes=_whole_number(env, "MPI_WEB_PROCESSES", 1, 1, 64),
            max_body_bytes=_whole_number(env, "MPI_MAX_BODY_BYTES", 1_048_576, 1_024, 1_073_741_824),
            is_production=_yes_or_no(env, "MPI_PRODUCTION", default=False),
            local_sign_in=_yes_or_no(env, "MPI_LOCAL_SIGN_IN", default=openid is None),
            model_path=Path(model_path) if model_path else None,
            events_kept_days=_whole_number(env, "MPI_EVENTS_KEPT_DAYS", 30, 1, 3_650),
            trusted_proxies=_networks(env, "MPI_TRUSTED_PROXIES"),
            webhook_networks=_networks(env, "MPI_WEBHOOK_NETWORKS"),
            webhook_ca=Path(env["MPI_WEBHOOK_CA"]) if env.get("MPI_WEBHOOK_CA") else None,
            known_per_mille=_whole_number(env, "MPI_KNOWN_PAIRS_PER_MILLE", 20, 0, 1_000),
            searches_an_hour=_whole_number(env, "MPI_SEARCHES_AN_HOUR", 12, 1, 10_000),
            searches_a_day=_whole_number(env, "MPI_SEARCHES_A_DAY", 30, 1, 10_000),
            tracing=_tracing(env),
            openid=openid,
            hl7=_hl7(env),
            log_level=_log_level(env.get("MPI_LOG_LEVEL", "INFO")),
        )


def _database_url(text: str | None, home: Path) -> str:
    if not text:
        return f"sqlite:///{home / 'mpi.sqlite3'}"
    if text.startswith(("postgresql://", "postgres://")):
        return "postgresql+psycopg://" + text.split("://", 1)[1]
    if text.startswith(("postgresql+psycopg://", "sqlite:///")):
        return text
    raise Invalid("setting-format", field="DATABASE_URL")


def _whole_number(env: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = env.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Invalid("setting-format", field=name)
    return int(text)


_TRACING = ("MPI_PDS_URL", "MPI_PDS_TOKEN_URL", "MPI_PDS_CLIENT_ID", "MPI_PDS_KEY", "MPI_PDS_KEY_ID")


def _tracing(env: Mapping[str, str]) -> TracingSettings | None:
    """Read where NHS numbers are traced: all that is needed or nothing, and never in the clear but to this machine."""
    given = {name: env.get(name, "") for name in _TRACING}
    if not any(given.values()):
        return None
    for name, text in given.items():
        if not text:
            raise Invalid(
                "setting-format", field=name, detail="Tracing needs all of " + ", ".join(_TRACING) + "."
            )
    for name in _TRACING[:2]:
        _need_tls(env, name)
    return TracingSettings(
        given["MPI_PDS_URL"].rstrip("/"),
        given["MPI_PDS_TOKEN_URL"],
        given["MPI_PDS_CLIENT_ID"],
        Path(given["MPI_PDS_KEY"]),
        given["MPI_PDS_KEY_ID"],
        env.get("MPI_PDS_ORGANISATION") or None,
        _whole_number(env, "MPI_PDS_PER_SECOND", 3, 1, 100),
    )


_PROOFS = ("OIDC_CLIENT_SECRET_FILE", "OIDC_PRIVATE_KEY_FILE")


def _openid(env: Mapping[str, str]) -> OpenIdSettings | None:
    """Read where people sign in: who the provider is, who we are to it, and one proof of that; or nothing at all."""
    told = {name: env.get(name, "") for name in ("OIDC_ISSUER", "OIDC_CLIENT_ID", *_PROOFS)}
    if not any(told.values()):
        return None
    for name in ("OIDC_ISSUER", "OIDC_CLIENT_ID"):
        if not told[name]:
            raise Invalid(
                "setting-format", field=name, detail="Sign-in needs OIDC_ISSUER and OIDC_CLIENT_ID."
            )
    if sum(bool(told[name]) for name in _PROOFS) != 1:
        raise Invalid(
            "setting-format", field=_PROOFS[0], detail="One of " + " and ".join(_PROOFS) + " is needed."
        )
    _need_tls(env, "OIDC_ISSUER")
    usual = OpenIdSettings(told["OIDC_ISSUER"], told["OIDC_CLIENT_ID"], None, None)
    scope = env.get("OIDC_SCOPE") or usual.scope
    if "openid" not in scope.split():
        raise Invalid("setting-format", field="OIDC_SCOPE", detail="It holds openid.")
    secret, key = (Path(told[name]) if told[name] else None for name in _PROOFS)
    return OpenIdSettings(
        usual.issuer,
        usual.client_id,
        secret,
        key,
        key_id=env.get("OIDC_KEY_ID") or None,
        scope=scope,
        acr_values=env.get("OIDC_ACR_VALUES") or None,
        max_age_seconds=_whole_number(env, "OIDC_MAX_AGE", 0, 1, 86_400) or None,
        least_assurance=_whole_number(env, "OIDC_LEAST_ASSURANCE", usual.least_assurance, 1, 3),
        name=env.get("OIDC_NAME") or usual.name,
    )


def _need_tls(env: Mapping[str, str], name: str) -> None:
    address = urlsplit(env[name])
    is_production = _yes_or_no(env, "MPI_PRODUCTION", default=False)
    # A stand-in on this machine may be asked without TLS, and never about real people.
    is_here = address.scheme == "http" and address.hostname in ("127.0.0.1", "::1", "localhost")
    if not address.hostname or address.scheme != "https" and (is_production or not is_here):
        raise Invalid("setting-format", field=name, detail="An address with https:// is needed.")


def _hl7(env: Mapping[str, str]) -> Hl7Settings:
    """Read how HL7 v2 is listened for; a certificate and its key come together, and authorities with both."""

    def path(name: str) -> Path | None:
        return Path(env[name]) if env.get(name) else None

    certificate, key = path("MPI_HL7_TLS_CERT"), path("MPI_HL7_TLS_KEY")
    client_ca = path("MPI_HL7_TLS_CLIENT_CA")
    if (certificate is None) != (key is None) or client_ca is not None and certificate is None:
        raise Invalid(
            "setting-format", field="MPI_HL7_TLS_CERT", detail="A certificate and its key come together."
        )
    return Hl7Settings(
        env.get("MPI_HL7_HOST", "127.0.0.1"),
        _whole_number(env, "MPI_HL7_PORT", 2_575, 0, 65_535),
        certificate,
        key,
        client_ca,
        _whole_number(env, "MPI_HL7_CONNECTIONS", 64, 1, 1_000),
        _whole_number(env, "MPI_HL7_BACKLOG", 10_000, 1, 10_000_000),
        _whole_number(env, "MPI_HL7_KEPT_DAYS", 30, 1, 3_650),
        path("MPI_HL7_DEAD_LETTERS"),
    )


def _networks(env: Mapping[str, str], name: str) -> tuple[IpNetwork, ...]:
    """Read networks such as ``10.20.0.0/16 fd00:1::/64``, with commas or spaces between."""
    try:
        return tuple(ip_network(text) for text in env.get(name, "").replace(",", " ").split())
    except ValueError:
        raise Invalid("setting-format", field=name) from None


def _log_level(text: str) -> str:
    level = text.upper()
    if level not in logging.getLevelNamesMapping():
        raise Invalid("setting-format", field="MPI_LOG_LEVEL")
    return level


def _yes_or_no(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = env.get(name)
    if text is None:
        return default
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off", ""}:
        return False
    raise Invalid("setting-format", field=name)
