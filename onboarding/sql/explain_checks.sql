-- What: a sentence for each rule of the configuration tables     Read by: whoever changes a row; psql prints it
-- Needs: the tables                                              Safe to run again: yes

SET search_path = pg_catalog, pg_temp;
SET client_min_messages = warning;

-- PostgreSQL names only the rule that a row breaks, and prints all values of the row. This trigger says the sentence that
-- is the rule's comment, with the values that the rule is about. The rule itself stays the CHECK.
CREATE OR REPLACE FUNCTION dba.f_explain_checks() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_cases text;
    v_broken text;
    v_sentence text;
    v_values text;
BEGIN
    SELECT string_agg(format('WHEN (%s) IS FALSE THEN %L', pg_get_expr(k.conbin, k.conrelid), k.conname), ' ' ORDER BY k.conname)
    INTO v_cases
    FROM pg_constraint AS k
    WHERE k.conrelid = TG_RELID AND k.contype = 'c' AND obj_description(k.oid, 'pg_constraint') IS NOT NULL;
    IF v_cases IS NULL THEN
        RETURN NEW;
    END IF;
    EXECUTE format('SELECT CASE %s END FROM (SELECT ($1).*) AS t', v_cases) INTO v_broken USING NEW;
    IF v_broken IS NULL THEN
        RETURN NEW;
    END IF;
    SELECT obj_description(k.oid, 'pg_constraint'),
           (SELECT string_agg(format('%s is %s', a.attname, coalesce(quote_literal(left(to_jsonb(NEW) ->> a.attname, 200)), 'null')),
                              ', ' ORDER BY place)
            FROM unnest(k.conkey) WITH ORDINALITY AS part (number, place)
            JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = part.number)
    INTO v_sentence, v_values
    FROM pg_constraint AS k
    WHERE k.conrelid = TG_RELID AND k.conname = v_broken;
    RAISE EXCEPTION USING MESSAGE = format('%s; here %s', v_sentence, v_values), ERRCODE = 'check_violation',
        CONSTRAINT = v_broken, TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
END
$$;
COMMENT ON FUNCTION dba.f_explain_checks() IS
    'Trigger of the configuration tables: refuses a row that breaks a CHECK with the comment of the CHECK and the values it is about';

DO $$
DECLARE
    v_rule record;
    v_table regclass;
