/* libhiredis against HOST PORT: commands, an appended pipeline, a transaction, a subscription and a
 * large value. Prints a transcript as the node scripts do. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static redisContext *connect_to(const char *host, int port) {
  redisContext *context = redisConnect(host, port);
  if (context == NULL || context->err) {
    printf("connect: %s\n", context ? context->errstr : "no memory");
    exit(1);
  }
  return context;
}

static void show(const redisReply *reply, int depth) {
  if (reply == NULL) {
    printf("no reply\n");
    exit(1);
  }
  printf("%*s%d ", depth * 2, "", reply->type);
  if (reply->type == REDIS_REPLY_INTEGER) printf("%lld\n", reply->integer);
  else if (reply->type == REDIS_REPLY_NIL) printf("nil\n");
  else if (reply->type == REDIS_REPLY_ARRAY) {
    printf("[%zu]\n", reply->elements);
    for (size_t i = 0; i < reply->elements; i++) show(reply->element[i], depth + 1);
  } else printf("%zu %.60s\n", (size_t)reply->len, reply->str);
}

static void say(redisContext *context, const char *format, const char *a, const char *b) {
  redisReply *reply = redisCommand(context, format, a, b);
  show(reply, 0);
  freeReplyObject(reply);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  redisContext *context = connect_to(argv[1], atoi(argv[2]));
  say(context, "SET %s %s", "k", "v");
  say(context, "GET %s", "k", "");
  say(context, "GET %s", "none", "");
  say(context, "LPUSH %s %s", "k", "wrong type");
  say(context, "NOSUCH %s", "x", "");
  say(context, "EVAL %s 0", "return {1,'two',{3,false}}", "");
  for (int i = 0; i < 10000; i++) redisAppendCommand(context, i % 2 ? "GET n" : "INCR n");
  for (int i = 0; i < 10000; i++) {
    redisReply *reply = NULL;
    if (redisGetReply(context, (void **)&reply) != REDIS_OK) return 1;
    long long value = i % 2 ? atoll(reply->str) : reply->integer;
    if (value != i / 2 + 1) printf("reply %d is %lld\n", i, value);
    freeReplyObject(reply);
  }
  say(context, "MULTI", "", "");
  say(context, "INCR n", "", "");
  say(context, "LRANGE none 0 -1", "", "");
  say(context, "EXEC", "", "");
  size_t size = 5 * 1000 * 1000;
  char *large = malloc(size);
  memset(large, 'x', size);
  redisReply *reply = redisCommand(context, "SET large %b", large, size);
  show(reply, 0);
  freeReplyObject(reply);
  reply = redisCommand(context, "GET large");
  printf("large %zu %d\n", (size_t)reply->len, memcmp(reply->str, large, size));
  freeReplyObject(reply);
  free(large);
  redisContext *sub = connect_to(argv[1], atoi(argv[2]));
  say(sub, "SUBSCRIBE %s", "channel", "");
  say(context, "PUBLISH %s %s", "channel", "message");
  if (redisGetReply(sub, (void **)&reply) != REDIS_OK) return 1;
  show(reply, 0);
  freeReplyObject(reply);
  say(sub, "UNSUBSCRIBE", "", "");
  say(sub, "BLPOP none 0.01", "", "");
  redisFree(sub);
  redisFree(context);
  printf("--- end\n");
  return 0;
}
