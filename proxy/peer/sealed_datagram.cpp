#include "proxy/peer/sealed_datagram.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cstring>
#include <list>
#include <unordered_map>
#include <utility>

#include "conf/names.h"
#include "conf/result.h"

namespace azimuth {
namespace {

constexpr char kVersion = 1;
constexpr std::size_t kSessionBytes = 16;
constexpr std::size_t kMarkBytes = 2;
constexpr std::size_t kCounterBytes = 8;
constexpr std::size_t kTagBytes = 16;
constexpr std::size_t kHeadBytes = 1 + kSessionBytes + kCounterBytes;
static_assert(kHeadBytes + kTagBytes == kDatagramSealBytes);
static_assert(SealedDatagrams::kRandomBytes + 2 * kMarkBytes == kSessionBytes);

constexpr Duration kLineEvery = seconds(60);

constexpr std::array<std::string_view, kDatagramFaults> kFaultNames = {
    "accepted",      "malformed", "other_version", "wrong_key",
    "other_cluster", "forged",    "replayed",      "rationed"};
constexpr std::array<std::string_view, kDatagramFaults> kExplanations = {
    "accepted",
    "it is no datagram of azimuth's: something else sends to peer.address",
    "its format is of another release: bring both nodes to the same one",
    "its sender has another cluster key: every node needs the same key_file",
    "its sender has this cluster's key and another cluster.name: give each cluster its own key",
    "it does not authenticate: it was altered, or made up",
    "it had arrived before, or is too old to tell",
    "too many nodes appeared at once"};

using Cipher = EVP_CIPHER_CTX*;
using Nonce = std::array<unsigned char, 12>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

void put_counter(char* at, std::uint64_t counter) {
  for (std::size_t i = 0; i < kCounterBytes; ++i) {
    at[i] = static_cast<char>(counter >> (8 * (kCounterBytes - 1 - i)));
  }
}

std::uint64_t counter_at(std::string_view text) {
  std::uint64_t counter = 0;
  for (const char c : text.substr(0, kCounterBytes)) {
    counter = counter << 8U | static_cast<unsigned char>(c);
  }
  return counter;
}

Nonce nonce_of(std::string_view counter) {
  Nonce nonce{};
  std::memcpy(nonce.data() + nonce.size() - kCounterBytes, counter.data(), kCounterBytes);
  return nonce;
}

// The counters of a session that have been seen: the highest, and which of those just below it.
class ReplayWindow {
 public:
  bool fresh(std::uint64_t counter) const {
    if (!any_ || counter > highest_) return true;
    return highest_ - counter < kReplayWindow && !seen_[counter % kReplayWindow];
  }
  // Only once the datagram has proved authentic: else anybody could move the window on.
  void mark(std::uint64_t counter) {
    if (!any_ || counter > highest_) {
      const std::uint64_t steps = any_ ? counter - highest_ : kReplayWindow;
      if (steps >= kReplayWindow) {
        seen_.reset();
      } else {
        for (std::uint64_t i = 1; i <= steps; ++i) seen_.reset((highest_ + i) % kReplayWindow);
      }
      highest_ = counter;
      any_ = true;
    }
    seen_.set(counter % kReplayWindow);
  }

 private:
  std::bitset<kReplayWindow> seen_;
  std::uint64_t highest_ = 0;
  bool any_ = false;
};

struct FreeCipher {
  void operator()(EVP_CIPHER_CTX* cipher) const { EVP_CIPHER_CTX_free(cipher); }
};
using OwnedCipher = std::unique_ptr<EVP_CIPHER_CTX, FreeCipher>;

struct Session {
  std::string id;
  OwnedCipher cipher;
  ReplayWindow window;
};

OwnedCipher make_cipher(const SecretKey& root, std::string_view session, bool sealing) {
  const SecretKey key = derive_key(root, "session", session);
  OwnedCipher cipher(EVP_CIPHER_CTX_new());
  AZIMUTH_CHECK(cipher != nullptr);
  AZIMUTH_CHECK(EVP_CipherInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, bytes_of(key.view()),
                                  nullptr, sealing ? 1 : 0) == 1);
  return cipher;
}

}  // namespace

