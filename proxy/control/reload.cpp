#include "proxy/control/reload.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <type_traits>
#include <variant>

#include "conf/limits.h"
#include "conf/settings_table.h"

namespace azimuth {
namespace {

void copy_field(const Field& from, const Field& to) {
  std::visit(
      [&to](const auto& source) {
        using Pointer = std::decay_t<decltype(source)>;
        const auto* target = std::get_if<Pointer>(&to);
        if (target == nullptr) return;  // a section that is there in one of them only
        if constexpr (std::is_same_v<Pointer, ChoiceField>) {
          *target->index = *source.index;
        } else if constexpr (!std::is_same_v<Pointer, std::monostate>) {
          **target = *source;
        }
      },
      from);
}

bool moved(const SettingRow& row, const Settings& running, const Settings& wanted, size_t index) {
  return row.section == "listen" && running.listen[index].address != wanted.listen[index].address;
}

}  // namespace

Settings without_restart(const Settings& running, const Settings& wanted) {
  Settings applied = running;
  Settings source = wanted;  // the table hands out pointers that may be written through
  for (const SettingRow& row : setting_rows()) {
    if (row.needs_restart) continue;
    const SectionRow* section = find_section(row.section);
    size_t count = 1;
    if (section->kind == SectionRow::Kind::kRepeated) {
      count = std::min(section->count(running), section->count(wanted));
    }
    for (size_t i = 0; i < count; ++i) {
      if (moved(row, running, wanted, i)) continue;
      copy_field(row.field(source, i), row.field(applied, i));
    }
  }
  return applied;
}

Result<std::string> read_settings_file(const std::string& path) {
  const auto fault = [&path](const std::string& why) {
    return make_error(ErrorCode::kSystem, Fault::kSelf, "cannot read " + path + ": " + why);
  };
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return fault(std::strerror(errno));
  std::string text(kSettingsBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && errno != 0)) return fault(std::strerror(errno));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

}  // namespace azimuth
