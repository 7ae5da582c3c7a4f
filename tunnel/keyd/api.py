"""What may be asked of keyd, and what it answers: one struct for the arguments of each verb, one for the answer.

Used by the daemon to check a request before anything else looks at it and by `client` to read an answer. Whoever asks
is known by the user id of the other end of the socket. Knows no key and no file.
"""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from core.errors import EX_SOFTWARE, EX_USAGE, GatepostError

Word = Annotated[str, Meta(min_length=1, max_length=64)]
Line = Annotated[str, Meta(min_length=1, max_length=2048)]
"""A public key in the form of its file."""
Names = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...], Meta(min_length=1, max_length=100)]
LifeS = Annotated[float, Meta(gt=0, le=86_400)]
KeyId = Annotated[int, Meta(ge=0, le=31)]
Day = Annotated[int, Meta(ge=-1, le=4095)]

GUEST_VERBS = frozenset(
    {"public", "sign_engineer", "sign_host", "grant", "certify", "password", "forget", "sign_recording"} | {"health"}
)
"""What the users in `[keyd] clients` may ask; making and retiring support keys is for keyd's own user and root."""

SHELL, SFTP, FORWARD = "shell", "sftp", "forward"
ROLES = (SHELL, SFTP, FORWARD)


class Args(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments of a verb."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a verb gives. Newer daemons may add fields."""


class PublicArgs(Args, frozen=True, kw_only=True):
    """`public`: nothing to say."""


class SupportKey(Answer, frozen=True, kw_only=True):
    """A key with which appliances agree on a seed's secret."""

    key_id: int
    public: str
    """Base64, as it stands in an appliance's `[tunnel] support_keys` behind the number."""
    made_at: float = 0.0
    last_used_at: float = 0.0
    """When a grant was last made with it, 0 for never."""


class Public(Answer, frozen=True, kw_only=True):
    """`public`: the public halves of all keys; the SSH ones as lines."""

    support_keys: tuple[SupportKey, ...]
    """In order of age: the newest last."""
    engineer_ca: str
    host_ca: str
    recording: str


class SignEngineerArgs(Args, frozen=True, kw_only=True):
    """`sign_engineer`: a certificate with which an engineer enters the bastion."""

    public_key: Line
    engineer: Word
    case: Word
    serials: Names
    life_s: LifeS
    roles: tuple[str, ...] = (SHELL,)
    """Some of `ROLES`; `shell` permits a terminal, `forward` permits `ssh -J`."""


class SignHostArgs(Args, frozen=True, kw_only=True):
    """`sign_host`: a host certificate for some of the configured names of the bastion."""

    public_key: Line
    names: Names


class Certificate(Answer, frozen=True, kw_only=True):
    """A certificate as one line."""

    certificate: str


class Published(Args, frozen=True, kw_only=True):
    """What an appliance has said of its activation; a field that is not known keeps its default."""

    fingerprint: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
    mode: str = ""
    """`tunnel` or `sshaccess`; empty: both are tried."""
    key_id: KeyId = 0
    day: Day = -1


class GrantArgs(Args, frozen=True, kw_only=True):
    """`grant`: derive the keys of an activation from its seed and keep them for a case."""

    case: Word
    serial: Word
    appliance_key: Word
    """The appliance's public exchange key, base64."""
    seed: Annotated[str, Meta(min_length=1, max_length=512)]
    engineer: Annotated[str, Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    """Who brings the seed in, as the asker knows them."""
    published: Published | None = None
    """None: an appliance that never dials in (SSHACCESS alone), so that nothing can be compared."""


class Granted(Answer, frozen=True, kw_only=True):
    """`grant`: by what the keys are called from now on."""

    grant_id: str
    fingerprint: str
    mode: str
    """`tunnel` or `sshaccess`."""
    until_at: float
    checked: bool = True
    """Whether the fingerprint was compared with one that was published."""


class CertifyArgs(Args, frozen=True, kw_only=True):
    """`certify`: a certificate by the derived key of a grant."""

    grant_id: Word
    public_key: Line
    key_id: Annotated[str, Meta(max_length=200)]
    """As in an engineer's certificate, `!bastion` behind it for a session that the bastion records."""
    life_s: LifeS
    forwarding: bool = False


class PasswordArgs(Args, frozen=True, kw_only=True):
    """`password`: the next one-time password of a grant, or one that was given out before."""

    grant_id: Word
    number: Annotated[int, Meta(ge=0)] | None = None


class PasswordGiven(Answer, frozen=True, kw_only=True):
    """`password`: what to type, and which of them it is."""

    password: str
    number: int
    left: int
    """How many more this activation has."""


class ForgetArgs(Args, frozen=True, kw_only=True):
    """`forget`: drop a grant; one that is not there is no error."""

    grant_id: Word


class Forgotten(Answer, frozen=True, kw_only=True):
    """`forget`: whether there was one."""

    forgotten: bool


class SignRecordingArgs(Args, frozen=True, kw_only=True):
    """`sign_recording`: sign a recording by its SHA-256 or SHA-512 in hex."""

    digest: Annotated[str, Meta(pattern="^([0-9a-f]{64}|[0-9a-f]{128})$")]


class Signature(Answer, frozen=True, kw_only=True):
    """`sign_recording`: what `ssh-keygen -Y verify -n gatepost-recording` takes."""

    signature: str


class SupportKeyNewArgs(Args, frozen=True, kw_only=True):
    """`support_key_new`: nothing to say."""


class SupportKeyRetireArgs(Args, frozen=True, kw_only=True):
    """`support_key_retire`: delete the private half; no seed of this key is understood any more."""

    key_id: KeyId
    force: bool = False
    """Although grants made with it are open."""


class SupportKeys(Answer, frozen=True, kw_only=True):
    """`support_key_new` and `support_key_retire`: those that are there then, the newest last."""

    support_keys: tuple[SupportKey, ...]


Struct = TypeVar("Struct", bound=msgspec.Struct)


def parsed(kind: type[Struct], args: dict[str, Any]) -> Struct:
    """Read the arguments of a verb. Raises status 64; what was given is not in the text, it may be a secret."""
    try:
        return msgspec.convert(dict(args), kind)
    except msgspec.ValidationError as error:
        raise GatepostError(f"keyd: {error}", EX_USAGE) from None


def understood(kind: type[Struct], answer: Any) -> Struct:
    """Read an answer. Raises status 70 for one that this version does not understand."""
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise GatepostError(
            f"keyd's answer is not understood: {error}; restart it after the upgrade", EX_SOFTWARE
        ) from error
