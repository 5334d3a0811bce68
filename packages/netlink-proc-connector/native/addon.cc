// The N-API surface: Connector (socket, thread and ring) and Parser (for the tests). Options come normalised from
// JavaScript (src/connector.ts); errors go back with code, errno and syscall.
#include "native/javascript_error.h"
#include "reader.h"
#include <cstring>
#include <napi.h>

namespace sluice {
namespace {

// Records per call into JavaScript: large enough to be cheap, small enough to let timers and other I/O run in between.
constexpr size_t kRecordsPerBatch = 4096;

Napi::ArrayBuffer ToBuffer(Napi::Env env, const std::vector<Record> &records) {
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, records.size() * kRecordBytes);
  if (!records.empty())
    std::memcpy(buffer.Data(), records.data(), records.size() * kRecordBytes);
  return buffer;
}

void SetCount(Napi::Object &object, const char *name, uint64_t value) {
  object.Set(name, Napi::Number::New(object.Env(), static_cast<double>(value)));
}

Napi::Object ParseCountersToJavaScript(Napi::Env env, const ParseCounters &counters) {
  Napi::Object object = Napi::Object::New(env);
  SetCount(object, "messages", counters.messages);
  SetCount(object, "foreign", counters.foreign);
  SetCount(object, "truncated", counters.truncated);
  SetCount(object, "malformed", counters.malformed);
  SetCount(object, "unexpectedType", counters.unexpected_type);
  SetCount(object, "unknownKind", counters.unknown_kind);
  SetCount(object, "outOfOrder", counters.out_of_order);
  SetCount(object, "gaps", counters.gaps);
  SetCount(object, "lost", counters.lost);
  return object;
}

int32_t IntOption(const Napi::Object &options, const char *name) {
  return options.Get(name).As<Napi::Number>().Int32Value();
}

// What a wake needs, alive until the last wake is over even if the Connector has been collected by then.
struct Channel {
  std::unique_ptr<Reader> reader; // empty once closed
};

// new Connector({receiveBufferBytes, ackTimeoutMs, lingerMs, kindMask, ringRecords}, (batch: ArrayBuffer, more:
// boolean) => void)
class Connector : public Napi::ObjectWrap<Connector> {
public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Connector",
                       {InstanceMethod<&Connector::Take>("take"), InstanceMethod<&Connector::Stats>("stats"),
                        InstanceMethod<&Connector::Close>("close")});
  }

  explicit Connector(const Napi::CallbackInfo &info) : Napi::ObjectWrap<Connector>(info) {
    const Napi::Env env = info.Env();
    const auto options = info[0].As<Napi::Object>();
    ReaderOptions native;
    native.receive_buffer_bytes = IntOption(options, "receiveBufferBytes");
    native.ack_timeout_ms = IntOption(options, "ackTimeoutMs");
    native.linger_ms = IntOption(options, "lingerMs");
    native.kind_mask = options.Get("kindMask").As<Napi::Number>().Uint32Value();
    native.ring_records = options.Get("ringRecords").As<Napi::Number>().Uint32Value();
    // A queue of one is enough: the ring asks for a wake only when none is under way.
    wake_ = Wake::New(
        env, info[1].As<Napi::Function>(), "proc-connector", 1, 1, new std::shared_ptr<Channel>(channel_),
        [](Napi::Env, void *, std::shared_ptr<Channel> *context) { delete context; }, static_cast<void *>(nullptr));
    try {
      channel_->reader = std::make_unique<Reader>(native, [wake = wake_]() mutable { wake.NonBlockingCall(); });
    } catch (const Failure &failure) {
      wake_.Release();
      throw toJavaScript(env, failure);
    }
    // Runs before the thread-safe function's own hook (last in, first out), so that the thread is gone before it is.
    napi_add_env_cleanup_hook(env, &Connector::AtExit, this);
    env_ = env;
    hooked_ = true;
  }

  ~Connector() override { Shut(); }

