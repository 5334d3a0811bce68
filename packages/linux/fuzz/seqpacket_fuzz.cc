// The fuzz target of the walk over a packet's ancillary data.
#include <cstdlib>
#include <cstring>

#include "../native/seqpacket_control.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // A copy of exactly this size, so that a read past its end is noticed.
  uint8_t *exact = static_cast<uint8_t *>(std::malloc(size == 0 ? 1 : size));
  if (size > 0)
    std::memcpy(exact, data, size);
  const ControlData found = parseControl(exact, size);
  std::free(exact);

  // What callers rely on, whatever the bytes are: every descriptor was four bytes of the input, after a header.
  if (found.descriptors.size() * sizeof(int) > size)
    abort();
  if (size == 0 && (found.malformed || found.unknown || found.credentials))
    abort();
  return 0;
}
