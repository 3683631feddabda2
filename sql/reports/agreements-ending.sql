-- Sharing agreements in force that end within 60 days, the soonest first: what they allow stops with them.
-- Days are Julian day numbers, worked out with whole numbers: SQLite and PostgreSQL have no other way of counting days in common.
with dated as (
    select agreement_id, version, name, legal_basis, ends_at,
           cast(substr(cast(ends_at as text), 1, 4) as integer) as y1,
           cast(substr(cast(ends_at as text), 6, 2) as integer) as m1,
           cast(substr(cast(ends_at as text), 9, 2) as integer) as d1,
           cast(substr(cast(current_date as text), 1, 4) as integer) as y2,
           cast(substr(cast(current_date as text), 6, 2) as integer) as m2,
           cast(substr(cast(current_date as text), 9, 2) as integer) as d2
    from agreement
    where is_current and starts_at <= current_timestamp and ends_at > current_timestamp
), counted as (
    select agreement_id, version, name, legal_basis, ends_at,
           (d1 + (153 * (m1 + 12 * ((14 - m1) / 12) - 3) + 2) / 5 + 365 * (y1 + 4800 - (14 - m1) / 12)
            + (y1 + 4800 - (14 - m1) / 12) / 4 - (y1 + 4800 - (14 - m1) / 12) / 100 + (y1 + 4800 - (14 - m1) / 12) / 400)
         - (d2 + (153 * (m2 + 12 * ((14 - m2) / 12) - 3) + 2) / 5 + 365 * (y2 + 4800 - (14 - m2) / 12)
            + (y2 + 4800 - (14 - m2) / 12) / 4 - (y2 + 4800 - (14 - m2) / 12) / 100 + (y2 + 4800 - (14 - m2) / 12) / 400) as days_left
    from dated
)
select agreement_id, version, name, legal_basis, ends_at, days_left
from counted
where days_left <= 60
order by ends_at, agreement_id;
