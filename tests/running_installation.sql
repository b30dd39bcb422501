-- An older installation as one really runs: a database that went on for years after its set-up, with tables, views, functions,
-- reports and jobs of its own. The shapes are a real one's; the rows are invented. A superuser owns all of it.
CREATE SCHEMA dba;

CREATE TABLE dba.tlogentry (
    logid serial PRIMARY KEY, "timestamp" timestamp NOT NULL DEFAULT now(), run_uuid varchar(36) NOT NULL,
    processtype varchar(50) NOT NULL, stepcounter varchar(50), username varchar(50), stepruntime double precision,
    totalruntime double precision, message text NOT NULL);
CREATE TABLE dba.tddllogs (
    logid serial PRIMARY KEY, eventtime timestamp NOT NULL DEFAULT now(), eventtype text NOT NULL, schemaname text, objectname text,
    objecttype text NOT NULL, sqlstatement text NOT NULL, username varchar(50) NOT NULL DEFAULT current_user);
CREATE TABLE dba.tmaintenancelog (
    logid serial PRIMARY KEY, maintenancetime timestamp NOT NULL DEFAULT now(), operation varchar(50) NOT NULL,
    tablename varchar(100), username varchar(50), durationseconds double precision, details text);
CREATE TABLE dba.tdatasettype (
    datasettypeid serial PRIMARY KEY, typename varchar(50) NOT NULL, description text,
    createddate timestamp NOT NULL DEFAULT now(), createdby varchar(50) NOT NULL DEFAULT current_user);
CREATE TABLE dba.tdatasource (
    datasourceid serial PRIMARY KEY, sourcename varchar(50) NOT NULL, description text,
    createddate timestamp NOT NULL DEFAULT now(), createdby varchar(50) NOT NULL DEFAULT current_user);
CREATE TABLE dba.tdatastatus (
    datastatusid serial PRIMARY KEY, statusname varchar(50) NOT NULL, description text,
    createddate timestamp NOT NULL DEFAULT now(), createdby varchar(50) NOT NULL DEFAULT current_user);
CREATE TABLE dba.tdataset (
    datasetid serial PRIMARY KEY, datasetdate date NOT NULL, label varchar(100) NOT NULL,
    datasettypeid integer NOT NULL REFERENCES dba.tdatasettype, datasourceid integer NOT NULL REFERENCES dba.tdatasource,
    datastatusid integer NOT NULL REFERENCES dba.tdatastatus, efffromdate timestamp NOT NULL DEFAULT now(),
    effthrudate timestamp NOT NULL DEFAULT '9999-01-01', isactive boolean NOT NULL DEFAULT true,
    createddate timestamp NOT NULL DEFAULT now(), createdby varchar(50) NOT NULL DEFAULT current_user,
    CONSTRAINT chk_eff_dates CHECK (efffromdate <= effthrudate));
CREATE TABLE dba.tholidays (
    holiday_date date PRIMARY KEY, holiday_name text, createddate timestamp NOT NULL DEFAULT now(),
    createdby varchar(50) NOT NULL DEFAULT current_user);
CREATE TABLE dba.tcalendardays (
    fulldate date PRIMARY KEY, downame varchar(10), downum integer, isbusday boolean, isholiday boolean, previous_business_date date);
CREATE TABLE dba.timportstrategy (importstrategyid serial PRIMARY KEY, name varchar(100) NOT NULL);
CREATE TABLE dba.timportconfig (
    config_id serial PRIMARY KEY, config_name varchar(100) NOT NULL UNIQUE, datasource varchar(100) NOT NULL,
    datasettype varchar(100) NOT NULL, source_directory varchar(255) NOT NULL, archive_directory varchar(255) NOT NULL,
    file_pattern varchar(255) NOT NULL, file_type varchar(10) NOT NULL, metadata_label_source varchar(50) NOT NULL,
    metadata_label_location varchar(255), dateconfig varchar(50) NOT NULL, datelocation varchar(255), dateformat varchar(50),
    delimiter varchar(10), target_table varchar(100) NOT NULL, importstrategyid integer NOT NULL DEFAULT 1,
    is_active bit(1) DEFAULT '1', created_at timestamp DEFAULT now(), last_modified_at timestamp DEFAULT now(),
    CONSTRAINT timportconfig_dateconfig_check CHECK (dateconfig IN ('filename', 'file_content', 'static')),
    CONSTRAINT timportconfig_file_type_check CHECK (file_type IN ('CSV', 'XLS', 'XLSX')),
    CONSTRAINT valid_date CHECK (dateconfig = 'filename' AND datelocation ~ '^[0-9]+$' AND delimiter IS NOT NULL AND dateformat IS NOT NULL
        OR dateconfig = 'file_content' AND datelocation ~ '^[a-zA-Z0-9_]+$' AND dateformat IS NOT NULL
        OR dateconfig = 'static' AND dateformat IS NOT NULL),
    CONSTRAINT valid_directories CHECK (source_directory <> archive_directory AND source_directory ~ '^/.*[^/]$'
        AND archive_directory ~ '^/.*[^/]$'));
