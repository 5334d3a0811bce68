// BpfObjectHandle: one struct bpf_object from open to load. Program and map descriptors are handed out as duplicates,
// so that their owners in JavaScript do not depend on how long the object lives.
#include "arguments.h"
#include "btf.h"
#include "error.h"
#include "modules.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/bpf.h>
#include <set>
#include <sys/mman.h>

namespace {

// The largest log that every kernel takes.
constexpr size_t verifierLogBytes = BPF_LOG_BUF_SIZE;

// Pages that cost nothing until the verifier writes to them. They do not come from calloc(3): after the first free(3)
// of so large a block glibc takes the next one from its heap, fills it with zeros, and keeps it.
class VerifierLog {
public:
  VerifierLog() = default;
  ~VerifierLog() { free(); }
  VerifierLog(const VerifierLog &) = delete;
  VerifierLog &operator=(const VerifierLog &) = delete;

  bool allocate() {
    void *pages = mmap(nullptr, verifierLogBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
      return false;
    text_ = static_cast<char *>(pages);
    return true;
  }
  void free() {
    if (text_ != nullptr)
      munmap(text_, verifierLogBytes);
    text_ = nullptr;
  }
  char *text() const { return text_; }

private:
  char *text_ = nullptr;
};

class ObjectHandle : public Napi::ObjectWrap<ObjectHandle> {
public:
  explicit ObjectHandle(const Napi::CallbackInfo &info);
  ~ObjectHandle() override { close(); }

  static Napi::Function define(Napi::Env env);

private:
  struct bpf_object *open(Napi::Env env);
  struct bpf_map *namedMap(const Napi::CallbackInfo &info);
  struct bpf_program *namedProgram(const Napi::CallbackInfo &info);
  void close();

  Napi::Value maps(const Napi::CallbackInfo &info);
  Napi::Value programs(const Napi::CallbackInfo &info);
  Napi::Value btf(const Napi::CallbackInfo &info);
  void setAutoload(const Napi::CallbackInfo &info);
  void setMaxEntries(const Napi::CallbackInfo &info);
  void reuseMap(const Napi::CallbackInfo &info);
  Napi::Value initialValue(const Napi::CallbackInfo &info);
  void setInitialValue(const Napi::CallbackInfo &info);
  void load(const Napi::CallbackInfo &info);
  Napi::Value mapFd(const Napi::CallbackInfo &info);
  Napi::Value programFd(const Napi::CallbackInfo &info);
  void closeCall(const Napi::CallbackInfo &) { close(); }

