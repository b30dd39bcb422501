-- What: the schedule, one row per cron line                 Read by: update_cron_jobs.py, check_schedule.py
-- Needs: dataset_setup.sql                                  Safe to run again: yes, rows are kept

SET search_path = pg_catalog, pg_temp;
SET client_min_messages = warning;

DROP FUNCTION IF EXISTS dba.f_cron_expression(text);

CREATE OR REPLACE FUNCTION dba.f_is_cron_expression(p_expression text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $f$
    WITH field (number, text) AS (
        SELECT *
        FROM unnest(
            ARRAY['0*[1-5]?[0-9]',
                  '0*(1?[0-9]|2[0-3])',
                  '0*([1-9]|[12][0-9]|3[01])',
                  '(0*([1-9]|1[0-2])|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)',
                  '(0*[0-7]|sun|mon|tue|wed|thu|fri|sat)'],
            regexp_split_to_array(lower(btrim(p_expression, E' \t') COLLATE "C"), '[ \t]+'))
    )
    SELECT -- A line break would begin another line of the cron file.
           p_expression !~ '[\x01-\x08\x0a-\x1f\x7f]'
           -- cron reads such a line as the setting of a variable.
           AND p_expression !~ '^[ \t]*[^ \t]*='
           AND (p_expression ~ '^[ \t]*@(reboot|yearly|annually|monthly|weekly|daily|midnight|hourly)[ \t]*$'
                -- A field is a list of: * or a range, each with or without a step, or a single number.
                -- cron ends a field at the first character that does not fit, and ignores the rest up to the blank.
                OR (SELECT bool_and(number IS NOT NULL AND text IS NOT NULL
                           AND text ~ format('^((\*|%1$s-%1$s)(/%2$s)?,|%1$s,)*'
                                             '(\*([^,/].*)?'
                                             '|%1$s-%1$s([^0-9a-z,/].*)?'
                                             '|(\*|%1$s-%1$s)/%2$s([^0-9a-z,].*)?'
                                             '|%1$s([^-0-9a-z,/].*)?)$',
                                             number, '0*[1-9][0-9]{0,8}'))
                    FROM field));
$f$;
COMMENT ON FUNCTION dba.f_is_cron_expression(text) IS
    'True for a time that Debian''s cron accepts: five fields, or a word such as @daily. '
    'As in cron, a range may be reversed (then it never runs), and text directly after a number is '
    'ignored: 1#2 means 1';

CREATE OR REPLACE FUNCTION dba.f_require_cron_expression(p_expression text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF dba.f_is_cron_expression(p_expression) THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'frequency "%" is not a cron expression: it takes minute (0-59), hour (0-23), day of month (1-31), month (1-12) and day of week (0-7), or @daily and its like', p_expression
        USING ERRCODE = 'check_violation', CONSTRAINT = 'cron_expression_as_debian_reads_it', DATATYPE = 'cron_expression', SCHEMA = 'dba';
END
$$;
COMMENT ON FUNCTION dba.f_require_cron_expression(text) IS 'True for a cron expression; else it raises an error that explains the format';

DO $$
BEGIN
    IF to_regtype('dba.cron_expression') IS NULL THEN
        CREATE DOMAIN dba.cron_expression AS text;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_constraint
                   WHERE contypid = 'dba.cron_expression'::regtype AND pg_get_constraintdef(oid) LIKE '%f_require_cron_expression%') THEN
        ALTER DOMAIN dba.cron_expression DROP CONSTRAINT IF EXISTS cron_expression_as_debian_reads_it;
        ALTER DOMAIN dba.cron_expression ADD CONSTRAINT cron_expression_as_debian_reads_it
            CHECK (dba.f_require_cron_expression(VALUE));
    END IF;
END
$$;
COMMENT ON DOMAIN dba.cron_expression IS
    'Minute, hour, day of month, month, day of week, such as 0 5,17 * * 1-5; or a word such as @daily. '
    'If both day fields are restricted, the job runs when either of them matches';

CREATE OR REPLACE PROCEDURE dba.p_adopt_frequency(p_table regclass)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_key CONSTANT text := (SELECT CASE relname WHEN 'tscheduler' THEN 'schedulerid' ELSE 'reportid' END FROM pg_class WHERE oid = p_table);
    v_refused integer;
BEGIN
    IF EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = p_table AND attname = 'frequency' AND atttypid <> 'dba.cron_expression'::regtype) THEN
        EXECUTE format('INSERT INTO pg_temp.etl_to_decide (told, cure)'
                       ' SELECT format(''%1$s: in the row with %2$s %%s the frequency is no cron expression: "%%s". Correct it:'', %2$I, frequency),'
                       ' format(''UPDATE %1$s SET frequency = ''''…'''' WHERE %2$s = %%s;'', %2$I)'
                       ' FROM %1$s WHERE NOT dba.f_is_cron_expression(frequency) ORDER BY %2$I', p_table, v_key);
        GET DIAGNOSTICS v_refused = ROW_COUNT;
        IF v_refused = 0 THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN frequency TYPE dba.cron_expression', p_table);
        END IF;
    END IF;
