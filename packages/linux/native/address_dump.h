// Asks the kernel for every address of the calling thread's network namespace.
#pragma once

#include <string>
#include <vector>

#include "addresses.h"

struct NamedAddress {
  Address address;
  std::string interfaceName;
};

// Throws Failure. An interface that vanished meanwhile takes its addresses with it.
std::vector<NamedAddress> dumpAddresses(const std::string &object);
