-- What: the rows that come with the system: imports, schedule, a range to scan, reports    Read by: the jobs
-- Needs: the tables; psql variable etl_home: psql -v etl_home=/path/to/client_etl_workflow
-- Safe to run again: yes: existing rows are not changed, so an operator's changes are kept

SET search_path = pg_catalog, pg_temp;

\if :{?etl_home}
\else
DO $$ BEGIN RAISE EXCEPTION 'insert_default_rows.sql needs to know where files arrive: psql -v etl_home=/path/to/client_etl_workflow'; END $$;
\endif

INSERT INTO dba.timportconfig (
    config_id, config_name, datasource, datasettype, source_directory, archive_directory, file_pattern, file_type,
    metadata_label_source, dateconfig, metadata_label_location, datelocation, dateformat, delimiter,
    target_table, importstrategyid, duplicate_scope, header_row, is_active, created_at, last_modified_at)
SELECT v.id, v.name, 'MeetMax', v.datasettype,
       rtrim(:'etl_home', '/') || '/file_watcher', rtrim(:'etl_home', '/') || '/archive', v.pattern, v.filetype,
       v.label_source, 'filename', v.label, '0', 'yyyyMMddTHHmmss', '_', v.target, 1, 'dataset', v.header_row, B'1', now(), now()
FROM (VALUES
    (1, 'MeetMaxURLCheckImport', 'MeetMaxURL', '\d{8}T\d{6}_MeetMaxURLCheck\.csv', 'CSV',
     'static', 'MeetMaxURLCheck', 'public.tmeetmaxurlcheck', NULL),
    (2, 'MeetMax_Events_XLS_Import', 'MeetMaxEvents', '^\d{8}T\d{6}_MeetMax_\d+\.xls$', 'XLS',
     'filename', '2', 'public.tmeetmaxevent', 1)
) AS v (id, name, datasettype, pattern, filetype, label_source, label, target, header_row)
WHERE NOT EXISTS (SELECT FROM dba.timportconfig AS t WHERE t.config_id = v.id OR t.config_name = v.name);
CALL dba.p_advance_sequence('dba.timportconfig', 'config_id');

-- An older installation called the backup by another name.
DO $$
DECLARE
    v_task text;
BEGIN
    FOR v_task IN
        UPDATE dba.tscheduler SET scriptpath = 'daily_backup.sh'
        WHERE regexp_replace(scriptpath, '^.*/', '') = 'pg_backup_all.sh' RETURNING taskname
    LOOP
        CALL pg_temp.etl_tell(format('Task "%s" now runs daily_backup.sh, which pg_backup_all.sh has become', v_task));
    END LOOP;
END
$$;

-- The two reports are not here: the cron file takes them from dba.treportmanager.
-- In an older installation they are added paused, because it may have jobs of its own for the same work.
INSERT INTO dba.tscheduler (
    taskname, taskdescription, frequency, scriptpath, scriptargs, datastatusid, createddate, createduser)
SELECT v.name, v.description, v.frequency, v.script, v.arguments, CASE current_setting('etl.adopts') WHEN 'on' THEN 2 ELSE 1 END,
       now(), session_user
FROM (VALUES
    ('MeetMax Download and Import', 'Fetches the spreadsheets of the events and loads them',
     '0 5,17 * * 1-5', 'run_download_and_import.sh', NULL),
    ('MeetMax URL Check', 'Looks for new events, and for events with a list to download',
     '0 19 * * 5', 'meetmax_url_check.py', '--around-known'),
    ('Weekly Cleanup: MeetMax files', 'Deletes archived MeetMax files older than 7 days',
     '0 2 * * 0', 'weekly_cleanup_meetmaxevents.sh', NULL),
    ('Weekly Cleanup: logs', 'Deletes log files older than 7 days',
     '0 2 * * 0', 'weekly_cleanup_logs.sh', NULL),
    ('Daily Database Backup', 'Backs up every database',
     '0 3 * * *', 'daily_backup.sh', NULL),
    ('Restore Drill', 'Proves that the newest backup restores',
     '0 5 * * 0', 'restore_drill.sh', NULL),
    ('Database Maintenance', 'Vacuums and analyzes, deletes old log records, notes sizes and long queries',
     '30 1 * * *', 'run_maintenance.py', '--keep-logs 365'),
    ('Schedule Check', 'Tells by mail what was missed, late, failed, stuck or run too often',
     '*/15 * * * *', 'check_schedule.py', NULL),
    ('Status Page', 'Writes the page that says what ran, what came, and what waits for a person',
     '2-59/15 * * * *', 'build_status_page.py', NULL),
    ('Weekly Letter', 'Mails what the week brought, what ends soon, and what nobody uses',
     '0 7 * * 1', 'send_weekly_letter.py', NULL)
) AS v (name, description, frequency, script, arguments)
-- An older installation may name the same script by its full path, or the same task by another script.
WHERE NOT EXISTS (SELECT FROM dba.tscheduler AS t
                  WHERE t.taskname = v.name OR regexp_replace(t.scriptpath, '^.*/', '') = v.script);

