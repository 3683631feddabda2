-- Decisions, releases and redemptions by day, organisation of the asker and outcome: success is a permit, whole or in part.
select substr(cast(at as text), 1, 10) as day,
       organisation,
       kind,
       outcome,
       count(*) as answers
from audit_event
where kind in ('decision', 'release', 'redemption', 'redemption-repeated', 'redemption-replayed')
group by substr(cast(at as text), 1, 10), organisation, kind, outcome
order by day desc, organisation, kind, outcome;
