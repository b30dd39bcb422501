-- What: adds a rule for the inbox. Copy, change, run with psql.sh -f; the next process_inbox.py uses it

INSERT INTO dba.tinboxconfig (
    config_name,
    gmail_account,
    is_active,
    subject_pattern,
    sender_filter,
    has_attachment,
    attachment_name_pattern,
    local_repository_path
) VALUES (
    'Example_Conference_Mail',
    'feeds@example.com',                                            -- the mailbox that is read
    false,                                                          -- true when it is right
    'conference calendar',                                          -- regular expression; NULL: any subject
    'calendar@example.com',                                         -- NULL: anybody
    true,                                                           -- only mail with attachments
    '_conferences\.csv$',                                           -- regular expression; NULL: every attachment
    '/srv/feeds/example/incoming'                                   -- the source_directory of the import
);
