-- What each organisation sent: records, the persons they belong to (fewer where it has one person twice), and versions received.
select organisation,
       count(*) as records,
       count(distinct person_id) as persons,
       sum(version) as versions,
       max(changed_at) as last_changed_at
from source_record
where state = 'active'
group by organisation
order by records desc, organisation;
