"""Prefect's API and UI behind our guard: `python -P -m flows.web.api_server [--host H] [--port P] [--no-services]`.

It takes the place of `prefect server start`, whose API answers every web page and every host name. Settings are Prefect's
(PREFECT_SERVER_...), and TWIN_ALLOWED_HOSTS for names of this server that are in none of them, those inside a network for instance.
"""

from __future__ import annotations

import argparse
import os
from urllib.parse import urlsplit

from flows.web.audit import WithAudit
from flows.web.guard import Allowed, App, Guard
from flows.web.open_page import WithOpenPage

HEADERS = {
    # the UI may talk to this server only: its JavaScript would otherwise report page views to a vendor, whatever the settings say
    "content-security-policy": "connect-src 'self'; img-src 'self' data: blob: http: https:; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
END_WITHIN_S = 3


def guarded(app: App, host: str) -> Guard:
    """An application of Prefect, behind the guard, with the page that logs in. For a server bound to `host`; the name in
    PREFECT_SERVER_UI_API_URL is its own too."""
    from prefect.settings import get_current_settings

    server = get_current_settings().server
    api = server.api
    auth = api.auth_string.get_secret_value() if api.auth_string else ""
    files_port = str(urlsplit(os.environ.get("TWIN_FILES_URL", "")).port or "")
    told = WithAudit(WithOpenPage(app, auth, files_port))
    return Guard(told, Allowed.at(host, api.cors_allowed_origins, server.ui.api_url or ""), HEADERS)


def serve(host: str, port: int, services: bool = True) -> None:
    """Until it is told to stop. Without `services`, scheduler and automations have to run elsewhere."""
    os.environ["PREFECT__SERVER_FINAL"] = "1"
    import uvicorn
    from prefect.server.api.server import create_app

    from flows.web import mail_block  # noqa: F401 - the server has to know it to send by it
    from flows.web.sqlite_database import lock_transactions_from_the_beginning

    lock_transactions_from_the_beginning()
    app = create_app(final=True, webserver_only=not services)
    uvicorn.run(
        guarded(app, host),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=END_WITHIN_S,
    )


def main() -> None:
    """Options as those of `prefect server start`."""
    parser = argparse.ArgumentParser(description="Prefect's API and UI for stereotwin")
    parser.add_argument("--host", default=os.environ.get("PREFECT_SERVER_API_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("PREFECT_SERVER_API_PORT", "4200")))
    parser.add_argument("--no-services", action="store_true", help="scheduler and automations run elsewhere")
    args = parser.parse_args()
    serve(args.host, args.port, not args.no_services)


if __name__ == "__main__":
    main()
