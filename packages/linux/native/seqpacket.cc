// Converts arguments and completions; seqpacket_loop.cc and seqpacket_socket.cc do the work.
#include "seqpacket.h"

#include <climits>

#include "arguments.h"

namespace {

// SCM_MAX_FD of include/net/scm.h.
constexpr int64_t mostDescriptors = 253;
// Far above the default send buffer (212 992 bytes), which limits a packet.
constexpr int64_t mostBytes = 1 << 24;

SocketId socketArgument(const Napi::CallbackInfo &info) {
  return static_cast<SocketId>(integerArgument(info, 0, "socket", 1, UINT32_MAX));
}

RequestId requestArgument(const Napi::CallbackInfo &info) {
  return static_cast<RequestId>(integerArgument(info, 1, "request", 0, UINT32_MAX));
}

Napi::Object credentialsObject(Napi::Env env, const PeerCredentials &credentials) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("pid", Napi::Number::New(env, credentials.pid));
  object.Set("uid", Napi::Number::New(env, credentials.uid));
  object.Set("gid", Napi::Number::New(env, credentials.gid));
  return object;
}

Napi::Object peerObject(Napi::Env env, SeqpacketPeer &peer) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("credentials", credentialsObject(env, peer.credentials));
  if (peer.pidfd.valid())
    object.Set("pidfd", OwnedFd::wrap(env, std::move(peer.pidfd)));
  object.Set("pidfdFromSocket", Napi::Boolean::New(env, peer.pidfdFromSocket));
  return object;
}

Napi::Object packetObject(Napi::Env env, SeqpacketPacket &packet) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("bytes", Napi::Buffer<uint8_t>::Copy(env, packet.bytes.data(), packet.bytes.size()));
  Napi::Array descriptors = Napi::Array::New(env);
  uint32_t count = 0;
  for (Descriptor &one : packet.descriptors)
    descriptors.Set(count++, OwnedFd::wrap(env, std::move(one)));
  object.Set("fds", descriptors);
  if (packet.sender)
    object.Set("sender", credentialsObject(env, *packet.sender));
  object.Set("truncated", Napi::Boolean::New(env, packet.truncated));
  object.Set("controlTruncated", Napi::Boolean::New(env, packet.controlTruncated));
  object.Set("malformedControl", Napi::Boolean::New(env, packet.malformedControl));
  return object;
}

const char *kindName(SeqpacketCompletion::Kind kind) {
  switch (kind) {
  case SeqpacketCompletion::Kind::Accepted:
    return "accepted";
  case SeqpacketCompletion::Kind::Received:
    return "received";
  case SeqpacketCompletion::Kind::Ended:
    return "ended";
  case SeqpacketCompletion::Kind::Sent:
    return "sent";
  case SeqpacketCompletion::Kind::Failed:
    break;
  }
  return "failed";
}

Napi::Object completionObject(Napi::Env env, SeqpacketCompletion &completion) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("request", Napi::Number::New(env, completion.request));
  object.Set("socket", Napi::Number::New(env, completion.socket));
  object.Set("kind", Napi::String::New(env, kindName(completion.kind)));
  if (completion.kind == SeqpacketCompletion::Kind::Accepted)
    object.Set("peer", peerObject(env, completion.peer));
  if (completion.kind == SeqpacketCompletion::Kind::Received)
    object.Set("packet", packetObject(env, completion.packet));
  if (completion.kind == SeqpacketCompletion::Kind::Failed) {
    object.Set("errno", Napi::Number::New(env, completion.error));
    object.Set("syscall", Napi::String::New(env, completion.syscall));
  }
  return object;
}

} // namespace

// The class's constructor, one for each environment; wrap() calls it.
struct SeqpacketInstance {
  Napi::FunctionReference ownedFd;
};

Napi::Function OwnedFd::define(Napi::Env env) {
  Napi::Function constructor =
      DefineClass(env, "OwnedFd", {InstanceAccessor<&OwnedFd::fd>("fd"), InstanceMethod<&OwnedFd::close>("close")});
  auto *instance = new SeqpacketInstance;
  instance->ownedFd = Napi::Persistent(constructor);
  env.SetInstanceData(instance);
  return constructor;
}

OwnedFd::OwnedFd(const Napi::CallbackInfo &info) : Napi::ObjectWrap<OwnedFd>(info) {}

Napi::Object OwnedFd::wrap(Napi::Env env, Descriptor owned) {
  Napi::Object object = env.GetInstanceData<SeqpacketInstance>()->ownedFd.New({});
  OwnedFd::Unwrap(object)->owned_ = std::move(owned);
  return object;
}

Napi::Value OwnedFd::fd(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), owned_.get());
}

void OwnedFd::close(const Napi::CallbackInfo &) {
  owned_.reset();
}

Napi::Function SeqpacketSockets::define(Napi::Env env) {
  using Self = SeqpacketSockets;
  return DefineClass(env, "SeqpacketSockets",
                     {InstanceMethod<&Self::guardedMethod<&Self::listen>>("listen"),
                      InstanceMethod<&Self::guardedMethod<&Self::connect>>("connect"),
                      InstanceMethod<&Self::guardedMethod<&Self::accept>>("accept"),
                      InstanceMethod<&Self::guardedMethod<&Self::receive>>("receive"),
                      InstanceMethod<&Self::guardedMethod<&Self::send>>("send"),
                      InstanceMethod<&Self::guardedMethod<&Self::readable>>("readable"),
                      InstanceMethod<&Self::guardedMethod<&Self::endSending>>("endSending"),
                      InstanceMethod<&Self::guardedMethod<&Self::close>>("close"),
                      InstanceMethod<&Self::keepAlive>("keepAlive")});
}

