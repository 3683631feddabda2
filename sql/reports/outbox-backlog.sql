-- Events that were written and not yet handed on, by topic. Normally none for more than seconds; with Redis down they wait here.
select topic,
       count(*) as waiting,
       min(outbox_id) as first_number,
       max(outbox_id) as last_number
from outbox
where relayed_at is null
group by topic
order by first_number;
