"""The configuration of the edge: how connections to a listener begin, resource conservation.

`mail/config.py` derives its listener from `EdgeSection`; `mail/edge/door.py` and `mail/edge/conserve.py` are built
from these.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from core.config import Section, Size, checked
from mail.netblock import parse_netblock

Block = Annotated[str, AfterValidator(checked(parse_netblock))]


class EdgeSection(Section):
    """How connections to a listener begin."""

    tls: Literal["starttls", "implicit"] = Field(
        default="starttls", description="starttls (where the policy has TLS), or implicit: every connection begins so"
    )
    proxy_from: tuple[Block, ...] = Field(
        default=(), description="addresses of load balancers, whose connections must begin with a PROXY header"
    )
    xclient_from: tuple[Block, ...] = Field(default=(), description="addresses that may use XCLIENT")
    reverse_names: Literal["auto", "always", "never"] = Field(
        default="auto", description="look up host names before the greeting: auto = if a sender group names hosts"
    )
    reverse_timeout_s: float = Field(
        default=20.0, gt=0, le=60, description="longest wait for the name of one address; then it has none"
    )
    greet_delay_s: float = Field(default=0.0, ge=0, le=60, description="wait with the greeting")
    early_talk: Literal["ignore", "reject"] = Field(
        default="ignore", description="who talks before the greeting: wait for it all the same, or reject with 554"
    )
    opening_timeout_s: float = Field(
        default=30.0, gt=0, le=300, description="longest wait for a PROXY header, and for a TLS handshake"
    )

    @model_validator(mode="after")
    def _early_talk_can_be_seen(self) -> "EdgeSection":
        if self.early_talk == "reject" and not self.greet_delay_s:
            raise ValueError("early_talk = reject needs a greet_delay_s above 0: nobody can talk before no delay")
        return self


class ConservationSection(Section):
    """Resource conservation: from a start value on, answers are delayed up to 60 s; from a halt value on, mail is
    refused.

    A pair start = halt = 0 switches a cause off.
    """

    memory_start: float = Field(default=45.0, ge=0, le=100, description="% of memory used by the mail processes")
    memory_halt: float = Field(default=60.0, ge=0, le=100, description="% of memory at which mail is refused")
    memory_limit: Size = Field(default=0, description="memory that counts as 100 %; 0 = the machine's or the cgroup's")
    disk_start: float = Field(
        default=93.0, ge=0, le=100, description="% of the spool's file system used, of which 40 GiB count at most"
    )
    disk_halt: float = Field(default=95.0, ge=0, le=100, description="% at which mail is refused")
    sync_start_s: float = Field(default=3.0, ge=0, le=600, description="seconds that a write to the journal takes")
    sync_halt_s: float = Field(default=30.0, ge=0, le=600, description="seconds at which mail is refused")
    backlog_start: float = Field(default=50.0, ge=0, le=100, description="% of spool.max_backlog waiting for import")
    backlog_halt: float = Field(default=95.0, ge=0, le=100, description="% at which mail is refused")
    work_queue_start: int = Field(default=1_000, ge=0, description="messages in the work queue")
    work_queue_halt: int = Field(default=10_000, ge=0, description="messages at which mail is refused")
    work_queue_suspend: int = Field(
        default=0, ge=0, description="messages in the work queue at which listeners are suspended; 0 = never"
    )
    work_queue_resume: int = Field(default=0, ge=0, description="messages at which they are resumed")

    @model_validator(mode="after")
    def _rise(self) -> "ConservationSection":
        for name in ("memory", "disk", "sync", "backlog", "work_queue"):
            tail = "_s" if name == "sync" else ""
            start, halt = getattr(self, f"{name}_start{tail}"), getattr(self, f"{name}_halt{tail}")
            if not (start < halt or start == halt == 0):
                raise ValueError(f"{name}_start{tail} must be below {name}_halt{tail} (both 0 = off)")
        if self.work_queue_suspend and not self.work_queue_resume < self.work_queue_suspend:
            raise ValueError("work_queue_resume must be below work_queue_suspend")
        return self
