-- What: questions an operator asks, each with its query     Read by: people, in psql.sh or any SQL tool
-- Needs: the set-up; copy one query, or run the whole file  Safe to run again: yes, it only reads

-- 1. What ran last? One line a job.
SELECT DISTINCT ON (job, arguments) job, arguments, status, started_at, ended_at - started_at AS took, reason
FROM dba.tjobrun
ORDER BY job, arguments, started_at DESC;

-- 2. What failed today, with the last lines of its log?
SELECT r.job, r.arguments, r.status, r.started_at, r.reason, l.lines
FROM dba.tjobrun AS r
LEFT JOIN LATERAL (
    SELECT string_agg(format('%s %s %s', to_char(t."timestamp", 'HH24:MI:SS'), t.level, t.message), E'\n' ORDER BY t.logid) AS lines
    FROM (SELECT * FROM dba.tlogentry WHERE run_uuid = r.run_uuid::text ORDER BY logid DESC LIMIT 10) AS t
) AS l ON true
WHERE r.started_at >= current_date AND r.status IN ('Failed', 'Timeout', 'Killed', 'Lost')
ORDER BY r.started_at;

-- 3. What runs now, and for how long?
SELECT job, arguments, host, pid, started_at, now() - started_at AS running_for
FROM dba.tjobrun
WHERE status = 'Running'
ORDER BY started_at;

-- 4. How fresh is each kind of data, and how many business days is it behind?
SELECT t.typename, count(DISTINCT d.label) AS labels, max(d.datasetdate) AS newest,
       (SELECT count(*) FROM dba.tcalendardays AS c
        WHERE c.isbusday AND c.fulldate > max(d.datasetdate) AND c.fulldate <= current_date) AS business_days_behind
FROM dba.tdataset AS d
JOIN dba.tdatasettype AS t USING (datasettypeid)
WHERE d.isactive
GROUP BY t.typename
ORDER BY newest;

-- 5. Which file did a row come from? Put the row's datasetid here.
\set datasetid 1
SELECT d.datasetid, t.typename, d.label, d.datasetdate, s.statusname, f.file_name, f.archived_path, f.row_count,
       f.created_at AS loaded_at, f.sha256, f.run_uuid
FROM dba.tdataset AS d
JOIN dba.tdatasettype AS t USING (datasettypeid)
JOIN dba.tdatastatus AS s USING (datastatusid)
LEFT JOIN dba.timportfile AS f USING (datasetid)
WHERE d.datasetid = :datasetid;

-- 6. Which files could not be loaded in the last week, and why?
SELECT f.created_at, c.config_name, f.file_name, f.error
FROM dba.timportfile AS f
JOIN dba.timportconfig AS c USING (config_id)
WHERE f.status = 'Failed' AND f.created_at > now() - interval '7 days'
ORDER BY f.created_at DESC;

-- 7. Which files came twice, and when was their content loaded first?
SELECT c.config_name, again.file_name, again.created_at, first.file_name AS first_file, first.created_at AS first_loaded
FROM dba.timportfile AS again
JOIN dba.timportconfig AS c USING (config_id)
JOIN dba.timportfile AS first
  ON first.config_id = again.config_id AND first.sha256 = again.sha256
 AND first.status IN ('Loaded', 'Empty') AND NOT first.forced
WHERE again.status = 'Duplicate'
ORDER BY again.created_at DESC
LIMIT 50;

-- 8. Which files are in the database and not yet in the archive? The next run moves them.
SELECT importfileid, config_id, file_name, source_path, created_at
FROM dba.timportfile
WHERE status IN ('Loaded', 'Empty') AND archived_path IS NULL
ORDER BY created_at;

-- 9. Which columns came or went in the last month?
SELECT c.config_name, d.kind, d.column_name, count(*) AS files, min(d.created_at) AS first_seen, max(d.created_at) AS last_seen
FROM dba.timportdrift AS d
JOIN dba.timportconfig AS c USING (config_id)
WHERE d.created_at > now() - interval '30 days'
GROUP BY c.config_name, d.kind, d.column_name
ORDER BY last_seen DESC;

-- 10. How many rows and files came in, day by day?
SELECT f.created_at::date AS day, c.config_name, count(*) AS files, sum(f.row_count) AS rows
FROM dba.timportfile AS f
JOIN dba.timportconfig AS c USING (config_id)
WHERE f.status IN ('Loaded', 'Empty') AND f.created_at > now() - interval '30 days'
GROUP BY 1, 2
ORDER BY 1 DESC, 2;

