"""`core.smtp.client_tls`: sessions are resumed where they belong, and what the peer showed is judged each time."""

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.pki import certificate_der, make_server_certificate
from core.smtp import client_tls
from core.smtp.client import ClientConnection, connect
from core.smtp.client_settings import ConnectionSettings, TlsSettings
from core.smtp.client_tls import client_context
from core.smtp.target import Target
from protocol.smtp.client_settings import ClientSettings, TlsUse
from protocol.smtp.failure import Stage, TlsError
from tests.support.scripted_server import Peer, ScriptedServer

SETTINGS = ConnectionSettings(ClientSettings("esa.test"))


class TlsServer(ScriptedServer):
    """A host that offers STARTTLS, as often as it is called."""

    def __init__(self, tmp_path: Path, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        key, self.certificate = make_server_certificate("mx.test")
        (tmp_path / "key").write_bytes(key)
        (tmp_path / "crt").write_bytes(self.certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = version
        context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
        self.reused: list[bool] = []

        async def script(peer: Peer) -> None:
            await peer.say("220 mx.test")
            await peer.hear("EHLO")
            await peer.say("250-mx.test", "250 STARTTLS")
            await peer.hear("STARTTLS")
            await peer.say("220 go")
            await peer.start_tls(context)
            await peer.hear("EHLO")
            self.reused.append(peer._writer.get_extra_info("ssl_object").session_reused)
            await peer.say("250 mx.test")
            await peer.end()

        super().__init__(script)

    async def call(self, settings: TlsSettings) -> ClientConnection:
        connection = await connect(Target("mx.test", "127.0.0.1", self.port), SETTINGS, settings)
        connection.abort()
        await connection.wait_closed()
        return connection


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_the_second_connection_resumes_the_session_and_is_judged_by_what_was_shown(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    judged: list[Sequence[bytes]] = []
    settings = TlsSettings(TlsUse.REQUIRED, client_context(), identity="one", judge=judged.append)
    async with TlsServer(tmp_path, version=version) as server:
        first, second = await server.call(settings), await server.call(settings)
        assert server.reused == [False, True]
        chain = (certificate_der(server.certificate),)
        assert [tuple(one) for one in judged] == [chain, chain]
        assert first.chain == second.chain == chain
        assert second.tls is not None
        assert second.tls.peer_certificate_der == chain[0]


async def test_a_session_is_not_resumed_under_another_identity_or_name(tmp_path: Path) -> None:
    context = client_context()
    async with TlsServer(tmp_path) as server:
        await server.call(TlsSettings(TlsUse.REQUIRED, context, identity="one"))
        await server.call(TlsSettings(TlsUse.REQUIRED, context, identity="two"))
        await server.call(TlsSettings(TlsUse.REQUIRED, context, identity="one", server_name="other.test"))
        assert server.reused == [False, False, False]


async def test_a_resumed_session_that_is_no_longer_good_enough_is_refused_and_forgotten(tmp_path: Path) -> None:
    def refuse(chain: Sequence[bytes]) -> None:
        raise TlsError("not this one", Stage.TLS)

    context = client_context()
    async with TlsServer(tmp_path) as server:
        await server.call(TlsSettings(TlsUse.REQUIRED, context))
        with pytest.raises(TlsError, match="not this one"):
            await server.call(TlsSettings(TlsUse.REQUIRED, context, judge=refuse))
        assert context.kept == {}
        await server.call(TlsSettings(TlsUse.REQUIRED, context))
        assert server.reused[-1] is False


async def test_a_failed_handshake_leaves_no_session(tmp_path: Path) -> None:
    context = client_context(verify=True)
    async with TlsServer(tmp_path) as server:
        with pytest.raises(TlsError) as caught:
            await server.call(TlsSettings(TlsUse.REQUIRED, context))
    assert caught.value.kind == "certificate-not-trusted"
    assert context.kept == {}


async def test_the_sessions_kept_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_tls, "MOST_SESSIONS", 2)
    context = client_context()
    async with TlsServer(tmp_path) as server:
        for identity in ("a", "b", "c"):
            await server.call(TlsSettings(TlsUse.REQUIRED, context, identity=identity))
    assert [key[0] for key in context.kept] == ["b", "c"]
