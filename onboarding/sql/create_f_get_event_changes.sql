-- What: companies added to or removed from the lists of events     Read by: the report "MeetMax event changes"
-- Needs: dataset_setup.sql; the tables of the MeetMax imports once they exist     Safe to run again: yes

SET search_path = pg_catalog, pg_temp;

-- A function of that name that is the site's own stays.
SELECT EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'dba'::regnamespace AND proname = 'f_get_event_changes'
                 AND proowner <> 'etl_owner'::regrole) AS is_the_sites \gset
\if :is_the_sites
DO $$ BEGIN
    CALL pg_temp.etl_tell('dba.f_get_event_changes is your own and stays. To get the one of this system, drop it and run the set-up again');
END $$;
\else
CREATE OR REPLACE FUNCTION dba.f_get_event_changes(p_fulldate date DEFAULT NULL)
RETURNS TABLE (eventid text, company_name text, ticker text, mindate date, maxdate date, url text, scenario text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off  -- compiling takes longer than reading two days
AS $$
DECLARE
    v_asked CONSTANT date := coalesce(p_fulldate, current_date);
    v_events CONSTANT regclass := to_regclass('public.tmeetmaxevent');
    v_scans CONSTANT regclass := to_regclass('public.tmeetmaxurlcheck');
    v_type CONSTANT integer := (SELECT datasettypeid FROM dba.tdatasettype WHERE typename = 'MeetMaxEvents');
    v_day date;
    v_before date;
    v_datasets integer[];
    v_labels text[];
    v_dates date[];
    v_scan integer;
    v_name text;
    v_ticker text;
    v_urls text := 'SELECT NULL::text AS eventid, NULL::text AS url';
BEGIN
    SELECT d.fulldate, d.previous_business_date INTO v_day, v_before
    FROM dba.tcalendardays AS asked
    JOIN dba.tcalendardays AS d
      ON d.fulldate = CASE WHEN asked.isbusday THEN asked.fulldate ELSE asked.previous_business_date END
    WHERE asked.fulldate = v_asked;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'dba.tcalendardays does not reach %, or not the business day before it', v_asked USING ERRCODE = 'no_data_found';
    END IF;

    -- The columns depend on the files. If a column has several spellings, the first filled one counts.
    SELECT string_agg(format('nullif(btrim(e.%I), '''')', a.attname), ', ' ORDER BY a.attname = 'company/organization')
               FILTER (WHERE a.attname IN ('company_name', 'company/organization')),
           string_agg(format('nullif(btrim(e.%I), '''')', a.attname), ', ' ORDER BY a.attname = 'company_ticker')
               FILTER (WHERE a.attname IN ('ticker', 'company_ticker'))
    INTO v_name, v_ticker
    FROM pg_attribute AS a
    WHERE a.attrelid = v_events AND NOT a.attisdropped;
    IF v_name IS NULL AND v_ticker IS NULL THEN
        RETURN;  -- nothing was imported yet
    END IF;

    -- An event counts if it has a list of the day (an empty one too: the event may be gone), and either a list of the
    -- day before or no earlier list. A list that could not be fetched says nothing about its companies.
    -- The lists are found first. With OFFSET 0 below the planner must fetch the rows of each list by the index, even
    -- if the table was not analyzed yet. So the long history is never read.
    SELECT array_agg(d.datasetid), array_agg(d.label), array_agg(d.datasetdate)
    INTO v_datasets, v_labels, v_dates
    FROM dba.tdataset AS d
    WHERE d.datasettypeid = v_type AND d.isactive AND d.datasetdate IN (v_day, v_before)
      AND EXISTS (SELECT FROM dba.tdataset AS t
                  WHERE t.datasettypeid = v_type AND t.label = d.label AND t.datasetdate = v_day
                    AND (t.isactive OR t.datastatusid = 6))
      AND (d.datasetdate = v_before
           OR EXISTS (SELECT FROM dba.tdataset AS t
                      WHERE t.datasettypeid = v_type AND t.label = d.label AND t.datasetdate = v_before
                        AND (t.isactive OR t.datastatusid = 6))
           OR NOT EXISTS (SELECT FROM dba.tdataset AS t
                          WHERE t.datasettypeid = v_type AND t.label = d.label AND t.datasetdate < v_before AND t.isactive));

    IF (SELECT count(*) = 2 FROM pg_attribute AS a
        WHERE a.attrelid = v_scans AND NOT a.attisdropped AND a.attname IN ('eventid', 'url')) THEN
        SELECT d.datasetid INTO v_scan
        FROM dba.tdataset AS d
        WHERE d.datasettypeid = (SELECT datasettypeid FROM dba.tdatasettype WHERE typename = 'MeetMaxURL')
          AND d.isactive
        ORDER BY d.datasetdate DESC, d.datasetid DESC
        LIMIT 1;
        v_urls := format('SELECT s.eventid::text AS eventid, min(s.url) AS url FROM %s AS s WHERE s.datasetid = $4 AND s.eventid::text = ANY ($5) GROUP BY 1', v_scans);
    END IF;

    RETURN QUERY EXECUTE format(
        $query$
        WITH seen AS (
            SELECT d.label, e.company_name, e.ticker, min(d.datasetdate) AS mindate, max(d.datasetdate) AS maxdate
            FROM unnest($1, $5, $6) AS d (datasetid, label, datasetdate)
            CROSS JOIN LATERAL (
                SELECT upper(%s) AS company_name, upper(%s) AS ticker
                FROM %s AS e WHERE e.datasetid = d.datasetid OFFSET 0) AS e
            GROUP BY 1, 2, 3
        ), scan AS (%s)
        SELECT seen.label, seen.company_name, seen.ticker, seen.mindate, seen.maxdate, scan.url,
               CASE WHEN seen.mindate = $2 THEN 'added' ELSE 'removed' END
        FROM seen
        LEFT JOIN scan ON scan.eventid = seen.label
        WHERE (seen.mindate = $2 OR seen.maxdate = $3)
          AND (seen.company_name IS NOT NULL OR seen.ticker IS NOT NULL)
        ORDER BY seen.label, 7, seen.company_name, seen.ticker
        $query$,
        'coalesce(' || coalesce(v_name, 'NULL::text') || ')', 'coalesce(' || coalesce(v_ticker, 'NULL::text') || ')',
        v_events, v_urls)
    USING v_datasets, v_day, v_before, v_scan, v_labels, v_dates;
END
$$;
COMMENT ON FUNCTION dba.f_get_event_changes(date) IS
    'Companies that were added to an event''s list on that business day, or removed from it, compared with the business '
    'day before. Default: today; on a day without business, the last business day before it. '
    'An event is left out if its list is missing on that day, or if it was known but missing on the day before. '
    'A company is its name and ticker in upper case; url is the event''s in the newest scan, null when it is not known there';
\endif
