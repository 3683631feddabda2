"""Use cases of the index: receive, link, match, review, explain. Transactions live here."""
