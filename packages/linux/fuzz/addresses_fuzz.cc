// The fuzz target of the address parser. The first four bytes are the expected sequence number.
#include <cstdlib>
#include <cstring>

#include "../native/addresses.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint32_t sequence = 0;
  if (size < sizeof(sequence))
    return 0;
  std::memcpy(&sequence, data, sizeof(sequence));
  std::vector<Address> found;
  const DumpStep step = parseAddressDump(data + sizeof(sequence), size - sizeof(sequence), sequence, found);

  // What callers rely on, whatever the bytes are.
  if (step.state == DumpState::Failed ? step.error <= 0 : step.error != 0)
    abort();
  for (const Address &address : found) {
    const bool known = address.family == 4 || address.family == 6;
    if (!known || address.prefixLength > (address.family == 4 ? 32 : 128) || address.label.size() > 16)
      abort();
  }
  return 0;
}
