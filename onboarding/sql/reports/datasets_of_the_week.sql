-- What: the grid of the report in samples/add_report.sql: how many datasets of each kind have come in a week
-- A query of a report in a file: one single SELECT, without psql's commands. It runs as etl_report, which can only read.
SELECT t.typename AS "Kind", count(*) AS "Datasets"
FROM dba.tdataset AS d JOIN dba.tdatasettype AS t USING (datasettypeid)
WHERE d.createddate > now() - interval '7 days'
GROUP BY 1
ORDER BY 1
