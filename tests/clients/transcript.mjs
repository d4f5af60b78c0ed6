// What both scripts share: a transcript on standard output, one line a fact, equal for equal servers.

export const [host, port] = [process.argv[2], Number(process.argv[3])];

function plain(value) {
  if (Buffer.isBuffer(value)) return 'buffer:' + value.toString('hex').slice(0, 80) + ':' + value.length;
  if (typeof value === 'bigint') return String(value) + 'n';
  if (value instanceof Error) return 'error:' + value.message;
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (value instanceof Set) return plain([...value].sort());
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === 'object') {
    return Object.fromEntries(Object.keys(value).sort().map((key) => [key, plain(value[key])]));
  }
  return value === undefined ? 'undefined' : value;
}

export function note(what, value) {
  console.log(what + ' ' + JSON.stringify(plain(value)));
}

// The value of a promise, or its error as a value.
export function settle(promise) {
  return Promise.resolve(promise).catch((error) => error);
}

export async function until(condition, what) {
  const deadline = Date.now() + 20000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('not in time: ' + what);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export async function play(parts) {
  for (const [name, part] of Object.entries(parts)) {
    console.log('--- ' + name);
    await part();
  }
  console.log('--- end');
}

const overdue = setTimeout(() => {
  console.log('overdue');
  process.exit(1);
}, 60000);
overdue.unref();
