"""Open a workbook that is protected with a password."""

import os
from typing import BinaryIO, cast

from systemscripts.spreadsheets.model import Refused

# Excel opens such a workbook without asking: it only protects its sheets from changes.
_OF_EXCEL = "VelvetSweatshop"


class Protected(Refused):
    """The workbook is protected with a password."""

    def __init__(self) -> None:
        super().__init__("it is protected with a password; save it without one, or set password_name in its import")


def unlocked(source: BinaryIO, password: str) -> BinaryIO:
    """Return the workbook without protection, which exists in memory alone; raises Refused for a wrong password."""
    import msoffcrypto
    from msoffcrypto.exceptions import InvalidKeyError

    try:
        protected = msoffcrypto.OfficeFile(source)
        plain = cast("BinaryIO", open(os.memfd_create("workbook"), "w+b"))  # noqa: SIM115 — the child ends with it
        if protected.format == "ooxml":
            protected.load_key(password=password or _OF_EXCEL, verify_password=True)
            protected.decrypt(plain, verify_integrity=True)
        else:
            protected.load_key(password=password or _OF_EXCEL)
            protected.decrypt(plain)
    except Exception as error:  # noqa: BLE001 — it raises anything on damaged files
        if not password:
            raise Protected from None
        if isinstance(error, InvalidKeyError):
            raise Refused("it is protected with another password than the one that password_name stands for") from None
        raise Refused(
            "it is damaged, or its protection with a password is of an unknown kind; save it without one"
        ) from None
    plain.flush()
    return plain
