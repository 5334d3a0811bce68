#!/usr/bin/env bash
# build.sh DIRECTORY: builds, in the image's build stage, what the image needs and no more (no fuzzers, no fixtures of tests), and
# puts it into DIRECTORY. `npm run build` is the whole of it, for a checkout.
set -euo pipefail
for makefile in packages/*/Makefile; do
  addon=$(sed -n 's/^ADDON := //p' "$makefile")
  [ -z "$addon" ] || make --silent -j "$(nproc)" -C "$(dirname "$makefile")" "build/$addon.node"
done
make --silent -C bpf
npx --no-install tsc -b packages/deploy
cp bpf/build/*.bpf.o packages/datapath/dist/
node packages/deploy/dist/make-bundle.js "$1/opt/sluice"
