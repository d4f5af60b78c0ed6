#include "proxy/control/name_lookup.h"

#include <netdb.h>

#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

namespace azimuth {
namespace {

// More than a name of one redis-server has; a resolver may say what it likes.
constexpr size_t kAddressesMax = 16;

}  // namespace

NameLookup::Answer look_up(const Endpoint& endpoint) {
  NameLookup::Answer answer;
  if (const auto address = numeric_address(endpoint)) {
    answer.addresses.push_back(*address);
    return answer;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int rc =
      ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &list);
  if (rc != 0) {
    answer.error = rc == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(rc);
    return answer;
  }
  for (const addrinfo* each = list; each != nullptr; each = each->ai_next) {
    if (answer.addresses.size() == kAddressesMax) break;
    SocketAddress address;
    if (each->ai_addrlen > sizeof(address.storage)) continue;
    std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
    address.size = each->ai_addrlen;
    answer.addresses.push_back(address);
  }
  ::freeaddrinfo(list);
  return answer;
}

void NameLookup::start(const Endpoint& endpoint) {
  if (running()) return;
  question_ = std::make_shared<Question>();
  question_->endpoint = endpoint;
  const auto ask = [question = question_] {
    question->answer = look_up(question->endpoint);
    question->answered.store(true, std::memory_order_release);
  };
  try {
    std::thread(ask).detach();
  } catch (const std::system_error& no_thread) {
    question_->answer.error = no_thread.what();
    question_->answered.store(true, std::memory_order_release);
  }
}

std::optional<NameLookup::Answer> NameLookup::fetch() {
  if (!running() || !question_->answered.load(std::memory_order_acquire)) return std::nullopt;
  Answer answer = std::move(question_->answer);
  question_.reset();
  return answer;
}

}  // namespace azimuth
