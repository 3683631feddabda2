-- The review queue by kind, worst first: how many are open, claimed, and how old, in whole days.
-- Days are Julian day numbers, worked out with whole numbers: SQLite and PostgreSQL have no other way of counting days in common.
with dated as (
    select kind, rank, claimed_by, is_binding,
           cast(substr(cast(opened_at as text), 1, 4) as integer) as y1,
           cast(substr(cast(opened_at as text), 6, 2) as integer) as m1,
           cast(substr(cast(opened_at as text), 9, 2) as integer) as d1,
           cast(substr(cast(current_date as text), 1, 4) as integer) as y2,
           cast(substr(cast(current_date as text), 6, 2) as integer) as m2,
           cast(substr(cast(current_date as text), 9, 2) as integer) as d2
    from task
    where state = 'open'
), aged as (
    select kind, rank, claimed_by, is_binding,
           (d2 + (153 * (m2 + 12 * ((14 - m2) / 12) - 3) + 2) / 5 + 365 * (y2 + 4800 - (14 - m2) / 12)
            + (y2 + 4800 - (14 - m2) / 12) / 4 - (y2 + 4800 - (14 - m2) / 12) / 100 + (y2 + 4800 - (14 - m2) / 12) / 400)
         - (d1 + (153 * (m1 + 12 * ((14 - m1) / 12) - 3) + 2) / 5 + 365 * (y1 + 4800 - (14 - m1) / 12)
            + (y1 + 4800 - (14 - m1) / 12) / 4 - (y1 + 4800 - (14 - m1) / 12) / 100 + (y1 + 4800 - (14 - m1) / 12) / 400) as days
    from dated
)
select kind,
       count(*) as open_tasks,
       sum(case when is_binding then 1 else 0 end) as binding,
       count(claimed_by) as claimed,
       sum(case when days < 7 then 1 else 0 end) as under_a_week,
       sum(case when days >= 7 and days < 28 then 1 else 0 end) as one_to_four_weeks,
       sum(case when days >= 28 then 1 else 0 end) as older,
       max(days) as oldest_days
from aged
group by kind, rank
order by rank;
