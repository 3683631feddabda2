"""The composition root: settings become parts, parts become the web application and the commands. The only room that chooses parts."""

import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import click
from flask import Flask, Response, jsonify, request
from joserfc.jwk import RSAKey
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

import consent.store.tables
import mpi.cli
import mpi.store.tables
from consent.facts import codes
from consent.rules.probing import Usual
from consent.service.agreements import NewAgreement, record_agreements
from consent.service.context import Consent
from consent.service.erasure import holder_of
from consent.service.gate import release_gate
from consent.service.notices import tend_notices, watch_partings
from consent.service.policies import keep_shipped, read_policy
from consent.service.usage import count_usage
from consent.service.watch import explain_open, watch_views
from consent.service.withdrawal import keeper_of
from consent.web import FHIR as CONSENT_RESOURCES
from consent.web import make_blueprints as make_consent_blueprints
from consent.web.console import install_console as install_consent_console
from foundation import audit, metrics, outbox
from foundation.auth import clients, keys, sessions, users
from foundation.auth.openid import OpenId, purge_attempts
from foundation.auth.published import fetch_json
from foundation.auth.roles import role_name
from foundation.auth.tokens import TokenIssuer
from foundation.bell import Bell
from foundation.changes import read_instant
from foundation.clock import Clock, SystemClock
from foundation.collector import settle_down
from foundation.database import Database
from foundation.directory import Organisation, find_organisation
from foundation.errors import Forbidden, Invalid, NotFound, ServiceError, Unavailable
from foundation.ids import format_id, parse_id
from foundation.limits import Limits
from foundation.logs import configure_logs, get_logger
from foundation.migrations import is_current, upgrade
from foundation.principal import SYSTEM_ITSELF
from foundation.redis_link import RedisLink
from foundation.sealing.checkpoint import origin_of
from foundation.sealing.seal import SEAL_EVERY, count_waiting, seal_waiting
from foundation.settings import Settings
from foundation.web import idempotency, install, make_blueprint, open_to_all, register
from foundation.web.administration import install_administration
from foundation.web.audit import audit_tree
from foundation.web.console import console, page_of_problem, prepare_templates
from foundation.web.directory import directory
from foundation.web.events import events
from foundation.web.fhir import install_fhir, statement_routes
from foundation.web.openapi import answers, install_api, openapi_document
from foundation.web.shell import Shell, authenticate, shell
from foundation.web.sign_in import people, tokens
from foundation.web.webhooks import DeliverySchema, WebhookSchema, webhooks
from foundation.webhooks import keep
from foundation.webhooks.address import reach_of, shown
from foundation.webhooks.deliver import (
    backlog_of,
    deliver_waiting,
    keep_delivering,
    ping_webhook,
    post_of,
    purge_deliveries,
)
from mpi.cli import load_file, load_organisations, put_organisations
from mpi.matching import Model
from mpi.matching.questions import Kind
from mpi.service.activity import count_activity
from mpi.service.census import count_index
from mpi.service.context import ModelInForce, Mpi
from mpi.service.figures import count_open_tasks
from mpi.service.hl7_feeds import forget_messages
from mpi.service.holders import Erasure, LetGo
from mpi.service.link import link_waiting
from mpi.service.local_ids import follow_changes
from mpi.service.quality import measure_waiting
from mpi.service.queue import tend_queue
from mpi.service.samples import withdraw_moot
from mpi.service.withdraw import follow_feeds
from mpi.tracing import Tracer
from mpi.tracing.pds import Pds, PdsSettings
from mpi.web import FHIR as MPI_RESOURCES
from mpi.web import make_blueprints as make_mpi_blueprints
from mpi.web.console import install_console as install_mpi_console

VERSION = "0.1.0"
_TABLES = (mpi.store.tables, consent.store.tables)  # imported so that every table is known
_SAMPLE_RECORDS = 5_000
_SAMPLE_SEED = 1
_LINK_AT_ONCE = 500
_PLACE_AT_ONCE = 500
_REST_SECONDS = 2.0
_TIDY_SECONDS = 60.0
_MEASURE_SECONDS = 60.0

log = get_logger(__name__)