SeqpacketSockets::SeqpacketSockets(const Napi::CallbackInfo &info) : Napi::ObjectWrap<SeqpacketSockets>(info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsFunction())
    throw Napi::TypeError::New(env, "the callback must be a function");
  loop_ = guarded(env, [&] {
    return std::make_unique<EnvironmentLoop<SeqpacketLoop, &deliver>>(env, info[0].As<Napi::Function>(), "seqpacket");
  });
}

void SeqpacketSockets::deliver(Napi::Env env, Napi::Function callback, SeqpacketLoop &loop) {
  // There is at most one per request of JavaScript's, so they need not be split.
  std::vector<SeqpacketCompletion> completions = loop.take();
  Napi::Array batch = Napi::Array::New(env, completions.size());
  for (size_t i = 0; i < completions.size(); i++)
    batch.Set(static_cast<uint32_t>(i), completionObject(env, completions[i]));
  callback.Call({batch});
}

SeqpacketLoop &SeqpacketSockets::loop() {
  if (loop_->get() == nullptr)
    throw Failure{"epoll_wait", ESHUTDOWN, "seqpacket sockets of an environment that is ending"};
  return *loop_->get();
}

// listen(path, backlog, replace): socket
Napi::Value SeqpacketSockets::listen(const Napi::CallbackInfo &info) {
  const std::string path = textArgument(info, 0, "path");
  const int64_t backlog = integerArgument(info, 1, "backlog", 0, INT_MAX);
  SocketFile file;
  const auto make = info[2].ToBoolean() ? replaceSeqpacketSocket : listenSeqpacketSocket;
  Descriptor listener = make(path, static_cast<int>(backlog), file);
  return Napi::Number::New(info.Env(), loop().add(std::move(listener), file));
}

// connect(path): { socket, peer }
Napi::Value SeqpacketSockets::connect(const Napi::CallbackInfo &info) {
  Descriptor connection = connectSeqpacketSocket(textArgument(info, 0, "path"));
  SeqpacketPeer peer = seqpacketPeer(connection.get());
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("peer", peerObject(info.Env(), peer));
  object.Set("socket", Napi::Number::New(info.Env(), loop().add(std::move(connection), std::nullopt)));
  return object;
}

// accept(socket, request)
void SeqpacketSockets::accept(const Napi::CallbackInfo &info) {
  loop().accept(socketArgument(info), requestArgument(info));
}

// receive(socket, request, maxBytes, maxFds)
void SeqpacketSockets::receive(const Napi::CallbackInfo &info) {
  const int64_t maxBytes = integerArgument(info, 2, "maxBytes", 1, mostBytes);
  const int64_t maxFds = integerArgument(info, 3, "maxFds", 0, mostDescriptors);
  loop().receive(socketArgument(info), requestArgument(info), static_cast<size_t>(maxBytes),
                 static_cast<size_t>(maxFds));
}

// send(socket, request, bytes: Uint8Array, fds: number[]): boolean
Napi::Value SeqpacketSockets::send(const Napi::CallbackInfo &info) {
  const Napi::Env env = info.Env();
  if (!info[2].IsTypedArray() || info[2].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    throw Napi::TypeError::New(env, "bytes must be a Uint8Array");
  if (!info[3].IsArray())
    throw Napi::TypeError::New(env, "fds must be an array");
  const auto bytes = info[2].As<Napi::Uint8Array>();
  const auto list = info[3].As<Napi::Array>();
  if (list.Length() > mostDescriptors)
    throw Napi::RangeError::New(env, "a packet carries at most 253 descriptors (SCM_MAX_FD)");
  std::vector<int> descriptors;
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value value = list.Get(i);
    const double fd = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
    if (!(fd >= 0 && fd <= INT_MAX) || fd != static_cast<int>(fd))
      throw Napi::RangeError::New(env, "fds must hold file descriptors");
    descriptors.push_back(static_cast<int>(fd));
  }
  std::vector<uint8_t> copy(bytes.Data(), bytes.Data() + bytes.ByteLength());
  return Napi::Boolean::New(env,
                            loop().send(socketArgument(info), requestArgument(info), std::move(copy), descriptors));
}

// readable(socket): boolean
Napi::Value SeqpacketSockets::readable(const Napi::CallbackInfo &info) {
  return Napi::Boolean::New(info.Env(), loop().readable(socketArgument(info)));
}

// endSending(socket)
void SeqpacketSockets::endSending(const Napi::CallbackInfo &info) {
  loop().endSending(socketArgument(info));
}

// close(socket)
void SeqpacketSockets::close(const Napi::CallbackInfo &info) {
  if (loop_->get() != nullptr)
    loop_->get()->close(socketArgument(info));
}

// keepAlive(boolean): whether the process stays alive for what the sockets may deliver.
void SeqpacketSockets::keepAlive(const Napi::CallbackInfo &info) {
  loop_->keepAlive(info.Env(), info[0].ToBoolean());
}
