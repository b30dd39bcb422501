"""What the jobs share: settings, database, logging, the import, reports. Imports point downwards only (see CONTRIBUTING.md).

Jobs from older installations also find here what they import from the package itself.
"""

from typing import TYPE_CHECKING, Any

_OLDER_NAMES = ("LOG_DIR", "FILE_WATCHER_DIR", "ensure_directory_exists")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _OLDER_NAMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from systemscripts import directory_management

        return getattr(directory_management, name)