CREATE TABLE dba.tinboxconfig (
    config_id serial PRIMARY KEY, config_name varchar(255) NOT NULL UNIQUE, gmail_account varchar(255) NOT NULL,
    subject_pattern varchar(255), has_attachment boolean DEFAULT false, attachment_name_pattern varchar(255),
    local_repository_path varchar(255) NOT NULL, is_active boolean DEFAULT true, created_by varchar(255) DEFAULT current_user,
    created_date timestamp DEFAULT now());
CREATE TABLE dba.treportmanager (
    reportid serial PRIMARY KEY, reportname varchar(255) NOT NULL, reportdescription text, frequency varchar(50) NOT NULL,
    subjectheader varchar(255) NOT NULL, toheader text NOT NULL, hasattachment boolean DEFAULT false, attachmentqueries jsonb,
    emailbodytemplate text, emailbodyqueries jsonb, datastatusid integer REFERENCES dba.tdatastatus, createddate timestamp DEFAULT now(),
    createduser varchar(100));
CREATE TABLE dba.tscheduler (
    schedulerid serial PRIMARY KEY, taskname varchar(255) NOT NULL, taskdescription text, frequency varchar(50) NOT NULL,
    scriptpath varchar(255) NOT NULL, scriptargs text, datastatusid integer REFERENCES dba.tdatastatus,
    createddate timestamp DEFAULT now(), createduser varchar(100));
CREATE TABLE dba.ttableindexstats (
    statid serial PRIMARY KEY, snapshottime timestamp NOT NULL DEFAULT now(), schemaname varchar(100), tablename varchar(100),
    indexname varchar(100), rowcount bigint, seqscans bigint, idxscans bigint, inserts bigint, updates bigint, deletes bigint,
    totalsize bigint);

-- The site's own data, one table among those of the system.
CREATE TABLE dba.tclients (id serial PRIMARY KEY, name text);
GRANT SELECT ON dba.tclients TO PUBLIC;
CREATE TABLE public.U&"red\001b[31m" (id serial PRIMARY KEY, name text);
CREATE TABLE public.tconferenceexception (conferenceexceptionid serial PRIMARY KEY, conferencename varchar(255) NOT NULL);
CREATE TABLE public.ttickerexceptions (tickerexceptionid serial PRIMARY KEY, tickername varchar(255) NOT NULL);
CREATE TABLE public.tdaily_cancellations_incremental (
    id serial PRIMARY KEY, datasetid integer NOT NULL, source varchar(50), company_name varchar(255), ticker varchar(50),
    event_name varchar(255), min_date date, max_date date, cancellation_date date, status varchar(50),
    incremental_date date DEFAULT current_date);
CREATE TABLE public.thistorical_cancellations_snapshot (
    id serial PRIMARY KEY, source varchar(50), company_name varchar(255), ticker varchar(50), event_name varchar(255), min_date date,
    max_date date, cancellation_date date, status varchar(50), snapshot_date date DEFAULT '2026-01-15');
CREATE TABLE public.tmeetmaxeventdata (
    tmeetmaxeventdataid serial PRIMARY KEY, datasetid integer NOT NULL, company_name varchar(109), tickers varchar(19));
CREATE TABLE public.tmeetmaxevent (
    tmeetmaxeventid serial PRIMARY KEY, datasetid integer NOT NULL, company_name varchar(255), ticker varchar(255), "unnamed:_5" varchar(255));
