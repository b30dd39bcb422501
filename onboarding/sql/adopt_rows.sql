-- What: makes the rows of an older installation mean the same under our rules      Read by: the files that follow
-- Needs: adopt_structure.sql                                      Safe to run again: yes, each row is changed only once

SET search_path = pg_catalog, pg_temp;

-- Older rules of the columns that ours replace.
DO $$
DECLARE
    v_rule record;
BEGIN
    FOR v_rule IN
        SELECT conrelid::regclass AS table_name, conname AS name, pg_get_constraintdef(oid) AS rule
        FROM pg_constraint
        WHERE conrelid = to_regclass('dba.timportconfig') AND contype = 'c'
          AND (conname LIKE 'valid\_%' OR conname LIKE 'timportconfig\_%\_check')
    LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', v_rule.table_name, v_rule.name);
        CALL pg_temp.etl_tell(format('Dropped the older rule "%s" of %s, in whose place ours come: %s', v_rule.name, v_rule.table_name, v_rule.rule));
    END LOOP;
END
$$;

-- The changes of one column each: `condition` says which rows, `value` what they get. Each changed row is named.
DO $rows$
DECLARE
    v_change record;
    v_table regclass;
    v_key text;
    v_row record;
    c_most_named CONSTANT integer := 10;
    v_count integer;
BEGIN
    FOR v_change IN
        SELECT *, CASE WHEN column_name = 'datastatusid' OR column_name = 'is_active' THEN 'it stays paused' END AS meaning
        FROM (VALUES
            -- A slash too many changes no meaning.
            (1, true, 'timportconfig', 'source_directory', $c$source_directory ~ '.[/\s]+$'$c$, $v$regexp_replace(btrim(source_directory), '(.)/+$', '\1')$v$),
            (1, true, 'timportconfig', 'archive_directory', $c$archive_directory ~ '.[/\s]+$'$c$, $v$regexp_replace(btrim(archive_directory), '(.)/+$', '\1')$v$),
            (1, true, 'tinboxconfig', 'local_repository_path', $c$local_repository_path ~ '.[/\s]+$'$c$, $v$regexp_replace(btrim(local_repository_path), '(.)/+$', '\1')$v$),
            -- PostgreSQL folds a name without quotes; the older import made its tables so.
            (2, true, 'timportconfig', 'target_table', $c$target_table <> lower(btrim(target_table))$c$, $v$lower(btrim(target_table))$v$),
            (2, true, 'timportconfig', 'target_table', $c$target_table ~ '^[a-z_][a-z0-9_]*$'$c$, $v$'public.' || target_table$v$),
            -- The same word in another case.
            (2, true, 'timportconfig', 'file_type', $c$file_type <> upper(btrim(file_type, ' .'))$c$, $v$upper(btrim(file_type, ' .'))$v$),
            (2, true, 'timportconfig', 'metadata_label_source', $c$metadata_label_source <> lower(btrim(metadata_label_source))$c$, $v$lower(btrim(metadata_label_source))$v$),
            (2, true, 'timportconfig', 'dateconfig', $c$dateconfig <> lower(btrim(dateconfig))$c$, $v$lower(btrim(dateconfig))$v$),
            -- What the older programs did where nothing was said.
            (3, true, 'timportconfig', 'datelocation', $c$dateconfig = 'static' AND datelocation IS NULL$c$, $v$'today'$v$),
            (3, true, 'timportconfig', 'is_active', 'is_active IS NULL', $v$B'0'$v$),
            (3, true, 'timportconfig', 'importstrategyid', 'importstrategyid IS NULL', '1'),
            (3, true, 'tinboxconfig', 'is_active', 'is_active IS NULL', 'false'),
            (3, true, 'tinboxconfig', 'has_attachment', 'has_attachment IS NULL', 'false'),
            (3, true, 'treportmanager', 'hasattachment', 'hasattachment IS NULL', 'false'),
            (3, true, 'treportmanager', 'datastatusid', 'datastatusid IS NULL', '2'),
            (3, true, 'treportmanager', 'emailbodytemplate', 'emailbodytemplate IS NULL', $v$'No template provided'$v$),
            (3, true, 'tscheduler', 'datastatusid', 'datastatusid IS NULL', '2'),
            -- An older file_pattern had to fit the beginning of a name, and was always a regular expression.
            (4, false, 'timportconfig', 'file_pattern',
             $c$file_pattern !~ '^[*?+]' AND file_pattern !~ '(^|[^\\])(\\\\)*\$$' AND file_pattern !~ '\.\*$'$c$,
             $v$CASE WHEN file_pattern ~ '\|' THEN format('(?:%s).*', file_pattern) ELSE file_pattern || '.*' END$v$),
            -- An older pattern of the inbox did not ask for the case.
            (4, false, 'tinboxconfig', 'subject_pattern', $c$subject_pattern <> '' AND subject_pattern !~ '^\(\?i\)'$c$, $v$'(?i)' || subject_pattern$v$),
            (4, false, 'tinboxconfig', 'attachment_name_pattern', $c$attachment_name_pattern <> '' AND attachment_name_pattern !~ '^\(\?i\)'$c$, $v$'(?i)' || attachment_name_pattern$v$)
        ) AS v (place, always, table_name, column_name, condition, value)
        WHERE (always OR current_setting('etl.adopts') = 'on') AND to_regclass('dba.' || table_name) IS NOT NULL
        ORDER BY place
    LOOP
        v_table := to_regclass('dba.' || v_change.table_name);
        v_count := 0;
        SELECT attname INTO STRICT v_key FROM pg_attribute WHERE attrelid = v_table AND attnum = 1;
        FOR v_row IN EXECUTE format(
            'WITH former AS (SELECT %1$I AS key, %2$I::text AS value FROM %3$s WHERE %4$s) '
            'UPDATE %3$s AS t SET %2$I = %5$s FROM former WHERE former.key = t.%1$I '
            'RETURNING t.%1$I AS key, former.value AS former, t.%2$I::text AS now',
            v_key, v_change.column_name, v_table, v_change.condition, v_change.value)
        LOOP
            v_count := v_count + 1;
            IF v_count <= c_most_named THEN
                CALL pg_temp.etl_tell(format('%s %s: %s is now "%s" instead of %s%s', v_table, v_row.key, v_change.column_name,
                    v_row.now, coalesce('"' || v_row.former || '"', 'NULL'), ', which means: ' || v_change.meaning));
            END IF;
        END LOOP;
        IF v_count > c_most_named THEN
            CALL pg_temp.etl_tell(format('%s: the same with %s in %s more rows', v_table, v_change.column_name, v_count - c_most_named));
        END IF;
    END LOOP;
