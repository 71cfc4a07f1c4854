"""E-mail as a way in which Prefect's server tells of a run: by SMTP, from the standard library. The server has to have imported this."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage

from prefect.blocks.abstract import NotificationBlock, NotificationError
from pydantic import Field, SecretStr

WITHIN_S = 20.0
TLS_PORT = 465
"""TLS from the beginning; on other ports it is begun where the mail server offers it"""


class TwinMail(NotificationBlock):
    """Where mails go, and by which mail server."""

    _block_type_name = "Twin Mail"
    _block_type_slug = "twin-mail"

    recipients: list[str] = Field(min_length=1, description="addresses")
    sender: str = Field(min_length=1, description="address")
    host: str = Field("localhost", description="of the mail server")
    port: int = Field(25, ge=1, le=65535)
    user: str = Field("", description="where the mail server asks for one")
    password: SecretStr = Field(SecretStr(""))

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Send one mail to all. Raises NotificationError if the mail server does not take it."""
        try:
            await asyncio.to_thread(self._send, body, subject or "stereotwin")
        except (OSError, smtplib.SMTPException) as e:
            raise NotificationError(f"{self.host}:{self.port}: {e}") from e

    def _send(self, body: str, subject: str) -> None:
        mail = EmailMessage()
        mail["Subject"], mail["From"], mail["To"] = " ".join(subject.split()), self.sender, ", ".join(self.recipients)
        mail.set_content(body)
        with self._connected() as server:
            if self.user:
                server.login(self.user, self.password.get_secret_value())
            server.send_message(mail)

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.port == TLS_PORT:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=WITHIN_S, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=WITHIN_S)
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=context)
        elif self.user:
            server.close()
            raise smtplib.SMTPException("it offers no TLS: the password would travel in the clear")
        return server
