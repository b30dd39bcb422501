-- What: schema dba, the log, the record of DDL              Read by: log_utils, usefulqueries.sql
-- Needs: create_roles.sql                                   Safe to run again: yes, rows are kept

SET search_path = pg_catalog, pg_temp;
SET client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS dba;
COMMENT ON SCHEMA dba IS 'The data of the ETL system itself: configuration, schedule, ledger, logs';

RESET client_min_messages;

-- An older installation, 1: its routines have other signatures, and an overload beside ours would make
-- calls ambiguous. Ours belong to etl_owner. Triggers go with their functions and are made again below.
DO $$
DECLARE
    v_routine record;
BEGIN
    FOR v_routine IN
        SELECT p.oid::regprocedure::text AS signature,
               CASE WHEN p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) THEN 'CASCADE' ELSE '' END AS cascading
        FROM pg_proc AS p
        WHERE p.pronamespace = 'dba'::regnamespace
          AND p.proowner <> 'etl_owner'::regrole
          AND p.proname IN ('f_dataset_iu', 'fenforcesingleactivedataset', 'flogddlchanges',
                            'pimportconfigi', 'pimportconfigu', 'f_insert_tscheduler', 'f_update_tscheduler',
                            'f_insert_treportmanager', 'f_update_treportmanager', 'f_get_event_changes',
                            'ppurgeoldlogs', 'prunmaintenancevacuumanalyze', 'pmonitorlongrunningqueries',
                            'pcapturetableindexstats')
    LOOP
        EXECUTE format('DROP ROUTINE %s %s', v_routine.signature, v_routine.cascading);
        RAISE NOTICE 'Replaced the older %', v_routine.signature;
    END LOOP;
END
$$;

SET client_min_messages = warning;

CREATE OR REPLACE PROCEDURE dba.p_own_everything()
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_object record;
BEGIN
    FOR v_object IN
        SELECT format('SCHEMA %I', nspname) AS name
        FROM pg_namespace WHERE nspname = 'dba' AND nspowner <> 'etl_owner'::regrole
        UNION ALL
        SELECT format('%s %s', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                                              WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass)
        FROM pg_class AS c
        WHERE c.relnamespace = 'dba'::regnamespace AND c.relowner <> 'etl_owner'::regrole
          AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
          -- The sequence of a column goes with its table.
          AND NOT EXISTS (SELECT FROM pg_depend AS d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
                            AND c.relkind = 'S')
        UNION ALL
        SELECT format('ROUTINE %s', p.oid::regprocedure)
        FROM pg_proc AS p
        WHERE p.pronamespace = 'dba'::regnamespace AND p.proowner <> 'etl_owner'::regrole
        UNION ALL
        SELECT format('DOMAIN %s', t.oid::regtype)
        FROM pg_type AS t
        WHERE t.typnamespace = 'dba'::regnamespace AND t.typtype = 'd' AND t.typowner <> 'etl_owner'::regrole
    LOOP
        EXECUTE format('ALTER %s OWNER TO etl_owner', v_object.name);
    END LOOP;
END
$$;
COMMENT ON PROCEDURE dba.p_own_everything() IS 'For the set-up: makes etl_owner the owner of everything in the schema dba';

CREATE OR REPLACE PROCEDURE dba.p_refuse_code_of_jobs()
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_jobs CONSTANT oid[] := ARRAY['etl_user'::regrole, 'etl_report'::regrole, 'etl_backup'::regrole];
    v_found text;
