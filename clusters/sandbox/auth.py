"""Who is calling, and over which TLS: tokens and a certificate authority, made when the sandbox starts."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import ssl
import time
from pathlib import Path
from typing import Any

import trustme
import yaml
from aiohttp import web

from clusters.sandbox.errors import ApiError, BadRequest, Invalid
from clusters.sandbox.objects import Object, Stored
from clusters.sandbox.rbac import AUTHENTICATED, MASTERS, SERVICE_ACCOUNT, UNAUTHENTICATED, User
from clusters.sandbox.settings import Settings
from clusters.sandbox.store import Store

ADMIN = User("sandbox-admin", (MASTERS, AUTHENTICATED))
ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))
AUDIENCE = "https://kubernetes.default.svc.cluster.local"
_LEAST_S, _DEFAULT_S, _MOST_S = 600, 3600, 1 << 32


class Door:
    """Knows callers by their tokens: the administrator's, and those of ServiceAccounts, which it signs itself."""

    def __init__(self, store: Store) -> None:
        self.token = secrets.token_urlsafe(32)
        self._expected = f"Bearer {self.token}".encode()
        self._key = secrets.token_bytes(32)
        self._store = store
        self._known: dict[str, Object] = {}  # claims of tokens whose signature was checked

    def user(self, request: web.BaseRequest) -> User:
        """The caller; 401 for a token that is wrong, too old, or whose ServiceAccount is gone."""
        given = request.headers.get("Authorization")
        if not given:
            return ANONYMOUS
        if hmac.compare_digest(given.encode(), self._expected):
            return ADMIN
        user = self._account(given.removeprefix("Bearer "))
        if user is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return user

    def _account(self, token: str) -> User | None:
        claims = self._known.get(token)
        if claims is None:
            signed, _, signature = token.rpartition(".")
            if not hmac.compare_digest(self._sign(signed).encode(), signature.encode()):
                return None
            text = signed.partition(".")[2]
            claims = self._known[token] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        about = claims["kubernetes.io"]
        account, namespace = about["serviceaccount"], about["namespace"]
        found = self._store.find("serviceaccounts", account["name"], namespace)
        if found is None or found["metadata"]["uid"] != account["uid"]:
            return None
        if claims["exp"] < time.time() or AUDIENCE not in claims["aud"]:
            return None
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
        return User(claims["sub"], groups, account["uid"])

    def issue(self, account: Stored, body: Any) -> Object:
        """The answer to a TokenRequest: a token for the ServiceAccount, as a signed list of claims (JWT)."""
        if not isinstance(body, dict):
            raise BadRequest("the body is no TokenRequest")
        meta, spec = account["metadata"], body.get("spec") or {}
        if spec.get("boundObjectRef"):
            raise ApiError(501, "NotImplemented", "the sandbox binds no tokens to objects; see docs/sandbox.md")
        seconds = spec.get("expirationSeconds") or _DEFAULT_S
        if not _LEAST_S <= seconds <= _MOST_S:
            limit = "less than 10 minutes" if seconds < _LEAST_S else "larger than 2^32 seconds"
            said = f"Invalid value: {seconds}: may not specify a duration {limit}"
            cause = ("spec.expirationSeconds", "FieldValueInvalid", said)
            raise Invalid("TokenRequest", "authentication.k8s.io", "", [cause])
        now, namespace = int(time.time()), meta["namespace"]
        claims = {"aud": spec.get("audiences") or [AUDIENCE], "iss": AUDIENCE, "sub": _subject(meta)}
        claims |= {"iat": now, "nbf": now, "exp": now + seconds, "jti": secrets.token_hex(16)}
        claims["kubernetes.io"] = {
            "namespace": namespace,
            "serviceaccount": {"name": meta["name"], "uid": meta["uid"]},
        }
        signed = f"{_segment({'alg': 'HS256', 'typ': 'JWT'})}.{_segment(claims)}"
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + seconds))
        about = {k: meta[k] for k in ("name", "namespace", "uid")}
        about["creationTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        made: Object = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": about}
        made["spec"] = {"audiences": claims["aud"], "expirationSeconds": seconds, "boundObjectRef": None}
        return made | {"status": {"token": f"{signed}.{self._sign(signed)}", "expirationTimestamp": until}}

    def _sign(self, text: str) -> str:
        return base64.urlsafe_b64encode(hmac.digest(self._key, text.encode(), "sha256")).decode().rstrip("=")


def _subject(meta: Object) -> str:
    return f"{SERVICE_ACCOUNT}{meta['namespace']}:{meta['name']}"


def _segment(data: Object) -> str:
    return base64.urlsafe_b64encode(json.dumps(data, separators=(",", ":")).encode()).decode().rstrip("=")


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
