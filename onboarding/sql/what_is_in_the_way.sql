-- What: finds what of the site's own would stop a change of a column, a view or a routine   Read by: adopt_structure.sql
-- Needs: wait_for_turn.sql                                      Safe to run again: yes, it keeps nothing
--
-- PostgreSQL changes no column, and drops no view or routine, while certain other objects use it, and it names only the
-- first one. So all of them are noted, each with the statements to type. They are not made again here, because what a
-- policy or a trigger protects must not be without it unnoticed.

SET search_path = pg_catalog, pg_temp;

-- The statements that make a view again, with all that it has.
CREATE FUNCTION pg_temp.etl_view_statements(p_view oid) RETURNS text[]
LANGUAGE sql STABLE
RETURN (
    SELECT ARRAY[format('CREATE %s %s%s AS %s%s', kind.name, v.oid::regclass,
                        ' WITH (' || array_to_string(v.reloptions, ', ') || ')',
                        rtrim(pg_get_viewdef(v.oid), ';'), CASE v.relkind WHEN 'm' THEN ' WITH NO DATA' ELSE '' END),
                 format('ALTER %s %s OWNER TO %s', kind.name, v.oid::regclass, v.relowner::regrole)]
        || ARRAY(SELECT format('ALTER VIEW %s ALTER COLUMN %I SET DEFAULT %s', v.oid::regclass, a.attname, pg_get_expr(f.adbin, f.adrelid))
                 FROM pg_attrdef AS f JOIN pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
                 WHERE f.adrelid = v.oid)
        || ARRAY(SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE ev_class = v.oid AND rulename <> '_RETURN')
        || ARRAY(SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = v.oid AND NOT tgisinternal)
        || ARRAY(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = v.oid)
        || ARRAY(SELECT format('COMMENT ON %s %s IS %L', CASE objsubid WHEN 0 THEN kind.name ELSE 'COLUMN' END,
                               v.oid::regclass || coalesce('.' || quote_ident(a.attname), ''), description)
                 FROM pg_description
                 LEFT JOIN pg_attribute AS a ON a.attrelid = objoid AND a.attnum = objsubid AND objsubid > 0
                 WHERE classoid = 'pg_class'::regclass AND objoid = v.oid)
        || CASE WHEN v.relacl IS NULL THEN '{}' ELSE ARRAY[format('REVOKE ALL ON %s FROM PUBLIC, %s', v.oid::regclass, v.relowner::regrole)] END
        || ARRAY(SELECT format('GRANT %s ON %s TO %s%s', string_agg(g.privilege_type || coalesce(' (' || quote_ident(g.column_name) || ')', ''), ', '
                                                                    ORDER BY g.place),
                               v.oid::regclass, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END,
                               CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
                 FROM (SELECT NULL::name AS column_name, e.* FROM aclexplode(v.relacl) WITH ORDINALITY AS e (grantor, grantee, privilege_type, is_grantable, place)
                       UNION ALL
                       SELECT a.attname, e.*
                       FROM pg_attribute AS a,
                            aclexplode(a.attacl) WITH ORDINALITY AS e (grantor, grantee, privilege_type, is_grantable, place)
                       WHERE a.attrelid = v.oid AND NOT a.attisdropped) AS g
                 GROUP BY g.grantee, g.is_grantable ORDER BY min(g.place))
        || CASE WHEN v.relkind = 'm' AND v.relispopulated
                THEN ARRAY[format('REFRESH MATERIALIZED VIEW %s', v.oid::regclass)] ELSE '{}' END
    FROM pg_class AS v
    CROSS JOIN LATERAL (SELECT CASE v.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END) AS kind (name)
    WHERE v.oid = p_view);

-- The statements that make a routine again, with its owner and its rights.
CREATE FUNCTION pg_temp.etl_routine_statements(p_routine oid) RETURNS text[]
LANGUAGE sql STABLE
RETURN (
    SELECT ARRAY[rtrim(pg_get_functiondef(p.oid), E'\n'), format('ALTER ROUTINE %s OWNER TO %s', p.oid::regprocedure, p.proowner::regrole)]
        || CASE WHEN p.proacl IS NULL THEN '{}' ELSE ARRAY[format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', p.oid::regprocedure)] END
        || ARRAY(SELECT format('GRANT EXECUTE ON ROUTINE %s TO %s', p.oid::regprocedure,
                               CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END)
                 FROM aclexplode(p.proacl) AS g)
    FROM pg_proc AS p WHERE p.oid = p_routine AND p.prokind <> 'a');

-- Two statements for an object: the one that drops it, and those that make it again.
CREATE FUNCTION pg_temp.etl_drop_and_make(p_class oid, p_object oid, p_column integer, OUT drops text, OUT makes text[])
LANGUAGE plpgsql STABLE AS $$
BEGIN
    CASE p_class
    WHEN 'pg_policy'::regclass THEN
        SELECT format('DROP POLICY %I ON %s', o.polname, o.polrelid::regclass),
               ARRAY[format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', o.polname, o.polrelid::regclass, v.permissive, v.cmd,
                            (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END, ', ') FROM unnest(o.polroles) AS r),
                            ' USING (' || v.qual || ')', ' WITH CHECK (' || v.with_check || ')')]
        INTO drops, makes
        FROM pg_policy AS o
        JOIN pg_class AS c ON c.oid = o.polrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_policies AS v ON (v.schemaname, v.tablename, v.policyname) = (n.nspname, c.relname, o.polname)
        WHERE o.oid = p_object;
    WHEN 'pg_trigger'::regclass THEN
        SELECT format('DROP TRIGGER %I ON %s', o.tgname, o.tgrelid::regclass),
               ARRAY[pg_get_triggerdef(o.oid)]
                   || CASE o.tgenabled WHEN 'O' THEN '{}' ELSE ARRAY[format('ALTER TABLE %s %s TRIGGER %I', o.tgrelid::regclass,
                          CASE o.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, o.tgname)] END
        INTO drops, makes FROM pg_trigger AS o WHERE o.oid = p_object;
    WHEN 'pg_rewrite'::regclass THEN
        SELECT format('DROP RULE %I ON %s', o.rulename, o.ev_class::regclass), ARRAY[rtrim(pg_get_ruledef(o.oid), ';')]
        INTO drops, makes FROM pg_rewrite AS o WHERE o.oid = p_object;
    WHEN 'pg_proc'::regclass THEN
        drops := format('DROP ROUTINE %s', p_object::regprocedure);
        makes := pg_temp.etl_routine_statements(p_object);
    WHEN 'pg_constraint'::regclass THEN
        SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', o.conrelid::regclass, o.conname),
               ARRAY[format('ALTER TABLE %s ADD CONSTRAINT %I %s', o.conrelid::regclass, o.conname, pg_get_constraintdef(o.oid))]
        INTO drops, makes FROM pg_constraint AS o WHERE o.oid = p_object AND o.conrelid <> 0;
    WHEN 'pg_attrdef'::regclass THEN
        SELECT format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', o.adrelid::regclass, a.attname),
               ARRAY[format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', o.adrelid::regclass, a.attname, pg_get_expr(o.adbin, o.adrelid))]
        INTO drops, makes
        FROM pg_attrdef AS o JOIN pg_attribute AS a ON a.attrelid = o.adrelid AND a.attnum = o.adnum WHERE o.oid = p_object;
    WHEN 'pg_publication_rel'::regclass THEN
        SELECT format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, o.prrelid::regclass),
               ARRAY[format('ALTER PUBLICATION %I ADD TABLE %s%s%s', p.pubname, o.prrelid::regclass,
                            (SELECT format(' (%s)', string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum))
                             FROM pg_attribute AS a WHERE a.attrelid = o.prrelid AND a.attnum = ANY (o.prattrs) HAVING count(*) > 0),
                            ' WHERE (' || pg_get_expr(o.prqual, o.prrelid) || ')')]
        INTO drops, makes FROM pg_publication_rel AS o JOIN pg_publication AS p ON p.oid = o.prpubid WHERE o.oid = p_object;
    WHEN 'pg_class'::regclass THEN
        SELECT CASE WHEN p_column > 0 THEN format('ALTER TABLE %s DROP COLUMN %I', c.oid::regclass, a.attname)
                    ELSE format('DROP %s %s', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'INDEX' END, c.oid::regclass) END,
               CASE WHEN c.relkind IN ('v', 'm') THEN pg_temp.etl_view_statements(c.oid)
                    WHEN p_column = 0 THEN ARRAY[pg_get_indexdef(c.oid)]
                    WHEN a.attgenerated <> '' THEN
                        ARRAY[format('ALTER TABLE %s ADD COLUMN %I %s GENERATED ALWAYS AS (%s)%s%s', c.oid::regclass, a.attname,
                                     format_type(a.atttypid, a.atttypmod), pg_get_expr(f.adbin, f.adrelid),
                                     CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE ' VIRTUAL' END,
                                     CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END)]
                        -- These go with the column.
                        || ARRAY(SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.oid::regclass, k.conname, pg_get_constraintdef(k.oid))
                                 FROM pg_constraint AS k WHERE k.conrelid = c.oid AND a.attnum = ANY (k.conkey) AND k.contype <> 'n')
                        || ARRAY(SELECT DISTINCT pg_get_indexdef(i.indexrelid)
                                 FROM pg_index AS i
                                 JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                                     AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum
                                 WHERE i.indrelid = c.oid
                                   AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid))
                        || ARRAY(SELECT format('GRANT %s (%I) ON %s TO %s', g.privilege_type, a.attname, c.oid::regclass,
                                               CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END)
                                 FROM aclexplode(a.attacl) AS g) END
        INTO drops, makes
        FROM pg_class AS c
        LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = p_column AND p_column > 0
        LEFT JOIN pg_attrdef AS f ON f.adrelid = c.oid AND f.adnum = p_column
        WHERE c.oid = p_object;
    ELSE
        NULL;  -- an operator, a cast, a domain: the person knows it
    END CASE;
