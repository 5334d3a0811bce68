#!/usr/bin/env bash
# Builds Sluice's image for real and exports it: image.sh. Prints the path of a docker-archive, under the name in the chart.
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=${SLUICE_CACHE:-$PWD/.cache}/cluster
# shellcheck source=deploy/image/buildah.sh
. deploy/image/buildah.sh

# The chart's own default: <global.hub>/<image>:<appVersion>.
name=localhost/sluice:$(sed -n 's/^appVersion: //p' deploy/helm/sluice/Chart.yaml)
bash deploy/image/image.sh "$name" >&2
archive=$cache/sluice.tar
id=$(build_tool images --quiet --no-trunc "$name")
if [ ! -e "$archive" ] || [ "$(cat "$cache/sluice.id" 2>/dev/null)" != "$id" ]; then
  mkdir -p "$cache"
  rm -f "$archive" "$cache/sluice.id"
  build_tool push --quiet "$name" "docker-archive:$archive:$name" >/dev/null
  echo "$id" >"$cache/sluice.id"
fi
echo "$archive"
