#!/usr/bin/env bash
# Asks the registries for the digest of every image in deploy/.env that has none, and writes it there: NAME:TAG becomes NAME:TAG@sha256:...
#   deploy/pin_images.sh [FILE]              FILE instead of deploy/.env; needs docker with buildx and a way to the registries
#   deploy/pin_images.sh --kubernetes        prints the same for the `images:` of kubernetes/kustomization.yaml
# To move to a new version, write its tag without a digest into the file and run this again.
set -euo pipefail

fail() { printf 'pin_images: %s\n' "$1" >&2; exit 1; }

digest_of() {
    local digest
    digest=$(docker buildx imagetools inspect "$1" --format '{{.Manifest.Digest}}') || fail "the registry does not tell the digest of $1"
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || fail "'$digest' is no digest of $1"
    echo "$digest"
}

for_kubernetes() {
    local image digest
    grep -hoE '^ +image: [^ ]+' "$(dirname "$0")"/kubernetes/*.yaml | awk '{print $2}' | grep -v '^stereotwin' | sort -u | while read -r image; do
        digest=$(digest_of "$image")
        printf '  - {name: %s, digest: %s}\n' "${image%%:*}" "$digest"
    done
}

if [ "${1:-}" = --kubernetes ]; then for_kubernetes; exit; fi
file=${1:-$(dirname "$0")/.env}
[ -f "$file" ] || fail "$file is missing: cp deploy/compose.env.example deploy/.env"
sed -n 's/^\([A-Z]*_IMAGE\)=\([^@]*\)$/\1 \2/p' "$file" | while read -r name image; do
    digest=$(digest_of "$image")
    sed -i "s|^$name=.*|$name=$image@$digest|" "$file"
    echo "$name=$image@$digest"
done
