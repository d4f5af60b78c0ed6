// One value into one field: its type, its range, and what to write instead. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "conf/settings_document.h"
#include "conf/settings_table.h"

namespace azimuth {

// What is wrong with the value, for the field is then left as it was; nothing if it was taken.
// `field` must be there (not monostate).
std::optional<DocumentError> assign(const SettingRow& row, const Field& field,
                                    const TomlValue& value);

// An override's value: TOML where it looks like it, a bare text where the field takes text, and
// addresses with commas between them where it takes a list.
TomlValue override_value(const Field& field, std::string_view text);

}  // namespace azimuth
