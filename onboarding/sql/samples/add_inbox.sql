-- What: adds a rule for the inbox. Copy, change, run with psql.sh --as etl_owner -f; then process_inbox.py --dry-run

INSERT INTO dba.tinboxconfig (
    config_name,
    gmail_account,
    imap_server,
    auth,
    is_active,
    received_since,
    subject_pattern,
    sender_filter,
    has_attachment,
    attachment_name_pattern,
    answer_sender,
    local_repository_path
) VALUES (
    'Example_Conference_Mail',
    'feeds@example.com',                                            -- the mailbox that is read
    NULL,                                                           -- NULL: Gmail's API; or 'imap.example.com'
    'password',                                                     -- or 'oauth:microsoft' with 'outlook.office365.com'
    false,                                                          -- true when it is right
    now(),                                                          -- older mail is left alone; NULL: all there is
    'conference calendar',                                          -- regular expression; NULL: any subject
    'calendar@example.com, @example.org',                           -- addresses and domains; NULL: anybody
    true,                                                           -- only mail with a file that fits
    '_conferences\.csv$',                                           -- regular expression; NULL: every attachment
    false,                                                          -- true: the sender gets an answer with the result
    '/srv/feeds/example/incoming'                                   -- the source_directory of the import
);

-- The right to the mailbox, once: bash onboarding/sh/gmail_api.sh feeds@example.com
-- or, for IMAP, its password in ~/.config/client_etl_workflow/imap_feeds@example.com.password (chmod 600).
-- or, for oauth, once: bash onboarding/sh/mailbox_consent.sh feeds@example.com
-- Then, as a job of the schedule: receive_and_import.sh with the import's name as its argument, every ten minutes.
