-- What: ends the take-over of an older installation: its views, its rights, and what a person must decide
-- Needs: all files but grants.sql                                Safe to run again: yes, then it has nothing to do

SET search_path = pg_catalog, pg_temp;

INSERT INTO dba.tddllogs (eventtype, schemaname, objectname, objecttype, sqlstatement, username)
SELECT 'REPLACED', 'dba', name, 'routine', definition, session_user FROM pg_temp.etl_routine WHERE is_older;

DO $$
DECLARE
    v_view record;
    v_statement text;
BEGIN
    FOR v_view IN SELECT * FROM pg_temp.etl_view ORDER BY place LOOP
        BEGIN
            FOREACH v_statement IN ARRAY v_view.statements LOOP
                EXECUTE v_statement;
            END LOOP;
            CALL pg_temp.etl_tell(format(
                'View %s was dropped and made again, because the columns below it have changed; its rights are as before', v_view.name));
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO pg_temp.etl_to_decide (told, cure, again)
            VALUES (format('the view %s cannot be made again: %s. Change it, or drop it before:', v_view.name, SQLERRM),
                    format('DROP %s %s;', v_view.kind, v_view.name), array_to_string(v_view.statements, E';\n') || ';');
        END;
    END LOOP;
END
$$;

-- The older jobs ran as a superuser. So that they go on, their role gets the rights on the site's own tables.
DO $$
DECLARE
    v_object record;
    v_tables text[] := '{}';
    v_materialized text[] := '{}';
    v_routines text;
