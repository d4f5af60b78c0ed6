// What becomes of one request: forwarded, held back until its turn, or answered here.
#pragma once

#include <string_view>

#include "proxy/data/worker.h"

namespace azimuth {

// Step::kWait leaves the request where it is and has set client.wait to what it waits for.
Step dispatch(Worker& worker, Client& client, const Request& request);

// A request of which only the beginning is there, and which is too large to gather: may it go
// through piece by piece? kStream has queued its Entry on client.dedicated.
enum class StreamDecision : uint8_t { kGather, kWait, kStream };
// `needed`: bytes of the whole request, at the least.
StreamDecision stream_decision(Worker& worker, Client& client, const RequestFrame& beginning,
                               uint64_t needed);

// Which of the shared connections a stateless command belongs on.
Role role_for(const SessionView& session, const CommandRow* row);

// --- shared with local_commands.cpp and client_commands.cpp

// An answer of azimuth's own, unless CLIENT REPLY says that the client wants none.
void answer(Worker& worker, Client& client, std::string_view text);
// A command that the primary's back-pressure slows: it writes to the data, or may. (PFCOUNT may
// write what it has counted, and is a read all the same.)
bool is_slowed(const CommandRow* row);
// True: the client waits (Wait::kPace), since this one writes and a replica does not keep up. What
// is queued in MULTI waits with its EXEC.
bool slowed(Worker& worker, Client& client, const CommandRow* row, uint64_t bytes);
// Waits for the client's outstanding replies; true if there are none.
bool drained_or_wait(Client& client);
// Waits for room in the queue of `upstream`; true if there is some.
bool room_or_wait(Client& client, Upstream& upstream);
// The entry of a forwarded request, and its queueing on `upstream`.
Entry entry_for(Client& client, const CommandRow* row);
// The same of what azimuth asks on behalf of a client: nothing is written.
Entry entry_of_ours(Client& client);
// Once, in place of the command that would have gone on as if nothing had happened. False: another
// connection of its session has just been told.
bool tell_lost_write(Worker& worker, Client& client);
inline constexpr std::string_view kLostFloorReply =
    "-TRYAGAIN azimuth: something that this session has written or read was lost in a failover; "
    "this command did not run\r\n";
Step forward_plain(Worker& worker, Client& client, const Request& request, const CommandRow* row,
                   EntryKind kind = EntryKind::kReply, Topic topic = Topic::kNone);
// The shared connection for a stateless command: where the client's replies are outstanding, if the
// order allows; null: the client waits for them.
// `size`: of the request. Null: the client waits.
Upstream* pick(Worker& worker, Client& client, const CommandRow* row, size_t size, bool more);
bool tell_lost_write(Worker& worker, Client& client);
// On the connection that is the client's own already.
Step forward_own(Worker& worker, Client& client, const Request& request, const CommandRow& row,
                 EntryKind kind = EntryKind::kReply, Topic topic = Topic::kNone);
// Sends `bytes` for the client where its requests go now, collects the reply under `topic`, and
// makes the client wait for it.
Step ask_redis(Worker& worker, Client& client, const CommandRow* row, std::string_view bytes,
               Topic topic);
// Makes sure that the client has a connection of its own; false: it waits.
bool own_connection(Worker& worker, Client& client);
// Gives the client's own connection the client's name, which Redis may come to show.
void wear_name(Worker& worker, Client& client);
// What HELLO or CLIENT SETNAME did on the client's own connection, in a transaction or in part,
// only that connection knows.
void ask_state(Worker& worker, Client& client, bool name);
void finish_token(Worker& worker, Client& client, const std::string& reply);
// In place of EXEC.
void abort_exec(Worker& worker, Client& client, const CommandRow& row, LostState lost);
void make_abort(Entry& exec, std::string& bytes, LostState lost);
// Makes Redis abort the transaction, and tells the client why.
Step poison(Worker& worker, Client& client);
// CLIENT KILL and UNBLOCK inside MULTI: queued where they mean nobody, else poison().
bool names_clients(const CommandRow& row, std::span<const std::string_view> args);
Step queue_if_nobody(Worker& worker, Client& client, const Request& request);
// Remembers the request for when Redis has answered; take_deferred reads it back.
void defer(Client& client, const Request& request);
std::vector<std::string> take_deferred(Client& client);
std::vector<std::string_view> views(const std::vector<std::string>& args);

// What azimuth answers itself outside MULTI; inside, Redis queues it.
Step queue_local(Worker& worker, Client& client, const Request& request, const CommandRow& row);
Step handle_transaction(Worker& worker, Client& client, const Request& request,
                        const CommandRow& row);
Step handle_auth(Worker& worker, Client& client, const Request& request);
Step handle_hello(Worker& worker, Client& client, const Request& request);
Step handle_reset(Worker& worker, Client& client);
Step handle_client(Worker& worker, Client& client, const Request& request, const CommandRow& row);
Step handle_slowlog(Worker& worker, Client& client, const Request& request);
void perform_slowlog(Worker& worker, Client& client, std::span<const std::string_view> args);
// AZIMUTH SWITCHOVER [node], ELECT FORCE node, MEMBER REMOVE|ADD node, once Redis has let the user.
void perform_group_wish(Worker& worker, Client& client, std::span<const std::string_view> args);
// Asks Redis, as the user, for a harmless form of what azimuth is to do; finish_probe goes on.
Step ask_permission(Worker& worker, Client& client, const Request& request, const CommandRow& row);
Step handle_azimuth(Worker& worker, Client& client, const Request& request);

// Replies that were collected for the above.
void finish_auth(Worker& worker, Client& client, const std::string& reply);
void finish_hello(Worker& worker, Client& client, const std::string& reply);
void finish_server_info(Worker& worker, Client& client, const std::string& reply);
void finish_probe(Worker& worker, Client& client, const std::string& reply);
void finish_tracking(Worker& worker, Client& client, const std::string& reply);

}  // namespace azimuth