END
$$;
COMMENT ON PROCEDURE dba.p_adopt_frequency(regclass) IS
    'For the set-up: gives the column frequency of an older table its domain; rows that do not fit are named';

CREATE TABLE IF NOT EXISTS dba.tscheduler (
    schedulerid integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    taskname text NOT NULL,
    taskdescription text,
    frequency dba.cron_expression NOT NULL,
    scriptpath text NOT NULL,
    scriptargs text,
    datastatusid integer NOT NULL REFERENCES dba.tdatastatus,
    createddate timestamptz NOT NULL DEFAULT now(),
    createduser text NOT NULL DEFAULT session_user
);
ALTER TABLE dba.tscheduler
    ADD COLUMN IF NOT EXISTS timeout_minutes numeric,
    ADD COLUMN IF NOT EXISTS overlap text NOT NULL DEFAULT 'skip',
    ADD COLUMN IF NOT EXISTS retries integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS retry_delay_minutes numeric NOT NULL DEFAULT 5,
    ADD COLUMN IF NOT EXISTS depends_on integer REFERENCES dba.tscheduler,
    ADD COLUMN IF NOT EXISTS jitter_seconds integer NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS active_since timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS severity text NOT NULL DEFAULT 'normal',
    ADD COLUMN IF NOT EXISTS host_pattern text,
    ALTER COLUMN datastatusid SET DEFAULT 1;
CALL dba.p_adopt_frequency('dba.tscheduler');
CALL dba.p_ensure_foreign_key('dba.tscheduler', 'datastatusid', 'dba.tdatastatus');

CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_taskname_on_one_line',
    $$taskname ~ '\S' AND taskname !~ '[\x01-\x1f\x7f]'$$);
CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_scriptpath_is_a_job_or_absolute',
    $$scriptpath ~ '^([A-Za-z0-9_][A-Za-z0-9_.-]*\.(py|sh)|/.*[^/])$' AND scriptpath !~ '[\x01-\x1f\x7f]'$$);
CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_scriptargs_on_one_line',
    $$scriptargs !~ '[\x01-\x1f\x7f]'$$);

CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_host_pattern_has_no_blanks',
    $$host_pattern !~ '[\x01-\x20\x7f]'$$);
CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_host_pattern_is_short',
    $$length(host_pattern) <= 500$$);
CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_severity_is_known',
    $$severity IN ('low', 'normal', 'high')$$);
CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_times_are_of_our_calendar',
    $$active_since BETWEEN '0002-01-01' AND '9998-12-31'$$);
CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_timeout_is_a_time',
    $$timeout_minutes > 0 AND timeout_minutes <= 10080$$);
CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_overlap_is_known',
    $$overlap IN ('skip', 'wait')$$);
CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_retries_are_few',
    $$retries BETWEEN 0 AND 20 AND retry_delay_minutes BETWEEN 0 AND 1440$$);
CALL dba.p_ensure_check('dba.tscheduler', 'tscheduler_jitter_is_an_hour_at_most',
    $$jitter_seconds BETWEEN 0 AND 3600$$);

