#!/usr/bin/env bash
# build.sh DIRECTORY: builds, in the image's build stage, only what the image needs (no fuzzers, no fixtures of tests), and
# puts it into DIRECTORY. In a checkout, `npm run build` builds everything.
set -euo pipefail
for makefile in packages/*/Makefile; do
  addon=$(sed -n 's/^ADDON := //p' "$makefile")
  [ -z "$addon" ] || make --silent -j "$(nproc)" -C "$(dirname "$makefile")" "build/$addon.node"
done
make --silent -C packages/cli
make --silent -C bpf
npx --no-install tsc -b packages/deploy
cp bpf/build/*.bpf.o packages/datapath/dist/
node packages/deploy/dist/make-bundle.js "$1/opt/sluice"
install -D -m 0755 packages/cli/build/sluice-ready "$1/usr/local/bin/sluice-ready"
