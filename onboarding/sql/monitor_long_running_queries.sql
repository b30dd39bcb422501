-- What: a look for queries that run too long                Read by: run_maintenance.py
-- Needs: maintenance_procedures.sql                         Safe to run again: yes

SET search_path = pg_catalog, pg_temp;

-- Only members of pg_read_all_stats see the text of other users' queries. The owner becomes a member, and the
-- procedure runs as the owner. So jobs can note long queries, but cannot watch other users in general.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_auth_members
                   WHERE roleid = 'pg_read_all_stats'::regrole AND member = 'etl_owner'::regrole) THEN
        GRANT pg_read_all_stats TO etl_owner;
    END IF;
END
$$;

CREATE OR REPLACE PROCEDURE dba.pmonitorlongrunningqueries(thresholdminutes numeric)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_query record;
BEGIN
    IF thresholdminutes IS NULL OR thresholdminutes < 0 THEN
        RAISE EXCEPTION 'pmonitorlongrunningqueries takes a number of minutes, 0 or more, not %', coalesce(thresholdminutes::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    FOR v_query IN
        SELECT a.usename,
               extract(epoch FROM clock_timestamp() - a.query_start) AS seconds,
               format('pid %s, database %s, %s since %s%s: %s', a.pid, a.datname, a.state,
                      date_trunc('second', a.query_start),
                      ', waits for pid ' || nullif(array_to_string(pg_blocking_pids(a.pid), ', '), ''),
                      dba.f_mask_passwords(left(a.query, 1000))) AS details
        FROM pg_stat_activity AS a
        -- autovacuum and the server's own workers may run for hours by design.
        WHERE a.backend_type = 'client backend'
          AND a.pid <> pg_backend_pid()
          AND a.state <> 'idle'
          AND a.query_start < clock_timestamp() - make_interval(secs => thresholdminutes * 60)
        ORDER BY a.query_start
    LOOP
        INSERT INTO dba.tmaintenancelog (maintenancetime, operation, username, durationseconds, details)
        VALUES (clock_timestamp(), 'LONG QUERY', v_query.usename, v_query.seconds, v_query.details);
        RAISE NOTICE 'Long query of %: %', v_query.usename, v_query.details;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE dba.pmonitorlongrunningqueries(numeric) IS
    'Notes in dba.tmaintenancelog (operation LONG QUERY) each query and each open transaction whose last statement began '
    'more than so many minutes ago, and what it waits for. Its own call, autovacuum and other workers are left out';