std::string_view to_string(DatagramFault fault) { return name_of(kFaultNames, fault); }
std::string_view explain(DatagramFault fault) { return name_of(kExplanations, fault); }

struct SealedDatagrams::Machine {
  using Sessions = std::list<Session>;  // the last heard from first

  SecretKey root;
  std::string cluster;
  std::string own_session;
  OwnedCipher own_cipher;
  std::uint64_t counter = 0;
  Sessions sessions;
  std::unordered_map<std::string_view, Sessions::iterator> by_id;  // keys point into the sessions
  double ration = kDatagramNewSessionsPerSecond;
  Instant ration_at{};
  std::array<Instant, kDatagramFaults> said{};
  std::array<bool, kDatagramFaults> ever_said{};

  std::string mark(std::string_view random, std::string_view what) const {
    const auto digest =
        keyed_digest(root, std::string(what).append(1, '\0').append(random).append(1, '\0'));
    return {reinterpret_cast<const char*>(digest.data()), kMarkBytes};
  }
  std::string key_mark(std::string_view random) const { return mark(random, "key"); }
  std::string cluster_mark(std::string_view random) const {
    return mark(random, "cluster " + cluster);
  }

  // What an unknown session shows before any key is made for it.
  DatagramFault look_at(Instant now, std::string_view session) {
    const std::string_view random = session.substr(0, kRandomBytes);
    if (session.substr(kRandomBytes, kMarkBytes) != key_mark(random)) {
      return DatagramFault::kWrongKey;
    }
    if (session.substr(kRandomBytes + kMarkBytes) != cluster_mark(random)) {
      return DatagramFault::kOtherCluster;
    }
    const Duration since = std::max(Duration{}, now - ration_at);
    ration_at = now;
    ration = std::min<double>(
        kDatagramNewSessionsPerSecond,
        ration + static_cast<double>(since.ms) * kDatagramNewSessionsPerSecond / 1000);
    if (ration < 1) return DatagramFault::kRationed;
    --ration;
    return DatagramFault::kNone;
  }

  bool decrypt(Cipher cipher, std::string_view datagram, std::string& text) const {
    const Nonce nonce = nonce_of(datagram.substr(1 + kSessionBytes));
    const std::string_view head = datagram.substr(0, kHeadBytes);
    const std::string_view sealed =
        datagram.substr(kHeadBytes, datagram.size() - kHeadBytes - kTagBytes);
    std::string tag(datagram.substr(datagram.size() - kTagBytes));
    text.resize(sealed.size());
    int size = 0;
    return EVP_DecryptInit_ex(cipher, nullptr, nullptr, nullptr, nonce.data()) == 1 &&
           EVP_DecryptUpdate(cipher, nullptr, &size, bytes_of(head),
                             static_cast<int>(head.size())) == 1 &&
           EVP_DecryptUpdate(cipher, nullptr, &size, bytes_of(cluster),
                             static_cast<int>(cluster.size())) == 1 &&
           EVP_DecryptUpdate(cipher, bytes_of(text), &size, bytes_of(sealed),
                             static_cast<int>(sealed.size())) == 1 &&
           EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()) == 1 &&
           EVP_DecryptFinal_ex(cipher, bytes_of(text) + text.size(), &size) == 1;
  }

  DatagramFault open(Instant now, std::string_view datagram, std::string& text) {
    if (datagram.empty() || datagram.size() > kDatagramBytesMax) return DatagramFault::kMalformed;
    if (datagram[0] != kVersion) {
      // A later release keeps the version's place; what is as short as this is not one's datagram.
      return datagram.size() < kDatagramSealBytes ? DatagramFault::kMalformed
                                                  : DatagramFault::kOtherVersion;
    }
    if (datagram.size() < kDatagramSealBytes) return DatagramFault::kMalformed;
    const std::string_view id = datagram.substr(1, kSessionBytes);
    const std::uint64_t number = counter_at(datagram.substr(1 + kSessionBytes));
    const auto known = by_id.find(id);
    if (known != by_id.end()) {
      Session& session = *known->second;
      if (!session.window.fresh(number)) return DatagramFault::kReplayed;
      if (!decrypt(session.cipher.get(), datagram, text)) return DatagramFault::kForged;
      session.window.mark(number);
      sessions.splice(sessions.begin(), sessions, known->second);
      return DatagramFault::kNone;
    }
    const DatagramFault fault = look_at(now, id);
    if (fault != DatagramFault::kNone) return fault;
    Session session{std::string(id), make_cipher(root, id, false), {}};
    if (!decrypt(session.cipher.get(), datagram, text)) return DatagramFault::kForged;
    session.window.mark(number);
    if (sessions.size() == kDatagramSessionsMax) {
      by_id.erase(sessions.back().id);
      sessions.pop_back();
    }
    sessions.push_front(std::move(session));
    by_id.emplace(sessions.front().id, sessions.begin());
    return DatagramFault::kNone;
  }

  bool worth_a_line(Instant now, DatagramFault fault) {
    const auto at = static_cast<std::size_t>(fault);
    if (fault == DatagramFault::kNone) return false;
    if (ever_said[at] && now - said[at] < kLineEvery) return false;
    ever_said[at] = true;
    said[at] = now;
    return true;
  }
};