  struct bpf_object *object_ = nullptr;
  VerifierLog log_;
};

Napi::Value duplicate(Napi::Env env, int fd, const char *call) {
  if (fd < 0)
    throw callError(env, call, fd == -1 ? EBADF : -fd);
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0)
    throw callError(env, "fcntl(F_DUPFD_CLOEXEC)", errno);
  return Napi::Number::New(env, copy);
}

ObjectHandle::ObjectHandle(const Napi::CallbackInfo &info) : Napi::ObjectWrap<ObjectHandle>(info) {
  std::string path = stringArgument(info, 0);
  if (!log_.allocate())
    throw callError(info.Env(), "mmap", errno);
  LIBBPF_OPTS(bpf_object_open_opts, options);
  options.kernel_log_buf = log_.text();
  options.kernel_log_size = verifierLogBytes;
  // Level 0 with a buffer: the log is written only in the second attempt, after a refusal.
  options.kernel_log_level = 0;
  LogCapture log;
  object_ = bpf_object__open_file(path.c_str(), &options);
  if (object_ == nullptr) {
    int err = errno;
    log_.free();
    throw callError(info.Env(), "bpf_object__open_file", err, &log);
  }
}

void ObjectHandle::close() {
  LogCapture log;
  bpf_object__close(object_);
  object_ = nullptr;
  log_.free();
}

struct bpf_object *ObjectHandle::open(Napi::Env env) {
  if (object_ == nullptr)
    throw callError(env, "bpf_object", EBADF);
  return object_;
}

struct bpf_map *ObjectHandle::namedMap(const Napi::CallbackInfo &info) {
  std::string name = stringArgument(info, 0);
  LogCapture log;
  struct bpf_map *map = bpf_object__find_map_by_name(open(info.Env()), name.c_str());
  if (map == nullptr)
    throw callError(info.Env(), "bpf_object__find_map_by_name", ENOENT);
  return map;
}

struct bpf_program *ObjectHandle::namedProgram(const Napi::CallbackInfo &info) {
  std::string name = stringArgument(info, 0);
  struct bpf_program *program = bpf_object__find_program_by_name(open(info.Env()), name.c_str());
  if (program == nullptr)
    throw callError(info.Env(), "bpf_object__find_program_by_name", ENOENT);
  return program;
}

Napi::Value ObjectHandle::maps(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Napi::Array list = Napi::Array::New(env);
  struct bpf_map *map;
  bpf_object__for_each_map(map, open(env)) {
    Napi::Object row = Napi::Object::New(env);
    row.Set("name", bpf_map__name(map));
    row.Set("type", static_cast<uint32_t>(bpf_map__type(map)));
    row.Set("keySize", bpf_map__key_size(map));
    row.Set("valueSize", bpf_map__value_size(map));
    row.Set("maxEntries", bpf_map__max_entries(map));
    row.Set("flags", bpf_map__map_flags(map));
    row.Set("internal", Napi::Boolean::New(env, bpf_map__is_internal(map)));
    list.Set(list.Length(), row);
  }
  return list;
}

// The numbers of the helpers that a program calls, each once. Calls of functions have another source register: those of
// the object's own functions (BPF_PSEUDO_CALL) and of the kernel's (BPF_PSEUDO_KFUNC_CALL). Helpers that are called by
// a function that was not inlined are missing.
Napi::Array calledHelpers(Napi::Env env, const struct bpf_program *program) {
  const struct bpf_insn *instructions = bpf_program__insns(program);
  std::set<int32_t> helpers;
  for (size_t at = 0; at < bpf_program__insn_cnt(program); at++)
    if (instructions[at].code == (BPF_JMP | BPF_CALL) && instructions[at].src_reg == 0)
      helpers.insert(instructions[at].imm);
  Napi::Array list = Napi::Array::New(env);
  for (int32_t helper : helpers)
    list.Set(list.Length(), helper);
  return list;
}

Napi::Value ObjectHandle::programs(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Napi::Array list = Napi::Array::New(env);
  struct bpf_program *program;
  bpf_object__for_each_program(program, open(env)) {
    Napi::Object row = Napi::Object::New(env);
    row.Set("name", bpf_program__name(program));
    row.Set("sectionName", bpf_program__section_name(program));
    row.Set("type", static_cast<uint32_t>(bpf_program__type(program)));
    row.Set("expectedAttachType", static_cast<uint32_t>(bpf_program__expected_attach_type(program)));
    row.Set("helpers", calledHelpers(env, program));
    row.Set("autoload", Napi::Boolean::New(env, bpf_program__autoload(program)));
    list.Set(list.Length(), row);
  }
  return list;
}

Napi::Value ObjectHandle::btf(const Napi::CallbackInfo &info) {
  return btfToArray(info.Env(), bpf_object__btf(open(info.Env())));
}

void ObjectHandle::setAutoload(const Napi::CallbackInfo &info) {
  int err = bpf_program__set_autoload(namedProgram(info), info[1].ToBoolean());
  if (err != 0)
    throw callError(info.Env(), "bpf_program__set_autoload", err);
}

void ObjectHandle::setMaxEntries(const Napi::CallbackInfo &info) {
  int err = bpf_map__set_max_entries(namedMap(info), uintArgument(info, 1));
  if (err != 0)
    throw callError(info.Env(), "bpf_map__set_max_entries", err);
}

void ObjectHandle::reuseMap(const Napi::CallbackInfo &info) {
  LogCapture log;
  int err = bpf_map__reuse_fd(namedMap(info), intArgument(info, 1));
  if (err != 0)
    throw callError(info.Env(), "bpf_map__reuse_fd", err, &log);
}

// A copy of a data section's contents (.rodata, .data), or undefined for a map that has none.
Napi::Value ObjectHandle::initialValue(const Napi::CallbackInfo &info) {
  size_t size = 0;
  const void *value = bpf_map__initial_value(namedMap(info), &size);
  if (value == nullptr)
    return info.Env().Undefined();
  return Napi::Buffer<uint8_t>::Copy(info.Env(), static_cast<const uint8_t *>(value), size);
}

void ObjectHandle::setInitialValue(const Napi::CallbackInfo &info) {
  struct bpf_map *map = namedMap(info);
  Bytes bytes = bytesArgument(info, 1);
  int err = bpf_map__set_initial_value(map, bytes.data, bytes.length);
  if (err != 0)
    throw callError(info.Env(), "bpf_map__set_initial_value", err);
}

void ObjectHandle::load(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  struct bpf_object *object = open(env);
  LogCapture log;
  int err = bpf_object__load(object);
  if (err == 0)
    return;
  Napi::Error error = callError(env, "bpf_object__load", err, &log);
  const char *text = log_.text();
  if (text[0] != '\0')
    error.Set("verifierLog", Napi::String::New(env, text, strnlen(text, verifierLogBytes)));
  throw error;
}

Napi::Value ObjectHandle::mapFd(const Napi::CallbackInfo &info) {
  return duplicate(info.Env(), bpf_map__fd(namedMap(info)), "bpf_map__fd");
}

Napi::Value ObjectHandle::programFd(const Napi::CallbackInfo &info) {
  return duplicate(info.Env(), bpf_program__fd(namedProgram(info)), "bpf_program__fd");
}

Napi::Function ObjectHandle::define(Napi::Env env) {
  return DefineClass(
      env, "ObjectHandle",
      {InstanceMethod<&ObjectHandle::maps>("maps"), InstanceMethod<&ObjectHandle::programs>("programs"),
       InstanceMethod<&ObjectHandle::btf>("btf"), InstanceMethod<&ObjectHandle::setAutoload>("setAutoload"),
       InstanceMethod<&ObjectHandle::setMaxEntries>("setMaxEntries"),
       InstanceMethod<&ObjectHandle::reuseMap>("reuseMap"), InstanceMethod<&ObjectHandle::initialValue>("initialValue"),
       InstanceMethod<&ObjectHandle::setInitialValue>("setInitialValue"), InstanceMethod<&ObjectHandle::load>("load"),
       InstanceMethod<&ObjectHandle::mapFd>("mapFd"), InstanceMethod<&ObjectHandle::programFd>("programFd"),
       InstanceMethod<&ObjectHandle::closeCall>("close")});
}

} // namespace

void addObject(Napi::Env env, Napi::Object exports) {
  exports.Set("ObjectHandle", ObjectHandle::define(env));
}
