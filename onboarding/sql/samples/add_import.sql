-- What: adds a feed. Copy, change, run with psql.sh --as etl_owner -f; then run_import_job.py <config_id> --dry-run

INSERT INTO dba.tdatasource (sourcename, description)               -- who sends it
VALUES ('Example Broker', 'Sends its conference calendar by mail every morning')
ON CONFLICT (sourcename) DO NOTHING;

INSERT INTO dba.tdatasettype (typename, description)                -- what it is
VALUES ('ConferenceCalendar', 'Conferences with their dates and participants')
ON CONFLICT (typename) DO NOTHING;

CALL dba.pimportconfigi(
    p_config_name => 'Example_Conference_Calendar',
    p_datasource => 'Example Broker',                               -- as above
    p_datasettype => 'ConferenceCalendar',                          -- as above
    p_source_directory => '/srv/feeds/example/incoming',            -- absolute, no slash at the end
    p_archive_directory => '/srv/feeds/example/archive',            -- likewise, another one
    p_file_pattern => '*_conferences.csv',                          -- 2026-03-02_conferences.csv
    p_file_type => 'CSV',                                           -- CSV, XLS, XLSX, FIXED, JSON, XML or PARQUET
    p_metadata_label_source => 'static',                            -- one label for all files …
    p_dateconfig => 'filename',
    p_metadata_label_location => 'conferences',                     -- … this one
    p_datelocation => '0',                                          -- the name's first part, counted from 0
    p_dateformat => 'yyyy-MM-dd',
    p_delimiter => '_',                                             -- between the parts of the name
    p_target_table => 'public.tconference',                         -- made by the first import
    p_importstrategyid => 1,                                        -- new columns: 1 add, 2 ignore; 3 missing ones fail
    p_encoding => NULL,                                             -- NULL: found out; or 'cp1252'
    p_field_delimiter => NULL,                                      -- NULL: found out; or ';'
    p_duplicate_scope => 'dataset'                                  -- an unchanged list of a new day is loaded; 'config': it is not
);

-- An empty file is refused; leave this out where one is normal.
UPDATE dba.timportconfig SET minimum_rows = 1 WHERE config_name = 'Example_Conference_Calendar';

-- The rest is set afterwards, where it is wanted; docs/feeds.md says what each column is for.
-- UPDATE dba.timportconfig SET sheet = 'Prices', header_row = 4, maximum_rows = 5000, reject_limit_percent = 1
-- WHERE config_name = 'Example_Conference_Calendar';

-- Rules for columns, before the first load: checks, types, and how numbers, dates and truths are written.
-- INSERT INTO dba.timportcolumn (config_id, column_name, data_type, decimal_sign, thousands_sign)
-- SELECT config_id, 'fee', 'numeric', ',', '.' FROM dba.timportconfig WHERE config_name = 'Example_Conference_Calendar';
