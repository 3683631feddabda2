"""Who is this? Source records, matching, links and persons."""
