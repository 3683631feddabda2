-- Alerts that nobody has closed, by organisation, worst first.
select organisation,
       code,
       count(*) as open_alerts,
       min(raised_at) as oldest_raised_at,
       max(raised_at) as newest_raised_at
from alert
where state = 'open'
group by organisation, rank, code
order by rank, organisation, code;
