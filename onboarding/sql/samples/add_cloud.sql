-- What: adds a folder in a cloud. Copy, change, run with psql.sh --as etl_owner -f; then etl exchange test <config_name>

INSERT INTO dba.texchangeconfig (
    config_name,
    is_active,
    kind,
    remote,
    incoming_path,
    outgoing_path,
    file_pattern,
    remove_taken,
    local_repository_path
) VALUES (
    'Example_Cloud',
    false,                                                          -- true when it is right
    'rclone',
    'example',                                                      -- ~/.config/client_etl_workflow/rclone/example.conf, see docs/clouds.md
    'bucket/example/incoming',                                      -- where the files lie, bucket or top folder first
    'bucket/example/outgoing',                                      -- where the receipts go; NULL: none
    '*.csv',                                                        -- glob or regular expression for the whole name
    true,                                                           -- false: taken files stay, and are remembered
    '/srv/feeds/example/incoming'                                   -- the source_directory of the import
);

-- Then, as jobs of the schedule: sftp_exchange.py, the import, and sftp_exchange.py --receipts, or receive_and_import.sh.
