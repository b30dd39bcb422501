-- What: what the files of the set-up share to tell something; their turn, and the locks on their tables
-- Needs: a role that may create roles                        Safe to run again: yes, it keeps nothing

SET search_path = pg_catalog, pg_temp;

-- The DDL log leaves out the set-up of a superuser, so that running it again adds nothing there.
SET etl.setup = 'on';
SET lock_timeout = '1s';
SET application_name = 'etl sql_setupscripts.sh';

-- First of all, because it would run at each statement below. Its place is taken by log_ddl_changes.
DO $$
DECLARE
    v_name text;
BEGIN
    FOR v_name IN
        SELECT e.evtname
        FROM pg_event_trigger AS e
        JOIN pg_proc AS p ON p.oid = e.evtfoid
        WHERE p.pronamespace = to_regnamespace('dba') AND p.proname = 'flogddlchanges' AND p.proowner IS DISTINCT FROM to_regrole('etl_owner')
    LOOP
        FOR v_second IN 1 .. 600 LOOP
            BEGIN
                EXECUTE format('DROP EVENT TRIGGER IF EXISTS %I', v_name);
                EXIT;
            EXCEPTION WHEN lock_not_available THEN
                IF v_second = 1 THEN
                    RAISE INFO 'The set-up waits for another set-up of this database, up to ten minutes';
                ELSIF v_second = 600 THEN
                    RAISE EXCEPTION 'The set-up has waited ten minutes for another set-up of this database';
                END IF;
            END;
        END LOOP;
    END LOOP;
END
$$;

