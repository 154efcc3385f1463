"""Signatures: who said something, provably; ed25519 (RFC 8032) over the canonical JSON of what was said.

A private key is a PEM file that its owner alone can read; the public key, 32 bytes in base64, stands in
governance/roles.yaml. A signature covers the statement's kind and project too, so that none can pass for another.
"""

import base64
import os
import stat
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tasks.digests import canonical_json
from tasks.errors import BadInput

SIGNATURE = "signature"  # the key of a body that holds it, in base64


def new_key(path: Path) -> Ed25519PrivateKey:
    """Make a key and write it to a file that did not exist, mode 600."""
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise BadInput(f"{path} is there already; a key is never overwritten: choose another path") from error
    except OSError as error:
        raise BadInput(f"cannot write the key {path}: {error.strerror}") from error
    with os.fdopen(file, "wb") as stream:
        stream.write(content)
    return key


def read_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key; BadInput when others can read it too, or when it is none."""
    try:
        mode, content = stat.S_IMODE(path.stat().st_mode), path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read the key {path}: {error.strerror}; `keel key new PATH` makes one") from error
    if mode & 0o077:
        raise BadInput(f"the key {path} can be read by others (mode {mode:o}); `chmod 600 {path}`")
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path} is no private key in PEM: {error}; `keel key new PATH` makes one") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{path} holds a {type(key).__name__}, not an ed25519 key; `keel key new PATH` makes one")
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """The public key as governance/roles.yaml has it."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def public_key(text: str) -> Ed25519PublicKey:
    """The key behind that text; ValueError when it is none."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise ValueError(
            f"'{text}' is no ed25519 public key of 32 bytes in base64; `keel key new` prints it"
        ) from error


def sign(kind: str, project: str, body: dict[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """The body with its signature."""
    signature = key.sign(_message(kind, project, body))
    return {**body, SIGNATURE: base64.b64encode(signature).decode()}


def is_signed(kind: str, project: str, body: dict[str, Any], public: str) -> bool:
    """Whether the body's signature is one by that public key; a body without one is not signed."""
    try:
        signature = base64.b64decode(str(body[SIGNATURE]), validate=True)
        public_key(public).verify(signature, _message(kind, project, body))
    except (KeyError, ValueError, InvalidSignature):
        return False
    return True


def _message(kind: str, project: str, body: dict[str, Any]) -> bytes:
    said = {key: value for key, value in body.items() if key != SIGNATURE}
    return canonical_json({"kind": kind, "project": project, "said": said}).encode()
