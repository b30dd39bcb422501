-- What: takes over the tables of an older installation: their columns and routines   Read by: the files that follow
-- Needs: create_roles.sql                                                         Safe to run again: yes, it changes
--                                                                                 nothing in an installation of today
--
-- What the older installation has beside the system's own (the site's tables, views and routines) is kept as it is.

SET search_path = pg_catalog, pg_temp;
SET client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS dba;
COMMENT ON SCHEMA dba IS 'The data of the ETL system itself: configuration, schedule, ledger, logs';

-- Only the first run on an older installation changes the meaning of its rows; a later run must not do so again.
SELECT set_config('etl.adopts', CASE WHEN to_regclass('dba.timportconfig') IS NOT NULL AND to_regclass('dba.tjobrun') IS NULL
                                     THEN 'on' ELSE 'off' END, false) \g /dev/null

-- What these tables and routines are called in every version of the system.
CREATE TEMPORARY TABLE etl_known (kind "char", name text);
INSERT INTO pg_temp.etl_known
SELECT 'r', unnest(ARRAY[
    'tlogentry', 'tddllogs', 'tmaintenancelog', 'tdatasettype', 'tdatasource', 'tdatastatus', 'tdataset', 'tholidays',
    'tcalendardays', 'timportstrategy', 'timportconfig', 'tinboxconfig', 'treportmanager', 'tscheduler', 'ttableindexstats'])
UNION ALL
SELECT 'f', unnest(ARRAY[
    'f_dataset_iu', 'fenforcesingleactivedataset', 'flogddlchanges', 'pimportconfigi', 'pimportconfigu', 'f_insert_tscheduler',
    'f_update_tscheduler', 'f_insert_treportmanager', 'f_update_treportmanager', 'ppurgeoldlogs',
    'prunmaintenancevacuumanalyze', 'pmonitorlongrunningqueries', 'pcapturetableindexstats']);

