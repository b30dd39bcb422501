"""Replace this process by pg_dump, as the role of the backup, on the database of the environment.

python -P -m systemscripts.moving.dumping PROGRAM FILE
"""

import os
from typing import Never

from systemscripts import db_config, settings
from systemscripts.command_line import run_command, wrong_call
from systemscripts.db_config import BACKUP_ROLE


def main(arguments: list[str]) -> Never:
    match arguments:
        case [program, file]:
            environment = settings.child_environment(**db_config.program_environment(BACKUP_ROLE))
            os.execve(program, [program, "--format=custom", "--no-password", f"--file={file}"], environment)
    raise wrong_call(__doc__)


if __name__ == "__main__":
    run_command("dumping", main)
