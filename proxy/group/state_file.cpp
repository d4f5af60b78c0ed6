#include "proxy/group/state_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "conf/limits.h"

namespace azimuth {
namespace {

constexpr const char* kName = "group.state";
constexpr const char* kNewName = "group.state.new";
constexpr const char* kLockName = "lock";
constexpr mode_t kFileMode = 0600;

Error fault(std::string message) {
  return make_error(ErrorCode::kSystem, Fault::kSelf, std::move(message));
}

std::string_view advice_for(int error) {
  switch (error) {
    case EACCES:
    case EPERM:
      return "; let this user write there, or set node.data_dir to another directory";
    case EROFS:
      return "; the file system is read-only: make it writable, or set node.data_dir to another "
             "directory";
    case ENOSPC:
    case EDQUOT:
      return "; make room on the disk";
    default:
      return "";
  }
}

Error system_fault(const std::string& what, int error) {
  return fault(what + ": " + std::strerror(error) + std::string(advice_for(error)));
}

int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

// Makes `name` in `directory` hold `bytes`, on the disk. 0 or an errno.
int write_file(int directory, const char* name, std::string_view bytes) {
  const int fd =
      ::openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kFileMode);
  if (fd < 0) return errno;
  int error = write_all(fd, bytes);
  if (error == 0 && ::fsync(fd) != 0) error = errno;
  // A close that fails may be a write that failed late.
  if (::close(fd) != 0 && error == 0 && errno != EINTR) error = errno;
  return error;
}

// The file's bytes, at most one more than may be; 0 or an errno.
int read_file(int directory, const char* name, std::string& out) {
  const int fd = ::openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return errno;
  int error = 0;
  char block[4096];
  while (error == 0 && out.size() <= kGroupStateFileBytesMax) {
    const ssize_t n = ::read(fd, block, sizeof block);
    if (n == 0) break;
    if (n > 0) out.append(block, static_cast<size_t>(n));
    if (n < 0 && errno != EINTR) error = errno;
  }
  ::close(fd);
  return error;
}

}  // namespace

Result<std::unique_ptr<StateFile>> StateFile::open(const std::string& data_dir) {
  const std::string name = "node.data_dir " + data_dir;
  std::error_code failed;
  const bool made = std::filesystem::create_directories(data_dir, failed);
  if (failed) return system_fault("cannot make " + name, failed.value());
  if (made) ::chmod(data_dir.c_str(), 0700);
  const int directory = ::open(data_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return system_fault("cannot open " + name, errno);
  const int lock = ::openat(directory, kLockName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock < 0) {
    const int error = errno;
    ::close(directory);
    return system_fault("cannot write to " + name, error);
  }
  std::unique_ptr<StateFile> file(new StateFile(data_dir, directory, lock));
  if (::flock(lock, LOCK_EX | LOCK_NB) == 0) return file;
  if (errno != EWOULDBLOCK) return system_fault("cannot lock " + name, errno);
  return fault(name +
               " is in use by another azimuth; stop that one, or give each node a data_dir of its "
               "own");
}

StateFile::StateFile(std::string data_dir, int directory, int lock)
    : path_(std::move(data_dir) + "/" + kName), directory_(directory), lock_(lock) {}

StateFile::~StateFile() {
  ::close(lock_);
  ::close(directory_);
}

Result<std::optional<GroupState>> StateFile::load(const std::string& cluster,
                                                  const std::string& node) const {
  std::string text;
  const int error = read_file(directory_, kName, text);
  if (error == ENOENT) return std::optional<GroupState>();
  if (error != 0) return system_fault("cannot read " + path_, error);
  // A node that has lost its promises is safe to start as a new one: it waits before it votes.
  const std::string advice =
      ". This node does not start, since it might go back on a promise. Put a copy of the file "
      "back "
      "that is known to be the latest; or, if there is none, move the file away: the node then "
      "joins as one that knows nothing";
  if (text.size() > kGroupStateFileBytesMax) {
    return fault(path_ + " is larger than a state can be" + advice);
  }
  Result<GroupState> state = decode_group_state(text);
  if (!state.ok()) return fault(path_ + ": " + state.error().message + advice);
  if (state->cluster != cluster || state->node != node) {
    return fault(path_ + " is that of node " + state->node + " in cluster " + state->cluster +
                 ", and this is " + node + " in " + cluster +
                 ": set node.data_dir to this node's own directory, or correct node.id and "
                 "cluster.name");
  }
  return std::optional<GroupState>(std::move(*state));
}

Outcome StateFile::save(const GroupState& state) {
  const std::string what = "cannot write " + path_;
  if (const int error = write_file(directory_, kNewName, encode(state)); error != 0) {
    ::unlinkat(directory_, kNewName, 0);  // a full disk needs the room
    return system_fault(what, error);
  }
  if (::renameat(directory_, kNewName, directory_, kName) != 0) return system_fault(what, errno);
  if (::fsync(directory_) != 0) return system_fault(what, errno);
  return Done{};
}

}  // namespace azimuth