-- The site's own: neither known nor made by a set-up. It keeps its owner and its rights.
CREATE TEMPORARY TABLE etl_site (class oid, object oid);
INSERT INTO pg_temp.etl_site
SELECT 'pg_class'::regclass, c.oid
FROM pg_class AS c
WHERE c.relnamespace = 'dba'::regnamespace AND c.relowner <> 'etl_owner'::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND c.relname NOT IN (SELECT name FROM pg_temp.etl_known WHERE kind = 'r')
  AND NOT EXISTS (SELECT FROM pg_depend AS d
                  JOIN pg_class AS t ON t.oid = d.refobjid AND t.relname IN (SELECT name FROM pg_temp.etl_known WHERE kind = 'r')
                  WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i'))
UNION ALL
SELECT 'pg_proc'::regclass, p.oid
FROM pg_proc AS p
WHERE p.pronamespace = 'dba'::regnamespace AND p.proowner <> 'etl_owner'::regrole
  AND p.proname NOT IN (SELECT name FROM pg_temp.etl_known WHERE kind = 'f');

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
          AND c.oid NOT IN (SELECT object FROM pg_temp.etl_site WHERE class = 'pg_class'::regclass)
          -- The sequence of a column goes with its table.
          AND NOT EXISTS (SELECT FROM pg_depend AS d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
                            AND c.relkind = 'S')
        UNION ALL
        SELECT format('ROUTINE %s', p.oid::regprocedure)
        FROM pg_proc AS p
        WHERE p.pronamespace = 'dba'::regnamespace AND p.proowner <> 'etl_owner'::regrole
          AND p.oid NOT IN (SELECT object FROM pg_temp.etl_site WHERE class = 'pg_proc'::regclass)
        UNION ALL
        SELECT format('DOMAIN %s', t.oid::regtype)
        FROM pg_type AS t
        WHERE t.typnamespace = 'dba'::regnamespace AND t.typtype = 'd' AND t.typowner <> 'etl_owner'::regrole
    LOOP
        EXECUTE format('ALTER %s OWNER TO etl_owner', v_object.name);
    END LOOP;
END
$$;
COMMENT ON PROCEDURE dba.p_own_everything() IS
    'For the set-up: makes etl_owner the owner of everything in the schema dba that is not the site''s own';

CREATE OR REPLACE PROCEDURE dba.p_refuse_code_of_jobs()
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_jobs CONSTANT oid[] := ARRAY['etl_user'::regrole, 'etl_report'::regrole, 'etl_backup'::regrole];
    v_found text;
    v_targets oid[] := '{}';  -- import tables that are not the jobs' own, and those that inherit from them
BEGIN
    IF to_regclass('dba.timportconfig') IS NOT NULL THEN
        EXECUTE 'SELECT coalesce(array_agg(c.oid), ''{}'') FROM pg_class AS c '
                'WHERE c.oid IN (SELECT pg_temp.etl_table(target_table) FROM dba.timportconfig) AND c.relowner <> ALL ($1)'
        INTO v_targets USING c_jobs;
    END IF;
    WITH code AS (
        SELECT 'pg_proc'::regclass AS kind, oid FROM pg_proc WHERE proowner = ANY (c_jobs)
        UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator WHERE oprowner = ANY (c_jobs)
        UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typowner = ANY (c_jobs)
    ), ours AS (
        SELECT oid FROM pg_class WHERE relnamespace = 'dba'::regnamespace OR oid = ANY (v_targets)
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
        RAISE EXCEPTION 'In the tables of the set-up there is code of the jobs, which it would run: %', pg_temp.etl_visible(v_found)
            USING ERRCODE = 'insufficient_privilege', HINT = 'Look at it, drop it or give it to yourself, then run the set-up again.';
    END IF;
END
$$;
COMMENT ON PROCEDURE dba.p_refuse_code_of_jobs() IS
    'For the set-up: stops it if a table of dba, or an import table that is not the jobs'' own, uses a function, operator or type of the jobs';

-- A column's type cannot be changed, nor a function dropped, while a view uses it. So these views are dropped with all
-- that they have, and made again by adopt_finish.sql.
CREATE TEMPORARY TABLE etl_view (place integer GENERATED ALWAYS AS IDENTITY, name text, kind text, statements text[]);

CREATE OR REPLACE PROCEDURE dba.p_set_views_aside(p_tables oid[], p_routines oid[])
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
    v_view record;
    -- If nothing will be changed in the end, what needs a view may go with it.
    v_cascade CONSTANT text := CASE WHEN EXISTS (SELECT FROM pg_temp.etl_to_decide) THEN ' CASCADE' ELSE '' END;
BEGIN
    -- The deepest view first, because others need it.
    INSERT INTO pg_temp.etl_view (name, kind, statements)
    WITH RECURSIVE used (kind, oid, depth) AS (
        SELECT 'pg_class'::regclass, unnest(p_tables), 0
        UNION ALL
        SELECT 'pg_proc'::regclass, unnest(p_routines), 0
        UNION
        SELECT 'pg_class'::regclass, r.ev_class, used.depth + 1
        FROM used
        JOIN pg_depend AS d ON d.refclassid = used.kind AND d.refobjid = used.oid AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite AS r ON r.oid = d.objid AND r.ev_class <> used.oid
        JOIN pg_class AS v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')
        WHERE used.depth < 100
    )
    SELECT c.oid::regclass, CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END, pg_temp.etl_view_statements(c.oid)
    FROM used JOIN pg_class AS c ON c.oid = used.oid
    WHERE used.depth > 0
    GROUP BY c.oid
    ORDER BY max(used.depth);

    FOR v_view IN SELECT name, kind FROM pg_temp.etl_view ORDER BY place DESC LOOP
        IF to_regclass(v_view.name) IS NOT NULL THEN
            EXECUTE format('DROP %s %s%s', v_view.kind, v_view.name, v_cascade);
        END IF;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE dba.p_set_views_aside(oid[], oid[]) IS
    'For the set-up: drops the views on these tables and routines, and notes how to make them again with their rights';

RESET client_min_messages;

-- The older routines of the system have other signatures, and an overload beside ours would make calls ambiguous. So do
-- those of an earlier version of ours whose parameters have changed. The text of the older ones is kept in dba.tddllogs.
CREATE TEMPORARY TABLE etl_routine AS
SELECT p.oid, p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS definition, p.proowner <> 'etl_owner'::regrole AS is_older,
       CASE WHEN p.prorettype = 'trigger'::regtype THEN 'CASCADE' ELSE '' END AS with_triggers,
       (SELECT string_agg(pg_describe_object('pg_trigger'::regclass, t.oid, 0), ', ') FROM pg_trigger AS t WHERE t.tgfoid = p.oid) AS triggers
FROM pg_proc AS p
JOIN pg_temp.etl_known AS k ON k.kind = 'f' AND k.name = p.proname
WHERE p.pronamespace = 'dba'::regnamespace
  AND (p.proowner <> 'etl_owner'::regrole
       OR p.proname IN ('ppurgeoldlogs', 'pmonitorlongrunningqueries') AND p.proargnames[1] LIKE 'p\_%'
       OR p.proname LIKE 'pimportconfig_'
          AND array_position(p.proargnames, 'p_dateconfig') < array_position(p.proargnames, 'p_metadata_label_location')
       OR p.proname LIKE 'f\_update\_t%' AND p.pronargdefaults > 0
       OR p.proname = 'f_insert_treportmanager' AND 'p_datastatusid' = ANY (p.proargnames))
UNION ALL
SELECT p.oid, p.oid::regprocedure::text, NULL, false, '', NULL
FROM pg_proc AS p
WHERE p.oid = to_regprocedure('dba.f_get_event_changes(date)') AND p.proowner = 'etl_owner'::regrole AND p.proargnames[1] = 'fulldate';

DO $$
DECLARE
    v_routines CONSTANT oid[] := ARRAY(SELECT oid FROM pg_temp.etl_routine);
    v_without_triggers CONSTANT oid[] := ARRAY(SELECT oid FROM pg_temp.etl_routine WHERE with_triggers = '');
    v_routine record;
BEGIN
    CALL pg_temp.etl_note_what_is_in_the_way('{}', '{}', v_without_triggers);
    CALL dba.p_set_views_aside('{}', v_routines);
    FOR v_routine IN SELECT * FROM pg_temp.etl_routine LOOP
        SET LOCAL client_min_messages = warning;  -- PostgreSQL would tell the names as they are
        EXECUTE format('DROP ROUTINE IF EXISTS %s %s', v_routine.name, v_routine.with_triggers);
        SET LOCAL client_min_messages = notice;
        IF v_routine.is_older THEN
            CALL pg_temp.etl_tell(format('Replaced the older %s%s; its text is kept in dba.tddllogs', v_routine.name, ', and dropped ' || v_routine.triggers));
        END IF;
    END LOOP;
END
$$;

-- This comes before any row is changed. Tables that get a new owner stay locked until the end, so that nothing can be added.
CALL dba.p_refuse_code_of_jobs();
CALL dba.p_own_everything();
CALL dba.p_refuse_code_of_jobs();

-- Names that a column had in a version between. Columns that are missing are added by the file of their table.
DO $$
DECLARE
    v_column record;
BEGIN
    FOR v_column IN
        SELECT c.oid::regclass AS table_name, w.former, w.name
        FROM (VALUES ('tinboxconfig', 'subject_filter', 'subject_pattern'),
                     ('tinboxconfig', 'has_attachment_filter', 'has_attachment'),
                     ('tinboxconfig', 'download_location', 'local_repository_path')) AS w (relname, former, name)
        JOIN pg_class AS c ON c.relnamespace = 'dba'::regnamespace AND c.relname = w.relname
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = w.former AND NOT a.attisdropped
        WHERE NOT EXISTS (SELECT FROM pg_attribute AS t WHERE t.attrelid = c.oid AND t.attname = w.name AND NOT t.attisdropped)
    LOOP
        EXECUTE format('ALTER TABLE %s RENAME COLUMN %I TO %I', v_column.table_name, v_column.former, v_column.name);
        CALL pg_temp.etl_tell(format('Column %s of %s is now called %s', v_column.former, v_column.table_name, v_column.name));
    END LOOP;
END
$$;

-- The older columns cut text at a length and keep times without their zone. A time is taken to be in the time zone of this
-- session, which is the server's unless PGTZ says otherwise. A text column stays varchar, only without its limit: a function
-- of the site that returns varchar could not return text.
CREATE TEMPORARY TABLE etl_change (oid oid, name text, is_ours boolean, numbers smallint[], changes text);
DO $$
DECLARE
    v_table record;
    v_tables oid[];
    v_targets oid[] := '{}';
    v_columns oid[];
BEGIN
    IF to_regclass('dba.timportconfig') IS NOT NULL THEN
        EXECUTE 'SELECT array_agg(DISTINCT pg_temp.etl_table(target_table)::oid) FROM dba.timportconfig' INTO v_targets;
    END IF;

    INSERT INTO pg_temp.etl_change
    SELECT c.oid, c.oid::regclass::text, c.relnamespace = 'dba'::regnamespace,
           array_agg(a.attnum),
           string_agg(format(CASE n.new_type WHEN 'boolean'  -- there is no cast from bit, not for a default either
                                 THEN 'ALTER COLUMN %1$I DROP DEFAULT, ALTER COLUMN %1$I TYPE boolean USING %1$I = B''1'''
                                 ELSE 'ALTER COLUMN %1$I TYPE %2$s' END, a.attname, n.new_type),
                      ', ' ORDER BY a.attnum)
    FROM pg_class AS c
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN a.atttypid = 'varchar'::regtype THEN 'varchar'
            WHEN a.atttypid = 'bpchar'::regtype THEN 'text'
            WHEN c.relnamespace <> 'dba'::regnamespace THEN NULL
            WHEN a.attname IN ('datasetdate', 'holiday_date', 'fulldate', 'previous_business_date') THEN 'date'
            WHEN a.attname IN ('efffromdate', 'effthrudate') THEN 'timestamptz'
            WHEN a.attname = 'stepcounter' THEN 'text'
            WHEN a.attname IN ('logid', 'statid') THEN 'bigint'
            WHEN a.atttypid = 'timestamp'::regtype THEN 'timestamptz'
            WHEN a.atttypid = 'bit'::regtype AND c.relname <> 'timportconfig' THEN 'boolean'
        END AS new_type) AS n
    WHERE c.relkind = 'r'
      AND (n.new_type::regtype <> a.atttypid OR (n.new_type = 'varchar' AND a.atttypmod >= 0))
      AND (c.relnamespace = 'dba'::regnamespace AND c.relname IN (SELECT name FROM pg_temp.etl_known WHERE kind = 'r')
           -- A new type evaluates the checks of a table again. Those of the jobs' own tables may call functions of the jobs,
           -- and each SET of such a function would last in this session. So the import itself changes these tables.
           OR c.oid = ANY (v_targets) AND c.relowner <> ALL (ARRAY['etl_user'::regrole, 'etl_report'::regrole, 'etl_backup'::regrole]))
    GROUP BY c.oid;

    v_tables := ARRAY(SELECT oid FROM pg_temp.etl_change);
    v_columns := ARRAY(
        SELECT ARRAY[oid, number::oid] FROM pg_temp.etl_change, unnest(numbers::integer[]) AS number
        UNION ALL
        -- This column becomes a domain later: p_adopt_frequency.
        SELECT ARRAY[attrelid, attnum::integer::oid] FROM pg_attribute
        WHERE attrelid IN (to_regclass('dba.tscheduler'), to_regclass('dba.treportmanager'))
          AND attname = 'frequency' AND atttypid = 'text'::regtype);
    CALL pg_temp.etl_note_what_is_in_the_way(v_columns, v_tables, '{}');
    CALL dba.p_set_views_aside(v_tables, '{}');
    FOR v_table IN SELECT * FROM pg_temp.etl_change ORDER BY name LOOP
        CALL pg_temp.etl_change_columns(v_table.oid, v_table.numbers, format('ALTER TABLE %s %s', v_table.name, v_table.changes));
    END LOOP;
    FOR v_table IN
        SELECT string_agg(name, ', ' ORDER BY name) AS names, is_ours FROM pg_temp.etl_change GROUP BY is_ours ORDER BY is_ours DESC
    LOOP
        CALL pg_temp.etl_tell(format('%s: %s', CASE WHEN v_table.is_ours THEN 'Texts have no limit any more, and times have their zone, in'
                                                    ELSE 'Texts have no limit any more in the import tables' END, v_table.names));
    END LOOP;

    -- The sequence of a serial column has its own type, which would end before the wider column does.
    FOR v_table IN
        SELECT s.oid::regclass AS name
        FROM pg_sequence AS q
        JOIN pg_class AS s ON s.oid = q.seqrelid
        JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'a'
        JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        JOIN pg_class AS t ON t.oid = d.refobjid AND t.relname IN (SELECT name FROM pg_temp.etl_known WHERE kind = 'r')
        WHERE s.relnamespace = 'dba'::regnamespace AND a.attname IN ('logid', 'statid') AND q.seqtypid <> a.atttypid
    LOOP
        EXECUTE format('ALTER SEQUENCE %s AS bigint', v_table.name);
    END LOOP;
END
$$;
