"""The TLS contexts of our connections, for PyMySQL's `ssl` argument."""

from __future__ import annotations

import ssl
from functools import lru_cache

from ..config.pipeline import Endpoint
from ..model.errors import PrerequisiteError


@lru_cache(maxsize=1)
def unverified() -> ssl.SSLContext:
    """TLS that verifies nothing: without a TLS setting, PyMySQL takes TLS where it is offered.

    PyMySQL's own context for that loads the system's authorities: 50 ms of CPU for each connection, more than
    everything else that a short control connection costs.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def demanded(endpoint: Endpoint) -> ssl.SSLContext | None:
    """TLS as the endpoint's settings demand it; None if they say nothing about it.

    The context is made here since PyMySQL checks no host name without `ssl_ca`. Without `ssl_ca`, the system's
    authorities count.

    Raises:
        PrerequisiteError: a file cannot be used.
    """
    if not (endpoint.ssl_ca or endpoint.ssl_cert or endpoint.ssl_verify_identity):
        return None
    verify = bool(endpoint.ssl_ca or endpoint.ssl_verify_identity)
    try:
        context = ssl.create_default_context(cafile=endpoint.ssl_ca)
        context.check_hostname = endpoint.ssl_verify_identity
        context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
        # The certificates that MySQL makes for itself lack what the strict rules of Python 3.13 ask for.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if endpoint.ssl_cert:
            context.load_cert_chain(endpoint.ssl_cert, endpoint.ssl_key)
    except OSError as error:
        files = ", ".join(file for file in (endpoint.ssl_ca, endpoint.ssl_cert, endpoint.ssl_key) if file)
        raise PrerequisiteError(
            f"{endpoint.role} {endpoint.name!r}: {files}: {error}",
            hint="They must be PEM files that this user may read, and the key without a passphrase.",
            code=2026,
        ) from error
    return context
