# Sourced: runs buildah with a store of its own below .cache/image, so that it neither uses nor changes the machine's.
build_tool() {
  nice -n 19 buildah --root "$PWD/.cache/image/store" --runroot "$PWD/.cache/image/run" --storage-driver overlay "$@"
}
