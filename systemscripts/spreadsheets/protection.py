"""Open a workbook that is protected with a password."""

import os
from typing import BinaryIO, cast

from systemscripts.spreadsheets.model import Refused

PROTECTED = "it is protected with a password; save it without one, or set password_name in its import"


def unlocked(source: BinaryIO, password: str) -> BinaryIO:
    """Return the workbook without protection, which exists in memory alone; a file that has none comes back as it is.

    Raises Refused for a wrong password.
    """
    import msoffcrypto
    from msoffcrypto.exceptions import DecryptionError, InvalidKeyError

    try:
        protected = msoffcrypto.OfficeFile(source)
        if not protected.is_encrypted():
            return source
        plain = cast("BinaryIO", open(os.memfd_create("workbook"), "w+b"))  # noqa: SIM115 — the child ends with it
        if protected.format == "ooxml":
            protected.load_key(password=password, verify_password=True)
            protected.decrypt(plain, verify_integrity=True)
        else:
            protected.load_key(password=password)
            protected.decrypt(plain)
    except InvalidKeyError:
        raise Refused("it is protected with another password than the one that password_name stands for") from None
    except DecryptionError as error:
        raise Refused(f"its protection with a password is of an unknown kind ({error}); save it without one") from None
    plain.flush()
    return plain
