"""Who is calling, and over which TLS: one token, one certificate authority, both made when the sandbox starts."""

from __future__ import annotations

import base64
import hmac
import secrets
import ssl
from pathlib import Path

import trustme
import yaml
from aiohttp import web

from clusters.sandbox.errors import ApiError
from clusters.sandbox.settings import Settings

USER, ANONYMOUS = "sandbox-admin", "system:anonymous"
_PUBLIC = ("/healthz", "/livez", "/readyz", "/version")


class Door:
    """Lets in whoever has the token; others may only ask for health and version, as with Kubernetes' defaults."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(32)
        self._expected = f"Bearer {self.token}"

    def user(self, request: web.BaseRequest) -> str:
        """The caller's name; 401 for a wrong token."""
        given = request.headers.get("Authorization")
        if not given:
            return ANONYMOUS
        if not hmac.compare_digest(given.encode(), self._expected.encode()):
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return USER

    @staticmethod
    def refuse_anonymous(request: web.BaseRequest, user: str) -> None:
        """403 for what only a known caller may do; nothing to refuse the admin."""
        path = request.path
        if user != ANONYMOUS or path.startswith(_PUBLIC):
            return
        verb = request.method.lower()
        raise ApiError(403, "Forbidden", f'forbidden: User "{ANONYMOUS}" cannot {verb} path "{path}"')


def server_tls(settings: Settings) -> tuple[ssl.SSLContext, bytes]:
    """A context for the server with a certificate of its own authority, and that authority's certificate (PEM)."""
    authority = trustme.CA(organization_name=f"Bulletproof sandbox {settings.name}")
    names = (settings.api_address, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    authority.issue_cert(*names).configure_cert(context)
    return context, authority.cert_pem.bytes()


def write_kubeconfig(settings: Settings, authority: bytes, token: str) -> Path:
    """DIR/kubeconfig, readable by its owner only; the context is `sandbox-NAME`."""
    name = f"sandbox-{settings.name}"
    server = f"https://{settings.api_address}:{settings.port}"
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }
    path = settings.dir / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