INSERT INTO dba.tmeetmaxrange (first_event_id, last_event_id, note)
SELECT 70841, 140000, 'numbers that have been scanned before'
WHERE NOT EXISTS (SELECT FROM dba.tmeetmaxrange);

INSERT INTO dba.treportmanager (
    reportid, reportname, reportdescription, frequency, subjectheader, toheader, hasattachment,
    attachmentqueries, emailbodytemplate, emailbodyqueries, emailbodyoptions, datastatusid, createddate, createduser)
SELECT v.id, v.name, v.description, v.frequency, v.subject, NULL, v.attachments IS NOT NULL,
       v.attachments::jsonb, v.template, v.queries::jsonb, v.options::jsonb,
       CASE current_setting('etl.adopts') WHEN 'on' THEN 2 ELSE 1 END, now(), session_user
FROM (VALUES
    (1, 'MeetMax event changes', 'Companies added to and removed from the events'' lists since the last business day',
     '20 11 * * 1-5', 'MeetMax event changes {timestamp}',
     '[{"name": "event_changes_{timestamp}.csv",
        "query": "SELECT eventid, company_name, ticker, scenario, mindate, maxdate, url FROM dba.f_get_event_changes()"}]',
     '<h2>Event changes</h2>
<p>Companies added to or removed from MeetMax events since the last business day, as of {timestamp}. The attachment has the same rows.</p>
{{grid1}}',
     '{"grid1": "SELECT scenario AS \"Change\", eventid AS \"Event\", company_name AS \"Company\", ticker AS \"Ticker\", url AS \"Page\" FROM dba.f_get_event_changes()"}',
     '{"grid1": {"colours": {"Change": {"added": "green", "removed": "red"}}}}'),
    (2, 'Imports of the day', 'What was imported today, and what failed',
     '25 11 * * 1-5', 'Imports of the day {timestamp}',
     NULL,
     '<h2>Imports of the day</h2>
<p>As of {timestamp}.</p>
<h3>Files by import and outcome</h3>
{{grid1}}
<h3>What failed</h3>
{{grid2}}',
     '{"grid1": "SELECT c.config_name AS \"Import\", f.status AS \"Outcome\", count(*) AS \"Files\", sum(f.row_count) AS \"Rows\", max(f.created_at) AS \"Last\" FROM dba.timportfile AS f JOIN dba.timportconfig AS c USING (config_id) WHERE f.created_at >= current_date GROUP BY 1, 2 ORDER BY 1, 2",
       "grid2": "SELECT f.created_at AS \"When\", c.config_name AS \"Import\", f.file_name AS \"File\", f.error AS \"Why\" FROM dba.timportfile AS f JOIN dba.timportconfig AS c USING (config_id) WHERE f.created_at >= current_date AND f.status = ''Failed'' ORDER BY 1"}',
     '{"grid1": {"totals": ["Files", "Rows"], "colours": {"Outcome": {"Failed": "red"}}}}')
) AS v (id, name, description, frequency, subject, attachments, template, queries, options)
WHERE NOT EXISTS (SELECT FROM dba.treportmanager AS t WHERE t.reportid = v.id OR t.reportname = v.name);
CALL dba.p_advance_sequence('dba.treportmanager', 'reportid');

DO $$
DECLARE
    v_row record;
BEGIN
    FOR v_row IN
        SELECT 'Task' AS kind, taskname AS name, scriptpath AS job FROM dba.tscheduler WHERE createddate = now()
        UNION ALL
        SELECT 'Report', reportname, 'report:' || reportid FROM dba.treportmanager WHERE createddate = now()
    LOOP
        IF current_setting('etl.adopts') = 'on' THEN
            CALL pg_temp.etl_tell(format('%s "%s" (%s) was added, paused. To start it: etl resume "%s"', v_row.kind, v_row.name, v_row.job, v_row.name));
        END IF;
    END LOOP;
END
$$;
