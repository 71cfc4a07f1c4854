#!/bin/sh
# Writes the file server's one user from TWIN_AUTH=user:password before nginx starts.
set -eu
case "${TWIN_AUTH:-}" in
    *:?*) printf '%s:{PLAIN}%s\n' "${TWIN_AUTH%%:*}" "${TWIN_AUTH#*:}" > /etc/nginx/users ;;
    *) echo "TWIN_AUTH=user:password is not set" >&2; exit 1 ;;
esac
chown root:nginx /etc/nginx/users
chmod 640 /etc/nginx/users
