#include "health/sync_gate.h"

#include <algorithm>
#include <utility>

#include "conf/defects.h"
#include "conf/limits.h"

namespace azimuth {

namespace {

constexpr std::string_view kFullSync = "+FULLRESYNC";
constexpr std::string_view kPartialSync = "+CONTINUE";

// The lineage in a reply to PSYNC, found the way that the replica finds it.
std::string lineage_of_full(std::string_view line) {
  const std::size_t blank = line.find(' ');
  if (blank == std::string_view::npos) return {};
  line.remove_prefix(blank + 1);
  return std::string(line.substr(0, line.find(' ')));
}

std::string lineage_of_partial(std::string_view line) {
  return std::string(line.substr(std::min(line.size(), kPartialSync.size() + 1)));
}

}  // namespace

SyncGate::SyncGate(std::string replid, std::string announced)
    : replid_(std::move(replid)), announced_(std::move(announced)) {}

// REPLCONF is a command of four lines and more: the value of an option comes two lines behind its
// name, after its own length.
void SyncGate::on_replica(std::string_view bytes) {
  if (announced_.empty() || verdict_ != SyncVerdict::kHandshake) return;
  for (const char c : bytes) {
    if (c != '\n') {
      if (c != '\r' && replica_line_.size() < kSyncLineBytesMax) replica_line_ += c;
      continue;
    }
    if (lines_to_value_ > 0) {
      if (--lines_to_value_ == 0) (option_ == "ip-address" ? host_ : port_) = replica_line_;
    } else if (replica_line_ == "listening-port" || replica_line_ == "ip-address") {
      option_ = replica_line_;
      lines_to_value_ = 2;
    }
    replica_line_.clear();
  }
}

std::size_t SyncGate::on_primary(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (verdict_ == SyncVerdict::kPartial || verdict_ == SyncVerdict::kFull) return bytes.size();
    if (verdict_ == SyncVerdict::kRefused) return 0;
    const char c = bytes[i];
    if (c == '\n') {
      judge(line_);
      line_.clear();
    } else if (line_.size() >= kSyncLineBytesMax) {
      refuse("a line without an end");
    } else if (line_.empty() && c != '+' && c != '-') {
      refuse("something else than a line of status, as a bare SYNC would get");
    } else {
      line_ += c;
    }
    if (verdict_ == SyncVerdict::kRefused) return i;
  }
  return verdict_ == SyncVerdict::kRefused ? 0 : bytes.size();
}

void SyncGate::judge(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  // A replica looks at the beginning alone, so "+CONTINUED" would be one, too.
  if (line.starts_with(kFullSync)) {
    const std::string replid = lineage_of_full(line);
    const bool known = (!replid_.empty() && replid == replid_) || defective(Defect::kAnyFullSync);
    if (known) return accept(SyncVerdict::kFull);
    refuse("a full sync of the lineage " + replid + " instead of " + replid_);
  } else if (line.starts_with(kPartialSync)) {
    // Without an id the primary goes on with the lineage that was asked for.
    const std::string replid = lineage_of_partial(line);
    if (replid.empty() || replid == replid_) return accept(SyncVerdict::kPartial);
    refuse("a partial sync to the lineage " + replid + " instead of " + replid_);
  }
}

void SyncGate::accept(SyncVerdict verdict) {
  const std::string replica = host_ + " " + port_;
  if (!announced_.empty() && replica != announced_) {
    return refuse("the replica is " + replica + " and not this node's " + announced_);
  }
  verdict_ = verdict;
}

void SyncGate::refuse(std::string why) {
  verdict_ = SyncVerdict::kRefused;
  why_ = std::move(why);
  line_.clear();
}

}  // namespace azimuth
