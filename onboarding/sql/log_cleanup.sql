-- What: the purge of old log records                        Read by: run_maintenance.py
-- Needs: maintenance_procedures.sql                         Safe to run again: yes

SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE PROCEDURE dba.ppurgeoldlogs(thresholddays integer)
LANGUAGE plpgsql
SECURITY DEFINER  -- jobs may purge by age; deleting chosen records is not theirs to do
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_start CONSTANT timestamptz := clock_timestamp();
    v_deleted bigint;
BEGIN
    IF thresholddays IS NULL OR thresholddays < 0 THEN
        RAISE EXCEPTION 'ppurgeoldlogs takes the number of days to keep, 0 or more, not %', coalesce(thresholddays::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    DELETE FROM dba.tlogentry WHERE "timestamp" < now() - make_interval(days => thresholddays);
    GET DIAGNOSTICS v_deleted = ROW_COUNT;

    INSERT INTO dba.tmaintenancelog (maintenancetime, operation, tablename, username, durationseconds, details)
    VALUES (v_start, 'PURGE', 'dba.tlogentry', session_user, extract(epoch FROM clock_timestamp() - v_start),
            format('%s records older than %s days', v_deleted, thresholddays));
    RAISE NOTICE 'Purged % records older than % days from dba.tlogentry', v_deleted, thresholddays;
END
$$;
COMMENT ON PROCEDURE dba.ppurgeoldlogs(integer) IS
    'Deletes log records (dba.tlogentry) older than so many days, within the caller''s transaction, and notes it in '
    'dba.tmaintenancelog. The record of DDL (dba.tddllogs) is kept: it is small and may be needed years later';

CREATE OR REPLACE FUNCTION dba.f_purge_log_batch(p_thresholddays integer, p_rows integer) RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER  -- as above
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_deleted bigint;
BEGIN
    IF coalesce(p_thresholddays, -1) < 0 OR coalesce(p_rows, 0) < 1 THEN
        RAISE EXCEPTION 'f_purge_log_batch takes the number of days to keep, 0 or more, and a number of rows from 1, not % and %',
            coalesce(p_thresholddays::text, 'null'), coalesce(p_rows::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    DELETE FROM dba.tlogentry
    WHERE logid IN (SELECT logid FROM dba.tlogentry
                    WHERE "timestamp" < now() - make_interval(days => p_thresholddays)
                    ORDER BY "timestamp" LIMIT p_rows
                    FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;
COMMENT ON FUNCTION dba.f_purge_log_batch(integer, integer) IS
    'Deletes at most so many of the oldest log records that are older than so many days, and returns how many. Call it '
    'repeatedly, each time in its own transaction, to purge millions of records without blocking others';
