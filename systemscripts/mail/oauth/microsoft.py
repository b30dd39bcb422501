"""Rights from Microsoft Entra, by Microsoft's own library (msal).

The library keeps nothing: the right's file is the same for all providers, and only one process renews it.
"""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from systemscripts import settings
from systemscripts.mail.composing import MailError
from systemscripts.mail.oauth.consents import REDIRECT_URI, Begun
from systemscripts.mail.oauth.endpoint import Endpoint
from systemscripts.mail.oauth.providers import Provider
from systemscripts.mail.oauth.refusals import RightRefused, RightUnavailable, refusal_in


def renew(who: Provider, refresh_token: str, scopes: tuple[str, ...]) -> dict[str, Any]:
    """Return the answer to a refresh token."""
    with _application(who) as app:
        return dict(app.acquire_token_by_refresh_token(refresh_token, list(scopes or who.scopes)))


def for_itself(who: Provider) -> dict[str, Any]:
    """Return the answer to the program's own secret or certificate."""
    with _application(who) as app:
        return dict(app.acquire_token_for_client([who.app_scope]))


def begin_in_browser(who: Provider, account: str, scopes: tuple[str, ...]) -> Begun:
    """Return the address that a person opens, and how the browser's answer becomes a right."""
    with _application(who) as app:
        flow = app.initiate_auth_code_flow(
            list(scopes), redirect_uri=REDIRECT_URI, login_hint=account, prompt="select_account"
        )

    def finish(values: dict[str, str]) -> dict[str, Any]:
        with _application(who) as app:
            return dict(app.acquire_token_by_auth_code_flow(flow, values))

    return Begun(flow["auth_uri"], state=flow["state"], finish=finish)


def begin_with_code(who: Provider, scopes: tuple[str, ...]) -> Begun:
    """Return the short code and the address where a person types it; `finish` waits until that is done."""
    with _application(who) as app:
        flow = app.initiate_device_flow(list(scopes))
    if "user_code" not in flow:
        return Begun("", refusal=flow)

    def finish(_values: dict[str, str]) -> dict[str, Any]:
        with _application(who) as app:
            return dict(app.acquire_token_by_device_flow(flow))

    return Begun(str(flow.get("verification_uri") or ""), code=str(flow["user_code"]), finish=finish)


@contextlib.contextmanager
def _application(who: Provider) -> Iterator[Any]:
    """Yield the library's client; its many exceptions become ours."""
    import msal

    endpoint = Endpoint()
    options: dict[str, Any] = {
        # The hosts of the sovereign clouds are in a provider's file, and need not be asked for.
        "authority": who.authority, "instance_discovery": False, "http_client": endpoint,
    }  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on a way to answer that needs a web server
            if who.is_app:
                identity = _certificate(who.certificate) if who.certificate else who.client_secret
                yield msal.ConfidentialClientApplication(who.client_id, client_credential=identity, **options)
            else:
                yield msal.PublicClientApplication(who.client_id, **options)
    # Also what the library raises for an answer with values that cannot be.
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        if refusal := refusal_in(endpoint.last):
            raise RightRefused(f"{who.name} refuses: {refusal}") from None
        told = settings.mask(" ".join(str(error).split()))[:200]
        raise RightUnavailable(f"{who.name} gives an answer that cannot be understood ({told})") from None
    finally:
        endpoint.close()


def _certificate(file: Path) -> dict[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text = settings.secret_file("ETL_MICROSOFT_CERTIFICATE", file)
    try:
        x509.load_pem_x509_certificate(text.encode())
        load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError) as error:
        raise MailError(
            f"{file} cannot be used ({' '.join(str(error).split())[:200]}); it must hold the private key, without a "
            "password, and the certificate, as PEM"
        ) from None
    settings.conceal(text)
    return {"private_key": text, "public_certificate": text}
