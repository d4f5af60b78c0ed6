// A closed set of names for a closed set of enumerators: what settings, RESP and logs call them.
//
// Invariant: the enumerators count from zero in the order of the names. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace azimuth {

template <class Enum, std::size_t N>
constexpr std::optional<Enum> from_name(const std::array<std::string_view, N>& names,
                                        std::string_view text) noexcept {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == text) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

template <class Enum, std::size_t N>
constexpr std::string_view name_of(const std::array<std::string_view, N>& names,
                                   Enum value) noexcept {
  const auto index = static_cast<std::size_t>(value);
  return index < N ? names[index] : std::string_view("?");
}

}  // namespace azimuth
