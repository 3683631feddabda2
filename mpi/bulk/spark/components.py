"""Connected components by label propagation in SQL: the large and small stars of Kiveris and others (2014), in few rounds.

Each statement reads ``arrows``: pairs of a row and a lesser one that it points to. At the end every row points straight to the least
of its component. A round leads every row's neighbours to the least of them, so a long chain is halved rather than walked.
"""

LARGE_STAR = """
WITH ways AS (
    SELECT row, least FROM arrows UNION ALL SELECT least AS row, row AS least FROM arrows
), nearest AS (
    SELECT row, least(row, min(least)) AS target FROM ways GROUP BY row
)
SELECT DISTINCT ways.least AS row, nearest.target AS least
FROM ways JOIN nearest ON ways.row = nearest.row
WHERE ways.least > ways.row
"""
"""Every greater neighbour of a row points to the least neighbour of that row, or to the row itself."""

SMALL_STAR = """
WITH nearest AS (
    SELECT row, min(least) AS target FROM arrows GROUP BY row
)
SELECT DISTINCT arrows.least AS row, nearest.target AS least
FROM arrows JOIN nearest ON arrows.row = nearest.row
WHERE arrows.least > nearest.target
UNION
SELECT row, target AS least FROM nearest
"""
"""Every lesser neighbour of a row, and the row itself, point to the least of them."""

UNSETTLED = """
SELECT (SELECT count(*) - count(DISTINCT row) FROM arrows)
    + (SELECT count(*) FROM arrows JOIN arrows AS further ON arrows.least = further.row) AS found
"""
"""How many arrows are too many: of rows that point to two others, or to one that points on. Without any, all are stars."""
