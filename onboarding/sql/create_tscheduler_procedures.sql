-- What: functions that add and change a job of the schedule     Read by: operators, samples/add_job.sql
-- Needs: create_tscheduler.sql                                  Safe to run again: yes

SET search_path = pg_catalog, pg_temp;

CREATE OR REPLACE FUNCTION dba.f_insert_tscheduler(
    p_taskname text,
    p_taskdescription text,
    p_frequency text,
    p_scriptpath text,
    p_scriptargs text DEFAULT NULL,
    p_datastatusid integer DEFAULT 1,
    p_createduser text DEFAULT NULL
) RETURNS integer
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO dba.tscheduler (taskname, taskdescription, frequency, scriptpath, scriptargs,
                                datastatusid, createddate, createduser)
    VALUES (p_taskname, p_taskdescription, p_frequency, p_scriptpath, p_scriptargs,
            p_datastatusid, now(), coalesce(p_createduser, session_user))
    RETURNING schedulerid;
$$;
COMMENT ON FUNCTION dba.f_insert_tscheduler IS
    'Adds a job to the schedule and returns its schedulerid; then run update_cron_jobs.py to put it into the cron file';

CREATE OR REPLACE FUNCTION dba.f_update_tscheduler(
    p_schedulerid integer,
    p_taskname text,
    p_taskdescription text,
    p_frequency text,
    p_scriptpath text,
    p_scriptargs text,
    p_datastatusid integer
) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE dba.tscheduler
    SET taskname = p_taskname,
        taskdescription = p_taskdescription,
        frequency = p_frequency,
        scriptpath = p_scriptpath,
        scriptargs = p_scriptargs,
        datastatusid = p_datastatusid
    WHERE schedulerid = p_schedulerid;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no job % in the schedule', p_schedulerid USING ERRCODE = 'no_data_found';
    END IF;
    RETURN p_schedulerid;
END
$$;
COMMENT ON FUNCTION dba.f_update_tscheduler IS
    'Writes all columns of a job of the schedule, null too, and returns its schedulerid. To change single columns: '
    'UPDATE dba.tscheduler';
