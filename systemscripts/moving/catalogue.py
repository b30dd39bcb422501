"""The queries of an account: what the catalogue says of a database, in a form that is the same on every server.

Each query of SECTIONS yields names and texts; those of OWNED yield names and owners. NOT NULL is left out among the
constraints, because only since 18 it is one: it stands with the columns.
"""

# What all of them begin with: what is ours, and neither the server's nor an extension's.
BEGINNING = """
    WITH ours AS (
        SELECT oid AS schema_oid, nspname, nspowner, nspacl FROM pg_namespace
        WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_(toast|temp)'),
    relation AS (
        SELECT c.*, format('%I.%I', o.nspname, c.relname) AS name FROM pg_class AS c JOIN ours AS o ON o.schema_oid = c.relnamespace
        WHERE NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')),
    routine AS (
        SELECT p.*, p.oid::regprocedure::text AS name FROM pg_proc AS p JOIN ours AS o ON o.schema_oid = p.pronamespace
        WHERE NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')),
    kind AS (
        SELECT t.*, t.oid::regtype::text AS name FROM pg_type AS t JOIN ours AS o ON o.schema_oid = t.typnamespace
        WHERE t.typtype IN ('d', 'e', 'r')
          AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'))
"""
OWNED = """
    SELECT 'schema ' || nspname, pg_get_userbyid(nspowner) FROM ours
    UNION ALL SELECT name, pg_get_userbyid(relowner) FROM relation WHERE relkind NOT IN ('i', 'I')
    UNION ALL SELECT name, pg_get_userbyid(proowner) FROM routine
    UNION ALL SELECT name, pg_get_userbyid(typowner) FROM kind
    UNION ALL SELECT 'large object ' || oid, pg_get_userbyid(lomowner) FROM pg_largeobject_metadata
    UNION ALL SELECT 'the database', pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()
"""
SECTIONS = {
    "relation": """
        SELECT name, concat_ws(' ', relkind, relpersistence, relrowsecurity, relforcerowsecurity, relreplident, reloptions,
            pg_get_partkeydef(oid),
            pg_get_expr(relpartbound, oid))
        FROM relation WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')""",
    "column": """
        SELECT format('%s.%I', c.name, a.attname),
            concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                nullif(a.attidentity, ''), nullif(a.attgenerated, ''),
                'statistics ' || nullif(a.attstattarget, -1), a.attoptions,
                'storage ' || nullif(a.attstorage, (SELECT typstorage FROM pg_type AS t WHERE t.oid = a.atttypid))::text,
                pg_get_expr(d.adbin, d.adrelid),
                (SELECT collname FROM pg_collation AS o WHERE o.oid = a.attcollation AND o.collname <> 'default'))
        FROM pg_attribute AS a JOIN relation AS c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')""",
    "constraint": """
        SELECT format('%s on %s', c.conname, coalesce(nullif(c.conrelid, 0)::regclass::text, c.contypid::regtype::text)),
            concat_ws(' ', pg_get_constraintdef(c.oid), CASE WHEN NOT c.convalidated THEN 'not validated' END)
        FROM pg_constraint AS c JOIN ours ON schema_oid = c.connamespace WHERE c.contype NOT IN ('n', 't')""",
    "index": """
        SELECT c.name, concat_ws(' ', pg_get_indexdef(c.oid), CASE WHEN NOT i.indisvalid THEN 'not valid' END,
            CASE WHEN i.indisclustered THEN 'clustered' END)
        FROM pg_index AS i JOIN relation AS c ON c.oid = i.indexrelid""",
    "trigger": """
        SELECT format('%s on %s', t.tgname, c.name), concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
        FROM pg_trigger AS t JOIN relation AS c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal""",
    "rule": """
        SELECT format('%s on %s', r.rulename, c.name), concat_ws(' ', pg_get_ruledef(r.oid), r.ev_enabled)
        FROM pg_rewrite AS r JOIN relation AS c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'""",
    "policy": """
        SELECT format('%s on %s', p.polname, p.polrelid::regclass), concat_ws(' ', p.polcmd, p.polpermissive,
            ARRAY(SELECT rolname FROM pg_roles WHERE oid = ANY (p.polroles) ORDER BY 1), pg_get_expr(p.polqual, p.polrelid),
            pg_get_expr(p.polwithcheck, p.polrelid))
        FROM pg_policy AS p""",
    "view": """
        SELECT name, concat_ws(' ', relispopulated, pg_get_viewdef(oid)) FROM relation WHERE relkind IN ('v', 'm')""",
    "source of the view": """
        SELECT DISTINCT format('%s: %s', name, d.refobjid::regclass), 'read' FROM relation AS v JOIN pg_rewrite AS r ON r.ev_class = v.oid
        JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
        WHERE v.relkind IN ('v', 'm')""",
    "function": """
        SELECT name, concat_ws(' ', prokind, l.lanname, provolatile, proisstrict, prosecdef, proleakproof, proparallel,
            proretset, procost, prorows,
            aggtransfn, aggfinalfn, agginitval,
            pg_get_function_result(r.oid), pg_get_function_arguments(r.oid), proconfig, prosrc, pg_get_function_sqlbody(r.oid))
        FROM routine AS r JOIN pg_language AS l ON l.oid = r.prolang LEFT JOIN pg_aggregate AS a ON a.aggfnoid = r.oid""",
    "type": """
        SELECT name, concat_ws(' ', typtype, format_type(typbasetype, typtypmod), typnotnull, typdefault,
            (SELECT format_type(rngsubtype, NULL) FROM pg_range WHERE rngtypid = kind.oid),
            ARRAY(SELECT enumlabel FROM pg_enum WHERE enumtypid = kind.oid ORDER BY enumsortorder))
        FROM kind""",
    "extension": """
        SELECT extname, format('in %s', extnamespace::regnamespace) FROM pg_extension WHERE extname <> 'plpgsql'""",
    "event trigger": """
        SELECT evtname, concat_ws(' ', evtevent, evtfoid::regprocedure, evtenabled, evttags) FROM pg_event_trigger""",
    "comment": """
        SELECT format('%s %s', i.type, i.identity), d.description
        FROM pg_description AS d, pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
        WHERE d.objoid >= 16384 AND i.type <> 'event trigger' AND coalesce(i.schema, '') !~ '^pg_' AND NOT EXISTS (
            SELECT FROM pg_depend AS x WHERE x.classid = d.classoid AND x.objid = d.objoid AND x.deptype IN ('e', 'i'))""",
    # Of what is rare only the names: a restore that cannot make it says so.
    "object": """
        SELECT i.type || ' ' || i.identity, 'there' FROM (
            SELECT 'pg_cast'::regclass AS catalogue, oid FROM pg_cast
            UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
            UNION ALL SELECT 'pg_conversion'::regclass, oid FROM pg_conversion
            UNION ALL SELECT 'pg_foreign_server'::regclass, oid FROM pg_foreign_server
            UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
            UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
            UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication
            UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext
            UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
            UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict) AS rare,
            pg_identify_object(catalogue, oid, 0) AS i
        WHERE oid >= 16384 AND coalesce(i.schema, '') !~ '^pg_' AND NOT EXISTS (
            SELECT FROM pg_depend AS d WHERE d.classid = catalogue AND d.objid = rare.oid AND d.deptype = 'e')""",
    "parent": """
        SELECT format('%s of %s', i.inhparent::regclass, c.name), i.inhseqno::text
        FROM pg_inherits AS i JOIN relation AS c ON c.oid = i.inhrelid""",
    "column of the sequence": """
        SELECT c.name, format('%s.%I', d.refobjid::regclass, a.attname) FROM relation AS c
        JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
        JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE c.relkind = 'S' AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0""",
    "sequence": """
        SELECT name, concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle)
        FROM pg_sequence JOIN relation ON oid = seqrelid""",
}
GRANTS = """
    SELECT name, coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC'), privilege_type, is_grantable FROM (
        SELECT name, a.* FROM relation,
            aclexplode(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))) AS a
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL
        SELECT format('%s.%I', c.name, t.attname), a.*
        FROM pg_attribute AS t JOIN relation AS c ON c.oid = t.attrelid, aclexplode(t.attacl) AS a WHERE NOT t.attisdropped
        UNION ALL
        SELECT name, a.* FROM routine, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS a
        UNION ALL
        SELECT 'schema ' || nspname, a.* FROM ours, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS a
        UNION ALL
        SELECT name, a.* FROM kind, aclexplode(coalesce(typacl, acldefault('T', typowner))) AS a
        UNION ALL
        SELECT 'the database', a.* FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS a
        WHERE datname = current_database()
        UNION ALL
        SELECT format('%s of %s in %s by default', defaclobjtype, pg_get_userbyid(defaclrole),
            coalesce(nullif(defaclnamespace, 0)::regnamespace::text, 'all schemas')), a.*
        FROM pg_default_acl, aclexplode(defaclacl) AS a
        UNION ALL
        SELECT 'large object ' || oid, a.* FROM pg_largeobject_metadata, aclexplode(coalesce(lomacl, acldefault('L', lomowner))) AS a
    ) AS found
"""
# What the move itself sets is left out.
SETTINGS = """
    SELECT CASE s.setrole WHEN 0 THEN 'the database' ELSE pg_get_userbyid(s.setrole) || ' in the database' END, setting
    FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase, unnest(s.setconfig) AS setting
    WHERE d.datname = current_database() AND NOT (s.setrole = 0 AND setting ^@ 'default_transaction_read_only=')
    UNION ALL
    SELECT r.rolname, setting FROM pg_roles AS r, unnest(r.rolconfig) AS setting WHERE r.rolname = ANY (%s)
"""
ROLES = """
    SELECT rolname, concat_ws(' ', CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
        CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolcanlogin THEN 'LOGIN' END, CASE WHEN rolinherit THEN 'INHERIT' END,
        CASE WHEN rolreplication THEN 'REPLICATION' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END)
    FROM pg_roles WHERE rolname = ANY (%s)
"""
MEMBERSHIPS = """
    SELECT pg_get_userbyid(member), pg_get_userbyid(roleid) FROM pg_auth_members WHERE pg_get_userbyid(member) = ANY (%s)
"""
LARGE_OBJECTS = "SELECT oid FROM pg_largeobject_metadata ORDER BY 1"
LARGE_SUM = """
    SELECT md5(string_agg(md5(lo_get(%(oid)s, piece * %(piece)s, %(piece)s)), '' ORDER BY piece))
    FROM generate_series(0::bigint, %(size)s / %(piece)s) AS piece
"""
