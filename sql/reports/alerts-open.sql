-- Alerts that nobody has closed, by organisation, worst first; those of celebrities are for privacy officers alone.
select organisation,
       code,
       count(*) as open_alerts,
       min(raised_at) as oldest_raised_at,
       max(raised_at) as newest_raised_at
from alert
where state = 'open' and code <> 'celebrity'
group by organisation, rank, code
order by rank, organisation, code;
