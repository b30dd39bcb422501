-- What: adds a file that goes into a folder, without a mail. Copy, change, run with psql.sh --as etl_owner -f; then send_reports.py <reportid>

-- The folder. If files come from the same client, it is there already: see add_sftp.sql and add_cloud.sql.
INSERT INTO dba.texchangeconfig (config_name, outgoing_path) VALUES ('Example_Office', '/srv/reports') ON CONFLICT DO NOTHING;

SELECT dba.f_insert_treportmanager(
    p_reportname => 'Datasets for Acme',
    p_reportdescription => 'The datasets of the week as a file',
    p_frequency => '0 8 * * mon',                                   -- minute hour day month weekday, local time
    p_subjectheader => 'Datasets of the week',                      -- only for --preview and --to
    p_toheader => NULL,                                             -- NULL: no mail
    p_hasattachment => true,
    -- The ending of the name decides: .csv, .xlsx or .parquet. Nothing is overwritten there, so each file needs its own name.
    p_attachmentqueries => jsonb_build_array(jsonb_build_object(
        'name', 'datasets_{timestamp}.csv',
        'query', $q$
            SELECT datasetid, label, datasetdate, createddate
            FROM dba.tdataset WHERE createddate > now() - interval '7 days' ORDER BY 1$q$)),
    p_emailbodytemplate => '<p>The datasets of the week</p>',
    p_emailbodyqueries => NULL,
    p_datastatus => 2                                             -- 2: written, and paused; 1 when it is right
) AS reportid \gset

UPDATE dba.treportmanager SET
    deliver_to = 'Example_Office/weekly'                            -- the config_name, and a folder below its outgoing_path
WHERE reportid = :reportid
RETURNING reportid;
