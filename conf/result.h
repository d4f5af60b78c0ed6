// A value or the reason why there is none. No exception is thrown on the data path; a fault of the
// world travels as one of these and must be looked at.
//
// Invariants: a Result holds exactly one of the two; taking the one that is not there is a broken
// invariant of the program and aborts, in release builds too. Pure.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <variant>

namespace azimuth {

[[noreturn]] inline void fail_check(const char* what, const char* file, int line) noexcept {
  std::fprintf(stderr, "azimuth: broken invariant: %s (%s:%d)\n", what, file, line);
  std::abort();
}

// Stays on in release: a broken invariant must not go on to write.
#define AZIMUTH_CHECK(condition)                             \
  (__builtin_expect(!!(condition), 1) ? static_cast<void>(0) \
                                      : ::azimuth::fail_check(#condition, __FILE__, __LINE__))

// Whose fault an error is: it decides who is told, and whether a connection survives it.
enum class Fault : std::uint8_t { kClient, kRedis, kPeer, kSelf };

enum class ErrorCode : std::uint8_t {
  kInvalid,      // what was given is not what was asked for
  kUnsupported,  // well formed, and not available here
  kRefused,      // understood and not allowed
  kUnavailable,  // not now; nothing was done
  kTimeout,      // took too long; nothing is known to have been done
  kUncertain,    // may have been done
  kSystem,       // the operating system said no
};

struct Error {
  ErrorCode code = ErrorCode::kInvalid;
  Fault fault = Fault::kSelf;
  std::string message;
};

inline Error make_error(ErrorCode code, Fault fault, std::string message) {
  return Error{code, fault, std::move(message)};
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: by intent
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: by intent

  bool ok() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }

  T& value() & {
    AZIMUTH_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    AZIMUTH_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    AZIMUTH_CHECK(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T value_or(T otherwise) const& { return ok() ? value() : std::move(otherwise); }

  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    AZIMUTH_CHECK(!ok());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

// For what succeeds without a value: `return Done{};`.
struct Done {};
using Outcome = Result<Done>;

}  // namespace azimuth
