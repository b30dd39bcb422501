-- What: looks every ten minutes again at the reports that wait for their datasets (wait_until). Run it once with
-- psql.sh --as etl_owner -f; then run update_cron_jobs.py. A second run changes nothing.

INSERT INTO dba.tscheduler (taskname, taskdescription, frequency, scriptpath, scriptargs, datastatusid)
SELECT 'Reports that wait', 'Sends the reports whose datasets have come since, or whose wait_until is over',
       '*/10 * * * *', 'send_reports.py', '--postponed', 1
WHERE NOT EXISTS (SELECT FROM dba.tscheduler WHERE concat(scriptpath, ' ', scriptargs) LIKE '%send_reports.py%--postponed%')
RETURNING schedulerid;
