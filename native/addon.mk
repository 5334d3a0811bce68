# Builds a Node-API addon with plain make and g++: no node-gyp, which would look for Node's headers outside the
# registry. A package's Makefile sets ADDON and SOURCES (and LDLIBS), then includes this file. Every addon has a copy of
# the code in this directory, whose headers are included as "native/NAME.h".
# Node-API is ABI-stable, so the headers of the node-api-headers package fit every Node >= 20.
RULE := $(lastword $(MAKEFILE_LIST))
ROOT := $(dir $(RULE))../
SHARED := $(wildcard $(ROOT)native/*.cc)
CXX ?= g++
WARN := -Wall -Wextra -Werror -Wno-missing-field-initializers
CXXFLAGS += -std=c++17 -O2 -g -fPIC -fvisibility=hidden -pthread $(WARN) -iquote $(ROOT) \
  -DNAPI_VERSION=8 -DNODE_ADDON_API_DISABLE_DEPRECATED \
  -DNODE_ADDON_API_CPP_EXCEPTIONS -DNODE_ADDON_API_CPP_EXCEPTIONS_ALL \
  -DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS \
  -isystem $(ROOT)node_modules/node-api-headers/include -isystem $(ROOT)node_modules/node-addon-api
OBJECTS := $(SOURCES:%.cc=build/obj/%.o) $(SHARED:$(ROOT)native/%.cc=build/obj/shared/%.o)

build/$(ADDON).node: $(OBJECTS)
	$(CXX) -shared -pthread -Wl,--as-needed -o $@ $^ $(LDLIBS)

build/obj/shared/%.o: $(ROOT)native/%.cc $(RULE)
	@mkdir -p $(dir $@)
	$(CXX) $(CXXFLAGS) -MMD -MP -c -o $@ $<

build/obj/%.o: %.cc $(RULE)
	@mkdir -p $(dir $@)
	$(CXX) $(CXXFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJECTS:.o=.d)
