"""Tagged ids as common/crypto/ids.c makes them, and LiteLLM's, made by somebody else: a test that forges must know the rules."""

import base64
import functools
import hashlib
import hmac
import re

TAG = re.compile(r"^(.+)-t([a-z2-7]{32})$")
FILE, BATCH, UPLOAD = b"f", b"b", b"u"


def sign(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


@functools.cache
def stretched(text):
    """scrypt (RFC 7914)."""
    return hashlib.scrypt(text.encode(), salt=b"tranche id seal, stretched 1", n=16384, r=8, p=1, maxmem=64 << 20, dklen=32)


def seal_of(text, old=False):
    """HKDF-SHA256 (RFC 5869) without salt, one block, of the stretched key; older versions took the key as it is."""
    return sign(sign(bytes(32), text.encode() if old else stretched(text)), b"tranche id seal", b"\x01")


def fingerprint(size, *texts):
    digest = hashlib.sha256(b"".join(t.encode() + b"\0" for t in texts)).digest()
    return next(part for part in (digest[i:i + size] for i in range(0, 32, size)) if any(part))


def place_of(base, provider="azure", model=""):
    return fingerprint(4, "tranche deployment 1", provider, base, model)


def owner_of(name):
    return fingerprint(8, "tranche owner 1", name)


MASTER = bytes(8)


def mint(key, kind, native, place, owner=MASTER, old=False):
    tag = place + owner + sign(seal_of(key, old), kind, place, owner, native.encode())[:8]
    return f"{native}-t{base64.b32encode(tag).decode().lower()}"


def native_of(tagged):
    return TAG.match(tagged).group(1)


def tag_bytes(tagged):
    return base64.b32decode(TAG.match(tagged).group(2).upper())


def retagged(native, tag):
    return f"{native}-t{base64.b32encode(tag).decode().lower()}"


def b64(text):
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def litellm_encoded(native, model):
    return ("batch_" if native.startswith("batch_") else "file-") + b64(f"litellm:{native};model,{model}")


def litellm_file(native, model_id, targets="gpt-4o-batch", content_type="application/octet-stream"):
    return b64(f"litellm_proxy:{content_type};unified_id,c4843482-b176-4901-8292-7523fd0f2c6e;target_model_names,{targets};"
               f"llm_output_file_id,{native};llm_output_file_model_id,{model_id}")


def litellm_batch(native, model_id, more=""):
    return b64(f"litellm_proxy;model_id:{model_id};llm_batch_id:{native}{more}")
