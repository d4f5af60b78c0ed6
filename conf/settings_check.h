// What one table of the settings needs of another, and where each value came from, to say so.
// Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "conf/settings.h"

namespace azimuth {

// A place in the file or an override; `order` sorts the file by position, then the overrides.
struct Origin {
  std::uint64_t order = 0;
  std::string position;
};

struct OriginError {
  Origin at;
  std::string message;
};

// Where tables and keys were written, right or wrong.
class Origins {
 public:
  explicit Origins(Origin whole) : whole_(std::move(whole)) {}

  // An empty key: the table itself. What comes later, an override, is the place that counts; of a
  // table it is the first.
  void record(std::string_view section, std::size_t index, std::string_view key, Origin origin);

  // The key's value was refused: nothing may be concluded from its field.
  void spoil(std::string_view section, std::size_t index, std::string_view key);
  bool sound(std::string_view section, std::size_t index, std::string_view key) const;

  bool given(std::string_view section, std::size_t index, std::string_view key = {}) const;

  // The key's place, or else its table's, or else the whole text's.
  const Origin& of(std::string_view section, std::size_t index, std::string_view key = {}) const;

 private:
  Origin whole_;
  using Place = std::tuple<std::string, std::size_t, std::string>;
  std::map<Place, Origin> places_;
  std::set<Place> spoilt_;
};

// The errors that no single value shows. `unread`: parts of the text were no TOML, so that what
// seems to be missing may be there.
std::vector<OriginError> check_settings(const Settings& settings, const Origins& origins,
                                        bool unread);

}  // namespace azimuth
