-- What: adds a report. Copy, change, run with psql.sh --as etl_owner -f; then send_reports.py <reportid> --preview report.html

SELECT dba.f_insert_treportmanager(
    p_reportname => 'Datasets of the week',
    p_reportdescription => 'How much came in, by kind of data',
    p_frequency => '0 8 * * mon',                                   -- minute hour day month weekday, local time
    p_subjectheader => 'Datasets of the week {timestamp}',
    p_toheader => NULL,                                             -- NULL: to you only, until you like it; then 'a@example.com, b@example.com'
    p_hasattachment => true,
    -- $q$ … $q$ takes a query as it is: nothing in it has to be doubled or escaped.
    p_attachmentqueries => jsonb_build_array(jsonb_build_object(
        'name', 'datasets_{timestamp}.xlsx',
        'query', $q$
            SELECT datasetid, label, datasetdate, createddate
            FROM dba.tdataset WHERE createddate > now() - interval '7 days' ORDER BY 1$q$)),
    p_emailbodytemplate => $q$<h2>Datasets of the week</h2><p>{timestamp}</p>{{chart:days}}{{grid1}}$q$,
    -- A query may be a file: one of yours in own/reports/, or of the system's in onboarding/sql/reports/, as here.
    p_emailbodyqueries => '{"grid1": "file:datasets_of_the_week.sql"}',
    p_datastatus => 2                                             -- 2: written, and paused; 1 when it is right
) AS reportid \gset

-- What is not needed may go. What each column may hold: docs/reports.md
UPDATE dba.treportmanager SET
    deliver_to = NULL,                                              -- 'acme': its files also into that folder; see add_file_out.sql
    emailbodycharts = jsonb_build_object('days', jsonb_build_object(
        'kind', 'bar', 'title', 'Datasets a day',
        'query', $q$
            SELECT createddate::date AS day, count(*) AS datasets
            FROM dba.tdataset WHERE createddate > now() - interval '7 days' GROUP BY 1 ORDER BY 1$q$)),
    emailbodyoptions = '{"grid1": {"formats": {"Datasets": ",d"}, "totals": ["Datasets"], "colours": {"Datasets": {">=100": "green", "<10": "amber"}}}}',
    skip_if_empty = true,
    locale = NULL,                                                  -- 'de': 1.234,50 and 31.12.2026
    required_datasets = '{MeetMaxEvents}',                          -- not sent before today's have come
    wait_until = NULL,                                              -- '09:30': so long it waits for them; see add_waiting_reports.sql
    when_late = 'skip'                                              -- then: skip, partial (sent, and marked) or send
WHERE reportid = :reportid
RETURNING reportid;

-- The same report for several clients, each with a version of its own: {client} in the texts and the names of files,
-- current_setting('report.client') in the queries.
-- INSERT INTO dba.treportrecipient (reportid, toheader, parameters) VALUES (:reportid, 'a@example.com', '{"client": "Acme"}');
