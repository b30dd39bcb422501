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
    v_routines text;
BEGIN
    IF current_setting('etl.adopts') <> 'on' THEN
        RETURN;
    END IF;
    FOR v_object IN
        SELECT c.oid::regclass::text AS name, c.relkind, n.nspname
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE (n.nspname = 'public' OR n.nspname IN (SELECT split_part(target_table, '.', 1) FROM dba.timportconfig)
               OR c.oid IN (SELECT object FROM pg_temp.etl_site WHERE class = 'pg_class'::regclass))
          AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relowner NOT IN ('etl_user'::regrole, 'etl_owner'::regrole)
          AND c.oid NOT IN (SELECT to_regclass(target_table) FROM dba.timportconfig WHERE to_regclass(target_table) IS NOT NULL)
          -- What belongs to an extension is not the site's.
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
        ORDER BY 1
    LOOP
        -- Not the right to make triggers: they would run as whoever writes to the table.
        EXECUTE format('GRANT %s %s TO etl_user',
            CASE v_object.relkind WHEN 'S' THEN 'USAGE, SELECT, UPDATE ON SEQUENCE'
                                  ELSE 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLE' END, v_object.name);
        IF v_object.relkind <> 'S' THEN
            EXECUTE format('GRANT SELECT ON %s TO etl_report', v_object.name);
            v_tables := v_tables || v_object.name;
        END IF;
    END LOOP;
    IF v_tables <> '{}' THEN
        RAISE NOTICE 'Your own tables and views: etl_user may read and write them, etl_report may read them: %', array_to_string(v_tables, ', ');
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

-- The list of all that the files before have noted.
CALL pg_temp.etl_stop_if_undecided();
