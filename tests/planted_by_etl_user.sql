-- What a hostile job could leave in the database, for test_hostile_jobs.py: run as etl_user. Each of it says in the
-- server's log when it runs as anybody else.
SET client_min_messages = error;

CREATE FUNCTION public.spy(what text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS $$
BEGIN
    IF current_user <> 'etl_user' THEN
        RAISE WARNING 'SPY: % ran as %', what, current_user;
    END IF;
    RETURN true;
END $$;
CREATE FUNCTION public.spy_text(what text, value text) RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS $$
BEGIN PERFORM public.spy(what); RETURN value; END $$;
CREATE FUNCTION public.spy_trigger() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN PERFORM public.spy('trigger on ' || tg_table_name); RETURN CASE tg_op WHEN 'DELETE' THEN old ELSE new END; END $$;

-- Functions that hide those of pg_catalog wherever their arguments fit better.
DO $$
DECLARE
    v_function record;
BEGIN
    FOR v_function IN
        SELECT name, first, second
        FROM unnest(ARRAY['format', 'string_agg', 'concat', 'concat_ws', 'current_setting', 'set_config', 'pg_has_role', 'md5',
                          'left', 'to_char', 'substring', 'regexp_replace', 'regexp_split_to_array', 'split_part', 'rtrim',
                          'starts_with', 'quote_ident', 'quote_literal', 'obj_description', 'shobj_description', 'nullif',
                          'hashtextextended', 'json_build_object', 'json_build_array', 'to_jsonb', 'array_agg', 'max', 'count']) AS name,
             unnest(ARRAY['text', 'name', 'oid', 'regclass', 'integer']) AS first,
             unnest(ARRAY['', 'text', 'name', 'bigint']) AS second
    LOOP
        EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS text LANGUAGE plpgsql IMMUTABLE AS '
                       '$f$BEGIN PERFORM public.spy(%L); RETURN ''''; END$f$',
                       v_function.name, concat_ws(', ', v_function.first, nullif(v_function.second, '')), 'function ' || v_function.name);
    END LOOP;
    FOR v_function IN
        SELECT operator, first, second, row_number() OVER () AS number
        FROM unnest(ARRAY['=', '<>', '~', '!~', '<', '>', '>=']) AS operator,
             unnest(ARRAY['text', 'name', 'oid', 'regclass', 'integer', '"char"']) AS first,
             unnest(ARRAY['text', 'name', 'oid', 'integer', 'regtype']) AS second
    LOOP
        EXECUTE format('CREATE FUNCTION public.spy_operator_%s(%s, %s) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS '
                       '$f$BEGIN RETURN public.spy(%L); END$f$',
                       v_function.number, v_function.first, v_function.second, 'operator ' || v_function.operator);
        EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.spy_operator_%s)',
                       v_function.operator, v_function.first, v_function.second, v_function.number);
    END LOOP;
END $$;

-- Code that hangs on a table and its types. The import's own tables are among them.
CREATE DOMAIN public.dplanted AS text CHECK (public.spy('domain'));
CREATE TYPE public.eplanted AS ENUM ('a', 'b');
CREATE FUNCTION public.spy_cast(public.eplanted) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN PERFORM public.spy('cast of an enum'); RETURN 'x'; END$$;
CREATE CAST (public.eplanted AS text) WITH FUNCTION public.spy_cast(public.eplanted) AS IMPLICIT;
CREATE FUNCTION public.spy_diff(x double precision, y double precision) RETURNS double precision LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN PERFORM public.spy('range'); RETURN x - y; END$$;
CREATE TYPE public.rplanted AS RANGE (subtype = double precision, subtype_diff = public.spy_diff);

CREATE TABLE IF NOT EXISTS public.tmeetmaxevent (datasetid integer, company_name text, ticker text);
INSERT INTO public.tmeetmaxevent VALUES (1, 'Acme', 'ACME');
CREATE OR REPLACE VIEW public.vmeetmaxevent AS SELECT t.* FROM public.tmeetmaxevent AS t WHERE public.spy('view');
GRANT ALL ON public.vmeetmaxevent, public.tmeetmaxevent TO PUBLIC;
-- The set-up adds the columns that this one lacks.
CREATE TABLE IF NOT EXISTS public.tmeetmaxurlcheck (datasetid integer, eventid text);
CREATE TABLE public.tindexed (id integer, a text, e public.eplanted, r public.rplanted);
INSERT INTO public.tindexed SELECT i, 'a', 'a', public.rplanted(i, i + 1) FROM generate_series(1, 50) AS i;
CREATE INDEX ON public.tindexed (public.spy_text('index', a));
CREATE INDEX ON public.tindexed (a) WHERE public.spy('predicate of an index');
CREATE INDEX ON public.tindexed USING gist (r);
CREATE STATISTICS public.splanted ON (public.spy_text('statistics', a)), id FROM public.tindexed;
CREATE MATERIALIZED VIEW public.mplanted AS SELECT public.spy('materialized view') AS a;
CREATE TABLE public.tcast (id integer, a text);
INSERT INTO public.tcast VALUES (1, 'right');
CREATE FUNCTION public.spy_cast(public.tcast) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN PERFORM public.spy('cast of a row'); RETURN 'x'; END$$;
CREATE CAST (public.tcast AS text) WITH FUNCTION public.spy_cast(public.tcast) AS IMPLICIT;
CREATE TABLE public.tpolicy (id integer);
INSERT INTO public.tpolicy VALUES (1);
ALTER TABLE public.tpolicy ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY pplanted ON public.tpolicy USING (public.spy('policy'));
CREATE AGGREGATE public.aplanted (text) (SFUNC = public.spy_text, STYPE = text);
CREATE DEFAULT CONVERSION public.cplanted FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['tmeetmaxevent', 'tmeetmaxurlcheck', 'tcast'] LOOP
        EXECUTE format('CREATE TRIGGER spy BEFORE INSERT OR UPDATE OR DELETE ON public.%I '
                       'FOR EACH ROW EXECUTE FUNCTION public.spy_trigger()', v_table);
        EXECUTE format('CREATE RULE spy AS ON DELETE TO public.%I DO ALSO SELECT public.spy(''rule'')', v_table);
    END LOOP;
END $$;

-- For its own sessions a role may set what it likes; here, so that its jobs go on as if nothing had happened.
ALTER ROLE etl_user SET search_path = pg_catalog;
