"""The configuration of outbound TLS: authorities, MTA-STS, reports."""

from pydantic import Field

from core.config import Port, Section


class DeliveryTlsSection(Section):
    """Outbound TLS as a whole; the level is set by destination."""

    authorities: str = Field(
        default="", description="PEM file of the authorities that verify mail and policy hosts; empty = the system's"
    )
    alert: bool = Field(
        default=False, description="alert when mail waits because TLS is required for its destination and not to be had"
    )
    mta_sts_port: Port = Field(default=443, description="port of policy hosts (RFC 8461); another one is for labs only")
    mta_sts_timeout_s: float = Field(default=60.0, gt=0, le=300, description="wait for a policy")


class TlsReportSection(Section):
    """Reports on TLS to the domains that ask for them (RFC 8460)."""

    enabled: bool = Field(default=False, description="send a report each day; counting is always on")
    organization: str = Field(default="", max_length=200, description="who reports; empty = the host name")
    contact: str = Field(default="", description="mail address in the reports; empty = postmaster at the host name")
