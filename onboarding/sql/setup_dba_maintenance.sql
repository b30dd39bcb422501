-- What: helpers of the set-up, the log, the record of DDL   Read by: log_utils, usefulqueries.sql
-- Needs: adopt_rows.sql                                     Safe to run again: yes, rows are kept

SET search_path = pg_catalog, pg_temp;
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

    EXECUTE format('SELECT array_to_string((array_agg(%1$I::text ORDER BY %1$I))[:10], '', '')'
                   ' || CASE WHEN count(*) > 10 THEN format('' and %%s more'', count(*) - 10) ELSE '''' END FROM %2$s WHERE NOT (%3$s)',
                   coalesce(v_key, 'ctid'), p_table, p_check)
    INTO v_rows;
    IF v_rows IS NOT NULL THEN
        INSERT INTO pg_temp.etl_to_decide (told)
        VALUES (format('%s: the rows with %s %s break the rule "%s": %s', p_table, coalesce(v_key, 'ctid'), v_rows, p_name,
                       regexp_replace(p_check, '\s+', ' ', 'g')));
        RETURN;
    END IF;

    IF v_was IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', p_table, p_name);
    END IF;
    EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I CHECK (%s)', p_table, p_name, p_check);
END
$$;
COMMENT ON PROCEDURE dba.p_ensure_check(regclass, text, text) IS
    'For the set-up: adds a named CHECK that is missing or different; rows that break it are noted for adopt_finish.sql, which stops the set-up';

CREATE OR REPLACE PROCEDURE dba.p_ensure_unique(p_table regclass, p_column text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_told text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_index AS i
                   JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND i.indkey::text = a.attnum::text
                   WHERE i.indrelid = p_table AND i.indisunique AND i.indpred IS NULL AND a.attname = p_column) THEN
        EXECUTE format('ALTER TABLE %s ADD UNIQUE (%I)', p_table, p_column);
    END IF;
EXCEPTION WHEN unique_violation THEN
    GET STACKED DIAGNOSTICS v_told = PG_EXCEPTION_DETAIL;
    INSERT INTO pg_temp.etl_to_decide (told) VALUES (format('%s: two rows have the same %s: %s', p_table, p_column, v_told));
END
$$;
COMMENT ON PROCEDURE dba.p_ensure_unique(regclass, text) IS
    'For the set-up: makes a column unique that is not so in an older table; two equal rows are noted for adopt_finish.sql';

CREATE OR REPLACE PROCEDURE dba.p_ensure_foreign_key(p_table regclass, p_column text, p_references text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_told text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint AS k
                   JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum]
                   WHERE k.conrelid = p_table AND k.contype = 'f' AND a.attname = p_column) THEN
        EXECUTE format('ALTER TABLE %s ADD FOREIGN KEY (%I) REFERENCES %s', p_table, p_column, p_references);
    END IF;
EXCEPTION
WHEN invalid_foreign_key THEN
    NULL;  -- the column that it needs is not unique, which p_ensure_unique has noted
WHEN foreign_key_violation THEN
    GET STACKED DIAGNOSTICS v_told = PG_EXCEPTION_DETAIL;
    INSERT INTO pg_temp.etl_to_decide (told) VALUES (format('%s: a row breaks the rule that its %s is known: %s', p_table, p_column, v_told));
END
$$;
COMMENT ON PROCEDURE dba.p_ensure_foreign_key(regclass, text, text) IS
    'For the set-up: adds the foreign key that a column of an older table lacks; a row that breaks it is noted for adopt_finish.sql';

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
