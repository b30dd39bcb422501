-- The same, of the kind that runs where rows are written; see planted_by_etl_user.sql.
CREATE TABLE public.tfilled (
    id integer DEFAULT public.spy_text('default', '1')::integer,
    a text CHECK (public.spy('check')),
    b public.dplanted,
    c text GENERATED ALWAYS AS (public.spy_text('generated', a)) STORED,
    d text GENERATED ALWAYS AS (public.spy_text('generated of a constant', 'x')) STORED
);
INSERT INTO public.tfilled (a, b) VALUES ('a', 'b');
CREATE TABLE public.tpartitioned (a text) PARTITION BY LIST (public.spy_text('partition key', a));
CREATE TABLE public.tpartition PARTITION OF public.tpartitioned FOR VALUES IN ('a');
INSERT INTO public.tpartitioned VALUES ('a');
CREATE FUNCTION public.spy_domain(public.dplanted, text) RETURNS public.dplanted LANGUAGE sql AS 'SELECT $1';
CREATE AGGREGATE public.ainitial (text) (SFUNC = public.spy_domain, STYPE = public.dplanted, INITCOND = 'x');
