"""Offline: pairs, comparison vectors, estimate, evaluation. The home of pandas and recordlinkage."""
