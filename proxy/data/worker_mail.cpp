// What other threads ask of a worker, and what a worker asks of all of them.
#include "proxy/data/worker.h"

namespace azimuth {

bool Worker::post(std::function<void(Worker&)> task) {
  const std::lock_guard<std::mutex> lock(mail_mutex_);
  if (ended_) return false;
  mail_.push_back(std::move(task));
  uv_async_send(&wake_);
  return true;
}

void Worker::wake() {
  const std::lock_guard<std::mutex> lock(mail_mutex_);
  if (!ended_) uv_async_send(&wake_);
}

void Worker::on_mail() {
  std::vector<std::function<void(Worker&)>> mail;
  {
    const std::lock_guard<std::mutex> lock(mail_mutex_);
    mail.swap(mail_);
  }
  for (auto& task : mail) task(*this);
  replica_.on_applied();
}

// What was posted before the end is still done: somebody may wait for it.
void Worker::end_mail() {
  {
    const std::lock_guard<std::mutex> lock(mail_mutex_);
    ended_ = true;
  }
  on_mail();
  tell_login_known();
}

void Worker::ask_all(Client& asking, Ask ask, Done done) {
  const auto at_once = [ask = std::move(ask)](Worker& worker, const Tell& tell) {
    std::string found;
    ask(worker, found);
    tell(found);
  };
  ask_all_later(asking, at_once, std::move(done));
}

void Worker::ask_all_later(Client& asking, AskLater ask, Done done) {
  struct Gathering {
    std::mutex mutex;
    std::string all;
    size_t missing;
  };
  const auto gathering = std::make_shared<Gathering>();
  gathering->missing = process_.workers.size();
  const ClientRef ref = asking.self;
  Worker* const home = this;
  asking.wait = Wait::kAnswer;
  const Tell tell = [=, done = std::move(done)](std::string_view found) {
    {
      const std::lock_guard<std::mutex> lock(gathering->mutex);
      gathering->all += found;
      if (--gathering->missing != 0) return;
    }
    home->post([=](Worker& back) {
      Client* client = back.client(ref);
      if (client == nullptr) return;
      client->wait = Wait::kNone;
      done(*client, gathering->all);
      if (!client->closing && client->wait == Wait::kNone) back.answered(*client);
    });
  };
  for (const auto& worker : process_.workers) {
    if (!worker->post([=](Worker& each) { ask(each, tell); })) tell({});  // it has no clients left
  }
}

}  // namespace azimuth