class Composition:
    """The parts of one process, each made when it is first asked for."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database | None = None,
        clock: Clock | None = None,
        redis: RedisLink | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self._database = database
        self._redis = redis

    @cached_property
    def db(self) -> Database:
        return self._database or Database(
            self.settings.database_url, pool_size=max(4, self.settings.web_threads + 2)
        )

    @cached_property
    def redis(self) -> RedisLink | None:
        if self._redis is not None:
            return self._redis
        return RedisLink(self.settings.redis_url) if self.settings.redis_url else None

    @cached_property
    def bell(self) -> Bell:
        return Bell(self.redis)

    @cached_property
    def _wings(self) -> tuple[Mpi, Consent]:
        chosen = ModelInForce(self.db, self.settings.model_path, is_production=self.settings.is_production)
        known = self.settings.known_per_mille
        index = Mpi(self.db, self.clock, cast(Model, chosen), self.bell, known_per_mille=known)
        usual = Usual(self.settings.searches_an_hour, self.settings.searches_a_day)
        service = Consent(self.db, self.clock, index, self.settings.public_url, probing=usual)
        # The upward needs: before members, origins or demographics leave, the index asks consent; and when a record is erased or
        # withdrawn, whoever else holds something of it lets go or hands it on.
        index = replace(
            index,
            release_gate=release_gate(service),
            holders=(holder_of(service), _forget_answers),
            keepers=(keeper_of(service),),
        )
        return index, service

    @property
    def mpi(self) -> Mpi:
        return self._wings[0]

    @cached_property
    def tracer(self) -> Tracer:
        """The national service that NHS numbers are traced at.

        Raises:
            Unavailable: ``tracing-not-configured``.
        """
        chosen = self.settings.tracing
        if chosen is None:
            raise Unavailable("tracing-not-configured", detail="Set MPI_PDS_URL and what belongs to it.")
        return Pds(
            PdsSettings(
                chosen.url,
                chosen.token_url,
                chosen.client_id,
                chosen.key_path.read_text(encoding="utf-8"),
                chosen.key_id,
                chosen.organisation,
                chosen.per_second,
            )
        )

    @property
    def consent(self) -> Consent:
        return self._wings[1]


def _forget_answers(tx: Connection, erasure: Erasure) -> LetGo:
    number = format_id(erasure.record_id)
    words = (number, f"Patient/{number}", erasure.local_id)
    return LetGo({"answers": idempotency.forget_answers(tx, words, erasure.quotes.are_in)})


# The web application ---------------------------------------------------------------------------------------------------


def create_app(
    settings: Settings | None = None,
    *,
    database: Database | None = None,
    clock: Clock | None = None,
    redis: RedisLink | None = None,
    fetch: Callable[[str], Mapping[str, Any]] = fetch_json,
) -> Flask:
    """Return the application made of these settings; parts given here stand in for the ones that settings would choose."""
    composition = Composition(
        settings or Settings.from_environment(), database=database, clock=clock, redis=redis
    )
    settings = composition.settings
    app = Flask("mpi", static_folder=None)
    issuer = TokenIssuer(composition.db, composition.clock, settings.public_url, fetch)
    limits = Limits(composition.clock, composition.redis)
    prepare_templates(app)
    openid = (
        OpenId(composition.db, composition.clock, settings.openid, settings.public_url, fetch)
        if settings.openid is not None
        else None
    )
    install(app, Shell(composition.db, composition.clock, settings, issuer, limits, openid), page_of_problem)
    install_api(app, VERSION)
    install_fhir(app)
    app.extensions["composition"] = composition
    app.register_blueprint(console)
    install_mpi_console(app, composition.mpi)
    for blueprint in (_health_routes(composition), tokens, people, directory, audit_tree, events, webhooks):
        register(app, blueprint)
    index = make_mpi_blueprints(composition.mpi, settings.public_url)
    for blueprint in (*index, *make_consent_blueprints(composition.consent)):
        register(app, blueprint)
    install_consent_console(app, composition.consent)
    install_administration(app)
    register(app, statement_routes(VERSION, (*MPI_RESOURCES, *CONSENT_RESOURCES)))
    return app


_HEALTH = {
    "type": "object",
    "required": ["status"],
    "properties": {
        "status": {"enum": ["live", "ready", "not-ready"]},
        "version": {"type": "string"},
        "checks": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


def _health_routes(composition: Composition) -> Any:
    room = make_blueprint("health", url_prefix="", description="For those who watch the service")

    @room.get("/health/live")
    @open_to_all("a watcher has no credentials")
    @room.doc(summary="Say that the process answers", responses={"200": answers("It does", _HEALTH)})
    def live() -> Response:
        return jsonify(status="live", version=VERSION)

    @room.get("/health/ready")
    @open_to_all("a watcher has no credentials")
    @room.doc(
        summary="Say whether requests can be served: database, schema, match model, policy; Redis for information",
        responses={"200": answers("Ready", _HEALTH), "503": answers("Not ready, and why", _HEALTH)},
    )
    def ready() -> Response:
        checks = health(composition)
        is_ready = all(checks[name] == "ok" for name in ("database", "schema", "model", "policy"))
        answer = jsonify(status="ready" if is_ready else "not-ready", checks=checks)
        answer.status_code = 200 if is_ready else 503
        return answer

    @room.get("/api/v1/openapi.json")
    @open_to_all("the description holds no data")
    @room.doc(
        summary="This description", responses={"200": answers("An OpenAPI 3.1 document", {"type": "object"})}
    )
    def openapi() -> Response:
        return jsonify(openapi_document())

    @room.get("/metrics")
    @open_to_all("asks for the scope itself, unless the caller is on this machine")
    @room.doc(
        summary="Counters, in Prometheus' text format",
        responses={"200": answers("The counters", {"type": "string"}, metrics.CONTENT_TYPE)},
    )
    def read_metrics() -> Response:
        is_here = request.remote_addr in {"127.0.0.1", "::1"} and "X-Forwarded-For" not in request.headers
        if not is_here and "metrics" not in authenticate(shell()).scopes:
            raise Forbidden("scope-missing", detail="Needs the scope metrics.")
        _measure_audit(composition)
        _measure_events(composition)
        _measure_queue(composition)
        return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    return room


def _measure_audit(composition: Composition) -> None:
    """Ask the database how far sealing is behind; what was last known stands while it cannot be asked."""
    try:
        with composition.db.read() as tx:
            found = count_waiting(tx)
    except (SQLAlchemyError, ServiceError, OSError):
        return
    waits = composition.clock.now() - found.oldest_at if found.oldest_at is not None else timedelta(0)
    metrics.AUDIT_TREE_SIZE.set(found.sealed)
    metrics.AUDIT_WAITING_ROWS.set(found.rows)
    metrics.AUDIT_WAITING_SECONDS.set(max(0.0, waits.total_seconds()))


def _measure_events(composition: Composition) -> None:
    """Ask the database how far events are handed on and delivered; what was last known stands while it cannot be asked."""
    try:
        with composition.db.read() as tx:
            feed, waiting, backlog = outbox.read_feed(tx), outbox.waiting_count(tx), backlog_of(tx)
    except (SQLAlchemyError, ServiceError, OSError):
        return
    metrics.EVENTS_LAST_SEQUENCE.set(feed.last)
    if feed.complete_at is not None:
        age = composition.clock.now() - feed.complete_at
        metrics.EVENTS_COMPLETE_AGE.set(max(0.0, age.total_seconds()))
    metrics.EVENTS_WAITING.set(waiting)
    metrics.WEBHOOK_BEHIND.clear()
    for webhook_id, behind in backlog.behind.items():
        metrics.WEBHOOK_BEHIND.labels(format_id(webhook_id)).set(behind)
    metrics.WEBHOOKS_PAUSED.set(backlog.paused)
    for outcome in ("delivered", "failed", "set_aside"):
        metrics.WEBHOOK_DELIVERIES.labels(outcome).set(getattr(backlog, outcome))


def _measure_queue(composition: Composition) -> None:
    """Ask the database what waits to be reviewed; what was last known stands while it cannot be asked."""
    try:
        counts, oldest = count_open_tasks(composition.mpi)
    except (SQLAlchemyError, ServiceError, OSError):
        return
    for kind in Kind:
        metrics.REVIEW_TASKS_OPEN.labels(kind.value).set(counts.get(kind.value, 0))
    metrics.REVIEW_TASKS_OLDEST.set(oldest)


def health(composition: Composition) -> dict[str, str]:
    """Look at each part; ``ok`` or a word for what is wrong. Redis is told, and never makes the service unready."""
    checks = {"database": "ok", "schema": "ok", "model": "ok", "policy": "ok"}
    try:
        with composition.db.read() as tx:
            if not is_current(tx):
                checks["schema"] = "behind"
    except (SQLAlchemyError, ServiceError, OSError):
        checks |= {"database": "down", "schema": "unknown"}
    # Asked for so that what is wrong is raised.
    in_force: dict[str, Callable[[], object]] = {
        "model": lambda: composition.mpi.present().model.revision,
        "policy": lambda: read_policy(composition.consent),
    }
    for name, read in in_force.items():
        try:
            read()
        except ServiceError as error:
            checks[name] = error.code
        except (SQLAlchemyError, OSError):
            checks[name] = "unknown"
    link = composition.redis
    checks["redis"] = "none" if link is None else "up" if link.is_up() else "down"
    return checks


# Commands --------------------------------------------------------------------------------------------------------------


class _Composed(click.Group):
    """A group that reads the settings for its commands, and turns a refusal into one clear line and a failing exit."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            if ctx.obj is None:
                ctx.obj = Composition(Settings.from_environment())
            return super().invoke(ctx)
        except ServiceError as fault:
            raise click.ClickException(str(fault)) from fault
        except SQLAlchemyError as fault:
            # Its text may hold a row; its type does not.
            raise click.ClickException(f"the database refused: {type(fault).__name__}") from fault
        except OSError as fault:
            raise click.ClickException(
                ": ".join(str(part) for part in (fault.filename, fault.strerror) if part)
            ) from fault
        except ModuleNotFoundError as fault:
            if fault.name not in _TRAINING:
                raise
            raise click.ClickException(
                f"this needs the training packages, and {fault.name} is not here: make install"
            ) from fault