END
$$;

-- `p_changes` are the columns that get another type, each as {table, number}; `p_tables` the tables whose views are dropped;
-- `p_routines` the routines that are dropped. What stands in their way is noted and, because now nothing will be changed
-- in the end, dropped, so that the list becomes complete.
CREATE PROCEDURE pg_temp.etl_note_what_is_in_the_way(p_changes oid[], p_tables oid[], p_routines oid[])
LANGUAGE plpgsql
SET client_min_messages = warning  -- PostgreSQL would tell the names of what is dropped as they are
AS $$
DECLARE
    v_found record;
    v_drops text[] := '{}';
    v_drop text;
BEGIN
    FOR v_found IN
        WITH RECURSIVE reached (class, object, part, how, by_person, what, depth) AS (
            SELECT 'pg_class'::regclass::oid, p_changes[n][1], p_changes[n][2]::integer, 'changed', false,
                   pg_describe_object('pg_class'::regclass, p_changes[n][1], p_changes[n][2]::integer), 0
            FROM generate_subscripts(p_changes, 1) AS n
            UNION
            SELECT 'pg_class'::regclass, t, 0, 'has views', false, '', 0 FROM unnest(p_tables) AS t
            UNION
            -- No other table may have a column of a table's row type while that one is written anew.
            SELECT 'pg_type'::regclass, y.oid, 0, 'row type', false, pg_describe_object('pg_class'::regclass, c.oid, 0), 0
            FROM unnest(p_tables) AS t
            JOIN pg_class AS c ON c.oid = t AND c.relnamespace = 'dba'::regnamespace
            JOIN pg_type AS y ON c.reltype IN (y.oid, y.typelem)
            UNION
            SELECT 'pg_proc'::regclass, r, 0, 'dropped', false, pg_describe_object('pg_proc'::regclass, r, 0), 0 FROM unnest(p_routines) AS r
            UNION
            SELECT n.class, n.object, n.part, n.how, n.by_person, r.what_next, r.depth + 1
            FROM (SELECT *, CASE WHEN depth = 0 OR class = 'pg_type'::regclass THEN what ELSE pg_describe_object(class, object, part) END
                      AS what_next FROM reached) AS r
            CROSS JOIN LATERAL (
                -- The row type of a view goes with it.
                SELECT 'pg_type'::regclass::oid AS class, y.oid AS object, 0 AS part, 'dropped' AS how, r.by_person
                FROM pg_class AS c
                JOIN pg_type AS y ON c.reltype IN (y.oid, y.typelem)
                WHERE r.how = 'dropped' AND r.class = 'pg_class'::regclass AND r.part = 0 AND c.oid = r.object AND c.reltype <> 0
                UNION ALL
                SELECT CASE WHEN v.oid IS NOT NULL OR g.attrelid IS NOT NULL THEN 'pg_class'::regclass::oid ELSE d.classid END,
                       coalesce(v.oid, g.attrelid, d.objid),
                       CASE WHEN v.oid IS NOT NULL THEN 0 ELSE coalesce(g.attnum, d.objsubid) END,
                       CASE WHEN coalesce(v.oid, g.attrelid) IS NOT NULL OR d.classid = 'pg_proc'::regclass THEN 'dropped' ELSE 'leaf' END,
                       -- A view is set aside, unless it uses what a person must drop.
                       v.oid IS NULL OR r.by_person
                FROM pg_depend AS d
                LEFT JOIN pg_rewrite AS w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
                LEFT JOIN pg_class AS v ON v.oid = w.ev_class AND v.relkind IN ('v', 'm')
                LEFT JOIN pg_attrdef AS f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
                LEFT JOIN pg_attribute AS g ON g.attrelid = f.adrelid AND g.attnum = f.adnum AND g.attgenerated <> ''
                WHERE d.refclassid = r.class AND d.refobjid = r.object AND (r.part = 0 OR d.refobjsubid = r.part)
                  AND v.oid IS DISTINCT FROM CASE r.class WHEN 'pg_class'::regclass THEN r.object ELSE 0 END
                  AND CASE r.how
                      WHEN 'dropped' THEN d.deptype = 'n'
                      WHEN 'has views' THEN v.oid IS NOT NULL
                      WHEN 'row type' THEN d.classid = 'pg_class'::regclass AND d.objsubid > 0
                          AND (SELECT relkind FROM pg_class WHERE oid = d.objid) IN ('r', 'p', 'm')
                      -- PostgreSQL makes indexes, constraints, defaults and statistics again by itself.
                      WHEN 'changed' THEN g.attnum <> r.part
                          OR d.classid IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_proc'::regclass,
                                           'pg_publication_rel'::regclass)
                      END) AS n
            WHERE r.depth < 20
        )
        SELECT class, object, part, min(what) FILTER (WHERE by_person) AS what, max(depth) AS depth,
               NOT EXISTS (SELECT FROM pg_attribute AS a
                           WHERE class = 'pg_class'::regclass AND part > 0 AND a.attrelid = object AND a.attnum = part AND a.attgenerated = '')
                   AS may_be_dropped,
               pg_describe_object(class, object, part) AS name
        FROM reached
        WHERE by_person AND class <> 'pg_type'::regclass
        GROUP BY class, object, part
        ORDER BY max(depth) DESC, name
    LOOP
        DECLARE
            v_statements record := pg_temp.etl_drop_and_make(v_found.class, v_found.object, v_found.part);
        BEGIN
            INSERT INTO pg_temp.etl_to_decide (told, cure, again)
            VALUES (format('%s uses %s, which the set-up has to change. %s', v_found.name, v_found.what,
                           CASE WHEN v_statements.drops IS NULL THEN 'Drop it before.'
                                WHEN v_found.may_be_dropped THEN 'Drop it before:'
                                ELSE 'Give it another type before:' END),
                    CASE WHEN v_found.may_be_dropped THEN v_statements.drops
                         ELSE format('ALTER TABLE %s ALTER COLUMN %2$I TYPE text USING %2$I::text', v_found.object::regclass,
                                     (SELECT attname FROM pg_attribute WHERE attrelid = v_found.object AND attnum = v_found.part)) END || ';',
                    CASE WHEN v_found.may_be_dropped THEN array_to_string(v_statements.makes, E';\n') || ';' END);
            v_drops := v_drops || v_statements.drops;
        END;
    END LOOP;
    FOREACH v_drop IN ARRAY array_remove(v_drops, NULL) LOOP
        BEGIN
            EXECUTE v_drop || CASE WHEN v_drop LIKE '% DROP DEFAULT' OR v_drop LIKE 'ALTER PUBLICATION %' THEN '' ELSE ' CASCADE' END;
        EXCEPTION WHEN undefined_object OR undefined_column OR undefined_table OR undefined_function THEN
            NULL;  -- it has gone with another one
        END;
    END LOOP;