BEGIN
    -- A rule that older rows break is not there; adopt_finish.sql tells of it.
    FOR v_rule IN
        SELECT k.conrelid::regclass AS tab, k.conname, r.sentence
        FROM (VALUES
            ('dba.timportconfig', 'directories_are_absolute', 'source_directory and archive_directory must be absolute paths, such as /srv/feeds/prices, without .. in them'),
            ('dba.timportconfig', 'directories_without_trailing_slash', 'source_directory and archive_directory must not end with a slash'),
            ('dba.timportconfig', 'directories_differ', 'source_directory and archive_directory must be two directories'),
            ('dba.timportconfig', 'file_pattern_is_not_blank', 'file_pattern must not be blank; * takes every file'),
            ('dba.timportconfig', 'file_type_is_known', 'file_type must be CSV, XLS, XLSX, FIXED, JSON, XML or PARQUET'),
            ('dba.timportconfig', 'metadata_label_source_is_known', 'metadata_label_source must be filename, file_content or static'),
            ('dba.timportconfig', 'dateconfig_is_known', 'dateconfig must be filename, file_content or static'),
            ('dba.timportconfig', 'target_table_is_schema_dot_table', 'target_table must be schema.table in lower case, from letters, digits and _, at most 60 characters after the point, and not in dba'),
            ('dba.timportconfig', 'field_delimiter_is_one_sign', 'field_delimiter must be one sign that is no letter, digit or ", or one of the words comma, semicolon, tab, pipe, space'),
            ('dba.timportconfig', 'quote_character_is_one_sign_or_none', 'quote_character must be one sign that is no letter, digit or blank and not the field_delimiter, or the word none'),
            ('dba.timportconfig', 'escape_character_is_one_sign', 'escape_character must be one sign that is no letter, digit or blank, and neither the field_delimiter nor the quote_character'),
            ('dba.timportconfig', 'comment_prefix_is_not_blank', 'comment_prefix must not be blank, and must be on one line'),
            ('dba.timportconfig', 'headings_are_names', 'headings must be a list of names, such as {day,branch,sales}'),
            ('dba.timportconfig', 'header_row_is_found_in_one_way', 'header_columns must be a list of names, such as {branch,sales}, and header_row and headings must then be null'),
            ('dba.timportconfig', 'footer_is_said_in_one_way', 'footer_rows must be a number from 1 to 100, or footer_pattern a text; not both'),
            ('dba.timportconfig', 'sheet_is_not_blank', 'sheet must not be blank; null takes the first visible sheet'),
            ('dba.timportconfig', 'header_row_is_near_the_top', 'header_row must be a number from 1 to 1000'),
            ('dba.timportconfig', 'rows_are_a_range', 'minimum_rows must be 0 or more, and maximum_rows at least 1 and not below minimum_rows'),
            ('dba.timportconfig', 'reject_limit_is_a_percentage', 'reject_limit_percent must be more than 0 and at most 100; null refuses a file with one bad line'),
            ('dba.timportconfig', 'member_pattern_is_not_blank', 'member_pattern must not be blank; * takes every file of an archive'),
            ('dba.timportconfig', 'password_name_is_the_end_of_a_setting', 'password_name must be a name in capital letters, such as ACME for the setting ETL_FILE_PASSWORD_ACME, and never the password'),
            ('dba.timportconfig', 'column_positions_are_first_to_last', 'column_positions must be like 1-10,11-18,19-'),
            ('dba.timportconfig', 'record_path_is_not_blank', 'record_path must be names with / between them, such as orders/order'),
            ('dba.timportconfig', 'sheet_column_is_not_blank', 'sheet_column must be the name of a column'),
            ('dba.timportconfig', 'transform_is_a_plain_name', 'transform must be the name of a file in jobscripts/transforms without .py: small letters, digits and _'),
            ('dba.timportconfig', 'when_unusual_is_known', 'when_unusual must be hold, warn or ignore'),
            ('dba.timportconfig', 'key_columns_are_names', 'key_columns must be a list of names, such as {ticker}'),
            ('dba.timportcheck', 'query_names_the_dataset', 'query must name the new dataset as :datasetid, as in: SELECT price FROM public.tprices WHERE datasetid = :datasetid AND price IS NULL'),
            ('dba.timportcheck', 'when_broken_is_known', 'when_broken must be hold or warn'),
            ('dba.timportconfig', 'duplicate_scope_is_known', 'duplicate_scope must be config or dataset'),
            ('dba.timportcolumn', 'target_name_is_a_column_name', 'target_name must not be blank, datasetid, or longer than 63 bytes'),
            ('dba.timportcolumn', 'data_type_is_known', 'data_type must be text, integer, numeric, date, timestamp or boolean'),
            ('dba.timportcolumn', 'limits_are_for_numbers_and_dates', 'minimum and maximum are for data_type integer, numeric, date or timestamp'),
            ('dba.timportcolumn', 'dateformat_is_for_dates', 'dateformat is for data_type date or timestamp'),
            ('dba.timportcolumn', 'decimal_sign_is_a_point_or_a_comma', 'decimal_sign must be . or ,'),
            ('dba.timportcolumn', 'thousands_sign_is_known', 'thousands_sign must be one of . , '' or a blank, or the word indian'),
            ('dba.timportcolumn', 'thousands_sign_is_not_the_decimal_sign', 'thousands_sign and decimal_sign must be two signs; without decimal_sign that is the point'),
            ('dba.timportcolumn', 'negative_form_is_known', 'negative_form must be after or parentheses'),
            ('dba.timportcolumn', 'unit_words_have_no_digit_and_no_sign', 'unit_words must be words without digits, signs and parentheses, such as {€,EUR}'),
            ('dba.timportcolumn', 'number_settings_are_for_numbers', 'decimal_sign is for data_type numeric; thousands_sign, negative_form and unit_words are for integer and numeric'),
            ('dba.timportcolumn', 'true_and_false_words_go_together', 'true_words and false_words must both have words, or both be null'),
            ('dba.timportcolumn', 'true_and_false_words_are_for_booleans', 'true_words and false_words are for data_type boolean'),
            ('dba.timportcolumn', 'each_word_has_one_meaning', 'each word may stand in one of true_words, false_words and null_words only'),
            ('dba.timportcolumn', 'year_pivot_is_a_year_of_two_digits', 'year_pivot must be a number from 0 to 99, for data_type date or timestamp'),
            ('dba.timportcolumn', 'value_source_is_known', 'value_source must be filename, folder, mail_sender, mail_subject or mail_time'),
            ('dba.timportcolumn', 'value_pattern_has_a_value_source', 'value_pattern needs a value_source'),
            ('dba.timportcolumn', 'column_with_a_value_source_has_a_name', 'column_name must be a name of at most 63 bytes where there is a value_source'),
            ('dba.tdatasettype', 'keep_inactive_days_is_a_number_of_days', 'keep_inactive_days must be 1 or more; null keeps the rows for ever'),
            ('dba.tinboxconfig', 'times_are_of_our_calendar', 'received_since must be in the years 2 to 9998'),
            ('dba.tinboxconfig', 'answers_go_to_known_senders', 'answer_sender needs a sender_filter; otherwise forged addresses would get answers'),
            ('dba.tinboxconfig', 'auth_is_password_or_oauth_of_a_provider', 'auth must be password, graph, or oauth: and the name of a provider, such as oauth:microsoft'),
            ('dba.tinboxconfig', 'graph_has_no_imap_server', 'with auth graph there is no imap_server'),
            ('dba.tinboxconfig', 'oauth_needs_an_imap_server', 'auth such as oauth:microsoft needs an imap_server, such as outlook.office365.com'),
            ('dba.tinboxconfig', 'imap_server_is_host_or_host_and_port', 'imap_server must be a host, or host:port'),
            ('dba.tinboxconfig', 'labels_and_folder_are_names', 'processed_label, error_label and folder must be names on one line, without blanks at their ends'),
            ('dba.tinboxconfig', 'labels_differ', 'processed_label and error_label must be two labels'),
            ('dba.tinboxconfig', 'local_repository_path_is_absolute', 'local_repository_path must be an absolute path without a slash at its end and without .. in it'),
            ('dba.texchangeconfig', 'a_folder_of_ours_is_emptied', 'remove_taken must be true for a folder of this machine, that is with kind local'),
            ('dba.texchangeconfig', 'cloud_paths_are_plain', 'incoming_path and outgoing_path must be such as bucket/folder where kind is rclone, without a slash at their ends, and without empty parts, . and ..'),
            ('dba.texchangeconfig', 'files_come_or_go', 'incoming_path or outgoing_path must be set'),
            ('dba.texchangeconfig', 'incoming_path_has_its_directory', 'incoming_path and local_repository_path must both be set, or both be null, and then nothing is taken'),
            ('dba.texchangeconfig', 'config_name_can_be_typed', 'config_name must not be blank, on one line, without / in it, and must not begin with -'),
            ('dba.texchangeconfig', 'kind_is_known', 'kind must be local, sftp or rclone'),
            ('dba.texchangeconfig', 'kind_fits_host_and_remote', 'host must be set where kind is sftp, and only there; remote must be set where kind is rclone, and only there'),
            ('dba.texchangeconfig', 'remote_is_a_name', 'remote must be the name of a file of a remote without .conf: letters, digits, _ and -, beginning with a letter or digit'),
            ('dba.texchangeconfig', 'host_is_a_name', 'host must be a name or address'),
            ('dba.texchangeconfig', 'key_file_is_absolute', 'key_file must be an absolute path'),
            ('dba.texchangeconfig', 'local_paths_are_absolute', 'incoming_path and outgoing_path must be absolute paths without a slash at their ends where kind is local'),
            ('dba.texchangeconfig', 'local_repository_path_is_absolute', 'local_repository_path must be an absolute path without a slash at its end and without .. in it'),
            ('dba.texchangeconfig', 'paths_differ', 'incoming_path and outgoing_path must be two directories'),
            ('dba.texchangeconfig', 'paths_on_one_line', 'incoming_path and outgoing_path must be on one line'),
            ('dba.texchangeconfig', 'port_is_a_port', 'port must be a number from 1 to 65535'),
            ('dba.texchangeconfig', 'remote_has_host_and_user', 'host and username must both be set, or both be null'),
            ('dba.tscheduler', 'times_are_of_our_calendar', 'active_since must be in the years 2 to 9998'),
            ('dba.tscheduler', 'host_pattern_has_no_blanks', 'host_pattern must have no blanks in it, such as box-a or box-*; null: any machine'),
            ('dba.tscheduler', 'host_pattern_is_short', 'host_pattern must have at most 500 characters, because each message about it shows it'),
            ('dba.tscheduler', 'jitter_is_an_hour_at_most', 'jitter_seconds must be a number from 0 to 3600'),
            ('dba.tscheduler', 'overlap_is_known', 'overlap must be skip or wait'),
            ('dba.tscheduler', 'retries_are_few', 'retries must be a number from 0 to 20, and retry_delay_minutes from 0 to 1440'),
            ('dba.tscheduler', 'scriptargs_on_one_line', 'scriptargs must be on one line'),
            ('dba.tscheduler', 'scriptpath_is_a_job_or_absolute', 'scriptpath must be the name of a job, such as run_import_job.py, or an absolute path'),
            ('dba.tscheduler', 'severity_is_known', 'severity must be low, normal or high'),
            ('dba.tscheduler', 'taskname_on_one_line', 'taskname must not be blank, and must be on one line'),
            ('dba.tscheduler', 'timeout_is_a_time', 'timeout_minutes must be more than 0 and at most 10080, a week'),
            ('dba.tfeed', 'times_are_of_our_calendar', 'active_since, snoozed_until and paused_since must be in the years 2 to 9998'),
            ('dba.tfeed', 'feedname_on_one_line', 'feedname must not be blank, on one line, and of at most 200 characters'),
            ('dba.tfeed', 'arrives_by_is_known', 'arrives_by must be inbox:NAME, sftp:NAME, cloud:NAME, mail:list@acme.com or mail:@acme.com'),
            ('dba.tfeed', 'awaits_something', 'a promise needs a config_id, or else an arrives_by, and then labels and for_date must be null'),
            ('dba.tfeed', 'due_by_comes', 'due_by must be a time that comes, such as 0 7 * * 1-5; @reboot and days such as 31 February never do'),
            ('dba.tfeed', 'labels_are_texts', 'labels must be a list of texts on one line each, such as {Bern,Basel}; null lets any label do'),
            ('dba.tfeed', 'grace_is_a_week_at_most', 'grace_minutes must be a number from 0 to 10080, a week'),
            ('dba.tfeed', 'for_date_is_known', 'for_date must be same day, previous business day or null'),
            ('dba.tfeed', 'severity_is_known', 'severity must be low, normal or high'),
            ('dba.tfeed', 'reminder_is_whole', 'remind_after_hours must be more than 0 and at most 720, and needs a sender and a remind_template'),
            ('dba.tfeed', 'paused_reason_on_one_line', 'paused_reason must not be blank, and must be on one line'),
            ('dba.tfeed', 'sender_on_one_line', 'sender must be a mail address on one line'),
            ('dba.tfeed', 'told_on_one_line', 'told must be mail addresses on one line, with commas between them'),
            ('dba.treportmanager', 'times_are_of_our_calendar', 'active_since must be in the years 2 to 9998'),
            ('dba.treportmanager', 'attachmentqueries_have_name_and_query', 'attachmentqueries must be a list such as [{"name": "sales.csv", "query": "SELECT …"}]'),
            ('dba.treportmanager', 'emailbodycharts_are_named_queries', 'emailbodycharts must be like {"chart1": {"query": "SELECT …"}}'),
            ('dba.treportmanager', 'emailbodyoptions_are_an_object', 'emailbodyoptions must be an object such as {"grid1": {"rows": 100}}'),
            ('dba.treportmanager', 'emailbodyqueries_are_named_queries', 'emailbodyqueries must be like {"grid1": "SELECT …"}'),
            ('dba.treportmanager', 'deliver_to_has_files', 'deliver_to needs files: fill attachmentqueries, such as [{"name": "sales_{timestamp}.csv", "query": "SELECT …"}], and set hasattachment to true'),
            ('dba.treportmanager', 'deliver_to_is_a_folder', 'deliver_to must be the config_name of a row of dba.texchangeconfig, such as acme, or a folder below it, such as acme/weekly, without .. and without / at its ends'),
            ('dba.treportmanager', 'locale_is_known', 'locale must be one of da, de, de-CH, en-GB, en-US, es, fr, it, nl, pl, pt, sv; null for 1,234.50 and 2026-12-31'),
            ('dba.treportmanager', 'min_rows_is_a_number_of_rows', 'min_rows must be 0 or more'),
            ('dba.treportmanager', 'reportname_on_one_line', 'reportname must not be blank, and must be on one line'),
            ('dba.treportmanager', 'subjectheader_on_one_line', 'subjectheader must be on one line'),
            ('dba.treportmanager', 'toheader_on_one_line', 'toheader must be on one line'),
            ('dba.treportmanager', 'wait_until_is_a_minute_of_the_day', 'wait_until must be a time without seconds from 00:00 to 23:59'),
            ('dba.treportmanager', 'when_late_is_known', 'when_late must be skip, partial or send'),
            ('dba.treportrecipient', 'deliver_to_is_a_folder', 'deliver_to must be the config_name of a row of dba.texchangeconfig, such as acme, or a folder below it, such as acme/weekly, without .. and without / at its ends'),
            ('dba.treportrecipient', 'has_a_reader_or_a_folder', 'toheader or deliver_to must be set'),
            ('dba.treportrecipient', 'locale_is_known', 'locale must be one of da, de, de-CH, en-GB, en-US, es, fr, it, nl, pl, pt, sv; null for that of the report'),
            ('dba.treportrecipient', 'parameters_are_named_texts', 'parameters must be an object of texts with names in lower case, such as {"branch": "Bern"}'),
            ('dba.treportrecipient', 'toheader_on_one_line', 'toheader must not be blank, and must be on one line'),
            ('dba.tmeetmaxrange', 'begins_above_0', 'first_event_id must be 1 or more'),
            ('dba.tmeetmaxrange', 'ends_after_it_begins', 'last_event_id must not be below first_event_id'),
            ('dba.tmeetmaxrange', 'is_no_slip', 'last_event_id must be less than 1000000 above first_event_id')
        ) AS r (tab, name, sentence)
        JOIN pg_constraint AS k ON k.conrelid = r.tab::regclass AND k.contype = 'c'
          AND k.conname = format('%s_%s', split_part(r.tab, '.', 2), r.name)
        WHERE obj_description(k.oid, 'pg_constraint') IS DISTINCT FROM r.sentence
    LOOP
        EXECUTE format('COMMENT ON CONSTRAINT %I ON %s IS %L', v_rule.conname, v_rule.tab, v_rule.sentence);
    END LOOP;

    -- Triggers fire in the order of their names; this one sees the row as the others leave it.
    FOREACH v_table IN ARRAY ARRAY['dba.timportconfig', 'dba.timportcolumn', 'dba.timportcheck', 'dba.tdatasettype', 'dba.tinboxconfig', 'dba.texchangeconfig',
        'dba.tscheduler', 'dba.tfeed', 'dba.treportmanager', 'dba.treportrecipient', 'dba.tmeetmaxrange']::regclass[] LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER zz_explain_checks BEFORE INSERT OR UPDATE ON %s'
                       ' FOR EACH ROW EXECUTE FUNCTION dba.f_explain_checks()', v_table);
    END LOOP;
END
$$;

RESET client_min_messages;
