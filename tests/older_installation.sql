-- An installation as it ran before this system, for the test that adopts it: text of limited length, serial keys,
-- times without a zone, one trigger and no unique index, every object in the hands of another role.
CREATE SCHEMA dba;

CREATE TABLE dba.tlogentry (
    logid SERIAL PRIMARY KEY,
    timestamp TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    run_uuid VARCHAR(36) NOT NULL,
    processtype VARCHAR(50) NOT NULL,
    stepcounter INTEGER,
    username VARCHAR(50) NOT NULL,
    stepruntime FLOAT,
    totalruntime FLOAT,
    message TEXT
);
CREATE TABLE dba.tddllogs (
    logid SERIAL PRIMARY KEY,
    eventtime TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    eventtype VARCHAR(100),
    schemaname VARCHAR(100),
    objectname VARCHAR(255),
    objecttype VARCHAR(50),
    sqlstatement TEXT,
    username VARCHAR(100)
);
CREATE TABLE dba.tmaintenancelog (
    logid SERIAL PRIMARY KEY,
    maintenancetime TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    operation VARCHAR(50),
    tablename VARCHAR(100),
    username VARCHAR(100),
    durationseconds FLOAT,
    details TEXT
);
CREATE TABLE dba.tdatasettype (
    datasettypeid SERIAL PRIMARY KEY,
    typename VARCHAR(50) NOT NULL UNIQUE,
    description VARCHAR(255),
    createddate TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    createdby VARCHAR(50) DEFAULT CURRENT_USER
);
CREATE TABLE dba.tdatasource (
    datasourceid SERIAL PRIMARY KEY,
    sourcename VARCHAR(50) NOT NULL UNIQUE,
    description VARCHAR(255),
    createddate TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    createdby VARCHAR(50) DEFAULT CURRENT_USER
);
CREATE TABLE dba.tdatastatus (
    datastatusid SERIAL PRIMARY KEY,
    statusname VARCHAR(50) NOT NULL UNIQUE,
    description VARCHAR(255),
    createddate TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    createdby VARCHAR(50) DEFAULT CURRENT_USER
);
CREATE TABLE dba.tdataset (
    datasetid SERIAL PRIMARY KEY,
    datasetdate DATE NOT NULL,
    label VARCHAR(100) NOT NULL,
    datasettypeid INT NOT NULL REFERENCES dba.tdatasettype (datasettypeid),
    datasourceid INT NOT NULL REFERENCES dba.tdatasource (datasourceid),
    datastatusid INT NOT NULL REFERENCES dba.tdatastatus (datastatusid),
    efffromdate TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    effthrudate TIMESTAMP NOT NULL DEFAULT '9999-01-01',
    isactive BOOLEAN NOT NULL DEFAULT TRUE,
    createddate TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    createdby VARCHAR(50) NOT NULL DEFAULT CURRENT_USER
);
CREATE TABLE dba.tholidays (
    holiday_date DATE PRIMARY KEY,
    holiday_name VARCHAR(255) NOT NULL,
    createddate TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    createdby VARCHAR(50) DEFAULT CURRENT_USER
);
CREATE TABLE dba.tcalendardays (
    fulldate DATE PRIMARY KEY,
    downame VARCHAR(10) NOT NULL,
    downum INT NOT NULL,
    isbusday BOOLEAN NOT NULL,
    isholiday BOOLEAN NOT NULL,
    previous_business_date DATE
);
CREATE TABLE dba.timportstrategy (
    importstrategyid SERIAL PRIMARY KEY,
    name VARCHAR(255) NOT NULL UNIQUE
);
CREATE TABLE dba.timportconfig (
    config_id SERIAL PRIMARY KEY,
    config_name VARCHAR(100) NOT NULL UNIQUE,
    datasource VARCHAR(100) NOT NULL,
    datasettype VARCHAR(100) NOT NULL,
    source_directory VARCHAR(255) NOT NULL,
    archive_directory VARCHAR(255) NOT NULL,
    file_pattern VARCHAR(255) NOT NULL,
    file_type VARCHAR(10) NOT NULL,
    metadata_label_source VARCHAR(50) NOT NULL,
    metadata_label_location VARCHAR(255),
    dateconfig VARCHAR(50) NOT NULL,
    datelocation VARCHAR(255),
    dateformat VARCHAR(50),
    delimiter VARCHAR(10),
    target_table VARCHAR(100) NOT NULL,
    importstrategyid INT,
    is_active BIT(1) DEFAULT B'1',
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    last_modified_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE dba.tinboxconfig (
    config_id SERIAL PRIMARY KEY,
    config_name VARCHAR(100) NOT NULL UNIQUE,
    gmail_account VARCHAR(100) NOT NULL,
    is_active BIT(1) NOT NULL DEFAULT B'1',
    subject_pattern VARCHAR(255),
    sender_filter VARCHAR(255),
    has_attachment BIT(1) NOT NULL DEFAULT B'1',
    attachment_name_pattern VARCHAR(255),
    processed_label VARCHAR(50) NOT NULL DEFAULT 'processed',
    error_label VARCHAR(50) NOT NULL DEFAULT 'errorprocessed',
    local_repository_path VARCHAR(255) NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    last_modified_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE dba.treportmanager (
    reportid SERIAL PRIMARY KEY,
    reportname VARCHAR(255) NOT NULL,
    reportdescription TEXT,
    frequency VARCHAR(50) NOT NULL,
    subjectheader VARCHAR(255) NOT NULL,
    toheader VARCHAR(255) NOT NULL,
    hasattachment BOOLEAN NOT NULL DEFAULT FALSE,
    attachmentqueries JSONB,
    emailbodytemplate TEXT NOT NULL,
    emailbodyqueries JSONB,
    datastatusid INT NOT NULL,
    createddate TIMESTAMP,
    createduser VARCHAR(50) NOT NULL DEFAULT CURRENT_USER
);
CREATE TABLE dba.tscheduler (
    schedulerid SERIAL PRIMARY KEY,
    taskname VARCHAR(255) NOT NULL,
    taskdescription TEXT,
    frequency VARCHAR(50) NOT NULL,
    scriptpath VARCHAR(255) NOT NULL,
    scriptargs VARCHAR(255),
    datastatusid INT NOT NULL,
    createddate TIMESTAMP,
    createduser VARCHAR(50) NOT NULL DEFAULT CURRENT_USER
);
CREATE TABLE dba.ttableindexstats (
    statid SERIAL PRIMARY KEY,
    snapshottime TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    schemaname VARCHAR(100),
    tablename VARCHAR(100),
    indexname VARCHAR(100),
    rowcount BIGINT,
    seqscans BIGINT,
    idxscans BIGINT,
    inserts BIGINT,
    updates BIGINT,
    deletes BIGINT,
    totalsize BIGINT
);

-- The trigger without an index behind it: two loads at the same moment left two active datasets.
CREATE FUNCTION dba.fenforcesingleactivedataset() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.isactive THEN
        UPDATE dba.tdataset SET isactive = FALSE
        WHERE datasettypeid = NEW.datasettypeid AND label = NEW.label AND datasetdate = NEW.datasetdate
          AND datasetid <> NEW.datasetid AND isactive;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ttriggerenforcesingleactivedataset AFTER INSERT OR UPDATE ON dba.tdataset
    FOR EACH ROW EXECUTE FUNCTION dba.fenforcesingleactivedataset();

CREATE FUNCTION dba.f_dataset_iu(
    p_datasetid INT, p_datasetdate DATE, p_datasettype VARCHAR, p_datasource VARCHAR, p_label VARCHAR,
    p_statusname VARCHAR, p_createduser VARCHAR
) RETURNS INT LANGUAGE plpgsql AS $$ BEGIN RETURN p_datasetid; END $$;
CREATE FUNCTION dba.f_insert_tscheduler(p_taskname VARCHAR, p_frequency VARCHAR) RETURNS VOID LANGUAGE sql AS '';
CREATE PROCEDURE dba.ppurgeoldlogs(p_thresholddays INT) LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM dba.tlogentry WHERE timestamp < CURRENT_TIMESTAMP - make_interval(days => p_thresholddays);
    COMMIT;
END $$;
CREATE PROCEDURE dba.pmonitorlongrunningqueries(p_thresholdminutes INT) LANGUAGE plpgsql AS 'BEGIN END';
CREATE FUNCTION dba.flogddlchanges() RETURNS EVENT_TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO dba.tddllogs (eventtype, objectname, objecttype, sqlstatement, username)
    SELECT tg_tag, object_identity, object_type, current_query(), CURRENT_USER FROM pg_event_trigger_ddl_commands();
END $$;

INSERT INTO dba.tdatasettype (typename) VALUES ('Metadata'), ('MeetMaxURL'), ('MeetMaxEvents'), ('Conferences');
INSERT INTO dba.tdatasource (sourcename, createddate) VALUES ('MeetMax', NULL), ('Dealogic', '2024-01-01');
INSERT INTO dba.tdatastatus (statusname)
VALUES ('Active'), ('Inactive'), ('Deleted'), ('New'), ('Failed'), ('Empty');
INSERT INTO dba.timportstrategy (name)
VALUES ('Import and create new columns if needed'), ('Import only (ignores new columns)'),
       ('Import or fail if columns are missing from source file');
INSERT INTO dba.tholidays (holiday_date, holiday_name)
VALUES ('2025-01-01', 'New Year''s Day'), ('2025-12-24', 'The office is closed');
INSERT INTO dba.tcalendardays
SELECT d, to_char(d, 'FMDay'), extract(dow FROM d), extract(isodow FROM d) < 6, FALSE, d::DATE - 1
FROM generate_series('2020-01-01', '2030-12-31', INTERVAL '1 day') AS d;
INSERT INTO dba.timportconfig (
    config_name, datasource, datasettype, source_directory, archive_directory, file_pattern, file_type,
    metadata_label_source, metadata_label_location, dateconfig, datelocation, dateformat, delimiter, target_table)
VALUES
    ('MeetMaxURLCheckImport', 'MeetMax', 'MeetMaxURL', '/older/file_watcher', '/older/archive',
     '\d{8}T\d{6}_MeetMaxURLCheck\.csv', 'CSV', 'static', 'MeetMaxURLCheck', 'filename', '0', 'yyyyMMddTHHmmss', '_',
     'public.tmeetmaxurlcheck'),
    ('MeetMax_Events_XLS_Import', 'MeetMax', 'MeetMaxEvents', '/older/file_watcher', '/older/archive',
     '^\d{8}T\d{6}_MeetMax_\d+\.xls$', 'XLS', 'filename', '2', 'filename', '0', 'yyyyMMddTHHmmss', '_',
     'public.tmeetmaxevent'),
    ('Conferences', 'Another bank', 'Calls', '/older/calls', '/older/archive', '*.csv', 'CSV', 'static', 'calls',
     'file_content', 'day', 'yyyy-MM-dd', NULL, 'public.tcall');
UPDATE dba.timportconfig SET importstrategyid = 1;
INSERT INTO dba.tinboxconfig (config_name, gmail_account, is_active, local_repository_path)
VALUES ('Conferences by mail', 'feeds@example.com', B'0', '/older/inbox');
INSERT INTO dba.tscheduler (taskname, frequency, scriptpath, scriptargs, datastatusid, createddate)
VALUES ('MeetMax Download and Import', '0 6,18 * * 1-5', '/older/jobscripts/run_download_and_import.sh', '', 1, '2024-01-01'),
       ('Daily Database Backup', '0 3 * * *', '/older/systemscripts/pg_backup_all.sh', NULL, 2, '2024-01-01');
INSERT INTO dba.treportmanager (reportname, frequency, subjectheader, toheader, hasattachment, attachmentqueries,
                                emailbodytemplate, emailbodyqueries, datastatusid, createddate)
VALUES ('Changes for the desk', '20 11 * * 1-5', 'Changes {timestamp}', 'desk@example.com', TRUE,
        '[{"name": "changes_{timestamp}.csv", "query": "SELECT 1"}]', '{{grid1}}', '{"grid1": "SELECT 1"}', 1, '2024-01-01');
INSERT INTO dba.tlogentry (timestamp, run_uuid, processtype, stepcounter, username, stepruntime, totalruntime, message)
VALUES ('2025-03-04 05:06:07', '00000000-0000-0000-0000-000000000001', 'Import', 3, 'older', 0.5, 1.5, 'loaded');
INSERT INTO dba.tddllogs (eventtype, objectname) VALUES ('CREATE TABLE', 'public.tmeetmaxevent');
INSERT INTO dba.tmaintenancelog (operation, tablename) VALUES ('VACUUM ANALYZE', 'dba.tdataset');
INSERT INTO dba.ttableindexstats (schemaname, tablename, rowcount) VALUES ('dba', 'tdataset', 6);

ALTER TABLE dba.tdataset DISABLE TRIGGER USER;
INSERT INTO dba.tdataset (datasetdate, label, datasettypeid, datasourceid, datastatusid, isactive)
VALUES ('2025-03-03', '119243', 3, 1, 1, TRUE),
       ('2025-03-03', '119243', 3, 1, 1, TRUE),   -- 1 and 2: active twice
       ('2025-03-04', '119243', 3, 1, 1, TRUE),   -- 3: another day
       ('2025-03-04', '119243', 3, 1, 1, FALSE),  -- 4: switched off by the trigger, which left the status
       ('2025-03-04', 'MeetMaxURLCheck', 2, 1, 2, TRUE),  -- 5: the other contradiction
       ('2025-03-05', 'MeetMaxURLCheck', 2, 1, 5, FALSE);
ALTER TABLE dba.tdataset ENABLE TRIGGER USER;

CREATE TABLE public.tmeetmaxurlcheck (tmeetmaxurlcheckid SERIAL PRIMARY KEY, datasetid INT, eventid VARCHAR(255), url VARCHAR(255));
CREATE TABLE public.tmeetmaxevent (tmeetmaxeventid SERIAL PRIMARY KEY, datasetid INT, company_name VARCHAR(1000), ticker VARCHAR(255));
INSERT INTO public.tmeetmaxurlcheck (datasetid, eventid, url)
VALUES (5, '119243', 'https://www.meetmax.com/sched/event_119243/__co-list_cp.html');
INSERT INTO public.tmeetmaxevent (datasetid, company_name, ticker)
VALUES (1, 'Acme', 'ACME'), (2, 'Acme', 'ACME'), (3, 'Acme', 'ACME'), (3, 'Acme', 'ACME');

CREATE EVENT TRIGGER logddl ON ddl_command_end EXECUTE FUNCTION dba.flogddlchanges();

DO $$
DECLARE
    v_object RECORD;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'older_owner') THEN
        CREATE ROLE older_owner;
    END IF;
    ALTER SCHEMA dba OWNER TO older_owner;
    FOR v_object IN
        SELECT format('TABLE %s', oid::regclass) AS name FROM pg_class
        WHERE relkind = 'r' AND relnamespace IN ('dba'::regnamespace, 'public'::regnamespace)
        UNION ALL
        SELECT format('ROUTINE %s', oid::regprocedure) FROM pg_proc
        WHERE pronamespace = 'dba'::regnamespace
    LOOP
        EXECUTE format('ALTER %s OWNER TO older_owner', v_object.name);
    END LOOP;
END $$;
GRANT ALL ON ALL TABLES IN SCHEMA dba TO PUBLIC;
