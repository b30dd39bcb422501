-- What: adds a job to the schedule. Copy, change, run with psql.sh --as etl_owner -f; then run update_cron_jobs.py --diff

SELECT dba.f_insert_tscheduler(
    p_taskname => 'Evening MeetMax import',                         -- shown in lists and mails
    p_taskdescription => 'Loads what arrived during the evening',
    p_frequency => '30 21 * * mon-fri',                             -- minute hour day month weekday, local time
    p_scriptpath => 'run_import_job.py',                            -- a file of jobscripts/
    p_scriptargs => 'MeetMax_Events_XLS_Import',                    -- as on a command line; NULL for none
    p_datastatusid => 2                                             -- 2: written, and paused; 1 when it is right
) AS schedulerid;
