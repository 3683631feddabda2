"""Feeds: other people's formats made into source records."""