END
$$;

-- Changes columns of a table. Their indexes and rules may not fit the new type; then these are noted too.
CREATE PROCEDURE pg_temp.etl_change_columns(p_table oid, p_numbers smallint[], p_change text)
LANGUAGE plpgsql AS $$
DECLARE
    v_part record;
    v_drops text[] := '{}';
    v_makes text[] := '{}';
    v_statement text;
BEGIN
    BEGIN
        EXECUTE p_change;
        RETURN;
    EXCEPTION WHEN OTHERS THEN
        NULL;  -- it is looked for below
    END;
    FOR v_part IN
        SELECT DISTINCT s.drops, s.makes
        FROM pg_depend AS d
        CROSS JOIN LATERAL pg_temp.etl_drop_and_make(d.classid, d.objid, 0) AS s
        LEFT JOIN pg_index AS i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
        LEFT JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
        WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = p_table AND d.refobjsubid = ANY (p_numbers)
          AND (k.contype = 'c' OR i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
    LOOP
        v_drops := v_drops || v_part.drops;
        v_makes := v_makes || v_part.makes[1];
    END LOOP;
    BEGIN
        FOREACH v_statement IN ARRAY v_drops || p_change LOOP
            EXECUTE v_statement;
        END LOOP;
    EXCEPTION WHEN OTHERS THEN
        INSERT INTO pg_temp.etl_to_decide (told, cure)
        VALUES (format('PostgreSQL cannot change columns of %s: %s. This is the statement:', p_table::regclass, SQLERRM), p_change || ';');
        -- What follows counts on the change, so the list ends here.
        CALL pg_temp.etl_stop_if_undecided();
    END;
    FOR v_number IN 1 .. cardinality(v_makes) LOOP
        BEGIN
            EXECUTE v_makes[v_number];
        EXCEPTION WHEN OTHERS THEN
            INSERT INTO pg_temp.etl_to_decide (told, cure, again)
            VALUES (format('Something of %s does not fit the type that a column gets: %s. Drop it before, and write it anew for that type:',
                           p_table::regclass, SQLERRM), v_drops[v_number] || ';',
                    E'-- This one has to be written anew for the new type:\n' || v_makes[v_number] || ';');
        END;
    END LOOP;
END
$$;
