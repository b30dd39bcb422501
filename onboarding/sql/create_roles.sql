-- What: the roles: an owner, the jobs, the reports, the backup    Read by: everything that connects
-- Needs: wait_for_turn.sql                                       Safe to run again: yes; passwords are never touched

SET search_path = pg_catalog, pg_temp;

DO $$
DECLARE
    v_role text;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['etl_owner', 'etl_user', 'etl_report', 'etl_backup'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = v_role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', v_role);
        END IF;
        IF EXISTS (SELECT FROM pg_roles
                   WHERE rolname = v_role
                     AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication
                          OR (rolbypassrls AND v_role <> 'etl_backup'))) THEN
            EXECUTE format('ALTER ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', v_role);
            CALL pg_temp.etl_tell(format('Role %s was more than it needs to be: it lost its administrator rights', v_role));
        END IF;
    END LOOP;

    -- An administrator who is not a superuser can give objects only to roles that he is a member of.
    IF current_setting('is_superuser') = 'off' THEN
        SET LOCAL client_min_messages = warning;  -- PostgreSQL would say that he is one already
        EXECUTE format('GRANT etl_owner, etl_user TO %I', current_user);
        SET LOCAL client_min_messages = notice;
    END IF;

    -- The owner gets no rights on tables of the jobs, because it would then run their triggers and rules. Earlier versions
    -- granted such rights.
    FOR v_role IN
        SELECT grantor::regrole::text FROM pg_auth_members
        WHERE roleid = 'etl_user'::regrole AND member = 'etl_owner'::regrole
    LOOP
        EXECUTE 'REVOKE etl_user FROM etl_owner'
            || CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN ' GRANTED BY ' || v_role ELSE '' END;
    END LOOP;

    -- Roles with more rights than the jobs must not find the jobs' functions and operators before PostgreSQL's own. And
    -- the owner must not read views of the jobs, because functions in them would run as the owner.
    FOREACH v_role IN ARRAY ARRAY['etl_owner', 'etl_backup'] LOOP
        EXECUTE format('ALTER ROLE %I SET search_path = pg_catalog, pg_temp', v_role);
    END LOOP;
    IF EXISTS (SELECT FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind') THEN
        ALTER ROLE etl_owner SET restrict_nonsystem_relation_kind = 'view, foreign-table';
    END IF;

    -- A backup reads all databases of the server completely, without a superuser.
    IF NOT pg_has_role('etl_backup', 'pg_read_all_data', 'MEMBER') THEN
        IF current_setting('is_superuser') = 'on' OR pg_has_role(current_user, 'pg_read_all_data', 'MEMBER WITH ADMIN OPTION') THEN
            GRANT pg_read_all_data TO etl_backup;
        ELSE
            RAISE WARNING '% may not grant pg_read_all_data to etl_backup: the daily backup fails until somebody does', current_user;
        END IF;
    END IF;
    IF current_setting('is_superuser') = 'on' THEN
        ALTER ROLE etl_backup BYPASSRLS;
    END IF;
    ALTER ROLE etl_backup SET default_transaction_read_only = on;

    ALTER ROLE etl_report SET default_transaction_read_only = on;
    -- A limit that the operator has set is kept.
    IF NOT EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS setting
                   WHERE setrole = 'etl_report'::regrole AND setting LIKE 'statement_timeout=%') THEN
        ALTER ROLE etl_report SET statement_timeout = '5min';
    END IF;
END
$$;

COMMENT ON ROLE etl_user IS 'Runs the jobs. Owns the import tables, has only the rights it needs in dba';
COMMENT ON ROLE etl_report IS 'Runs the queries of reports: read-only, with a time limit';
COMMENT ON ROLE etl_backup IS 'Reads everything for the daily backup; writes nothing';
