"""What both wings stand on: settings, clock, ids, errors, database, principals, audit, outbox and the web shell."""
