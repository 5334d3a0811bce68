#!/usr/bin/env bash
# image.sh NAME: builds the image from the Dockerfile, as root on Debian 12, and stores it under that name below
# .cache/image. Installs buildah and debootstrap if they are missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
image=$1
needs=(buildah debootstrap openssl)
missing=()
for need in "${needs[@]}"; do
  PATH=$PATH:/usr/sbin:/sbin command -v "$need" >/dev/null || missing+=("$need")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "image: installing ${missing[*]}"
  log=$(mktemp)
  if ! { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
  fi
  rm -f "$log"
fi
export PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=deploy/image/buildah.sh
. deploy/image/buildah.sh
base=$(sed -n 's/^ARG BASE=//p' deploy/Dockerfile)
bash deploy/image/base.sh "$base"

echo 'image: building'
# With chroot isolation the build needs no container network or cgroup of its own, and has the network of this machine.
log=.cache/image/build.log
build_tool build --isolation chroot --pull-never --layers --ignorefile deploy/Dockerfile.dockerignore \
  -f deploy/Dockerfile -t "$image" . >"$log" 2>&1 || { tail -n 40 "$log" >&2 && exit 1; }
