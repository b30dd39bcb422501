"""psycopg2, imported without ssl, which is a quarter of its time. Import this where psycopg2 may not be imported yet.

psycopg2 imports ssl for what an OpenSSL before 1.1 needs (psycopgmodule.c, libcrypto_threads_init), and does without.
"""

import sys
import threading

if "ssl" in sys.modules or threading.active_count() > 1:  # another thread may want ssl now
    import psycopg2.extensions
else:
    # With None there an import fails.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        import psycopg2.extensions
    finally:
        del sys.modules["ssl"]

__all__ = ["psycopg2"]
