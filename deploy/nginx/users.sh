#!/bin/sh
# Writes the file server's one user from TWIN_AUTH=user:password before nginx starts. nginx itself runs as the user that runs this.
set -eu
umask 077
case "${TWIN_AUTH:-}" in
    *[Cc][Hh][Aa][Nn][Gg][Ee]-[Mm][Ee]*) echo "TWIN_AUTH is still the example's: change it" >&2; exit 1 ;;
    ?*:?*) printf '%s:{PLAIN}%s\n' "${TWIN_AUTH%%:*}" "${TWIN_AUTH#*:}" > "${USERS_FILE:-/run/users}" ;;
    *) echo "TWIN_AUTH=user:password is not set" >&2; exit 1 ;;
esac