-- 11. Which datasets were replaced by a newer load of the same day?
SELECT t.typename, d.label, d.datasetdate, count(*) AS loads, max(d.datasetid) FILTER (WHERE d.isactive) AS active
FROM dba.tdataset AS d
JOIN dba.tdatasettype AS t USING (datasettypeid)
GROUP BY t.typename, d.label, d.datasetdate
HAVING count(*) > 1
ORDER BY d.datasetdate DESC
LIMIT 50;

-- 12. What does the schedule start, and what is paused?
SELECT 'job' AS kind, schedulerid AS id, taskname AS name, frequency, concat_ws(' ', scriptpath, scriptargs) AS command, statusname
FROM dba.tscheduler JOIN dba.tdatastatus USING (datastatusid)
UNION ALL
SELECT 'report', reportid, reportname, frequency, 'send_reports.py ' || reportid, statusname
FROM dba.treportmanager JOIN dba.tdatastatus USING (datastatusid)
ORDER BY 1, 2;

-- 13. Which jobs get slower? Median of this week against the four weeks before.
SELECT job,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY ended_at - started_at) FILTER (WHERE started_at > now() - interval '7 days') AS this_week,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY ended_at - started_at) FILTER (WHERE started_at <= now() - interval '7 days') AS before
FROM dba.tjobrun
WHERE status = 'Succeeded' AND started_at > now() - interval '35 days'
GROUP BY job
ORDER BY job;

-- 14. Warnings and errors of the last day, the most frequent first.
SELECT level, processtype, left(message, 100) AS message, count(*), max("timestamp") AS last
FROM dba.tlogentry
WHERE "timestamp" > now() - interval '1 day' AND level IN ('WARNING', 'ERROR', 'CRITICAL')
GROUP BY 1, 2, 3
ORDER BY count(*) DESC
LIMIT 50;

-- 15. Which tables are largest?
SELECT relid::regclass AS name, n_live_tup AS rows, pg_size_pretty(pg_total_relation_size(relid)) AS size,
       greatest(last_vacuum, last_autovacuum) AS vacuumed, greatest(last_analyze, last_autoanalyze) AS analyzed
FROM pg_stat_user_tables
ORDER BY pg_total_relation_size(relid) DESC
LIMIT 20;

-- 16. Which tables grow? The first against the last snapshot of the month.
SELECT schemaname, tablename, max(rowcount) - min(rowcount) AS rows_more, pg_size_pretty(max(totalsize) - min(totalsize)) AS size_more
FROM dba.ttableindexstats
WHERE indexname IS NULL AND snapshottime > now() - interval '30 days'
GROUP BY schemaname, tablename
HAVING max(totalsize) > min(totalsize)
ORDER BY max(totalsize) - min(totalsize) DESC
LIMIT 20;

-- 17. Which indexes were never used since the statistics began? Unique ones guard data and are left out.
SELECT s.indexrelid::regclass AS index, s.relid::regclass AS on_table, pg_size_pretty(pg_relation_size(s.indexrelid)) AS size
FROM pg_stat_user_indexes AS s
JOIN pg_index AS i USING (indexrelid)
WHERE s.idx_scan = 0 AND NOT i.indisunique
ORDER BY pg_relation_size(s.indexrelid) DESC
LIMIT 20;

-- 18. Who waits for whom?
SELECT waiting.pid, waiting.usename, now() - waiting.query_start AS since, left(waiting.query, 80) AS query,
       holder.pid AS held_by, holder.usename AS holder, holder.state, left(holder.query, 80) AS holder_query
FROM pg_stat_activity AS waiting
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)
JOIN pg_stat_activity AS holder ON holder.pid = blocking.pid
ORDER BY since DESC;

-- 19. Which long queries were noticed, and what did maintenance do?
SELECT maintenancetime, operation, tablename, username, round(durationseconds::numeric, 1) AS seconds, details
FROM dba.tmaintenancelog
ORDER BY maintenancetime DESC
LIMIT 50;

-- 20. Who changed the structure of the database?
SELECT eventtime, username, eventtype, objecttype, schemaname, objectname, left(sqlstatement, 100) AS statement
FROM dba.tddllogs
ORDER BY logid DESC
LIMIT 50;

-- 21. Who has not got a report of the last 7 days, and why?
SELECT d.updated_at, d.reportid, d.slot, d.recipient, d.status, d.reason, d.times_again, d.last_status, d.last_reason
FROM dba.vreportdelivery AS d
WHERE d.updated_at > now() - interval '7 days' AND d.status <> 'Sent'
ORDER BY d.updated_at DESC;