BEGIN
    WITH code AS (
        SELECT 'pg_proc'::regclass AS kind, oid FROM pg_proc WHERE proowner = ANY (c_jobs)
        UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprowner = ANY (c_jobs)
        UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typowner = ANY (c_jobs)
    ), ours AS (
        SELECT oid FROM pg_class WHERE relnamespace = 'dba'::regnamespace
    ), reached (told) AS (
        -- Triggers, rules, policies, defaults, checks, indexes, column types, and all else that depends on a table of dba.
        SELECT format('%s needs %s', pg_describe_object(d.classid, d.objid, d.objsubid), pg_describe_object(d.refclassid, d.refobjid, 0))
        FROM pg_depend AS d
        JOIN code AS c ON c.kind = d.refclassid AND c.oid = d.refobjid
        WHERE (d.classid = 'pg_class'::regclass AND d.objid IN (SELECT oid FROM ours))
           OR EXISTS (SELECT FROM pg_depend AS whose
                      WHERE whose.classid = d.classid AND whose.objid = d.objid AND whose.deptype IN ('a', 'i')
                        AND whose.refclassid = 'pg_class'::regclass AND whose.refobjid IN (SELECT oid FROM ours))
        UNION ALL
        SELECT pg_describe_object('pg_cast'::regclass, k.oid, 0)
        FROM pg_cast AS k
        JOIN code AS c ON c.kind = 'pg_proc'::regclass AND c.oid = k.castfunc
        JOIN pg_type AS t ON t.oid IN (k.castsource, k.casttarget) AND t.typnamespace = 'dba'::regnamespace
        UNION ALL
        SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0)
        FROM pg_proc AS p WHERE p.pronamespace = 'dba'::regnamespace AND p.proowner = ANY (c_jobs)
        UNION ALL
        -- PostgreSQL's own functions can also do harm: with an administrator's rights they can write a file.
        SELECT format('%s of %s calls %s', e.name, e.relid::regclass, p.oid::regprocedure)
        FROM (SELECT conrelid, 'the check ' || conname, conbin::text FROM pg_constraint WHERE contype = 'c'
              UNION ALL SELECT adrelid, 'a default', adbin::text FROM pg_attrdef
              UNION ALL SELECT ev_class, 'the rule ' || rulename, ev_action::text FROM pg_rewrite) AS e (relid, name, tree)
        JOIN pg_class AS c ON c.oid = e.relid AND c.relnamespace = 'dba'::regnamespace AND c.relowner = ANY (c_jobs)
        CROSS JOIN regexp_matches(e.tree, ':funcid (\d+)', 'g') AS called
        JOIN pg_proc AS p ON p.oid = called[1]::oid AND p.provolatile = 'v' AND p.oid <> 'nextval(regclass)'::regprocedure
        UNION ALL
        SELECT format('%s inherits from %s', i.inhrelid::regclass, i.inhparent::regclass)
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent IN (SELECT oid FROM ours) AND c.relowner = ANY (c_jobs)
    )
    SELECT string_agg(DISTINCT told, '; ') INTO v_found FROM reached;
    IF v_found IS NOT NULL THEN
        RAISE EXCEPTION 'In the schema dba there is code of the jobs, which the set-up would run: %', v_found
            USING ERRCODE = 'insufficient_privilege', HINT = 'Look at it, drop it or give it to yourself, then run the set-up again.';
    END IF;
END
$$;
COMMENT ON PROCEDURE dba.p_refuse_code_of_jobs() IS
    'For the set-up: stops it if a table of dba uses a function, operator or type of the jobs, which may once have owned these tables';

RESET client_min_messages;

-- This comes before any row is changed. Tables that get a new owner stay locked until the end, so that nothing can be added.
CALL dba.p_refuse_code_of_jobs();
CALL dba.p_own_everything();
CALL dba.p_refuse_code_of_jobs();

-- An older installation, 2: its columns cut text at a length and keep times without their zone.
-- A time is taken to be in the time zone of this session, which is the server's unless PGTZ says otherwise.
DO $$
DECLARE
    v_table record;
BEGIN
    FOR v_table IN
        SELECT c.oid::regclass AS name,
               string_agg(format(CASE n.new_type WHEN 'boolean'  -- there is no cast from bit, not for a default either
                                     THEN 'ALTER COLUMN %1$I DROP DEFAULT, ALTER COLUMN %1$I TYPE boolean USING %1$I = B''1'''
                                     ELSE 'ALTER COLUMN %1$I TYPE %2$s' END, a.attname, n.new_type),
                          ', ' ORDER BY a.attnum) AS changes
        FROM pg_class AS c
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN a.attname IN ('datasetdate', 'holiday_date', 'fulldate', 'previous_business_date') THEN 'date'
                WHEN a.attname IN ('efffromdate', 'effthrudate') THEN 'timestamptz'
                WHEN a.attname = 'stepcounter' THEN 'text'
                WHEN a.attname IN ('logid', 'statid') THEN 'bigint'
                WHEN a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) THEN 'text'
                WHEN a.atttypid = 'timestamp'::regtype THEN 'timestamptz'
                WHEN a.atttypid = 'bit'::regtype AND c.relname <> 'timportconfig' THEN 'boolean'
            END AS new_type) AS n
        WHERE c.relnamespace = 'dba'::regnamespace
          AND c.relkind = 'r'
          AND c.relname IN ('tlogentry', 'tddllogs', 'tmaintenancelog', 'tdatasettype', 'tdatasource', 'tdatastatus',
                            'tdataset', 'tholidays', 'tcalendardays', 'timportstrategy', 'timportconfig',
                            'tinboxconfig', 'treportmanager', 'tscheduler', 'ttableindexstats')
          AND n.new_type::regtype <> a.atttypid
        GROUP BY c.oid
        ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER TABLE %s %s', v_table.name, v_table.changes);
        RAISE NOTICE 'Changed column types of %: text without a limit, times with their zone', v_table.name;
    END LOOP;

    -- The sequence of a serial column has its own type, which would end before the wider column does.
    FOR v_table IN
        SELECT s.oid::regclass AS name
        FROM pg_sequence AS q
        JOIN pg_class AS s ON s.oid = q.seqrelid
        JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'a'
        JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE s.relnamespace = 'dba'::regnamespace AND a.attname IN ('logid', 'statid') AND q.seqtypid <> a.atttypid
    LOOP
        EXECUTE format('ALTER SEQUENCE %s AS bigint', v_table.name);
    END LOOP;