_TRAINING = frozenset({"numpy", "pandas", "recordlinkage", "duckdb", "pyarrow", "scipy"})
"""What the runtime does without: only models and their evaluation need it."""

_HELP = {"help_option_names": ["-h", "--help"]}


def _consent_commands() -> dict[str, click.Command]:
    if importlib.util.find_spec("consent.cli") is None:
        return {}
    commands: dict[str, click.Command] = importlib.import_module("consent.cli").cli.commands
    return commands


mpi_command = _Composed(
    "mpi",
    commands=mpi.cli.cli.commands,
    help="Who is this? Serve, load, link, and keep clients, users and keys.",
    context_settings=_HELP,
)
consent_command = _Composed(
    "consent",
    commands=_consent_commands(),
    help="May this be shared? Agreements, directives, audit.",
    context_settings=_HELP,
)


@mpi_command.command()
@click.option("--check", is_flag=True, help="Change nothing; exit status 1 says that revisions are pending.")
@click.pass_obj
def migrate(composition: Composition, check: bool) -> None:
    """Bring the schema to its newest version, under MIGRATOR_DATABASE_URL where that is set."""
    if check:
        with composition.db.read() as tx:
            current = is_current(tx)
        click.echo("The schema is current." if current else "Revisions are pending: run `mpi migrate`.")
        sys.exit(0 if current else 1)
    _migrate(composition)
    click.echo("The schema is current.")


def _migrate(composition: Composition) -> None:
    database = Database(composition.settings.migrator_database_url, pool_size=1)
    try:
        upgrade(database)
        keep_shipped(replace(composition.consent, db=database), "mpi-migrate")
    finally:
        database.close()


@mpi_command.command()
@click.option("--with-worker", is_flag=True, help="Run `mpi worker` beside it; it ends when the server ends.")
@click.pass_obj
def serve(composition: Composition, with_worker: bool) -> None:
    """Serve the API and the console."""
    configure_logs(composition.settings.log_level)
    _need_port(composition.settings)
    with composition.db.read() as tx:
        if not is_current(tx):
            raise click.ClickException("Revisions are pending: run `mpi migrate`.")
    _serve(composition.settings, with_worker=with_worker)


def _need_port(settings: Settings) -> None:
    """See that nobody listens where we would, before any work is done for nothing."""
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, address in found[:1]:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as fault:
        where = f"{settings.host}, port {settings.port}"
        raise click.ClickException(
            f"Cannot listen on {where} ({fault.strerror}). Choose another: MPI_PORT=8081, or MPI_HOST."
        ) from fault


def _serve(settings: Settings, *, with_worker: bool) -> None:
    from foundation.web.server import Server  # the server is not needed by other commands

    def load() -> Flask:
        configure_logs(settings.log_level)
        return create_app(settings)

    worker = None
    if with_worker:
        # The worker holds the other end of a pipe and ends when it closes, however this process ends.
        command = [sys.executable, "-c", "import app; app.mpi_command()", "worker", "--until-closed"]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603  our own interpreter and code
    try:
        Server(settings, load).run()
    finally:
        if worker is not None and worker.stdin is not None:
            worker.stdin.close()
            try:
                worker.wait(timeout=30)
            except subprocess.TimeoutExpired:
                worker.kill()


@mpi_command.command()
@click.option("--until-closed", is_flag=True, help="End when standard input closes.")
@click.option("--once", is_flag=True, help="Do what is waiting, then end.")
@click.pass_obj
def worker(composition: Composition, until_closed: bool, once: bool) -> None:
    """Link what was left over, seal audit rows, hand on events, measure data quality, and remove what has expired."""
    configure_logs(composition.settings.log_level)
    if once:
        work(composition)
        deliver_waiting(post_of(composition.db, composition.clock, composition.settings))
        seal_audit(composition)
        tidy(composition)
        measure_waiting(composition.mpi)
        watch(composition)
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if until_closed:
        threading.Thread(target=_stop_when_closed, args=(stop,), daemon=True).start()
    settle_down()
    log.info("worker started")
    run_worker(composition, stop)
    log.info("worker ended")