END
$rows$;

-- The older columns may lack a default, or allow null where ours do not.
DO $$
DECLARE
    v_column record;
    v_nulls bigint;
BEGIN
    FOR v_column IN
        SELECT c.oid::regclass AS table_name, a.attname AS name, a.attnotnull,
               w.new_default <> coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS changes_default, w.new_default
        FROM (VALUES
            ('timestamp, eventtime, maintenancetime, snapshottime, createddate, created_at, last_modified_at, efffromdate', 'now()', NULL),
            ('createdby, createduser', 'SESSION_USER', NULL),
            ('processed_label', '''processed''::text', NULL),
            ('error_label', '''errorprocessed''::text', NULL),
            ('importstrategyid', '1', 'timportconfig'),
            ('schemaname, tablename', NULL, 'ttableindexstats'),
            ('typename, sourcename, statusname, datasetdate, label, datasettypeid, datasourceid, datastatusid, '
             'effthrudate, holiday_name, downame, downum, isbusday, isholiday, name, config_name, datasource, datasettype, '
             'source_directory, archive_directory, file_pattern, file_type, metadata_label_source, dateconfig, '
             'metadata_label_location, datelocation, target_table, is_active, gmail_account, has_attachment, '
             'local_repository_path, reportname, frequency, subjectheader, hasattachment, emailbodytemplate, taskname, '
             'scriptpath, operation', NULL, NULL)) AS w (names, new_default, only_in)
        JOIN pg_attribute AS a ON a.attname = ANY (string_to_array(w.names, ', ')) AND NOT a.attisdropped
        JOIN pg_class AS c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'dba'::regnamespace
          AND c.relkind = 'r'
          AND c.relname IN (SELECT name FROM pg_temp.etl_known WHERE kind = 'r')
          AND c.relname = coalesce(w.only_in, c.relname)
    LOOP
        IF v_column.changes_default THEN
            EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', v_column.table_name, v_column.name, v_column.new_default);
        END IF;
        IF NOT v_column.attnotnull THEN
            EXECUTE format('SELECT count(*) FROM %s WHERE %I IS NULL', v_column.table_name, v_column.name) INTO v_nulls;
            IF v_nulls = 0 THEN
                EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', v_column.table_name, v_column.name);
            ELSIF current_setting('etl.adopts') = 'on' THEN
                CALL pg_temp.etl_tell(format('%s rows of %s have no %s: the column stays optional', v_nulls, v_column.table_name, v_column.name));
            END IF;
        END IF;
    END LOOP;
END
$$;

