// node-redis against HOST PORT, in RESP2 and RESP3: prints a transcript as ioredis.mjs does.
import { createClient, createClientPool, defineScript, WatchError } from 'redis';
import { host, note, play, port, settle, until } from './transcript.mjs';

async function open(options = {}) {
  const client = createClient({ socket: { host, port }, unstableResp3: true, ...options });
  client.on('error', () => {});
  return client.connect();
}

for (const RESP of [2, 3]) {
  const scripts = {
    twice: defineScript({
      NUMBER_OF_KEYS: 1,
      SCRIPT: "return {redis.call('GET', KEYS[1]), ARGV[1] .. ARGV[1]}",
      parseCommand(parser, key, arg) {
        parser.pushKey(key);
        parser.push(arg);
      },
      transformReply: undefined,
    }),
  };
  const redis = await open({ RESP, scripts });
  console.log('=== RESP' + RESP);
  await play({
    async commands() {
      note('flush', await redis.flushAll());
      note('set', [await redis.set('k', 'v'), await redis.set('k', 'w', { GET: true }), await redis.get('k'), await redis.get('none')]);
      note('hash', [await redis.hSet('h', { f: '1', g: 'two' }), await redis.hGetAll('h'), await redis.hGetAll('none')]);
      note('set members', [await redis.sAdd('s', ['a', 'b']), (await redis.sMembers('s')).sort(), await redis.sIsMember('s', 'a')]);
      note('zset', [await redis.zAdd('z', [{ score: 1.5, value: 'a' }, { score: Infinity, value: 'b' }]), await redis.zRangeWithScores('z', 0, -1), await redis.zScore('z', 'a')]);
      note('geo', [await redis.geoAdd('g', { longitude: 13.4, latitude: 52.5, member: 'b' }), await redis.geoSearch('g', 'b', { radius: 10, unit: 'km' })]);
      note('wrong type', await settle(redis.lPush('k', 'x')));
      note('unknown', await settle(redis.sendCommand(['NOSUCH', 'a'])));
      note('large', [await redis.set('large', 'x'.repeat(3000000)), (await redis.get('large')).length]);
      note('config', await redis.configGet('maxmemory-policy'));
      note('select', [await redis.select(5), await redis.get('k'), await redis.select(0), await redis.get('k')]);
      note('type map', await settle(redis.sendCommand(['OBJECT', 'ENCODING', 'k'])));
    },
    async pipelines() {
      const got = await Promise.all([...Array(6000).keys()].map((n) => (n % 2 ? redis.echo('e' + n) : redis.incr('counter'))));
      note('right', got.every((value, n) => (n % 2 ? value === 'e' + n : value === n / 2 + 1)));
    },
    async transactions() {
      note('multi', await redis.multi().set('t', '1').incr('t').get('t').hGetAll('h').exec());
      note('aborted', await settle(redis.multi().set('t', '1').addCommand(['NOSUCH']).exec()));
      const loser = await open({ RESP });
      await loser.watch('t');
      await redis.set('t', 'changed');
      const lost = await settle(loser.multi().set('t', 'mine').exec());
      note('watch', lost instanceof WatchError);
      loser.destroy();
      const wins = await Promise.all([...Array(5)].map(async () => {
        const client = await open({ RESP });
        let count = 0;
        while (count < 20) {
          await client.watch('race');
          const value = Number(await client.get('race')) || 0;
          const got = await settle(client.multi().set('race', String(value + 1)).exec());
          if (!(got instanceof Error)) count++;
        }
        client.destroy();
        return count;
      }));
      note('race', [wins, await redis.get('race')]);
    },
    async pubsub() {
      const sub = await open({ RESP });
      const seen = [];
      await sub.subscribe('news', (message, channel) => seen.push([channel, message]));
      await sub.pSubscribe('p*', (message, channel) => seen.push([channel, message]));
      await sub.sSubscribe('shard', (message, channel) => seen.push([channel, message]));
      note('ping', await settle(sub.ping()));
      for (let n = 0; n < 30; n++) await redis.publish('news', 'n' + n);
      note('publish', [await redis.publish('p1', 'x'), await redis.sPublish('shard', 'y'), await redis.publish('none', 'z')]);
      await until(() => seen.length === 32, 'messages');
      note('seen', seen);
      if (RESP === 3) note('commands beside', [await sub.set('beside', '1'), await sub.get('beside')]);
      await sub.sUnsubscribe('shard');
      await sub.pUnsubscribe('p*');
      await sub.unsubscribe('news');
      note('after', await sub.get('k'));
      await sub.close();
    },
    async blocking() {
      const waiting = await open({ RESP });
      const popped = waiting.blPop(['queue', 'queue2'], 0);
      await until(async () => /blocked_clients:1/.test(await redis.info('clients')), 'blocked');
      await redis.rPush('queue2', 'job');
      note('blpop', await popped);
      note('timeout', await waiting.brPop('none', 0.01));
      const scored = waiting.bzPopMin('zqueue', 0);
      await redis.zAdd('zqueue', { score: 2, value: 'm' });
      note('bzpopmin', await scored);
      waiting.destroy();
      const pool = await createClientPool({ socket: { host, port }, RESP }, { minimum: 2, maximum: 5 }).connect();
      note('pool', (await Promise.all([...Array(50).keys()].map((n) => pool.echo('p' + n)))).length);
      note('pool blocks', await Promise.all([pool.blPop('pq', 0), redis.rPush('pq', 'x')]));
      pool.destroy();
    },
    async streams() {
      note('group', await redis.xGroupCreate('stream', 'group', '$', { MKSTREAM: true }));
      const worker = await open({ RESP });
      const read = worker.xReadGroup('group', 'one', { key: 'stream', id: '>' }, { COUNT: 5, BLOCK: 0 });
      note('xadd', await redis.xAdd('stream', '1-1', { field: 'value' }));
      note('xreadgroup', await read);
      note('xack', [await redis.xAck('stream', 'group', '1-1'), await redis.xPending('stream', 'group')]);
      note('xread', await redis.xRead({ key: 'stream', id: '0' }));
      note('xrange', await redis.xRange('stream', '-', '+'));
      worker.destroy();
    },
    async scripts() {
      note('defined', [await redis.twice('k', 'x'), await redis.twice('k', 'y')]);
      note('in multi', await redis.multi().twice('k', 'z').exec());
      note('flushed', [await redis.scriptFlush(), await redis.twice('k', 'again')]);
      note('eval', [await redis.eval('return {1, ARGV[1], false}', { arguments: ['a'] }), await settle(redis.evalSha('0'.repeat(40)))]);
      note('function', [await redis.functionLoad('#!lua name=rlib\nredis.register_function("rf", function(k, a) return a[1] end)', { REPLACE: true }), await redis.fCall('rf', { arguments: ['arg'] })]);
      note('function delete', await redis.functionDelete('rlib'));
    },
    async scanning() {
      await Promise.all([...Array(500).keys()].map((n) => redis.set('scan:' + n, 'x')));
      let found = 0;
      for await (const keys of redis.scanIterator({ MATCH: 'scan:*', COUNT: 50 })) found += keys.length;
      note('found', found);
    },
    async users() {
      note('setuser', await redis.aclSetUser('node', ['on', '>secret', '~node:*', '+@all', '-flushall']));
      const user = await open({ RESP, username: 'node', password: 'secret', database: 3, name: 'as-user' });
      note('whoami', [await user.aclWhoAmI(), await user.clientGetName(), await user.set('node:k', '1')]);
      note('refused', [await settle(user.get('other')), await settle(user.flushAll())]);
      note('wrong', await settle(open({ RESP, username: 'node', password: 'bad', socket: { host, port, reconnectStrategy: false } })));
      note('deluser', await redis.aclDelUser('node'));
      await until(async () => (await settle(user.ping())) !== 'PONG' || !user.isReady, 'the user is cut');
      user.destroy();
    },
    async caching() {
      if (RESP === 2) return;
      const cached = await open({ RESP, clientSideCache: { ttl: 0, maxEntries: 100, evictPolicy: 'LRU' } });
      await redis.set('cached', 'one');
      note('read', [await cached.get('cached'), await cached.get('cached')]);
      await redis.set('cached', 'two');
      await until(async () => (await cached.get('cached')) === 'two', 'an invalidation');
      await redis.flushAll();
      await until(async () => (await cached.get('cached')) === null, 'an invalidation of all');
      note('told', true);
      cached.destroy();
    },
  });
  await redis.close();
}
