"""TLS against servers that demand it: certificates and host names checked, client certificates, clear refusals."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from faults.proxy import Proxy
from pipelines import PASSWORD, Pair, pair_of
from server_farm import Servers
from servers import Flavour, Server

from myrepetl_dagster.core.config.pipeline import Endpoint, Secret
from myrepetl_dagster.core.model.errors import PrerequisiteError, SourceLost
from myrepetl_dagster.core.model.limits import Limits
from myrepetl_dagster.core.mysql.connect import close_quietly, connect, query
from myrepetl_dagster.core.mysql.session import Use

LIMITS = Limits(connect_timeout_s=5.0)


@dataclass(frozen=True)
class Files:
    """A certificate and its key, as PEM files."""

    certificate: str
    key: str


class Authority:
    """A certificate authority of our own, which makes certificates for servers and clients."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._sign(self._name, self._key.public_key(), x509.BasicConstraints(True, None), [])
        self.file = str(directory / f"{name}.pem")
        Path(self.file).write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def certificate(self, name: str, *addresses: str) -> Files:
        """For a host or a client; `addresses` are IP addresses or host names."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [_general_name(address) for address in addresses]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._sign(subject, key.public_key(), x509.BasicConstraints(False, None), names)
        files = Files(str(self._directory / f"{name}-cert.pem"), str(self._directory / f"{name}-key.pem"))
        Path(files.certificate).write_bytes(made.public_bytes(serialization.Encoding.PEM))
        Path(files.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def _sign(
        self, subject: x509.Name, key: Any, constraints: x509.BasicConstraints, names: list[x509.GeneralName]
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(constraints, critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


@dataclass(frozen=True)
class Secured:
    """Servers that demand TLS, whose certificate is for 127.0.0.1, and what a client needs or must not have."""

    server: Server
    ca: str
    client: Files
    other_ca: str
    other_client: Files


@pytest.fixture(scope="module")
def secured(servers: Servers, flavour: Flavour, tmp_path_factory: pytest.TempPathFactory) -> Secured:
    directory = tmp_path_factory.mktemp("tls")
    ours, other = Authority(directory, "ours"), Authority(directory, "other")
    host = ours.certificate("server", "127.0.0.1", "db.test")
    server = servers.get(
        "tls", flavour, ssl_ca=ours.file, ssl_cert=host.certificate, ssl_key=host.key, require_secure_transport="ON"
    )
    return Secured(server, ours.file, ours.certificate("client"), other.file, other.certificate("stranger"))


@pytest.fixture
def pair(servers: Servers, secured: Secured, flavour: Flavour) -> Pair:
    return pair_of(secured.server, secured.server)


def endpoint(pair: Pair, **more: Any) -> Endpoint:
    made = Endpoint(
        "a", "source", host="127.0.0.1", port=pair.source.port, user="reader", password=Secret(PASSWORD),
        database=pair.source_schema,
    )  # fmt: skip
    return replace(made, **more)


def cipher(to: Endpoint, use: Use = Use.CONTROL) -> str:
    """What the server says the session is encrypted with; "" without."""
    connection = connect(to, use, LIMITS)
    try:
        value = query(connection, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")[0][1]
        return value.decode() if isinstance(value, bytes) else str(value)
    finally:
        close_quietly(connection)


def refused(to: Endpoint) -> PrerequisiteError:
    with pytest.raises(PrerequisiteError) as caught:
        cipher(to)
    assert not caught.value.retryable
    return caught.value


def test_tls_is_used_where_the_server_has_it(pair: Pair) -> None:
    """Without any ssl setting a session is encrypted all the same (but the server's identity is not checked)."""
    assert cipher(endpoint(pair))


def test_tls_refused_by_us_is_a_configuration_error(pair: Pair) -> None:
    """ssl_disabled against a server that demands TLS fails at once, and says what to change."""
    error = refused(endpoint(pair, ssl_disabled=True))
    assert error.code in (3159, 1045)
    assert "TLS" in error.hint or error.code == 1045


@pytest.mark.parametrize("use", list(Use))
def test_certificate_and_host_name_are_verified_for_every_use(pair: Pair, secured: Secured, use: Use) -> None:
    """With ssl_ca and ssl_verify_identity the right server is accepted, whatever the connection is for."""
    assert cipher(endpoint(pair, ssl_ca=secured.ca, ssl_verify_identity=True), use)


def test_a_server_of_another_authority_is_refused(pair: Pair, secured: Secured) -> None:
    """A certificate that ssl_ca has not signed is a configuration error, without a retry."""
    error = refused(endpoint(pair, ssl_ca=secured.other_ca))
    assert error.code == 2026
    assert "certificate verify failed" in str(error)


def test_a_server_of_another_name_is_refused(pair: Pair, secured: Secured) -> None:
    """A certificate for another host name is a configuration error; without ssl_verify_identity it would pass."""
    by_name = endpoint(pair, host="localhost", ssl_ca=secured.ca)
    assert cipher(by_name)

    error = refused(replace(by_name, ssl_verify_identity=True))
    assert error.code == 2026
    assert "localhost" in str(error)


def test_identity_without_an_authority_is_checked_by_the_systems(pair: Pair) -> None:
    """ssl_verify_identity alone is not taken for "no check": the system's authorities have not signed this one."""
    assert refused(endpoint(pair, ssl_verify_identity=True)).code == 2026


def test_a_server_without_tls_is_refused_where_it_is_asked_for(servers: Servers, secured: Secured) -> None:
    """ssl settings are a demand: there is no silent fall back to plain text."""
    plain = servers.get("no-tls", "mariadb", ssl="OFF")
    pair = pair_of(plain, plain)
    assert cipher(endpoint(pair)) == ""
    assert refused(endpoint(pair, ssl_ca=secured.ca)).code == 2026


# ---- client certificates -------------------------------------------------------------------------------
@pytest.fixture
def mutual(pair: Pair) -> Iterator[Pair]:
    """An account that has to show a certificate."""
    pair.source.execute("ALTER USER 'reader'@'%' REQUIRE X509")
    yield pair
    for account in ("reader", "writer"):
        pair.source.execute(f"ALTER USER '{account}'@'%' REQUIRE NONE")


def test_mutual_tls(mutual: Pair, secured: Secured) -> None:
    """With ssl_cert and ssl_key an account that demands a certificate is let in."""
    ours = secured.client
    to = endpoint(mutual, ssl_ca=secured.ca, ssl_verify_identity=True, ssl_cert=ours.certificate, ssl_key=ours.key)
    assert cipher(to)
    assert cipher(replace(to, ssl_ca=None, ssl_verify_identity=False))


def test_mutual_tls_without_a_certificate_is_refused(mutual: Pair, secured: Secured) -> None:
    """Without a certificate the server denies the access: a configuration error."""
    assert refused(endpoint(mutual, ssl_ca=secured.ca)).code == 1045


def test_mutual_tls_with_a_strangers_certificate_is_refused(mutual: Pair, secured: Secured) -> None:
    """A certificate of another authority gets nobody in."""
    stranger = secured.other_client
    to = endpoint(mutual, ssl_ca=secured.ca, ssl_cert=stranger.certificate, ssl_key=stranger.key)
    with pytest.raises((PrerequisiteError, SourceLost)):
        cipher(to)


def test_files_that_are_no_certificates_are_named(pair: Pair, secured: Secured, tmp_path: Path) -> None:
    """A broken file is a configuration error that names the file and holds nothing of it."""
    broken = tmp_path / "broken.pem"
    broken.write_text("hunter2 is not a certificate")
    for settings in (
        {"ssl_ca": str(broken)},
        {"ssl_cert": secured.client.certificate, "ssl_key": str(broken)},
        {"ssl_cert": secured.client.certificate, "ssl_key": secured.other_client.key},
    ):
        error = refused(endpoint(pair, **settings))
        assert str(list(settings.values())[-1]) in str(error)
        assert "hunter2" not in str(error)


# ---- whole runs ----------------------------------------------------------------------------------------
def test_a_whole_run_over_mutual_tls(mutual: Pair, secured: Secured) -> None:
    """Snapshot, log and target, each over TLS with both sides checked: no connection of a run is without."""
    mutual.on_source("CREATE TABLE t (id INT PRIMARY KEY, v TEXT)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    mutual.target.execute("ALTER USER 'writer'@'%' REQUIRE X509")
    config = mutual.config({"a.t": {"target_table": "b.t"}})
    for one in (config["sources"]["a"], config["targets"]["b"]):
        del one["ssl_disabled"]
        one |= {
            "ssl_ca": secured.ca,
            "ssl_cert": secured.client.certificate,
            "ssl_key": secured.client.key,
            "ssl_verify_identity": True,
        }
    pipeline = mutual.pipeline(config["mapping"], sources=config["sources"], targets=config["targets"])
    mutual.run(pipeline)
    mutual.on_source("UPDATE t SET v='changed' WHERE id=1", "DELETE FROM t WHERE id=2")
    mutual.run(pipeline)

    mutual.assert_same("t")


def test_a_handshake_that_is_cut_is_a_lost_connection(pair: Pair, secured: Secured) -> None:
    """A network that breaks during the handshake is not mistaken for a wrong certificate."""
    with Proxy(pair.source.host, pair.source.port) as proxy, proxy.stalled(), pytest.raises(SourceLost):
        connect(endpoint(pair, port=proxy.port, ssl_ca=secured.ca), Use.CONTROL, replace(LIMITS, connect_timeout_s=0.5))
