"""Clients and a record service that use the public interfaces only."""
