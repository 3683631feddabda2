-- Directives by kind, scope and how they stand now: the last event of each, else as it was recorded. Withdrawn and struck-out ones count apart.
select kind,
       scope_kind,
       scope_code,
       standing_now,
       count(*) as directives
from (
    select d.kind,
           d.scope_kind,
           d.scope_code,
           coalesce(
               (select e.kind from directive_event e where e.directive_id = d.directive_id
                order by e.at desc, e.event_id desc limit 1),
               d.standing
           ) as standing_now
    from directive d
) as standing_directive
group by kind, scope_kind, scope_code, standing_now
order by kind, scope_kind, scope_code, standing_now;