BEGIN
    IF current_setting('etl.adopts') <> 'on' THEN
        RETURN;
    END IF;
    FOR v_object IN
        SELECT c.oid::regclass::text AS name, c.relkind, c.relowner::regrole::text AS owner
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE (n.nspname = 'public' OR n.nspname IN (SELECT split_part(target_table, '.', 1) FROM dba.timportconfig)
               OR c.oid IN (SELECT object FROM pg_temp.etl_site WHERE class = 'pg_class'::regclass))
          AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relowner NOT IN ('etl_user'::regrole, 'etl_owner'::regrole)
          AND c.oid NOT IN (SELECT pg_temp.etl_table(target_table) FROM dba.timportconfig WHERE pg_temp.etl_table(target_table) IS NOT NULL)
          -- What belongs to an extension is not the site's.
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        ORDER BY 1
    LOOP
        -- Not the right to make triggers: they would run as whoever writes to the table.
        EXECUTE format('GRANT %s %s TO etl_user',
            CASE v_object.relkind WHEN 'S' THEN 'USAGE, SELECT, UPDATE ON SEQUENCE'
                                  WHEN 'm' THEN 'SELECT ON TABLE'
                                  ELSE 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLE' END, v_object.name);
        IF v_object.relkind <> 'S' THEN
            EXECUTE format('GRANT SELECT ON %s TO etl_report', v_object.name);
            IF v_object.relkind = 'm' THEN
                v_materialized := v_materialized || format('%s (%s)', v_object.name, v_object.owner);
            ELSE
                v_tables := v_tables || v_object.name;
            END IF;
        END IF;
    END LOOP;
    IF v_tables <> '{}' THEN
        CALL pg_temp.etl_tell('Your own tables and views: etl_user may read and write them, etl_report may read them: '
                              || array_to_string(v_tables, ', '));
    END IF;
    -- The right to refresh one would let the jobs' role run the view's query as its owner.
    IF v_materialized <> '{}' THEN
        CALL pg_temp.etl_tell('Your own materialized views: etl_user and etl_report may read them, and only the owner can refresh them: '
            || array_to_string(v_materialized, ', ') || '. If a job of etl_user refreshes one: ALTER MATERIALIZED VIEW … OWNER TO etl_user');
    END IF;

    SELECT string_agg(p.oid::regprocedure::text, ', ' ORDER BY p.proname) INTO v_routines
    FROM pg_proc AS p
    JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE (n.nspname = 'public' OR p.oid IN (SELECT object FROM pg_temp.etl_site WHERE class = 'pg_proc'::regclass))
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');
    IF v_routines IS NOT NULL THEN
        CALL pg_temp.etl_tell('Your own functions and procedures stay as they are, with their rights: ' || v_routines);
    END IF;
END
$$;

-- What the jobs would refuse at each run. The jobs read these expressions with Python, whose rules differ a little from
-- PostgreSQL's. So only what both refuse is noted; the doctor tells the rest.
DO $refused$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        SELECT 'dba.timportconfig' AS table_name, config_id, name, value
        FROM dba.timportconfig
        CROSS JOIN LATERAL (VALUES
            -- What marks a regular expression, and not a glob, as in systemscripts/patterns.py.
            ('file_pattern', CASE WHEN file_pattern !~ '^[*?]' AND file_pattern ~ '[\\|]|^\^|\$$|\.[*+]|\[\^|\][+{]|\(\?' THEN file_pattern END),
            ('metadata_label_location', CASE WHEN metadata_label_source = 'filename' THEN metadata_label_location END),
            ('datelocation', CASE WHEN dateconfig = 'filename' THEN datelocation END)) AS v (name, value)
        WHERE is_active = B'1'
        UNION ALL
        SELECT 'dba.tinboxconfig', config_id, name, value
        FROM dba.tinboxconfig
        CROSS JOIN LATERAL (VALUES ('subject_pattern', subject_pattern), ('attachment_name_pattern', attachment_name_pattern)) AS v (name, value)
        WHERE is_active
        ORDER BY 1, 2, 3
    LOOP
        BEGIN
            PERFORM '' ~ v_row.value WHERE current_setting('etl.adopts') = 'on';
        EXCEPTION WHEN invalid_regular_expression THEN
            IF (SQLERRM LIKE '%not balanced%' AND v_row.value !~ '\[[^]]*\[[.:=]')
               OR regexp_replace(v_row.value, '\\.|\[[^]]*\]', 'x', 'g') ~ '(^|\|)(\(\?i\))?[*+?]' OR v_row.value ~ '(^|[^\\])(\\\\)*\\$' THEN
                INSERT INTO pg_temp.etl_to_decide (told, cure)
                VALUES (format('%s: in the row with config_id %s the %s is no regular expression (%s): %s. Correct it, or pause the row:',
                               v_row.table_name, v_row.config_id, v_row.name, regexp_replace(SQLERRM, '^.*: ', ''), v_row.value),
                        format('UPDATE %s SET %I = ''…'' WHERE config_id = %s;', v_row.table_name, v_row.name, v_row.config_id));
            END IF;
        END;
    END LOOP;

    INSERT INTO pg_temp.etl_to_decide (told, cure)
    SELECT format('dba.timportconfig: the row with config_id %s has the dateformat "%s". It must have yyyy, MM and dd once each, and may have HH, mm and ss. '
                  'Correct it, or pause the row:', config_id, dateformat),
           format('UPDATE dba.timportconfig SET dateformat = ''yyyyMMdd'' WHERE config_id = %s;', config_id)
    FROM dba.timportconfig
    CROSS JOIN LATERAL (SELECT array_agg(part[1]) AS parts, count(*) - count(DISTINCT part[1]) AS repeated
                        FROM regexp_matches(dateformat, 'yyyy|MM|dd|HH|mm|ss', 'g') AS part) AS found
    WHERE current_setting('etl.adopts') = 'on' AND is_active = B'1' AND dateformat IS NOT NULL
      AND NOT (dateconfig = 'static' AND datelocation = 'today')
      AND (found.parts @> '{yyyy,MM,dd}' AND found.repeated = 0) IS NOT TRUE;
END
$refused$;

-- The list of all that the files before have noted.
CALL pg_temp.etl_stop_if_undecided();