CREATE TABLE public.tmeetmaxurlcheck (
    tmeetmaxurlcheckid serial PRIMARY KEY, datasetid integer NOT NULL, eventid varchar(9), url varchar(90), ifexists varchar(1),
    invalideventid varchar(7), isdownloadable varchar(1), downloadlink varchar(112), statuscode varchar(4), title varchar(18));

INSERT INTO dba.tdatasettype (typename)
VALUES ('Metadata'), ('MeetMaxURL'), ('MeetMaxEvents'), ('MeetMaxEventData'), ('Cancellations');
INSERT INTO dba.tdatasource (sourcename) VALUES ('MeetMax'), ('Bank');
INSERT INTO dba.tdatastatus (statusname) VALUES ('Active'), ('Inactive'), ('Deleted'), ('New'), ('Failed'), ('Empty');
INSERT INTO dba.timportstrategy (name)
VALUES ('Import and create new columns if needed'), ('Import only (ignores new columns)'),
       ('Import or fail if columns are missing from source file');
INSERT INTO dba.tholidays (holiday_date, holiday_name) VALUES ('2025-01-01', 'New Year');
INSERT INTO dba.tcalendardays
SELECT d, to_char(d, 'FMDay'), extract(dow FROM d), extract(isodow FROM d) < 6 AND d <> '2026-12-24', d = '2026-12-24',
       CASE extract(isodow FROM d) WHEN 1 THEN d::date - 3 WHEN 7 THEN d::date - 2 ELSE d::date - 1 END
FROM generate_series('2020-01-01', '2030-12-31', interval '1 day') AS d;

INSERT INTO dba.tdataset (datasetdate, label, datasettypeid, datasourceid, datastatusid, isactive)
VALUES ('2026-11-24', '119243', 4, 1, 1, true), ('2026-11-25', '119243', 4, 1, 1, true),  -- 1, 2
       ('2026-11-25', '119300', 4, 1, 6, true),                                           -- 3: an empty list
       ('2026-11-25', 'MeetMaxURLCheck', 2, 1, 1, true);                                  -- 4
INSERT INTO public.tmeetmaxeventdata (datasetid, company_name, tickers)
VALUES (1, 'Alpha', 'ALP'), (1, 'Beta', 'BET'), (2, 'Alpha', 'ALP'), (2, 'Gamma', 'GAM'), (2, 'Delta', 'DEL');
INSERT INTO public.tmeetmaxevent (datasetid, company_name, ticker) VALUES (1, 'Alpha', 'ALP');
INSERT INTO public.tmeetmaxurlcheck (datasetid, eventid, url) VALUES (4, '119243', 'https://www.meetmax.com/sched/event_119243/');
INSERT INTO public.ttickerexceptions (tickername) VALUES ('DEL');
INSERT INTO public.tconferenceexception (conferencename) VALUES ('Internal');
INSERT INTO public.thistorical_cancellations_snapshot (source, company_name, ticker, status) VALUES ('MeetMax', 'Omega', 'OME', 'cancelled');
INSERT INTO dba.tlogentry (run_uuid, processtype, username, message) VALUES ('00000000-0000-0000-0000-000000000001', 'Import', 'older', 'loaded');
INSERT INTO dba.tddllogs (eventtype, objecttype, sqlstatement) VALUES ('CREATE TABLE', 'table', 'CREATE TABLE …');
INSERT INTO dba.tmaintenancelog (operation) VALUES ('VACUUM ANALYZE');
INSERT INTO dba.ttableindexstats (schemaname, tablename, rowcount) VALUES ('dba', 'tdataset', 4);

INSERT INTO dba.timportconfig (
    config_name, datasource, datasettype, source_directory, archive_directory, file_pattern, file_type, metadata_label_source,
    metadata_label_location, dateconfig, datelocation, dateformat, delimiter, target_table)
