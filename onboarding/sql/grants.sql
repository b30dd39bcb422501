-- What: who owns what, and who may do what                  Read by: administrators
-- Needs: all files before it                                Safe to run again: yes; rights of etl_user in dba that are
--                                                           not listed here are taken back

SET search_path = pg_catalog, pg_temp;

-- A routine whose signature has changed: this set-up has made the new one, and the former one must be dropped.
DO $$
DECLARE
    v_routine text;
BEGIN
    FOR v_routine IN
        SELECT former.oid::regprocedure::text
        FROM pg_proc AS former
        WHERE former.pronamespace = 'dba'::regnamespace
          AND former.proowner = 'etl_owner'::regrole
          AND former.xmin <> pg_current_xact_id()::xid
          AND EXISTS (SELECT FROM pg_proc AS present
                      WHERE present.pronamespace = former.pronamespace AND present.proname = former.proname
                        AND present.xmin = pg_current_xact_id()::xid)
    LOOP
        EXECUTE format('DROP ROUTINE %s', v_routine);
        CALL pg_temp.etl_tell('Dropped the former ' || v_routine);
    END LOOP;
END
$$;

CALL dba.p_own_everything();

DO $$
DECLARE
    v_object record;
BEGIN
    -- The import adds columns to its tables, and only an owner can do that.
    FOR v_object IN
        SELECT c.oid::regclass AS name
        FROM (SELECT DISTINCT to_regclass(target_table) AS oid FROM dba.timportconfig) AS t
        JOIN pg_class AS c ON c.oid = t.oid
        WHERE c.relkind IN ('r', 'p') AND c.relowner <> 'etl_user'::regrole
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO etl_user', v_object.name);
        CALL pg_temp.etl_tell(format('Import table %s now belongs to etl_user', v_object.name));
    END LOOP;

    -- The import schemas: jobs create tables there, nobody else does, reports read all of them.
    FOR v_object IN
        SELECT nspname AS name
        FROM pg_namespace
        WHERE nspname = 'public'
           OR nspname IN (SELECT split_part(target_table, '.', 1) FROM dba.timportconfig)
    LOOP
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', v_object.name);
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO etl_user', v_object.name);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO etl_report', v_object.name);
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO etl_report', v_object.name);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE etl_user IN SCHEMA %I GRANT SELECT ON TABLES TO etl_report', v_object.name);
    END LOOP;
END
$$;

-- A role that only reads needs no own tables, not even temporary ones.
DO $$
BEGIN
    EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO etl_user', current_database());
END
$$;

-- Reports come first. Then the jobs' rights, which are revoked and granted again below, keep their place in the lists
-- of rights, and a second run leaves the same dump.
-- Reports go to clients: they see data, the ledger and the runs, not mail accounts or the DDL log.
GRANT USAGE ON SCHEMA dba TO etl_report;
GRANT SELECT ON
    dba.tdataset, dba.tdatasettype, dba.tdatasource, dba.tdatastatus, dba.tcalendardays, dba.tholidays,
    dba.timportconfig, dba.timportstrategy, dba.timportcolumn, dba.timportfile, dba.timportdrift, dba.timportreject, dba.tdownload,
    dba.tdatasetprofile, dba.tdatasetevent, dba.timportcheck, dba.tscheduler, dba.tjobrun, dba.tincident, dba.tschedulecheck, dba.tweeklyletter, dba.tlogentry, dba.tmaintenancelog, dba.ttableindexstats TO etl_report;

REVOKE ALL ON SCHEMA dba FROM PUBLIC, etl_user;
DO $$
DECLARE
    v_object record;
BEGIN
    -- Who may do what with the site's own tables and routines is the site's matter.
    FOR v_object IN
        SELECT format('%s %s', CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass) AS name
        FROM pg_class
        WHERE relnamespace = 'dba'::regnamespace AND relowner = 'etl_owner'::regrole AND relkind IN ('r', 'p', 'v', 'm', 'S')
        UNION ALL
        SELECT format('ROUTINE %s', oid::regprocedure)
        FROM pg_proc WHERE pronamespace = 'dba'::regnamespace AND proowner = 'etl_owner'::regrole
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC, etl_user', v_object.name);
    END LOOP;

    IF to_regprocedure('dba.f_get_event_changes(date)') IS NOT NULL THEN
        GRANT EXECUTE ON FUNCTION dba.f_get_event_changes(date) TO etl_report, etl_user;
    END IF;
END
$$;
ALTER DEFAULT PRIVILEGES FOR ROLE etl_owner REVOKE EXECUTE ON ROUTINES FROM PUBLIC;

-- Jobs read everything, and write their results. Only the operator can change the configuration.
GRANT USAGE ON SCHEMA dba TO etl_user;
GRANT SELECT ON ALL TABLES IN SCHEMA dba TO etl_user;
GRANT INSERT ON dba.tlogentry, dba.tlogspool, dba.timportdrift, dba.timportreject, dba.tdatasetprofile,
    dba.tdownload, dba.tmaintenancelog, dba.ttableindexstats TO etl_user;
-- Who made an event is not theirs to say.
GRANT INSERT (datasetid, event, reason, run_uuid) ON dba.tdatasetevent TO etl_user;
GRANT INSERT, UPDATE ON dba.tjobrun, dba.tincident, dba.tschedulecheck, dba.tweeklyletter, dba.tdataset, dba.timportfile, dba.treportdelivery,
    dba.tinboxmessage, dba.treceivedfile TO etl_user;
GRANT EXECUTE ON FUNCTION
    dba.f_dataset_iu(integer, date, text, text, text, text, text),
    dba.f_earlier_datasets(text, text, date),
    dba.f_came_by(text, text, text, text),
    dba.f_is_cron_expression(text),
    dba.f_require_cron_expression(text),
    dba.f_purge_log_batch(integer, integer),
    dba.f_analyze(name[]),
    dba.f_analyze_dba() TO etl_user;
GRANT EXECUTE ON PROCEDURE
    dba.ppurgeoldlogs(integer),
    dba.prunmaintenancevacuumanalyze(),
    dba.pmonitorlongrunningqueries(numeric),
    dba.pcapturetableindexstats() TO etl_user;

DO $$
DECLARE
    v_sequence regclass;
BEGIN
    -- An older installation's keys are serial columns: their sequences need a right of their own.
    FOR v_sequence IN
        SELECT s.oid
        FROM pg_class AS s
        JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'a'
        WHERE s.relkind = 'S' AND s.relnamespace = 'dba'::regnamespace
          AND has_table_privilege('etl_user', d.refobjid, 'INSERT')
    LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO etl_user', v_sequence);
    END LOOP;

    -- Lets the maintenance job vacuum these tables; before PostgreSQL 17 only their owner could.
    IF current_setting('server_version_num')::integer >= 170000 THEN
        GRANT MAINTAIN ON ALL TABLES IN SCHEMA dba TO etl_user;
    END IF;
END
$$;

RESET etl.setup;
