-- Records that wait, by organisation: for linking (normally none for more than seconds), or held because an update reads like another person.
select organisation,
       sum(case when linked_version is null then 1 else 0 end) as waiting,
       min(case when linked_version is null then changed_at end) as waiting_since,
       sum(case when held_version is not null then 1 else 0 end) as held
from source_record
where state = 'active' and (linked_version is null or held_version is not null)
group by organisation
order by waiting desc, held desc, organisation;