def _stop_when_closed(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


def run_worker(composition: Composition, stop: threading.Event) -> None:
    """Work until told to stop. A failure is logged and tried again; what a crash left is taken again.

    Sealing, webhooks and the measuring of data quality have threads of their own: they must not wait for long linking, nor stop with
    it, and linking must not wait for them.
    """
    post = post_of(composition.db, composition.clock, composition.settings)
    others = (
        threading.Thread(target=_keep_sealing, args=(composition, stop), name="sealer"),
        threading.Thread(target=keep_delivering, args=(post, stop), name="webhooks"),
        threading.Thread(target=_keep_measuring, args=(composition, stop), name="quality"),
    )
    for one in others:
        one.start()
    try:
        _keep_working(composition, stop)
    finally:
        stop.set()
        for one in others:
            one.join()


def _keep_sealing(composition: Composition, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            seal_audit(composition)
        except Exception as error:
            log.error("sealing failed", exc_info=error)
        stop.wait(SEAL_EVERY.total_seconds())


def _keep_measuring(composition: Composition, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            measured = measure_waiting(composition.mpi, lambda: not stop.is_set())
            if measured:
                log.info("data quality measured", extra={"sources": measured})
            while not stop.is_set() and count_usage(composition.consent):
                pass
            watch(composition, stop.is_set)
        except Exception as error:
            log.error("measuring failed", exc_info=error)
        stop.wait(_MEASURE_SECONDS)


def watch(composition: Composition, is_over: Callable[[], bool] = lambda: False) -> None:
    """Look through the sealed log for views that somebody should ask about, and close what care accounts for."""
    while not is_over() and watch_views(composition.consent):
        pass
    explain_open(composition.consent)


def _keep_working(composition: Composition, stop: threading.Event) -> None:
    tidied = 0.0
    while not stop.is_set():
        try:
            done = work(composition)
            if time.monotonic() - tidied >= _TIDY_SECONDS:
                tidy(composition)
                tidied = time.monotonic()
        except Exception as error:
            log.error("worker failed", exc_info=error)
            stop.wait(_REST_SECONDS)
            continue
        if done == 0 and not stop.is_set():
            composition.bell.wait("link", _REST_SECONDS)


def work(composition: Composition) -> int:
    """Take one round of waiting records and events; return how many were done."""
    followed = follow_feeds(composition.mpi, _LINK_AT_ONCE) + follow_changes(composition.mpi)
    linked = link_waiting(composition.mpi, _LINK_AT_ONCE)
    sinks = [outbox.to_redis(composition.redis)] if composition.redis is not None else []
    # What another sink could not take is brought again: that changes nothing for the first, and would be counted twice by the last.
    sinks = [watch_partings(composition.consent), *sinks, count_activity(composition.mpi)]
    relayed = outbox.relay(composition.db, composition.clock, sinks)
    tended = tend_queue(composition.mpi, _PLACE_AT_ONCE) + tend_notices(composition.consent)
    return followed + linked + relayed + tended


def seal_audit(composition: Composition) -> int:
    """Add the audit rows that are settled to the tree, with signed checkpoints; return how many."""
    return seal_waiting(composition.db, composition.clock, origin_of(composition.settings.public_url))


def tidy(composition: Composition) -> None:
    """Remove what has expired and proves nothing any more."""
    now = composition.clock.now()
    with composition.db.write() as tx:
        clients.purge_assertions(tx, now - timedelta(minutes=1))
        clients.purge_revoked(tx, now - timedelta(minutes=1))
        sessions.purge_sessions(tx, now)
        purge_attempts(tx, now)
        idempotency.purge_keys(tx, now)
    kept_since = now - timedelta(days=composition.settings.events_kept_days)
    removed = outbox.PURGED_AT_ONCE
    while removed == outbox.PURGED_AT_ONCE:  # some at a time, so that nobody waits long for the one writer
        with composition.db.write() as tx:
            removed = outbox.purge_relayed(tx, kept_since)
            purge_deliveries(tx, now, kept_since)
    withdraw_moot(composition.mpi)
    forget_messages(composition.mpi, composition.settings.hl7.kept_days)


@mpi_command.group()
def client() -> None:
    """Systems that may ask."""


@client.command("add")
@click.argument("client_id")
@click.option("--name", required=True)
@click.option("--organisation", required=True, help="Its ODS code.")
@click.option(
    "--for", "organisations", multiple=True, help='Another organisation it speaks for; "*" for all.'
)
@click.option("--scope", "scopes", multiple=True, required=True)
@click.option("--jwks-url", help="Where it publishes its keys.")
@click.option("--requests-per-minute", type=int, help="A limit of its own, instead of the usual one.")
@click.pass_obj
def client_add(
    composition: Composition,
    client_id: str,
    name: str,
    organisation: str,
    organisations: tuple[str, ...],
    scopes: tuple[str, ...],
    jwks_url: str | None,
    requests_per_minute: int | None,
) -> None:
    """Register a system as CLIENT_ID."""
    now = composition.clock.now()
    with composition.db.write() as tx:
        _need_organisation(tx, organisation)
        clients.create_client(
            tx,
            now,
            client_id,
            name,
            organisation,
            frozenset(scopes),
            organisations=frozenset(organisations),
            jwks_url=jwks_url,
            requests_per_minute=requests_per_minute,
        )
        _audit(tx, now, "client-added", {"client_id": client_id, "scopes": sorted(scopes)})
    click.echo(f"Registered {client_id}. Give it a key: mpi client key {client_id} PUBLIC.jwk.json")


@client.command("key")
@click.argument("client_id")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def client_key(composition: Composition, client_id: str, file: Path) -> None:
    """Register the public keys in FILE: a JWK, or a JWK set."""
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        found = given["keys"] if "keys" in given else [given]
    except (ValueError, TypeError, KeyError) as error:
        raise click.ClickException("not a JWK or a JWK set") from error
    now = composition.clock.now()
    with composition.db.write() as tx:
        kids = [clients.add_client_key(tx, now, client_id, jwk) for jwk in found]
        _audit(tx, now, "client-key-added", {"client_id": client_id, "kids": kids})
    click.echo("\n".join(f"Registered key {kid}" for kid in kids))


@client.command("keys")
@click.argument("client_id")
@click.option("--json", "is_json", is_flag=True, help="Answer in JSON, for machines.")
@click.pass_obj
def client_keys(composition: Composition, client_id: str, is_json: bool) -> None:
    """List the public keys that CLIENT_ID registered here, the oldest first."""
    now = composition.clock.now()
    with composition.db.read() as tx:
        if clients.find_client(tx, client_id) is None:
            raise NotFound("client-unknown", ids={"client_id": client_id})
        found = clients.keys_of(tx, client_id)
    if is_json:
        rows = [
            {
                "kid": one.kid,
                "added_at": one.added_at.isoformat(),
                "retired_at": one.retired_at.isoformat() if one.retired_at else None,
                "is_believed": one.is_believed(now),
            }
            for one in found
        ]
        click.echo(json.dumps({"keys": rows}))
        return
    for one in found:
        added = f"{one.added_at:%Y-%m-%d %H:%M}"
        state = "believed" if one.retired_at is None else f"retired from {one.retired_at:%Y-%m-%d %H:%M} UTC"
        click.echo(f"{one.kid:<24} added {added} UTC  {state}")


@client.command("retire-key")
@click.argument("client_id")
@click.argument("kid")
@click.option(
    "--at", "at", metavar="INSTANT", help="From when on, such as 2026-12-01T06:00Z; at once without."
)
@click.option("--leaked", is_flag=True, help="Its tokens of the moment are refused as well.")
@click.pass_obj
def client_retire_key(
    composition: Composition, client_id: str, kid: str, at: str | None, leaked: bool
) -> None:
    """Let the key KID of CLIENT_ID open nothing any more; its other keys stay as they are."""
    if leaked and at is not None:
        raise click.UsageError("a key that leaked is retired at once: leave --at out")
    now = composition.clock.now()
    retired_at = now if at is None else _instant(at, "at")
    with composition.db.write() as tx:
        clients.retire_client_key(tx, client_id, kid, retired_at)
        detail = {"client_id": client_id, "kids": [kid], "retired_at": retired_at.isoformat()}
        _audit(tx, now, "client-key-retired", detail)
        if leaked:
            clients.revoke_tokens(tx, client_id)
            _audit(tx, now, "tokens-revoked", {"client_id": client_id})
        left = [one for one in clients.keys_of(tx, client_id) if one.is_believed(max(now, retired_at))]
    click.echo(f"Retired key {kid} from {retired_at:%Y-%m-%d %H:%M} UTC on; {len(left)} left then.")


def _instant(text: str, field: str) -> datetime:
    try:
        return read_instant(text)
    except ValueError as error:
        detail = "Say the zone too, such as 2026-12-01T06:00Z."
        raise Invalid("instant-format", field=field, detail=detail) from error


@client.command("revoke-tokens")
@click.argument("client_id")
@click.pass_obj
def client_revoke_tokens(composition: Composition, client_id: str) -> None:
    """Refuse every token that CLIENT_ID has, from its next request on; it may ask for new ones."""
    now = composition.clock.now()
    with composition.db.write() as tx:
        clients.revoke_tokens(tx, client_id)
        _audit(tx, now, "tokens-revoked", {"client_id": client_id})
    click.echo(f"Revoked every token of {client_id}.")


@client.command("change")
@click.argument("client_id")
@click.option("--name")
@click.option("--scope", "scopes", multiple=True, help="Its scopes, all of them, instead of those it has.")
@click.option(
    "--for",
    "organisations",
    multiple=True,
    help='The further organisations it speaks for, all of them; "*" for all.',
)
@click.option("--own-only", is_flag=True, help="It speaks for its own organisation alone.")
@click.option("--jwks-url", help="Where it publishes its keys.")
@click.option("--no-jwks-url", is_flag=True, help="Only keys that are registered here count.")
@click.option("--requests-per-minute", type=int, help="A limit of its own.")
@click.option("--usual-limit", is_flag=True, help="As many requests as any other.")
@click.pass_obj
def client_change(
    composition: Composition,
    client_id: str,
    name: str | None,
    scopes: tuple[str, ...],
    organisations: tuple[str, ...],
    own_only: bool,
    jwks_url: str | None,
    no_jwks_url: bool,
    requests_per_minute: int | None,
    usual_limit: bool,
) -> None:
    """Change what is registered of CLIENT_ID, from its next request on. A scope that is added comes with its next token."""
    for one, other, words in (
        (organisations, own_only, "--for and --own-only"),
        (jwks_url, no_jwks_url, "--jwks-url and --no-jwks-url"),
        (requests_per_minute, usual_limit, "--requests-per-minute and --usual-limit"),
    ):
        if one and other:
            raise click.UsageError(f"{words} say different things")
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = name
    if scopes:
        changes["scopes"] = frozenset(scopes)
    if organisations or own_only:
        changes["organisations"] = frozenset(organisations)
    if jwks_url is not None or no_jwks_url:
        changes["jwks_url"] = jwks_url
    if requests_per_minute is not None or usual_limit:
        changes["requests_per_minute"] = requests_per_minute
    if not changes:
        raise click.UsageError("nothing to change: see mpi client change --help")
    now = composition.clock.now()
    with composition.db.write() as tx:
        changed = clients.change_client(tx, client_id, **changes)
        told = {"client_id": client_id, "changed": sorted(changes), "scopes": sorted(changed.scopes)}
        _audit(tx, now, "client-changed", told)
    click.echo(f"Changed {client_id}: {', '.join(sorted(changes))}.")


@client.command("list")
@click.option("--json", "is_json", is_flag=True, help="Answer in JSON, for machines.")
@click.pass_obj
def client_list(composition: Composition, is_json: bool) -> None:
    """List registered systems."""
    with composition.db.read() as tx:
        now = composition.clock.now()
        found = [
            (one, sorted(key.kid for key in clients.keys_of(tx, one.client_id) if key.is_believed(now)))
            for one in clients.list_clients(tx)
        ]
    if is_json:
        rows = [
            {
                "client_id": one.client_id,
                "organisation": one.organisation,
                "organisations": sorted(one.organisations),
                "scopes": sorted(one.scopes),
                "kids": kids,
                "jwks_url": one.jwks_url,
                "requests_per_minute": one.requests_per_minute,
                "is_active": one.is_active,
            }
            for one, kids in found
        ]
        click.echo(json.dumps({"clients": rows}))
        return
    for one, kids in found:
        state = "" if one.is_active else "  CLOSED"
        click.echo(
            f"{one.client_id:<24} {one.organisation:<8} {len(kids)} keys  {' '.join(sorted(one.scopes))}{state}"
        )


@client.command("close")
@click.argument("client_id")
@click.pass_obj
def client_close(composition: Composition, client_id: str) -> None:
    """Keep a system out, from its next request on."""
    now = composition.clock.now()
    with composition.db.write() as tx:
        clients.set_client_active(tx, client_id, is_active=False)
        _audit(tx, now, "client-closed", {"client_id": client_id})
    click.echo(f"Closed {client_id}.")


@client.command("open")
@click.argument("client_id")
@click.pass_obj
def client_open(composition: Composition, client_id: str) -> None:
    """Let a system in again that was kept out. Tokens that it had before stay revoked."""
    now = composition.clock.now()
    with composition.db.write() as tx:
        clients.set_client_active(tx, client_id, is_active=True)
        _audit(tx, now, "client-opened", {"client_id": client_id})
    click.echo(f"Opened {client_id}.")


@mpi_command.group()
def webhook() -> None:
    """Where events are sent, for those who do not ask for them."""


_OPERATOR = replace(SYSTEM_ITSELF, organisations=frozenset({"*"}))
"""Whoever has the command line keeps everybody's webhooks."""


class _Id(click.ParamType[int]):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return value if isinstance(value, int) else parse_id(value, param.name or "id" if param else "id")


@webhook.command("add")
@click.argument("client_id")
@click.argument("url")
@click.option("--topic", "topics", multiple=True, required=True, help="A topic of events, or more of them.")
@click.option("--description")
@click.pass_obj
def webhook_add(
    composition: Composition, client_id: str, url: str, topics: tuple[str, ...], description: str | None
) -> None:
    """Send events to URL, as far as the system CLIENT_ID might read them."""
    reach = reach_of(composition.settings)
    with composition.db.write() as tx:
        made, secret = keep.create_webhook(
            tx,
            composition.clock.now(),
            _OPERATOR,
            reach,
            client_id=client_id,
            url=url,
            topics=topics,
            description=description,
        )
    click.echo(f"Webhook {format_id(made.webhook_id)}, from event {made.sent_through + 1} on.")
    click.echo(f"Its secret, not shown again: {secret}")


@webhook.command("list")
@click.option("--json", "is_json", is_flag=True, help="Answer in JSON, for machines.")
@click.pass_obj
def webhook_list(composition: Composition, is_json: bool) -> None:
    """List webhooks: how far each is, and how it fares."""
    found: list[keep.Webhook] = []
    with composition.db.read() as tx:
        while some := keep.list_webhooks(tx, _OPERATOR, after=found[-1].webhook_id if found else 0):
            found += some
        last = outbox.read_feed(tx).last
    if is_json:
        schema = WebhookSchema()
        click.echo(json.dumps({"last": last, "webhooks": [schema.dump(one) for one in found]}))
        return
    for one in found:
        state = "active" if one.paused_because is None else f"PAUSED {one.paused_because}"
        click.echo(
            f"{one.webhook_id}  {one.client_id:<20} {state:<20} {last - one.sent_through} behind, "
            f"{one.failures} failures, {one.set_aside} set aside  {shown(one.url)}"
        )


def _change_webhook(composition: Composition, webhook_id: int, changes: dict[str, Any]) -> None:
    with composition.db.write() as tx:
        found = keep.change_webhook(tx, composition.clock.now(), _OPERATOR, webhook_id, changes)
    click.echo(f"{found.state}: {' '.join(found.topics)}")


@webhook.command("pause")
@click.argument("webhook_id", type=_Id())
@click.pass_obj
def webhook_pause(composition: Composition, webhook_id: int) -> None:
    """Send nothing until `mpi webhook resume`; events wait as long as they are kept."""
    _change_webhook(composition, webhook_id, {"state": "paused"})


@webhook.command("resume")
@click.argument("webhook_id", type=_Id())
@click.pass_obj
def webhook_resume(composition: Composition, webhook_id: int) -> None:
    """Go on from where it stood, at once."""
    _change_webhook(composition, webhook_id, {"state": "active"})


@webhook.command("topics")
@click.argument("webhook_id", type=_Id())
@click.argument("topics", nargs=-1, required=True)
@click.pass_obj
def webhook_topics(composition: Composition, webhook_id: int, topics: tuple[str, ...]) -> None:
    """Send events of TOPICS from now on, and of no others."""
    _change_webhook(composition, webhook_id, {"topics": topics})


@webhook.command("rotate-secret")
@click.argument("webhook_id", type=_Id())
@click.pass_obj
def webhook_rotate(composition: Composition, webhook_id: int) -> None:
    """Sign with a new secret; for a day messages bear the old one's signature as well."""
    with composition.db.write() as tx:
        _, secret = keep.rotate_secret(tx, composition.clock.now(), _OPERATOR, webhook_id)
    click.echo(f"Its secret, not shown again: {secret}")


@webhook.command("replay")
@click.argument("webhook_id", type=_Id())
@click.argument("from_sequence", type=click.IntRange(1))
@click.pass_obj
def webhook_replay(composition: Composition, webhook_id: int, from_sequence: int) -> None:
    """Send everything from FROM_SEQUENCE on once more, or skip ahead to it."""
    with composition.db.write() as tx:
        keep.replay_webhook(tx, composition.clock.now(), _OPERATOR, webhook_id, from_sequence)
    click.echo(f"From event {from_sequence} on.")


@webhook.command("deliveries")
@click.argument("webhook_id", type=_Id())
@click.option("--dead", is_flag=True, help="Only messages that were set aside.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1))
@click.option("--json", "is_json", is_flag=True, help="Answer in JSON, for machines.")
@click.pass_obj
def webhook_deliveries(
    composition: Composition, webhook_id: int, dead: bool, limit: int, is_json: bool
) -> None:
    """List what became of messages, the newest first."""
    state = "dead" if dead else None
    with composition.db.read() as tx:
        found = keep.list_deliveries(tx, _OPERATOR, webhook_id, state=state, limit=limit)
    if is_json:
        schema = DeliverySchema()
        click.echo(json.dumps({"deliveries": [schema.dump(one) for one in found]}))
        return
    for one in found:
        click.echo(
            f"{one.delivery_id}  {one.first_sequence}-{one.last_sequence}  {one.state:<10} {one.attempts} attempts  "
            f"{one.outcome} {one.status or ''}".rstrip()
        )


@webhook.command("retry")
@click.argument("webhook_id", type=_Id())
@click.argument("delivery_id", type=_Id())
@click.pass_obj
def webhook_retry(composition: Composition, webhook_id: int, delivery_id: int) -> None:
    """Have a message that was set aside sent once more."""
    with composition.db.write() as tx:
        keep.retry_delivery(tx, composition.clock.now(), _OPERATOR, webhook_id, delivery_id)
    click.echo("It goes with the next round of a worker.")


@webhook.command("ping")
@click.argument("webhook_id", type=_Id())
@click.pass_obj
def webhook_ping(composition: Composition, webhook_id: int) -> None:
    """Send a signed message without events, and say what came of it."""
    outcome = ping_webhook(
        post_of(composition.db, composition.clock, composition.settings), _OPERATOR, webhook_id
    )
    if not outcome.is_delivered:
        raise click.ClickException(f"{outcome.code} {outcome.status or ''}".rstrip())
    click.echo(f"delivered {outcome.status}")


@webhook.command("remove")
@click.argument("webhook_id", type=_Id())
@click.pass_obj
def webhook_remove(composition: Composition, webhook_id: int) -> None:
    """Send nothing to it any more, and forget what was sent."""
    with composition.db.write() as tx:
        keep.delete_webhook(tx, composition.clock.now(), _OPERATOR, webhook_id)
    click.echo("Removed.")


@mpi_command.group()
def user() -> None:
    """People with an account here."""


@user.command("add")
@click.argument("username")
@click.option("--organisation", required=True, help="Its ODS code.")
@click.option("--role", required=True, help="National job role code, such as R8000.")
@click.option("--name", help="As the console greets them.")
@click.option("--activity", "activities", multiple=True, help="National activity code, such as B0168.")
@click.option("--scope", "scopes", multiple=True, help="A scope beyond those of the role.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input instead of asking."
)
@click.pass_obj
def user_add(
    composition: Composition,
    username: str,
    organisation: str,
    role: str,
    name: str | None,
    activities: tuple[str, ...],
    scopes: tuple[str, ...],
    password_stdin: bool,
) -> None:
    """Open an account for USERNAME."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    now = composition.clock.now()
    with composition.db.write() as tx:
        _need_organisation(tx, organisation)
        opened = users.create_user(
            tx,
            now,
            username,
            password,
            organisation,
            role,
            name=name,
            activities=frozenset(activities),
            scopes=frozenset(scopes),
        )
        _audit(tx, now, "user-added", {"user_id": format_id(opened.user_id), "role": opened.role})
    click.echo(f"Opened an account for {username}.")


@user.command("list")
@click.pass_obj
def user_list(composition: Composition) -> None:
    """List accounts."""
    with composition.db.read() as tx:
        found = users.list_users(tx)
    for one in found:
        state = "" if one.is_active else "  CLOSED"
        role = "The role of each sign-in" if one.role is None else role_name(one.role)
        click.echo(f"{one.username:<24} {one.organisation:<8} {one.role or '-':<6} {role}{state}")


@user.command("close")
@click.argument("username")
@click.pass_obj
def user_close(composition: Composition, username: str) -> None:
    """Close an account; its sessions end with it."""
    now = composition.clock.now()
    with composition.db.write() as tx:
        closed = users.set_user_active(tx, username, is_active=False)
        _audit(tx, now, "user-closed", {"user_id": format_id(closed)})
    click.echo(f"Closed the account of {username}.")


@user.command("open")
@click.argument("username")
@click.pass_obj
def user_open(composition: Composition, username: str) -> None:
    """Open an account that was closed, or locked."""
    now = composition.clock.now()
    with composition.db.write() as tx:
        opened = users.set_user_active(tx, username, is_active=True)
        _audit(tx, now, "user-opened", {"user_id": format_id(opened)})
    click.echo(f"Opened the account of {username}.")


@mpi_command.group("keys")
def keys_group() -> None:
    """The service's own signing keys."""


@keys_group.command("rotate")
@click.option(
    "--distrust-old", is_flag=True, help="For a key that leaked: all that it signed is dead at once."
)
@click.pass_obj
def keys_rotate(composition: Composition, distrust_old: bool) -> None:
    """Sign with a new key; old ones are believed for 15 minutes more."""
    now = composition.clock.now()
    with composition.db.write() as tx:
        kid = keys.rotate_keys(tx, now, distrust_old=distrust_old)
        _audit(tx, now, "signing-key-rotated", {"kid": kid, "distrust_old": distrust_old})
    click.echo(f"Signing with {kid}.")


def _need_organisation(tx: Connection, code: str) -> None:
    if find_organisation(tx, code) is None:
        raise Invalid("organisation-unknown", field="organisation")


def _audit(tx: Connection, at: datetime, kind: str, detail: Mapping[str, Any]) -> None:
    audit.append(tx, audit.entry_by(SYSTEM_ITSELF, at, kind, detail=detail))


@mpi_command.command()
@click.option(
    "--write", "path", type=click.Path(dir_okay=False, path_type=Path), help="Into this file instead."
)
@click.pass_obj
def openapi(composition: Composition, path: Path | None) -> None:
    """Print the API's description (OpenAPI 3.1), as it is served at /api/v1/openapi.json."""
    text = openapi_text(composition.settings)
    if path is None:
        click.echo(text, nl=False)
        return
    path.write_text(text, encoding="utf-8")
    click.echo(f"Wrote {path}.")


def openapi_text(settings: Settings) -> str:
    """The description as the repository keeps it: the same text whatever the settings, keys in order."""
    return (
        json.dumps(openapi_document(create_app(settings)), indent=1, sort_keys=True, ensure_ascii=False)
        + "\n"
    )


# The quick start -------------------------------------------------------------------------------------------------------


@mpi_command.command()
@click.option(
    "--records", default=_SAMPLE_RECORDS, show_default=True, help="Size of the sample in an empty index."
)
@click.option("--no-serve", is_flag=True, help="Prepare everything, and do not serve.")
@click.pass_obj
def run(composition: Composition, records: int, no_serve: bool) -> None:
    """Start here: schema, a sample population in an empty index, demonstration accounts; then serve, with a worker."""
    configure_logs("WARNING")
    if composition.settings.is_production:
        raise click.ClickException("The quick start loads made-up people; this index is marked production.")
    if not no_serve:
        _need_port(composition.settings)
    _migrate(composition)
    if count_index(composition.mpi)["records"] == 0:
        _load_sample(composition, records)
    shown = set_up_demonstration(composition)
    counts = count_index(composition.mpi)
    composition.db.close()
    click.echo(f"{counts['records']} source records, {counts['persons']} persons")
    for line in shown:
        click.echo(line)
    if no_serve:
        return
    url = composition.settings.public_url
    click.echo(
        f"\nConsole      {url}/\nReadiness    {url}/health/ready\nOpenAPI      {url}/api/v1/openapi.json"
    )
    click.echo("Stop with Ctrl-C.\n")
    configure_logs(composition.settings.log_level)
    _serve(composition.settings, with_worker=True)


def _load_sample(composition: Composition, records: int) -> None:
    from mpi.sample import write_sample  # a population generator is not needed to serve

    folder = composition.settings.home / "sample"
    click.echo(f"Making a sample of {records} source records in {folder}")
    summary = write_sample(folder, records, _SAMPLE_SEED)
    load_organisations(composition.db, summary.organisations_path)
    report = load_file(composition.mpi, summary.records_path, is_json=False)
    if report.rejected:
        click.echo(f"Set aside {report.rejected} rows")


_DEMONSTRATION_CLIENTS = (
    (
        "ambulance-app",
        "London Ambulance Service app",
        "RRU",
        "match match:reasons persons:read decisions releases emergency",
    ),
    (
        "uclh-portal",
        "UCLH portal",
        "RRV",
        "records:write records:read match persons:read decisions releases redeem relationships:write",
    ),
    (
        "slam-portal",
        "SLaM portal",
        "RV5",
        "records:write records:read match persons:read redeem relationships:write",
    ),
    ("record-service", "Shared record service", "RRV", "records:read redeem"),
)
_DEMONSTRATION_USERS = (
    ("quality", "Data quality, UCLH", "RRV", "R5110"),
    ("officer", "Privacy officer, UCLH", "RRV", "R0001"),
    ("supervisor", "Administrator, UCLH", "RRV", "R0008"),
    ("doctor", "Doctor, UCLH", "RRV", "R8000"),
)


def set_up_demonstration(composition: Composition) -> list[str]:
    """Make organisations, systems, accounts and agreements to try the service with, once; return the lines to show.

    Passwords and the systems' private keys are random, and written under the home folder, readable by its owner only.
    """
    from mpi.sample import story_organisations

    folder = composition.settings.home / "demonstration"
    accounts = folder / "accounts.json"
    now = composition.clock.now()
    with composition.db.read() as tx:
        known = {one.username for one in users.list_users(tx)}
        is_there = known.issuperset(name for name, *_ in _DEMONSTRATION_USERS)
        missing = [one for one in story_organisations() if find_organisation(tx, one.ods_code) is None]
    if is_there:
        return [f"Accounts: see {accounts}"]
    put_organisations(
        composition.db,
        {
            place: Organisation(one.ods_code, one.name, one.setting, parent=one.parent or None)
            for place, one in enumerate(missing, start=1)
        },
    )
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    passwords = {name: secrets.token_urlsafe(12) for name, *_ in _DEMONSTRATION_USERS if name not in known}
    with composition.db.write() as tx:
        for client_id, name, organisation, scopes in _DEMONSTRATION_CLIENTS:
            if clients.find_client(tx, client_id) is None:
                clients.create_client(tx, now, client_id, name, organisation, frozenset(scopes.split()))
            key = RSAKey.generate_key(2048, {"kid": f"{client_id}-1"})
            clients.add_client_key(tx, now, client_id, key.as_dict(private=False))
            _write_secret(folder / f"{client_id}.jwk.json", json.dumps(key.as_dict(private=True)))
        for username, name, organisation, role in _DEMONSTRATION_USERS:
            if username in passwords:
                users.create_user(tx, now, username, passwords[username], organisation, role, name=name)
        _audit(
            tx, now, "demonstration-set-up", {"users": len(passwords), "clients": len(_DEMONSTRATION_CLIENTS)}
        )
    _write_secret(accounts, json.dumps(passwords, indent=2))
    record_agreements(composition.consent, [_demonstration_agreement(now)], SYSTEM_ITSELF)
    lines = [f"Accounts (kept in {accounts}, keys of systems beside it):"]
    return lines + [
        f"  {username:<12} {passwords[username]:<20} {role_name(role)}"
        for username, _, _, role in _DEMONSTRATION_USERS
        if username in passwords
    ]


def _demonstration_agreement(now: datetime) -> NewAgreement:
    from mpi.sample import story_organisations

    everyone = frozenset(one.ods_code for one in story_organisations() if one.setting != "other")
    return NewAgreement(
        name="Direct care in the sample region",
        providers=everyone,
        consumers=everyone,
        role_classes=frozenset(
            {"doctor", "nurse", "midwife", "paramedic", "allied", "pharmacist", "social-worker"}
        ),
        purposes=frozenset({"TREAT", "ETREAT", "BTG"}),  # without the last nobody could break the glass
        categories=codes.CATEGORIES,
        legal_basis="direct-care",
        starts_at=now - timedelta(days=1),
    )


def _write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, from the first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text + "\n")