VALUES
    ('MeetMaxURLCheckImport', 'MeetMax', 'MeetMaxURL', '/older/file_watcher', '/older/archive/import_MeetMaxURLCheckImport',
     '\d{8}T\d{6}_MeetMaxURLCheck\.csv', 'CSV', 'static', 'MeetMaxURLCheck', 'filename', '0', 'yyyyMMddTHHmmss', '_', 'public.tmeetmaxurlcheck'),
    ('MeetMax_Events_XLS_Import', 'MeetMax', 'MeetMaxEvents', '/older/file_watcher', '/older/archive/meetmaxevents',
     '^\d{8}T\d{6}_MeetMax_\d+\.xls$', 'XLS', 'filename', '2', 'filename', '0', 'yyyyMMddTHHmmss', '_', 'public.tmeetmaxevent'),
    ('Exceptions', 'MeetMax', 'Exceptions', '/older/file_watcher', '/older/archive/exceptions', 'MeetMax_Exception', 'CSV', 'static',
     'exceptions', 'static', NULL, 'yyyyMMdd', NULL, 'public.tconferenceexceptions'),
    ('EventData', 'MeetMax', 'MeetMaxEventData', '/older/file_watcher', '/older/archive/eventdata', '\d+_data|\d+_more', 'CSV', 'filename', '2',
     'filename', '0', 'yyyyMMdd', '_', 'public.tmeetmaxeventdata');
INSERT INTO dba.tinboxconfig (config_name, gmail_account, subject_pattern, has_attachment, attachment_name_pattern, local_repository_path)
VALUES ('Lists by mail', 'feeds@example.com', 'daily list', NULL, '\.xls', '/older/file_watcher/');
INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, scriptargs, datastatusid)
VALUES ('Chain', '0 5 * * 1-5', '/older/jobscripts/meetmax_chain.sh', NULL, 1),
       ('Daily Database Backup', '0 3 * * *', '/older/systemscripts/pg_backup_all.sh', NULL, 1),
       ('Exceptions', '30 6 * * 1-5', '/older/jobscripts/run_import_job.py', '3', NULL);

-- The site's own functions and procedures.
CREATE FUNCTION dba.fenforcesingleactivedataset() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.isactive THEN
        UPDATE dba.tdataset SET isactive = false
        WHERE (datasettypeid, label, datasetdate) = (NEW.datasettypeid, NEW.label, NEW.datasetdate) AND datasetid <> NEW.datasetid AND isactive;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER enforcesingleactive AFTER INSERT OR UPDATE ON dba.tdataset FOR EACH ROW EXECUTE FUNCTION dba.fenforcesingleactivedataset();
CREATE FUNCTION dba.f_dataset_iu(
    p_datasetid integer, p_datasetdate date, p_datasettype varchar, p_datasource varchar, p_label varchar, p_statusname varchar,
    p_createduser varchar) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_id integer;
BEGIN
    INSERT INTO dba.tdataset (datasetdate, label, datasettypeid, datasourceid, datastatusid, isactive, createdby)
    SELECT p_datasetdate, p_label, t.datasettypeid, s.datasourceid, st.datastatusid, p_statusname = 'Active', p_createduser
    FROM dba.tdatasettype AS t, dba.tdatasource AS s, dba.tdatastatus AS st
    WHERE t.typename = p_datasettype AND s.sourcename = p_datasource AND st.statusname = p_statusname
    RETURNING datasetid INTO v_id;
    RETURN v_id;
END $$;
CREATE PROCEDURE dba.p_dataset_deactivate(p_datasetid integer) LANGUAGE sql AS
    'UPDATE dba.tdataset SET isactive = false, datastatusid = 2 WHERE datasetid = p_datasetid';
CREATE FUNCTION dba.f_get_event_changes(p_fulldate date DEFAULT NULL)
RETURNS TABLE (eventid varchar, company_name text, ticker text, mindate date, maxdate date, url text, scenario text) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    WITH seen AS (
        SELECT d.label, upper(e.company_name) AS name, upper(e.tickers) AS ticker, min(d.datasetdate) AS first, max(d.datasetdate) AS last
        FROM public.tmeetmaxeventdata AS e JOIN dba.tdataset AS d USING (datasetid)
        WHERE d.datasettypeid = 4 AND d.isactive AND d.datasetdate > coalesce(p_fulldate, current_date) - 30
        GROUP BY 1, 2, 3)
    SELECT s.label, s.name, s.ticker, s.first, s.last, NULL::text, CASE WHEN s.first = p_fulldate THEN 'added' ELSE 'removed' END
    FROM seen AS s
    WHERE s.first = p_fulldate OR s.last < p_fulldate
    ORDER BY 2;
