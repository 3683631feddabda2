"""Use cases of the consent wing. Each takes its locks, reads facts after them, and leaves its audit row before it answers."""
