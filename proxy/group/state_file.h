// The file in which a node keeps what it must not forget (health/group_state.h), in its data_dir.
//
// Invariants: save() returns well only when the state is on the disk, file and name both (fsync);
// at every moment the file holds one whole state, the last one or the one before; a file that does
// not decode, or is another node's, is never taken for none: the node does not start, since it
// might vote twice. One process at a time has a data_dir (a lock that ends with the process). It
// waits for the disk: nothing may leave before, and elections are rare. Owned by one thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "conf/result.h"
#include "health/group_state.h"

namespace azimuth {

class StateFile {
 public:
  // Makes the directory where it is not there, and locks it. Errors say what to do.
  static Result<std::unique_ptr<StateFile>> open(const std::string& data_dir);
  ~StateFile();
  StateFile(const StateFile&) = delete;
  StateFile& operator=(const StateFile&) = delete;

  // What was saved; nothing where there never was a file.
  Result<std::optional<GroupState>> load(const std::string& cluster, const std::string& node) const;
  Outcome save(const GroupState& state);

  const std::string& path() const { return path_; }

 private:
  StateFile(std::string data_dir, int directory, int lock);

  const std::string path_;
  const int directory_;
  const int lock_;
};

}  // namespace azimuth
