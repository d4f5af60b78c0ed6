#include "health/leadership_messages.h"

#include <type_traits>
#include <utility>

#include "conf/limits.h"
#include "health/wire.h"

namespace azimuth {
namespace {

// The first byte. A kind is its place in the variant, and stays what it is for good.
constexpr std::uint8_t kFirstKind = 0x40;

// One function a type, `fields(codec, value)`, is both its encoder and its decoder.
struct Encoder {
  WireWriter& out;

  // What a newer release appended may be missing.
  bool more() const { return true; }
  void check(bool right) { AZIMUTH_CHECK(right); }
  void judge(const Electorate&) {}
  void operator()(std::uint64_t value) { out.number(value); }
  void operator()(bool value) { out.boolean(value); }
  void name(std::string_view value, std::size_t most) { out.text(value.substr(0, most)); }
  template <class T, class Each>
  void list(const std::vector<T>& values, std::size_t, Each each) {
    out.number(values.size());
    for (const T& value : values) each(*this, value);
  }
  template <class E>
  void choice(E value, E) {
    out.u8(static_cast<std::uint8_t>(value));
  }
};

struct Decoder {
  WireReader& in;

  bool more() const { return in.ok() && !in.at_end(); }
  void check(bool right) {
    if (!right) in.fail();
  }
  // It is saved, and a file that holds nonsense is not read again.
  void judge(const Electorate& electorate) { check(electorate.well_formed()); }
  void operator()(std::uint64_t& value) { value = in.number(); }
  void operator()(bool& value) { value = in.boolean(); }
  void name(std::string& value, std::size_t most) { value = in.text(most); }
  template <class T, class Each>
  void list(std::vector<T>& values, std::size_t most, Each each) {
    values.resize(in.number(most));
    for (T& value : values) each(*this, value);
  }
  template <class E>
  void choice(E& value, E last) {
    const std::uint8_t read = in.u8();
    if (read > static_cast<std::uint8_t>(last)) return in.fail();
    value = static_cast<E>(read);
  }
};

template <class Codec, class T>
constexpr bool kIs = std::is_same_v<std::remove_const_t<Codec>, T>;

template <class Codec, class M>
void electorate_fields(Codec& codec, M& electorate) {
  codec(electorate.epoch);
  codec(electorate.version);
  codec.list(electorate.voters, kVotersMax,
             [](auto& inner, auto& voter) { inner.name(voter, kNameBytesMax); });
  codec.judge(electorate);
}

// Always last, but for what came later still.
template <class Codec, class M>
void removed_fields(Codec& codec, M& electorate) {
  if (!codec.more()) return;
  codec.list(electorate.removed, kRemovedMax,
             [](auto& inner, auto& node) { inner.name(node, kNameBytesMax); });
  std::size_t bytes = 0;
  for (const std::string& node : electorate.removed) bytes += node.size();
  codec.check(bytes <= kRemovedBytesMax);
  codec.judge(electorate);
}

template <class Codec, class M>
void fork_fields(Codec& codec, M& forks) {
  codec.list(forks, kForksMax, [](auto& inner, auto& fork) {
    inner(fork.epoch);
    inner.name(fork.replid, kReplidBytesMax);
    inner(fork.begin);
  });
}

template <class Codec, class M>
void fields(Codec& codec, M& m) {
  if constexpr (kIs<M, Renew>) {
    codec(m.epoch), codec(m.boot), codec(m.asked_ms), codec(m.offset), codec(m.ready);
    codec(m.readmitted), electorate_fields(codec, m.electorate), fork_fields(codec, m.forks);
    codec(m.quorum_copies), removed_fields(codec, m.electorate);
    if (codec.more()) codec(m.source_version), codec.name(m.source, kNameBytesMax);
  } else if constexpr (kIs<M, Grant>) {
    codec(m.epoch), codec(m.leader_boot), codec(m.asked_ms), codec(m.granted), codec(m.forgetful);
    codec(m.boot), codec(m.has_redis), codec(m.in_sync), codec(m.intact), codec(m.offset);
    codec(m.electorate_epoch), codec(m.electorate_version), codec(m.forks_digest);
    codec(m.leaving);
    if (codec.more()) codec(m.detached);
    if (codec.more()) {
      codec(m.knows_sources), codec(m.copying), codec(m.source_version);
      codec.name(m.source, kNameBytesMax);
    }
  } else if constexpr (kIs<M, Refuse>) {
    codec(m.epoch), codec(m.promised);
  } else if constexpr (kIs<M, Probe>) {
    codec(m.epoch), codec(m.released);
  } else if constexpr (kIs<M, ProbeReply>) {
    codec(m.epoch), codec(m.accepted), codec(m.promised), codec(m.busy_ms);
  } else if constexpr (kIs<M, Prepare>) {
    codec(m.epoch), codec(m.released), codec(m.forced), codec(m.bootstrap);
    electorate_fields(codec, m.electorate), removed_fields(codec, m.electorate);
  } else if constexpr (kIs<M, Promise>) {
    codec(m.epoch), codec(m.has_redis), codec(m.alive), codec(m.empty), codec(m.intact);
    codec(m.known), codec(m.position.epoch), codec(m.position.offset), codec(m.led);
    codec(m.leader_at.epoch), codec(m.leader_at.offset), electorate_fields(codec, m.electorate);
    codec(m.accepted), codec.name(m.trouble, kReasonBytesMax), codec(m.reluctant), codec(m.rested);
    removed_fields(codec, m.electorate);
  } else if constexpr (kIs<M, Reject>) {
    codec(m.epoch), codec(m.promised), codec.name(m.promised_to, kNameBytesMax);
    codec.choice(m.reason, RejectReason::kNotReady);
    codec(m.wait_ms);
  } else if constexpr (kIs<M, Elected>) {
    codec(m.epoch), codec.name(m.winner, kNameBytesMax), codec(m.forced);
    electorate_fields(codec, m.electorate), removed_fields(codec, m.electorate);
  } else if constexpr (kIs<M, Wish>) {
    codec.choice(m.kind, Wish::Kind::kAdd), codec(m.id), codec.name(m.node, kNameBytesMax);
  } else if constexpr (kIs<M, BallotOver>) {
    codec(m.epoch), codec.name(m.why, kReasonBytesMax);
  } else {
    static_assert(kIs<M, WishResult>);
    codec(m.id), codec(m.accepted), codec.name(m.text, kReasonBytesMax);
    if (codec.more()) codec.choice(m.standing, WishStanding::kNotYet);
  }
}

template <std::size_t I = 0>
Result<GroupMessage> decode_kind(std::size_t kind, WireReader& in) {
  if constexpr (I < std::variant_size_v<GroupMessage>) {
    if (kind != I) return decode_kind<I + 1>(kind, in);
    std::variant_alternative_t<I, GroupMessage> message;
    Decoder decoder{in};
    fields(decoder, message);
    if (!in.ok())
      return make_error(ErrorCode::kInvalid, Fault::kPeer, "a group message is cut short or lies");
    return GroupMessage(std::move(message));
  } else {
    return make_error(ErrorCode::kUnsupported, Fault::kPeer,
                      "a group message of a kind that this release does not know");
  }
}

std::string written(const GroupMessage& message) {
  WireWriter out;
  out.u8(static_cast<std::uint8_t>(kFirstKind + message.index()));
  std::visit(
      [&](const auto& alternative) {
        Encoder encoder{out};
        fields(encoder, alternative);
      },
      message);
  return out.take();
}

// All names, the reason, and the numbers of a Promise.
static_assert(kVotersMax * (kNameBytesMax + 1) + kRemovedBytesMax + kRemovedMax +
                      kReasonBesideElectorateBytesMax + 120 <=
                  kGroupMessageBytesMax,
              "an electorate fits in each message that has one");

}  // namespace

bool fits(const GroupMessage& message) { return written(message).size() <= kGroupMessageBytesMax; }

std::string encode(const GroupMessage& message) {
  std::string bytes = written(message);
  AZIMUTH_CHECK(bytes.size() <= kGroupMessageBytesMax);
  return bytes;
}

Result<GroupMessage> decode_group_message(std::string_view bytes) {
  WireReader in(bytes);
  const std::uint8_t first = in.u8();
  if (!in.ok() || bytes.size() > kGroupMessageBytesMax || first < kFirstKind)
    return make_error(ErrorCode::kInvalid, Fault::kPeer, "no group message");
  return decode_kind(first - kFirstKind, in);
}

}  // namespace azimuth