END
$$;

-- An older installation, 3: its columns may lack a default, or allow null where ours do not.
DO $$
DECLARE
    v_column record;
    v_nulls bigint;
BEGIN
    FOR v_column IN
        SELECT c.oid::regclass AS table_name, a.attname AS name, a.attnotnull,
               w.new_default <> coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS changes_default, w.new_default
        FROM (VALUES
            ('timestamp, eventtime, maintenancetime, snapshottime, createddate, created_at, last_modified_at, efffromdate', 'now()', NULL),
            ('createdby, createduser', 'SESSION_USER', NULL),
            ('processed_label', '''processed''::text', NULL),
            ('error_label', '''errorprocessed''::text', NULL),
            ('importstrategyid', '1', 'timportconfig'),
            ('schemaname, tablename', NULL, 'ttableindexstats'),
            ('typename, sourcename, statusname, datasetdate, label, datasettypeid, datasourceid, datastatusid, '
             'effthrudate, holiday_name, downame, downum, isbusday, isholiday, name, config_name, datasource, datasettype, '
             'source_directory, archive_directory, file_pattern, file_type, metadata_label_source, dateconfig, '
             'metadata_label_location, datelocation, target_table, is_active, gmail_account, has_attachment, '
             'local_repository_path, reportname, frequency, subjectheader, hasattachment, emailbodytemplate, taskname, '
             'scriptpath, operation', NULL, NULL)) AS w (names, new_default, only_in)
        JOIN pg_attribute AS a ON a.attname = ANY (string_to_array(w.names, ', ')) AND NOT a.attisdropped
        JOIN pg_class AS c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'dba'::regnamespace
          AND c.relkind = 'r'
          AND c.relname = coalesce(w.only_in, c.relname)
    LOOP
        IF v_column.changes_default THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', v_column.table_name, v_column.name, v_column.new_default);
        END IF;
        IF NOT v_column.attnotnull THEN
            EXECUTE format('SELECT count(*) FROM %s WHERE %I IS NULL', v_column.table_name, v_column.name) INTO v_nulls;
            IF v_nulls = 0 THEN
                EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', v_column.table_name, v_column.name);
            ELSE
                RAISE NOTICE '% rows of % have no %: the column stays optional', v_nulls, v_column.table_name, v_column.name;
            END IF;
        END IF;
    END LOOP;
END
$$;

SET client_min_messages = warning;

-- Helpers of the files that follow.

CREATE OR REPLACE PROCEDURE dba.p_ensure_check(p_table regclass, p_name text, p_check text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_was CONSTANT text := (SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = p_table AND conname = p_name);
    v_is text;
    v_key text;
    v_rows text;
BEGIN
    IF v_was IS NOT NULL THEN
        -- The rule as PostgreSQL writes it, to compare it with the existing one.
        EXECUTE format('CREATE TEMPORARY TABLE etl_rule (LIKE %s, CONSTRAINT etl_rule CHECK (%s))', p_table, p_check);
        SELECT pg_get_constraintdef(oid) INTO v_is
        FROM pg_constraint WHERE conrelid = to_regclass('pg_temp.etl_rule') AND conname = 'etl_rule';
        DROP TABLE pg_temp.etl_rule;
        IF v_is = v_was THEN
            RETURN;
        END IF;
    END IF;

    SELECT a.attname INTO v_key
    FROM pg_index AS i
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = p_table AND i.indisprimary;

    EXECUTE format('SELECT string_agg(%1$I::text, '', '' ORDER BY %1$I) FROM %2$s WHERE NOT (%3$s)',
                   coalesce(v_key, 'ctid'), p_table, p_check)
    INTO v_rows;
    IF v_rows IS NOT NULL THEN
        RAISE EXCEPTION '%: the rows with % % break the rule "%": %',
            p_table, coalesce(v_key, 'ctid'), v_rows, p_name, p_check
            USING ERRCODE = 'check_violation', HINT = 'Correct these rows, then run the set-up again.';
    END IF;

    IF v_was IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', p_table, p_name);
    END IF;
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%s)', p_table, p_name, p_check);
END
$$;
COMMENT ON PROCEDURE dba.p_ensure_check(regclass, text, text) IS
    'For the set-up: adds a named CHECK that is missing or different; rows that break it stop the set-up and are named';

CREATE OR REPLACE PROCEDURE dba.p_ensure_foreign_key(p_table regclass, p_column text, p_references text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint AS k
                   JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
                   WHERE k.conrelid = p_table AND k.contype = 'f' AND a.attname = p_column) THEN
        EXECUTE format('ALTER TABLE %s ADD FOREIGN KEY (%I) REFERENCES %s', p_table, p_column, p_references);
    END IF;
END
$$;
COMMENT ON PROCEDURE dba.p_ensure_foreign_key(regclass, text, text) IS
    'For the set-up: adds the foreign key that a column of an older table lacks; a row that breaks it stops the set-up';

CREATE OR REPLACE PROCEDURE dba.p_advance_sequence(p_table regclass, p_column text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_sequence regclass := pg_get_serial_sequence(p_table::text, p_column);
    v_highest bigint;
    v_next bigint;
BEGIN
    IF v_sequence IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT max(%I) FROM %s', p_column, p_table) INTO v_highest;
    EXECUTE format('SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM %s', v_sequence) INTO v_next;
    IF v_highest >= v_next THEN
        PERFORM setval(v_sequence, v_highest);
    END IF;
END
$$;
COMMENT ON PROCEDURE dba.p_advance_sequence(regclass, text) IS
    'For the set-up: after rows with fixed ids, sets the next id to a free one';

CREATE TABLE IF NOT EXISTS dba.tlogentry (
    logid bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    "timestamp" timestamptz NOT NULL DEFAULT now(),
    run_uuid text,
    processtype text,
    stepcounter text,
    username text,
    stepruntime double precision,
    totalruntime double precision,
    message text
);
ALTER TABLE dba.tlogentry ADD COLUMN IF NOT EXISTS level text;
ALTER TABLE dba.tlogentry
    ALTER COLUMN run_uuid DROP NOT NULL,
    ALTER COLUMN processtype DROP NOT NULL,
    ALTER COLUMN username DROP NOT NULL;
CREATE INDEX IF NOT EXISTS tlogentry_timestamp ON dba.tlogentry ("timestamp");
CREATE INDEX IF NOT EXISTS tlogentry_run_uuid ON dba.tlogentry (run_uuid);

COMMENT ON TABLE dba.tlogentry IS 'The log: one row per record, the same records as in logs/. Purged by dba.ppurgeoldlogs';
COMMENT ON COLUMN dba.tlogentry.run_uuid IS 'The run that wrote it: run_uuid of dba.tjobrun as text of 36 characters';
COMMENT ON COLUMN dba.tlogentry.processtype IS 'The job or module that wrote the record';
COMMENT ON COLUMN dba.tlogentry.stepcounter IS 'The step of the run';
COMMENT ON COLUMN dba.tlogentry.stepruntime IS 'Seconds since the step began';
COMMENT ON COLUMN dba.tlogentry.totalruntime IS 'Seconds since the run began';
COMMENT ON COLUMN dba.tlogentry.level IS 'DEBUG, INFO, WARNING, ERROR or CRITICAL; a WARNING asks somebody to act. Null in rows of an older installation';

CREATE TABLE IF NOT EXISTS dba.tlogspool (
    spool_name text PRIMARY KEY,
    loaded_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE dba.tlogspool IS
    'Files of log records that were written while the database was down, and loaded later. The row and the records '
    'commit together, so that a file is loaded only once';

CREATE TABLE IF NOT EXISTS dba.tddllogs (
    logid bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    eventtime timestamptz NOT NULL DEFAULT now(),
    eventtype text,
    schemaname text,
    objectname text,
    objecttype text,
    sqlstatement text,
    username text
);
CREATE INDEX IF NOT EXISTS tddllogs_eventtime ON dba.tddllogs (eventtime);

COMMENT ON TABLE dba.tddllogs IS
    'Every change to the structure of the database and who made it, written by event triggers. Left out: '
    'temporary objects, the inside of extensions, and the set-up when a superuser runs it. Never purged: '
    'the rows are few and asked for years later';
COMMENT ON COLUMN dba.tddllogs.eventtype IS 'The command, such as ALTER TABLE';
COMMENT ON COLUMN dba.tddllogs.objectname IS 'Name within the schema, with the arguments of a function';
COMMENT ON COLUMN dba.tddllogs.sqlstatement IS 'The text as sent, cut before a password; it may contain further statements';
COMMENT ON COLUMN dba.tddllogs.username IS 'The user who logged in, even if another role was set later';

CREATE OR REPLACE FUNCTION dba.f_mask_passwords(p_sql text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
RETURN CASE
    WHEN substring(p_sql FROM $re$(?i)password(.*)$re$) ~ '[''=$]'
    THEN regexp_replace(p_sql, $re$(?i)(password"?).*$re$, '\1 *** (the rest is not kept)')
    ELSE p_sql END;
COMMENT ON FUNCTION dba.f_mask_passwords(text) IS
    'Statement text for a log, cut at the word "password" if a literal or "=" follows, because a password can be written in many ways';

CREATE OR REPLACE FUNCTION dba.flogddlchanges() RETURNS event_trigger
LANGUAGE plpgsql
SECURITY DEFINER  -- who changes a table needs no right to write, or to forge, this log
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Without its table the trigger does nothing; otherwise the table itself could not be dropped.
    IF to_regclass('dba.tddllogs') IS NULL
       OR (current_setting('etl.setup', true) = 'on'
           AND EXISTS (SELECT FROM pg_roles WHERE rolname = session_user AND rolsuper)) THEN
        RETURN;
    END IF;

    IF tg_event = 'sql_drop' THEN
        -- "original" objects were named by the statement, "normal" ones were dropped by CASCADE; the others are their parts.
        INSERT INTO dba.tddllogs (eventtime, eventtype, schemaname, objectname, objecttype, sqlstatement, username)
        SELECT now(), tg_tag, o.schema_name,
               CASE WHEN starts_with(o.object_identity, quote_ident(o.schema_name) || '.')
                    THEN substr(o.object_identity, length(quote_ident(o.schema_name)) + 2)
                    ELSE o.object_identity END,
               o.object_type, dba.f_mask_passwords(current_query()), session_user
        FROM pg_event_trigger_dropped_objects() AS o
        WHERE (o.original OR (o.normal AND o.object_type <> 'rule')) AND NOT o.is_temporary;
    ELSE
        INSERT INTO dba.tddllogs (eventtime, eventtype, schemaname, objectname, objecttype, sqlstatement, username)
        SELECT now(), o.command_tag, o.schema_name,
               CASE WHEN starts_with(o.object_identity, quote_ident(o.schema_name) || '.')
                    THEN substr(o.object_identity, length(quote_ident(o.schema_name)) + 2)
                    ELSE o.object_identity END,
               o.object_type, dba.f_mask_passwords(current_query()), session_user
        FROM pg_event_trigger_ddl_commands() AS o
        WHERE o.schema_name IS DISTINCT FROM 'pg_temp' AND NOT o.in_extension;
    END IF;
END
$$;
COMMENT ON FUNCTION dba.flogddlchanges() IS 'Event trigger function: writes a row to dba.tddllogs for each object that is made, changed or dropped';

RESET client_min_messages;

DO $$
BEGIN
    IF current_setting('is_superuser') = 'off' THEN
        RAISE WARNING 'Changes to tables will not be recorded in dba.tddllogs: only a superuser can create event triggers, and % is not a superuser', current_user;
        RETURN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'log_ddl_changes') THEN
        CREATE EVENT TRIGGER log_ddl_changes ON ddl_command_end EXECUTE FUNCTION dba.flogddlchanges();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'log_dropped_objects') THEN
        CREATE EVENT TRIGGER log_dropped_objects ON sql_drop EXECUTE FUNCTION dba.flogddlchanges();
    END IF;
END
$$;
