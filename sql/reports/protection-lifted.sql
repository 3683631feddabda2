-- Protected locations that a source lifted, by day and by the organisation that sent it, the newest first; and how many persons no record protects since.
select substr(cast(at as text), 1, 10) as day,
       organisation,
       count(*) as lifted,
       sum(case when replace(cast(reasons as text), 'person-unprotected', '') <> cast(reasons as text) then 1 else 0 end) as persons_unprotected
from audit_event
where kind = 'location-unprotected'
group by substr(cast(at as text), 1, 10), organisation
order by day desc, organisation;
