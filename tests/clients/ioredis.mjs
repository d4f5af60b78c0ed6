// ioredis against HOST PORT: prints a transcript that must be the same on redis-server and behind azimuth.
import Redis from 'ioredis';
import { host, note, play, port, settle, until } from './transcript.mjs';

const open = (options = {}) => {
  const client = new Redis({ host, port, maxRetriesPerRequest: 5, ...options });
  client.on('error', () => {});
  return client;
};
const redis = open();

await play({
  async commands() {
    note('set', await redis.set('k', 'v'));
    note('get', await redis.get('k'));
    note('buffer', await redis.getBuffer('k'));
    note('binary', [await redis.set('bin', Buffer.from([0, 255, 13, 10, 36])), await redis.getBuffer('bin')]);
    note('mset', await redis.mset({ a: 1, b: 2 }));
    note('mget', await redis.mget('a', 'b', 'none'));
    note('hash', [await redis.hset('h', { f: 1, g: 'two' }), await redis.hgetall('h'), await redis.hincrby('h', 'f', 5)]);
    note('list', [await redis.rpush('l', 1, 2, 3), await redis.lrange('l', 0, -1), await redis.lpos('l', '2')]);
    note('zset', [await redis.zadd('z', 1.5, 'a', 2, 'b'), await redis.zrange('z', 0, -1, 'WITHSCORES')]);
    note('expire', [await redis.expireat('k', 4000000000), await redis.expiretime('k'), await redis.persist('k')]);
    note('wrong type', await settle(redis.incr('l')));
    note('unknown', await settle(redis.call('NOSUCH', 'a')));
    note('arity', await settle(redis.call('GET')));
    note('large', (await redis.set('large', 'x'.repeat(3000000))) + (await redis.get('large')).length);
    note('options', [redis.status, await redis.select(2), await redis.get('k'), await redis.select(0)]);
  },
  async pipelines() {
    const pipeline = redis.pipeline();
    for (let n = 0; n < 5000; n++) pipeline.incr('counter').get('counter').echo('e' + n);
    pipeline.lpush('k', 'wrong');
    const got = await pipeline.exec();
    note('length', got.length);
    note('right', got.slice(0, -1).every(([error, value], i) =>
      !error && [i / 3 + 1, String((i - 1) / 3 + 1), 'e' + (i - 2) / 3][i % 3] === value));
    note('last', got.at(-1));
    const auto = open({ enableAutoPipelining: true });
    note('auto', (await Promise.all([...Array(300).keys()].map((n) => auto.echo('a' + n)))).join('') ===
      [...Array(300).keys()].map((n) => 'a' + n).join(''));
    await auto.quit();
  },
  async transactions() {
    note('multi', await redis.multi().set('t', 1).incr('t').get('t').exec());
    note('aborted', await settle(redis.multi().set('t', 1).call('NOSUCH').exec()));
    note('error inside', await redis.multi().set('t', 'x').incr('t').exec());
    await redis.multi({ pipeline: false });
    await redis.incr('inside');
    note('no pipeline', await redis.exec());
    const rivals = await Promise.all([...Array(5)].map(async () => {
      const client = open();
      let wins = 0;
      while (wins < 20) {
        await client.watch('race');
        const value = Number(await client.get('race')) || 0;
        if (await client.multi().set('race', value + 1).exec()) wins++;
      }
      await client.quit();
      return wins;
    }));
    note('race', [rivals, await redis.get('race')]);
  },
  async pubsub() {
    const sub = open();
    const seen = [];
    sub.on('message', (channel, message) => seen.push(['message', channel, message]));
    sub.on('pmessage', (pattern, channel, message) => seen.push(['pmessage', pattern, channel, message]));
    sub.on('smessage', (channel, message) => seen.push(['smessage', channel, message]));
    note('subscribe', await sub.subscribe('news', 'more'));
    note('psubscribe', await sub.psubscribe('p*'));
    note('ssubscribe', await sub.ssubscribe('shard'));
    note('ping', await settle(sub.ping()));
    note('get refused', await settle(sub.get('k')));
    for (let n = 0; n < 50; n++) await redis.publish('news', 'n' + n);
    note('publish', [await redis.publish('p1', 'pattern'), await redis.spublish('shard', 'sharded'), await redis.publish('none', 'x')]);
    await until(() => seen.length === 52, 'messages');
    note('seen', seen);
    note('unsubscribe', [await sub.sunsubscribe('shard'), await sub.punsubscribe('p*'), await sub.unsubscribe('news'), await sub.unsubscribe('more')]);
    note('get again', await sub.get('k'));
    await sub.quit();
  },
  async blocking() {
    const waiting = open();
    const popped = waiting.blpop('queue', 'queue2', 0);
    await until(async () => /blocked_clients:1/.test(await redis.info('clients')), 'blocked');
    await redis.rpush('queue2', 'job');
    note('blpop', await popped);
    note('timeout', await waiting.brpop('none', 0.01));
    const moved = waiting.blmove('queue', 'done', 'LEFT', 'RIGHT', 0);
    await redis.rpush('queue', 'move me');
    note('blmove', [await moved, await redis.lrange('done', 0, -1)]);
    const scored = waiting.bzpopmin('zqueue', 0);
    await redis.zadd('zqueue', 3, 'member');
    note('bzpopmin', await scored);
    waiting.disconnect();
  },
  async streams() {
    note('group', await redis.xgroup('CREATE', 'stream', 'group', '$', 'MKSTREAM'));
    const worker = open();
    const read = worker.xreadgroup('GROUP', 'group', 'one', 'COUNT', 5, 'BLOCK', 0, 'STREAMS', 'stream', '>');
    note('xadd', await redis.xadd('stream', '1-1', 'field', 'value'));
    note('xreadgroup', await read);
    note('xack', [await redis.xack('stream', 'group', '1-1'), await redis.xpending('stream', 'group')]);
    note('xread', await redis.xread('COUNT', 2, 'STREAMS', 'stream', '0'));
    note('xautoclaim', await redis.xautoclaim('stream', 'group', 'two', 0, '0'));
    await worker.quit();
  },
  async scripts() {
    redis.defineCommand('twice', { numberOfKeys: 1, lua: "return {redis.call('GET', KEYS[1]), ARGV[1] .. ARGV[1]}" });
    note('defined', await redis.twice('a', 'x'));
    note('again', await redis.twice('b', 'y'));
    note('in a pipeline', await redis.pipeline().twice('a', '1').get('a').twice('b', '2').exec());
    note('in multi', await redis.multi().twice('a', '1').exec());
    const other = open({ scripts: { thrice: { numberOfKeys: 0, lua: 'return ARGV[1]:rep(3)' } } });
    note('flush', await redis.script('FLUSH'));
    note('after flush', [await redis.twice('a', 'z'), await other.thrice('ab')]);
    await other.quit();
    note('function', await redis.function('LOAD', '#!lua name=nlib\nredis.register_function("nf", function(k, a) return a[1] end)'));
    note('fcall', await redis.fcall('nf', 0, 'arg'));
    note('delete', await redis.function('DELETE', 'nlib'));
  },
  async scanning() {
    const pipeline = redis.pipeline();
    for (let n = 0; n < 500; n++) pipeline.set('scan:' + n, n).sadd('scanset', 'm' + n);
    await pipeline.exec();
    const keys = new Set();
    for await (const batch of redis.scanStream({ match: 'scan:*', count: 50 })) batch.forEach((key) => keys.add(key));
    const members = new Set();
    for await (const batch of redis.sscanStream('scanset')) batch.forEach((member) => members.add(member));
    note('found', [keys.size, members.size]);
  },
  async monitor() {
    const watcher = open();
    const monitor = await watcher.monitor();
    const seen = [];
    monitor.on('monitor', (time, args) => args[1] === 'watched' && seen.push(args));
    await redis.set('watched', 'x');
    await until(() => seen.length, 'a monitored command');
    note('seen', seen);
    monitor.disconnect();
    watcher.disconnect();
  },
  async users() {
    note('setuser', await redis.acl('SETUSER', 'node', 'on', '>secret', '~node:*', '+@all', '-flushall'));
    const user = open({ username: 'node', password: 'secret', db: 3, connectionName: 'as-user' });
    note('whoami', [await user.acl('WHOAMI'), await user.client('GETNAME'), await user.set('node:k', 1)]);
    note('refused', [await settle(user.get('other')), await settle(user.flushall())]);
    note('database', [await redis.get('node:k'), await user.get('node:k')]);
    const wrong = open({ username: 'node', password: 'bad', retryStrategy: null, lazyConnect: true });
    const errors = [];
    wrong.on('error', (error) => errors.push(error.message));
    note('wrong', await settle(wrong.connect().then(() => wrong.get('node:k'))));
    wrong.disconnect();
    note('deluser', await redis.acl('DELUSER', 'node'));
    await until(() => user.status !== 'ready', 'the user is cut');
    user.disconnect();
  },
  async many() {
    const clients = [...Array(40)].map((_, n) => open({ db: n % 16 }));
    await Promise.all(clients.map((client, n) => client.set('mine', n)));
    const got = await Promise.all(clients.map(async (client, n) => {
      for (let turn = 0; turn < 20; turn++) if ((await client.echo(n + ':' + turn)) !== n + ':' + turn) return false;
      return true;
    }));
    note('all', got.every(Boolean));
    await Promise.all(clients.map((client) => client.quit()));
  },
});
await redis.quit();
