'use strict';

// The Node client `ali-ons`, driven over standard input: one command a line, NAME key=value ...;
// one result a line, "@" and a JSON object, on standard output.

const readline = require('readline');
const { Consumer, Message, Producer } = require('ali-ons');

const ASYNC_IN_FLIGHT = 32;

// Everything but results goes to standard error.
const out = process.stdout.write.bind(process.stdout);
console.log = console.info = console.warn = console.error;

// Must be given, for finding name servers by HTTP, which no test does.
const httpclient = {};

const producers = new Map();
const consumers = new Map();

// The body of one message; the tests compute the same.
function body(prefix, index) {
  let filler = '';
  for (let at = 0; at < index % 200; at++) {
    filler += String.fromCharCode(97 + at % 26);
  }
  return `${prefix}:${index}:${filler}`;
}

async function producer(namesrv) {
  if (!producers.has(namesrv)) {
    const made = new Producer({
      httpclient,
      nameSrv: namesrv,
      clientIP: '127.0.0.1',
      producerGroup: 'compat_node_producer',
      sendMsgTimeout: 20000,
    });
    made.on('error', error => console.error(error));
    await made.ready();
    producers.set(namesrv, made);
  }
  return producers.get(namesrv);
}

async function send(options) {
  const client = await producer(options.namesrv);
  const sent = [];
  const failed = [];
  const one = async index => {
    const message = new Message(options.topic, options.tag || 'TagA', body(options.prefix, index));
    message.keys = [ `${options.prefix}-${index}` ];
    message.properties.index = String(index);
    try {
      const result = await client.send(message);
      if (result.sendStatus !== 'SEND_OK') {
        throw new Error(result.sendStatus);
      }
      sent.push({
        i: index,
        q: Number(result.messageQueue.queueId),
        o: Number(result.queueOffset),
        id: result.msgId,
      });
    } catch (error) {
      failed.push(`${index}: ${error}`);
    }
  };
  const inFlight = { sync: 1, async: ASYNC_IN_FLIGHT }[options.mode];
  if (!inFlight) {
    throw new Error(`unknown mode ${options.mode}`);
  }
  let next = 0;
  const lane = async () => {
    while (next < Number(options.count)) {
      await one(next++);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  return { sent, failed };
}

async function consume(options) {
  const received = [];
  const push = new Consumer({
    httpclient,
    nameSrv: options.namesrv,
    clientIP: '127.0.0.1',
    consumerGroup: options.group,
    instanceName: `${options.id}-${process.pid}`,
    consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
  });
  push.on('error', error => console.error(error));
  push.subscribe(options.topic, options.tag || '*', async message => {
    received.push({
      q: message.queueId,
      o: Number(message.queueOffset),
      id: message.msgId,
      b: message.body.toString(),
      t: message.tags || '',
      k: message.keys || '',
      x: message.properties.index || '',
      r: message.reconsumeTimes,
    });
  });
  await push.ready();
  consumers.set(options.id, { push, received });
  return {};
}

const COMMANDS = {
  send,
  consume,
  count: ({ id }) => ({ count: consumers.get(id).received.length }),
  received: ({ id }) => ({ received: consumers.get(id).received }),
  stop: async ({ id }) => {
    await consumers.get(id).push.close();
    return {};
  },
  // Ends every producer, as a program does that ends well.
  close: async () => {
    for (const made of producers.values()) {
      await made.close();
    }
    producers.clear();
    return {};
  },
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [ name, ...words ] = line.trim().split(' ');
    const options = Object.fromEntries(words.map(word => {
      const equals = word.indexOf('=');
      return [ word.slice(0, equals), word.slice(equals + 1) ];
    }));
    let result;
    try {
      result = await COMMANDS[name](options);
    } catch (error) {
      console.error(error);
      result = { error: String(error) };
    }
    out(`@${JSON.stringify(result)}\n`);
  }
  process.exit(0);
}

main();
