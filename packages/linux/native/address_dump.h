// Asks the kernel for every address of the calling thread's network namespace.
#pragma once

#include <string>
#include <vector>

#include "addresses.h"

struct NamedAddress {
  Address address;
  std::string interfaceName;
};

// Throws Failure. The addresses of an interface that vanished meanwhile are left out.
std::vector<NamedAddress> dumpAddresses(const std::string &object);
