-- What: adds an SFTP folder. Copy, change, run with psql.sh --as etl_owner -f; then sftp_exchange.py <config_name> --dry-run

INSERT INTO dba.texchangeconfig (
    config_name,
    is_active,
    host,
    port,
    username,
    key_file,
    incoming_path,
    outgoing_path,
    file_pattern,
    remove_taken,
    local_repository_path
) VALUES (
    'Example_Client',
    false,                                                          -- true when it is right
    NULL,                                                           -- NULL: a client comes here (setup_sftp.sh); or 'sftp.example.com'
    22,
    NULL,                                                           -- the login there, with a host only
    NULL,                                                           -- its private key; NULL: a password or the user's own keys
    '/srv/sftp/sftp_example/incoming',                              -- where the files lie
    '/srv/sftp/sftp_example/outgoing',                              -- where the receipts go; NULL: none
    '*.csv',                                                        -- glob or regular expression for the whole name
    true,                                                           -- false: taken files stay, on a server elsewhere only
    '/srv/feeds/example/incoming'                                   -- the source_directory of the import
);

-- On this machine: sudo bash onboarding/sh/setup_sftp.sh add example --key example.pub
-- A server elsewhere must be known: the first run says how, and which fingerprint to compare.
-- Then, as jobs of the schedule: sftp_exchange.py, the import, and sftp_exchange.py --receipts.
