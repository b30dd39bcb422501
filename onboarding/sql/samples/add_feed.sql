-- What: adds the promise of a feed. Copy, change, run with psql.sh --as etl_owner -f; then check_schedule.py --dry-run

INSERT INTO dba.tfeed (feedname, config_id, due_by, grace_minutes, for_date, labels)
SELECT 'Conferences of Example Broker',                             -- the name in mails
       config_id,
       '0 7 * * 1-5',                                               -- it must be loaded by 07:00; free days do not count
       30,                                                          -- minutes after which it is missing
       'same day',                                                  -- the date of the data; or 'previous business day', or NULL
       NULL                                                         -- any file will do; or ARRAY['Bern', 'Basel']: each of them
FROM dba.timportconfig
WHERE config_name = 'Example_Conference_Calendar';                  -- the import that loads it

-- UPDATE dba.tfeed SET told = 'them@example.com', severity = 'low' WHERE feedname = 'Conferences of Example Broker';
-- A promise of one sender, loaded or not:
-- INSERT INTO dba.tfeed (feedname, arrives_by, due_by) VALUES ('Mail of Example Broker', 'mail:lists@broker.example', '0 7 * * 1-5');