private:
  static void OnWake(Napi::Env env, Napi::Function callback, std::shared_ptr<Channel> *context, void *) {
    // A null env means that the environment is going down. The reader is gone when a wake was under way at close().
    if (env == nullptr || (*context)->reader == nullptr)
      return;
    bool more = false;
    const std::vector<Record> records = (*context)->reader->Take(kRecordsPerBatch, more);
    if (records.empty())
      return;
    try {
      callback.Call({ToBuffer(env, records), Napi::Boolean::New(env, more)});
    } catch (const Napi::Error &error) {
      // What onBatch throws becomes an uncaught exception. An empty error means that the environment is being
      // terminated.
      if (!error.IsEmpty())
        napi_fatal_exception(env, error.Value());
    }
  }
  using Wake = Napi::TypedThreadSafeFunction<std::shared_ptr<Channel>, void, &Connector::OnWake>;

  static void AtExit(void *self) {
    auto *connector = static_cast<Connector *>(self);
    connector->hooked_ = false;
    connector->Shut();
  }

  void Shut() {
    if (channel_->reader == nullptr)
      return;
    if (hooked_)
      napi_remove_env_cleanup_hook(env_, &Connector::AtExit, this);
    hooked_ = false;
    channel_->reader->Close();
    last_ = channel_->reader->Stats();
    channel_->reader.reset();
    wake_.Release();
  }

  // The next batch after one that was called with more = true.
  Napi::Value Take(const Napi::CallbackInfo &info) {
    bool more = false;
    std::vector<Record> records;
    if (channel_->reader != nullptr)
      records = channel_->reader->Take(kRecordsPerBatch, more);
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("batch", ToBuffer(info.Env(), records));
    result.Set("more", more);
    return result;
  }

  Napi::Value Stats(const Napi::CallbackInfo &info) {
    const ReaderStats stats = channel_->reader == nullptr ? last_ : channel_->reader->Stats();
    Napi::Object object = ParseCountersToJavaScript(info.Env(), stats.parse);
    SetCount(object, "enobufs", stats.enobufs);
    SetCount(object, "receiveErrors", stats.receive_errors);
    SetCount(object, "ringLost", stats.ring_lost);
    SetCount(object, "receiveBufferBytes", static_cast<uint64_t>(stats.receive_buffer_bytes));
    return object;
  }

  void Close(const Napi::CallbackInfo &) { Shut(); }

  std::shared_ptr<Channel> channel_ = std::make_shared<Channel>();
  Wake wake_;
  napi_env env_ = nullptr;
  bool hooked_ = false;
  ReaderStats last_;
};

// The parser by itself, so that its unit tests need no root: feed(datagram, senderPort, truncated) -> records.
class TestParser : public Napi::ObjectWrap<TestParser> {
public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Parser",
                       {InstanceMethod<&TestParser::Feed>("feed"),
                        InstanceMethod<&TestParser::NoteSocketOverrun>("noteSocketOverrun"),
                        InstanceMethod<&TestParser::FlushSocketOverrun>("flushSocketOverrun"),
                        InstanceMethod<&TestParser::Counters>("counters")});
  }
  explicit TestParser(const Napi::CallbackInfo &info) : Napi::ObjectWrap<TestParser>(info) {}

private:
  Napi::Value Feed(const Napi::CallbackInfo &info) {
    const auto bytes = info[0].As<Napi::Uint8Array>();
    std::vector<Record> records;
    parser_.Feed(bytes.Data(), bytes.ByteLength(), info[1].As<Napi::Number>().Uint32Value(),
                 info[2].As<Napi::Boolean>().Value(), records);
    return ToBuffer(info.Env(), records);
  }
  void NoteSocketOverrun(const Napi::CallbackInfo &) { parser_.NoteSocketOverrun(); }
  Napi::Value FlushSocketOverrun(const Napi::CallbackInfo &info) {
    std::vector<Record> records;
    parser_.FlushSocketOverrun(MonotonicNs(), records);
    return ToBuffer(info.Env(), records);
  }
  Napi::Value Counters(const Napi::CallbackInfo &info) {
    return ParseCountersToJavaScript(info.Env(), parser_.counters());
  }
  Parser parser_;
};

// How far CLOCK_BOOTTIME (the start times in /proc) is ahead of CLOCK_MONOTONIC (the timestamps of events), in
// nanoseconds: the time the machine was suspended.
Napi::Value SuspendedNs(const Napi::CallbackInfo &info) {
  timespec boot, monotonic;
  clock_gettime(CLOCK_MONOTONIC, &monotonic);
  clock_gettime(CLOCK_BOOTTIME, &boot);
  const int64_t ns = (boot.tv_sec - monotonic.tv_sec) * INT64_C(1000000000) + (boot.tv_nsec - monotonic.tv_nsec);
  return Napi::BigInt::New(info.Env(), ns);
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("Connector", Connector::Define(env));
  exports.Set("Parser", TestParser::Define(env));
  exports.Set("suspendedNs", Napi::Function::New<SuspendedNs>(env, "suspendedNs"));
  return exports;
}

NODE_API_MODULE(proc_connector, Init)

} // namespace
} // namespace sluice