END $$;
CREATE FUNCTION dba.f_get_ticker_removals(p_fulldate date DEFAULT current_date, p_date_offset integer DEFAULT 31)
RETURNS TABLE (source text, ticker text, ticker_raw varchar, eventid varchar) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT 'MeetMax'::text, upper(e.tickers), e.tickers, d.label
    FROM public.tmeetmaxeventdata AS e JOIN dba.tdataset AS d USING (datasetid)
    WHERE d.datasetdate > p_fulldate - p_date_offset ORDER BY 2, d.datasetid;
END $$;
CREATE FUNCTION dba.f_historical_cancellations() RETURNS TABLE (source varchar, company_name varchar, ticker varchar, record_date date)
LANGUAGE sql AS 'SELECT source, company_name, ticker, snapshot_date FROM public.thistorical_cancellations_snapshot';
CREATE PROCEDURE public.insert_tickerexception(p_tickername varchar) LANGUAGE sql AS
    'INSERT INTO public.ttickerexceptions (tickername) VALUES (p_tickername)';
CREATE PROCEDURE public.p_insert_daily_cancellations(p_date date DEFAULT current_date) LANGUAGE plpgsql AS $$
DECLARE
    v_dataset integer := dba.f_dataset_iu(NULL, p_date, 'Cancellations', 'MeetMax', 'daily', 'Active', 'older');
BEGIN
    INSERT INTO public.tdaily_cancellations_incremental (datasetid, source, company_name, ticker, min_date, max_date, status, incremental_date)
    SELECT v_dataset, 'MeetMax', c.company_name, c.ticker, c.mindate, c.maxdate, c.scenario, p_date
    FROM dba.f_get_event_changes(p_date) AS c
    WHERE c.ticker NOT IN (SELECT tickername FROM public.ttickerexceptions);
END $$;
CREATE FUNCTION dba.flogddlchanges() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dba.tddllogs (eventtype, objectname, objecttype, sqlstatement)
    SELECT tg_tag, object_identity, object_type, current_query() FROM pg_event_trigger_ddl_commands();
END $$;
CREATE EVENT TRIGGER logddl ON ddl_command_end EXECUTE FUNCTION dba.flogddlchanges();

-- Its views, one on another, and one that only a client may read.
CREATE VIEW public.vdatasets AS SELECT label, datasetdate, createddate FROM dba.tdataset WHERE isactive;
CREATE VIEW public.vlabels WITH (security_barrier = true) AS SELECT DISTINCT label FROM public.vdatasets;
COMMENT ON VIEW public.vlabels IS 'What is there';
COMMENT ON COLUMN public.vlabels.label IS 'The event';
CREATE VIEW public.vtickers AS SELECT ticker, count(*) FROM public.tmeetmaxevent GROUP BY 1;
CREATE MATERIALIZED VIEW public.mlabels AS SELECT label, max(datasetdate) AS last FROM dba.tdataset GROUP BY 1;
CREATE UNIQUE INDEX mlabels_label ON public.mlabels (label);
CREATE VIEW public.vchanges AS SELECT * FROM dba.f_get_event_changes('2026-11-25');
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'older_client') THEN
        CREATE ROLE older_client;
    END IF;
END $$;
GRANT SELECT (label) ON public.vlabels TO older_client;
GRANT SELECT ON public.vtickers TO older_client WITH GRANT OPTION;

INSERT INTO dba.treportmanager (reportname, frequency, subjectheader, toheader, hasattachment, attachmentqueries, emailbodytemplate,
                                emailbodyqueries, datastatusid)
VALUES ('Cancellations', '20 11 * * 1-5', 'Cancellations {timestamp}', 'desk@example.com,', true,
        '[{"name": "changes_{timestamp}.csv", "query": "SELECT * FROM dba.f_get_event_changes(''2026-11-25'')"}]', '{{grid1}}',
        '{"grid1": "SELECT * FROM dba.f_get_event_changes(''2026-11-25'')"}', 1),
       ('Ticker removals', '25 11 * * 1-5', 'Removals', 'desk@example.com', NULL, NULL, '{{grid1}}',
        '{"grid1": "SELECT * FROM dba.f_get_ticker_removals(''2026-11-25'')"}', 1),
       ('History', '30 11 * * 1-5', 'History', 'desk@example.com', false, NULL, '<p>All of it</p>{{grid1}}',
        '{"grid1": "SELECT * FROM dba.f_historical_cancellations()"}', NULL);