SealedDatagrams::SealedDatagrams(const SecretKey& datagram_key, std::string_view cluster,
                                 std::string_view random)
    : machine_(std::make_unique<Machine>()) {
  AZIMUTH_CHECK(random.size() == kRandomBytes);
  Machine& machine = *machine_;
  machine.root = datagram_key;
  machine.cluster = cluster;
  machine.own_session =
      std::string(random) + machine.key_mark(random) + machine.cluster_mark(random);
  machine.own_cipher = make_cipher(machine.root, machine.own_session, true);
}

SealedDatagrams::~SealedDatagrams() = default;

std::string SealedDatagrams::seal(std::string_view text) {
  Machine& machine = *machine_;
  std::string datagram(kHeadBytes + text.size() + kTagBytes, '\0');
  datagram[0] = kVersion;
  std::memcpy(datagram.data() + 1, machine.own_session.data(), kSessionBytes);
  put_counter(datagram.data() + 1 + kSessionBytes, ++machine.counter);
  const Nonce nonce = nonce_of(std::string_view(datagram).substr(1 + kSessionBytes));
  Cipher cipher = machine.own_cipher.get();
  unsigned char* out = bytes_of(datagram) + kHeadBytes;
  int size = 0;
  const bool done =
      EVP_EncryptInit_ex(cipher, nullptr, nullptr, nullptr, nonce.data()) == 1 &&
      EVP_EncryptUpdate(cipher, nullptr, &size, bytes_of(datagram), kHeadBytes) == 1 &&
      EVP_EncryptUpdate(cipher, nullptr, &size, bytes_of(machine.cluster),
                        static_cast<int>(machine.cluster.size())) == 1 &&
      EVP_EncryptUpdate(cipher, out, &size, bytes_of(text), static_cast<int>(text.size())) == 1 &&
      EVP_EncryptFinal_ex(cipher, out + text.size(), &size) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, kTagBytes, out + text.size()) == 1;
  AZIMUTH_CHECK(done);
  ++counters_.sealed;
  return datagram;
}

SealedDatagrams::Opened SealedDatagrams::open(Instant now, std::string_view datagram) {
  Opened opened;
  opened.fault = machine_->open(now, datagram, opened.text);
  if (opened.fault != DatagramFault::kNone) opened.text.clear();
  ++counters_.opened[static_cast<std::size_t>(opened.fault)];
  opened.worth_a_line = machine_->worth_a_line(now, opened.fault);
  return opened;
}

std::size_t SealedDatagrams::sessions() const { return machine_->sessions.size(); }

}  // namespace azimuth
