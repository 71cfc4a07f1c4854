"""Who is told of runs that end badly: automations of Prefect's server, which tell within a second whoever started the run.

Each has a name; it is made of a block, which says where a message goes, and an automation, which says of what.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.flow_run.own_work import DEPLOYMENTS
from flows.web.mail_block import TwinMail
from stages.core.errors import ConfigError, TwinError

PREFIX, BLOCK = "twin: notify ", "twin-notify-"
STATES = {"failed": "Failed", "crashed": "Crashed", "cancelled": "Cancelled", "completed": "Completed"}
WHICH = {"runs": DEPLOYMENTS[0].partition("/")[0], "batches": DEPLOYMENTS[2].partition("/")[0]}
SUBJECT = "stereotwin: {{ flow_run.state.name }}: {{ flow_run.name }}"
BODY = "{{ flow_run.state.message }}\n\n{{ flow_run|ui_url }}"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MOST = 200


@dataclass(frozen=True)
class Told:
    """One who is told."""

    name: str
    about: str
    """in words"""
    active: bool


def webhook(url: str, slack: bool) -> NotificationBlock:
    """A POST of JSON: `text` alone for Slack and what understands it, also subject and body for others. The URL is kept as a secret."""
    if not re.match(r"https?://[^\s/]+", url):
        raise ConfigError(f"{url!r} is no address", "give the URL of the webhook, https://...")
    content = {"text": "{{subject}}\n{{body}}"} | ({} if slack else {"subject": "{{subject}}", "body": "{{body}}"})
    return CustomWebhookNotificationBlock(
        name="stereotwin", url="{{address}}", json_data=content, secrets={"address": url}
    )


def mail(recipients: str, smtp: str, sender: str, user: str, password: str) -> NotificationBlock:
    """By the mail server at HOST:PORT. Raises ConfigError."""
    to = [a.strip() for a in recipients.split(",") if a.strip()]
    if not to or not all(re.fullmatch(r"[^@\s]+@[^@\s]+", a) for a in (*to, sender)):
        raise ConfigError(
            f"{recipients!r} from {sender!r}: no mail addresses", "write name@host, with commas between; --sender too"
        )
    host, _, port = smtp.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--smtp {smtp}", "give HOST:PORT, for example mail.example.org:587")
    if user and not password:
        raise ConfigError("--user without a password", "put the mail server's password into TWIN_SMTP_PASSWORD")
    return TwinMail(recipients=to, sender=sender, host=host, port=int(port), user=user, password=password)


def set_notification(name: str, block: NotificationBlock, states: Sequence[str], which: Sequence[str]) -> None:
    """Make it, or replace the one of that name. Raises ConfigError for words that mean nothing."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"--name {name}", "use small letters, digits and dashes")
    for words, known, option in ((states, STATES, "--on"), (which, WHICH, "--only")):
        if unknown := [w for w in words if w not in known]:
            raise ConfigError(f"{option} {', '.join(unknown) or 'nothing'}", f"choose among {', '.join(known)}")
    block.save(BLOCK + name, overwrite=True)
    with get_client(sync_client=True) as client:
        document = client.request(
            "GET", f"/block_types/slug/{block.get_block_type_slug()}/block_documents/name/{BLOCK + name}"
        ).json()
        _forget(client, name, keep=document["id"])
        automation = _automation(name, document["id"], states, which).model_dump(
            mode="json", exclude={"owner_resource"}
        )
        client.request("POST", "/automations/", json=automation).raise_for_status()


def list_notifications() -> list[Told]:
    """By name."""
    with get_client(sync_client=True) as client:
        found = _automations(client)
    return sorted(
        (Told(a["name"].removeprefix(PREFIX), a["description"], a["enabled"]) for a in found), key=lambda t: t.name
    )


def remove_notification(name: str) -> None:
    """Raises ConfigError if there is none of that name."""
    with get_client(sync_client=True) as client:
        if not _forget(client, name):
            raise _unknown(name, client)


def try_notification(name: str) -> None:
    """Send a message from here, as the server would. Raises ConfigError for an unknown name, TwinError if it does not arrive."""
    with get_client(sync_client=True) as client:
        document = next((d for d in _blocks(client) if d["name"] == BLOCK + name), None)
        if document is None:
            raise _unknown(name, client)
    kind = (
        TwinMail if document["block_type"]["slug"] == TwinMail.get_block_type_slug() else CustomWebhookNotificationBlock
    )
    block: Any = asyncio.run(kind.aload(BLOCK + name))
    with block.raise_on_failure():
        try:
            asyncio.run(_send(block))
        except Exception as e:  # whatever the library behind it raises for an address that does not answer
            said = e.log if isinstance(e, NotificationError) else e
            raise TwinError(
                f"the message of {name} did not get through: {said}", "look at address, port and password; set it again"
            ) from e


async def _send(block: Any) -> None:
    sent = block.notify(subject="stereotwin: a test", body="This is what a message looks like. Nothing has failed.")
    if sent is not None:
        await sent


def _automation(name: str, block: str, states: Sequence[str], which: Sequence[str]) -> AutomationCore:
    trigger = EventTrigger(
        expect={f"prefect.flow-run.{STATES[s]}" for s in states},
        posture=Posture.Reactive,
        threshold=1,
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        match_related=ResourceSpecification(
            {"prefect.resource.role": "flow", "prefect.resource.name": [WHICH[w] for w in which]}
        ),
    )
    return AutomationCore(
        name=PREFIX + name,
        description=f"{' and '.join(which)} that are {', '.join(states)}",
        trigger=trigger,
        actions=[SendNotification(block_document_id=block, subject=SUBJECT, body=BODY)],
    )


def _automations(client: SyncPrefectClient) -> list[dict[str, Any]]:
    every = client.request("POST", "/automations/filter", json={"limit": MOST}).json()
    return [a for a in every if a["name"].startswith(PREFIX)]


def _blocks(client: SyncPrefectClient) -> list[dict[str, Any]]:
    every = client.request("POST", "/block_documents/filter", json={"limit": MOST}).json()
    return [d for d in every if (d["name"] or "").startswith(BLOCK)]


def _forget(client: SyncPrefectClient, name: str, keep: str = "") -> bool:
    """Whether there was one; the block `keep` stays."""
    old = [a for a in _automations(client) if a["name"] == PREFIX + name]
    for a in old:
        client.request("DELETE", f"/automations/{a['id']}")
    for d in _blocks(client):
        if d["name"] == BLOCK + name and d["id"] != keep:
            client.request("DELETE", f"/block_documents/{d['id']}")
    return bool(old)


def _unknown(name: str, client: SyncPrefectClient) -> ConfigError:
    there = ", ".join(a["name"].removeprefix(PREFIX) for a in _automations(client)) or "none"
    return ConfigError(f"there is no notification {name}", f"there are: {there} (twin notify --list)")
