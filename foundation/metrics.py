"""Counters and histograms for operators: codes and route templates as labels, never ids of people."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

REGISTRY = CollectorRegistry(auto_describe=True)
CONTENT_TYPE = CONTENT_TYPE_LATEST

REQUESTS = Counter("http_requests", "Requests answered", ["method", "route", "status"], registry=REGISTRY)
REQUEST_SECONDS = Histogram(
    "http_request_seconds",
    "Time to answer a request",
    ["route"],
    registry=REGISTRY,
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
AUDIT_EVENTS = Counter("audit_events", "Audit rows written", ["kind", "outcome"], registry=REGISTRY)
AUDIT_TREE_SIZE = Gauge("audit_tree_size", "Audit rows that are sealed", registry=REGISTRY)
AUDIT_WAITING_ROWS = Gauge("audit_waiting_rows", "Audit rows that wait to be sealed", registry=REGISTRY)
AUDIT_WAITING_SECONDS = Gauge(
    "audit_waiting_seconds", "Since when the oldest of them waits", registry=REGISTRY
)
REVIEW_TASKS_OPEN = Gauge("review_tasks_open", "Review tasks that are open", ["kind"], registry=REGISTRY)
REVIEW_TASKS_OLDEST = Gauge(
    "review_tasks_oldest_seconds", "Since when the oldest open review task waits", registry=REGISTRY
)
REDIS_FAILURES = Counter(
    "redis_failures", "Calls of Redis that failed and were gone on without", ["part"], registry=REGISTRY
)
OUTBOX_RELAYED = Counter("outbox_relayed", "Events handed on", ["topic"], registry=REGISTRY)
EVENTS_LAST_SEQUENCE = Gauge("events_last_sequence", "The last number given to an event", registry=REGISTRY)
EVENTS_COMPLETE_AGE = Gauge(
    "events_complete_age_seconds", "How old the watermark of the feed of events is", registry=REGISTRY
)
EVENTS_WAITING = Gauge("events_waiting", "Events that were not handed on yet", registry=REGISTRY)
WEBHOOK_BEHIND = Gauge(
    "webhook_behind_events",
    "Numbers by which a webhook is behind the feed",
    ["webhook_id"],
    registry=REGISTRY,
)
WEBHOOKS_PAUSED = Gauge("webhooks_paused", "Webhooks that are paused", registry=REGISTRY)
WEBHOOK_DELIVERIES = Gauge(
    "webhook_deliveries",
    "Of the webhooks that are there: events delivered, requests failed, events set aside",
    ["outcome"],
    registry=REGISTRY,
)
SIGN_INS = Counter("sign_ins", "Attempts of people to sign in", ["outcome"], registry=REGISTRY)
TOKENS = Counter("tokens", "Requests for access tokens", ["outcome"], registry=REGISTRY)
HL7_MESSAGES = Counter(
    "hl7_messages", "HL7 v2 messages answered", ["event", "answer", "code"], registry=REGISTRY
)
HL7_CONNECTIONS = Gauge("hl7_connections", "Connections of HL7 v2 senders that are open", registry=REGISTRY)
LIMITED = Counter("rate_limited", "Requests refused as too many", ["limit"], registry=REGISTRY)


def exposition() -> bytes:
    """Return all figures in Prometheus' text format."""
    return generate_latest(REGISTRY)