CREATE OR REPLACE FUNCTION dba.f_refuse_circular_dependency() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (
        WITH RECURSIVE chain (schedulerid) AS (
            SELECT NEW.depends_on
            UNION
            SELECT t.depends_on FROM dba.tscheduler AS t JOIN chain AS c ON t.schedulerid = c.schedulerid
            WHERE t.depends_on IS NOT NULL)
        SELECT FROM chain WHERE schedulerid = NEW.schedulerid) THEN
        RAISE EXCEPTION 'Task % cannot depend on task %, which depends on it', NEW.schedulerid, NEW.depends_on
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION dba.f_refuse_circular_dependency() IS 'Trigger of dba.tscheduler: refuses a task that waits for itself, because it would never start';

CREATE OR REPLACE TRIGGER refuse_circular_dependency
    BEFORE INSERT OR UPDATE OF depends_on ON dba.tscheduler
    FOR EACH ROW WHEN (NEW.depends_on IS NOT NULL)
    EXECUTE FUNCTION dba.f_refuse_circular_dependency();

CREATE OR REPLACE FUNCTION dba.f_note_activation() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.datastatusid = 1 AND (OLD.datastatusid <> 1 OR NEW.frequency::text <> OLD.frequency::text) THEN
        NEW.active_since := now();
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION dba.f_note_activation() IS 'Trigger of the schedule''s tables: sets active_since when a row is activated or its frequency changes';

CREATE OR REPLACE TRIGGER note_activation
    BEFORE UPDATE ON dba.tscheduler
    FOR EACH ROW EXECUTE FUNCTION dba.f_note_activation();

COMMENT ON TABLE dba.tscheduler IS
    'One row per line of the cron file. After a change run update_cron_jobs.py (--diff shows what it would do). '
    'To stop a job, set datastatusid 2. Do not delete a row of the system: the next set-up would add it again';
COMMENT ON COLUMN dba.tscheduler.frequency IS 'When: a cron expression, in the time zone of the machine';
COMMENT ON COLUMN dba.tscheduler.scriptpath IS 'The file name of a job (.py or .sh), or an absolute path';
COMMENT ON COLUMN dba.tscheduler.scriptargs IS 'Arguments, quoted as for a shell; null or empty: none';
COMMENT ON COLUMN dba.tscheduler.timeout_minutes IS
    'Time limit of a run; after it the run and all its processes are ended; null: no limit';
COMMENT ON COLUMN dba.tscheduler.overlap IS
    'What a start does while the same job with the same arguments still runs: skip it, or wait for its end';
COMMENT ON COLUMN dba.tscheduler.retries IS 'How many retries a failed run gets; each attempt is a row of dba.tjobrun';
COMMENT ON COLUMN dba.tscheduler.retry_delay_minutes IS 'Minutes between a failure and the retry, fractions allowed';
COMMENT ON COLUMN dba.tscheduler.depends_on IS
    'The schedulerid of another task. This task starts only if the other task succeeded in its latest slot; while it runs, this one waits';
COMMENT ON COLUMN dba.tscheduler.severity IS
    'normal: a mail when it goes wrong and one when that is over; high: also in the quiet hours (ETL_QUIET_HOURS); '
    'low: no mail, only etl and dba.tincident show it';
COMMENT ON COLUMN dba.tscheduler.host_pattern IS
    'On which machines it runs, where several have the same schedule: a pattern that the whole name fits which dba.tjobrun.host '
    'shows, such as box-a or box-* (a glob), or ^(box-a|box-c)$ (a regular expression), in the language of '
    'dba.timportconfig.file_pattern. On the other machines its slots begin nothing and leave no row. Null or empty: on any';
COMMENT ON COLUMN dba.tscheduler.jitter_seconds IS 'The start is delayed by a random time of up to so many seconds, to spread the load';
COMMENT ON COLUMN dba.tscheduler.active_since IS 'Since when it has been active with this frequency: earlier slots are not missed ones';
COMMENT ON COLUMN dba.tscheduler.datastatusid IS 'Set to 2 (Inactive) to pause the job without losing its row';

RESET client_min_messages;