-- Names, labels and rows come from others. One that could begin a line, control a terminal or turn the writing is written out.
CREATE FUNCTION pg_temp.etl_visible(p_text text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN (
    SELECT string_agg(CASE WHEN letter !~ '[\x01-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]' THEN letter
                           WHEN letter = E'\n' THEN '\n'
                           WHEN letter = E'\r' THEN '\r'
                           WHEN ascii(letter) < 256 THEN '\x' || lpad(to_hex(ascii(letter)), 2, '0')
                           ELSE '\u' || lpad(to_hex(ascii(letter)), 4, '0') END, '' ORDER BY place)
    FROM regexp_split_to_table(p_text, '') WITH ORDINALITY AS t (letter, place));

-- A table by its name in a row, which need not be a name at all.
CREATE FUNCTION pg_temp.etl_table(p_name text) RETURNS regclass
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN to_regclass(p_name);
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END
$$;

-- Tells one change, on one line. The files of the set-up tell nothing in another way.
CREATE PROCEDURE pg_temp.etl_tell(p_told text)
LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', pg_temp.etl_visible(p_told); END $$;

-- What a person must decide, for the list at the end of adopt_finish.sql; with a row in it nothing is changed.
CREATE TEMPORARY TABLE etl_to_decide (
    told text NOT NULL,
    cure text,   -- a statement to type
    again text,  -- statements that make again what the cure drops, on as many lines as they need
    place integer GENERATED ALWAYS AS IDENTITY
);

CREATE PROCEDURE pg_temp.etl_stop_if_undecided()
LANGUAGE plpgsql AS $$
DECLARE
    v_told CONSTANT text := (
        SELECT string_agg('- ' || pg_temp.etl_visible(told) || coalesce(E'\n    ' || pg_temp.etl_visible(cure), ''), E'\n' ORDER BY place)
        FROM pg_temp.etl_to_decide);
    -- What was dropped last is made again first, because others need it.
    v_again CONSTANT text := (
        SELECT string_agg('    ' || pg_temp.etl_visible(line), E'\n' ORDER BY place DESC, number)
        FROM pg_temp.etl_to_decide CROSS JOIN regexp_split_to_table(again, '\r?\n') WITH ORDINALITY AS t (line, number));
BEGIN
    IF v_told IS NOT NULL THEN
        RAISE EXCEPTION E'Nothing was changed. A person must decide first:\n%', v_told
            || coalesce(E'\nKeep these statements. After the set-up they make again what you have dropped, in this order:\n' || v_again, '')
            USING ERRCODE = 'check_violation',
                  HINT = 'Correct these rows, and type what the list says. Then run the set-up again.';
    END IF;
END
$$;

-- Runs a statement that takes locks. While it gets none it says every minute who has them, and after ten minutes it gives up.
CREATE PROCEDURE pg_temp.etl_take(p_statement text, p_what text, p_role oid DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
    c_patience CONSTANT interval := '10 minutes';
    v_begun CONSTANT timestamptz := clock_timestamp();
    v_table text;
    v_holders text;
    v_told text;
    v_told_at timestamptz;
BEGIN
    FOR v_attempt IN 1 .. 100000 LOOP
        BEGIN
            EXECUTE p_statement;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            GET STACKED DIAGNOSTICS v_table = TABLE_NAME;
        END;
        -- The first second is not worth a word.
        IF v_attempt > 1 THEN
            PERFORM pg_stat_clear_snapshot();
            SELECT string_agg(told, '; ') INTO v_holders
            FROM (SELECT coalesce(format('pid %s (user %s, %s%s%s)', l.pid, coalesce(a.usename, 'not known'),
                             coalesce(nullif(a.application_name, ''), a.backend_type, 'program not known'),
                             ', database ' || nullif(a.datname, current_database()),
                             ', since ' || to_char(a.xact_start, 'HH24:MI:SS')),
                         'a prepared transaction (see pg_prepared_xacts)')
                      || coalesce(' in ' || min(l.relation::regclass::text), '') AS told
                  FROM pg_locks AS l
                  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
                  WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
                    AND (l.relation = nullif(v_table, '')::oid AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                         OR l.classid = 'pg_authid'::regclass AND l.objid = p_role AND l.mode = 'ShareUpdateExclusiveLock')
                  GROUP BY l.pid, a.usename, a.application_name, a.backend_type, a.datname, a.xact_start
                  ORDER BY a.xact_start LIMIT 5) AS holder;
            IF clock_timestamp() > v_begun + c_patience THEN
                RAISE EXCEPTION 'The set-up has waited ten minutes for %: %', p_what, pg_temp.etl_visible(coalesce(v_holders, 'nobody holds it now'))
                    USING ERRCODE = 'lock_not_available',
                          HINT = 'Let it end, or end it with SELECT pg_terminate_backend(pid). Then run the set-up again.';
            END IF;
            IF v_holders IS DISTINCT FROM v_told OR v_told_at IS NULL OR clock_timestamp() > v_told_at + interval '1 minute' THEN
                RAISE INFO 'The set-up waits for %: %. It goes on by itself when that has ended, and gives up after ten minutes. To end it: SELECT pg_terminate_backend(pid)',
                    p_what, pg_temp.etl_visible(coalesce(v_holders, 'look for it in pg_stat_activity'));
                v_told := v_holders;
                v_told_at := clock_timestamp();
            END IF;
        END IF;
        PERFORM pg_sleep(0.5);
    END LOOP;
END
$$;

DO $$
BEGIN
    IF current_user IN ('etl_owner', 'etl_user', 'etl_report', 'etl_backup') THEN
        RAISE EXCEPTION 'The set-up takes rights away from %: run it as an administrator, not as %',
            current_user, current_user;
    END IF;

    -- One set-up at a time on the whole server, because the roles are the whole server's. Whoever comments on a role
    -- locks it until the end of the transaction, in all databases. For that it needs no superuser.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'etl_owner') THEN
        BEGIN
            CALL pg_temp.etl_take('CREATE ROLE etl_owner LOGIN', 'another set-up on this server');
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- that other set-up has made it
        END;
    END IF;
    CALL pg_temp.etl_take(
        'COMMENT ON ROLE etl_owner IS ''Owns the schema dba. The operator changes the configuration with it; not for jobs, and not for looking at their results''',
        'another set-up on this server', 'etl_owner'::regrole);
END
$$;

CREATE PROCEDURE pg_temp.etl_lock(p_tables oid[])
LANGUAGE plpgsql AS $$
DECLARE
    v_table oid;
BEGIN
    FOREACH v_table IN ARRAY p_tables LOOP
        BEGIN
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE NOWAIT', v_table::regclass);
        EXCEPTION WHEN lock_not_available THEN
            RAISE EXCEPTION 'somebody uses %', v_table::regclass USING ERRCODE = 'lock_not_available', TABLE = v_table::text;
        END;
    END LOOP;
END
$$;

CREATE PROCEDURE pg_temp.etl_lock_tables()
LANGUAGE plpgsql AS $$
DECLARE
    v_ours CONSTANT oid[] := ARRAY(
        SELECT c.oid
        FROM pg_class AS c
        WHERE c.relkind IN ('r', 'p')
          AND (c.relnamespace = to_regnamespace('dba')
               OR EXISTS (SELECT FROM pg_constraint AS k JOIN pg_class AS r ON r.oid = k.confrelid
                          WHERE k.conrelid = c.oid AND k.contype = 'f' AND r.relnamespace = to_regnamespace('dba'))
               OR c.oid = to_regclass('public.tmeetmaxurlcheck'))
          AND has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE'));
    v_targets oid[];
BEGIN
    CALL pg_temp.etl_lock(v_ours);
    IF to_regclass('dba.timportconfig') IS NULL THEN
        RETURN;
    END IF;
    -- Whoever reads a view runs the functions in it.
    IF (SELECT relkind FROM pg_class WHERE oid = to_regclass('dba.timportconfig')) NOT IN ('r', 'p') THEN
        RAISE EXCEPTION 'dba.timportconfig is not a table';
    END IF;
    EXECUTE 'SELECT array_agg(pg_temp.etl_table(target_table)::oid) FROM dba.timportconfig' INTO v_targets;
    v_targets := ARRAY(
        SELECT c.oid
        FROM pg_class AS c
        WHERE c.oid = ANY (v_targets) AND c.relkind IN ('r', 'p') AND c.relowner IS DISTINCT FROM to_regrole('etl_user')
          AND has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE'));
    CALL pg_temp.etl_lock(v_targets);
END
$$;

-- All tables at once, before anything is changed, and none while another one is waited for: so the set-up and a job never
-- wait for each other.
DO $$
BEGIN
    CALL pg_temp.etl_take('CALL pg_temp.etl_lock_tables()', 'a table that it changes');
END
$$;
-- What else it needs, nobody uses for long.
SET lock_timeout = '10s';
