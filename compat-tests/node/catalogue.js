'use strict';

// Scenarios with the Node client `ali-ons`: `catalogue.js NAMESRV` prints `@name ok` or what went wrong, and
// `catalogue.js` alone the topics that there have to be: the client sends to no other.

const { Consumer, Message, Producer } = require('ali-ons');

const NAMESRV = process.argv[2];
const LIMIT_MS = 90000;
// Deliveries that must not come are waited for this long.
const QUIET_MS = 2000;
const COUNT = 20;

// Everything but results goes to standard error.
const out = process.stdout.write.bind(process.stdout);
console.log = console.info = console.warn = console.error;

// Must be given, for finding name servers by HTTP, which no scenario does.
const httpclient = {};
const common = { httpclient, nameSrv: NAMESRV, clientIP: '127.0.0.1' };

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
const bodies = Array.from({ length: COUNT }, (_, index) => `body-${index}`);

function check(right, what) {
  if (!right) {
    throw new Error(what);
  }
}

async function until(isSo, what) {
  const end = Date.now() + LIMIT_MS;
  while (!await isSo()) {
    check(Date.now() < end, `no ${what} in ${LIMIT_MS} ms`);
    await sleep(20);
  }
}

let producer;

async function send(topic, body, change = () => {}, tags = 'a') {
  const message = new Message(topic, tags, body);
  change(message);
  const result = await producer.send(message);
  check(result.sendStatus === 'SEND_OK', result.sendStatus);
  return result;
}

let made = 0;

async function receive(topic, group, options = {}) {
  const received = [];
  const push = new Consumer({
    ...common,
    consumerGroup: group,
    instanceName: `${group}-${made++}-${process.pid}`,
    consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
    ...options,
  });
  push.on('error', error => console.error(error));
  push.subscribe(topic, options.tags || '*', async message => {
    received.push({
      body: message.body.toString(),
      tags: message.tags,
      keys: message.keys,
      color: message.properties.color,
      times: message.reconsumeTimes,
      at: Date.now(),
    });
    if (options.refuse && options.refuse(message)) {
      throw new Error('not now');
    }
  });
  await push.ready();
  const wait = async (...expected) => {
    await until(() => received.length >= expected.length, `${expected.length} messages`);
    const got = received.map(message => message.body).sort();
    check(JSON.stringify(got) === JSON.stringify(expected.sort()), `got ${got.length} messages: ${got.map(body => body.slice(0, 20))}`);
  };
  return { push, received, wait, has: body => received.some(message => message.body === body) };
}

const SCENARIOS = {
  async a_message_arrives_as_it_was_sent(topic) {
    const result = await send(topic, '\u4e2d\u6587 body', message => {
      message.keys = [ 'k1', 'k2' ];
      message.properties.color = 'red';
    }, 't');
    check(Number(result.queueOffset) === 0, `offset ${result.queueOffset}`);
    const consumer = await receive(topic, `${topic}_group`);
    await consumer.wait('\u4e2d\u6587 body');
    const { tags, keys, color, times } = consumer.received[0];
    check(tags === 't' && keys === 'k1 k2' && color === 'red' && times === 0, JSON.stringify(consumer.received));
  },

  async many_sends_at_once_are_answered(topic) {
    await send(topic, 'first');
    await Promise.all(bodies.map(body => send(topic, body)));
    await (await receive(topic, `${topic}_group`)).wait('first', ...bodies);
  },

  async tags_choose_messages(topic) {
    for (const tag of 'abcabc') {
      await send(topic, `tag-${tag}`, () => {}, tag);
    }
    const consumer = await receive(topic, `${topic}_group`, { tags: 'a || c' });
    await consumer.wait('tag-a', 'tag-a', 'tag-c', 'tag-c');
  },

  async a_large_body_is_compressed_and_comes_back(topic) {
    const body = Array.from({ length: 100000 }, (_, at) => String.fromCharCode(97 + at * 7 % 26)).join('');
    await send(topic, body);
    await (await receive(topic, `${topic}_group`)).wait(body);
  },

  async a_delayed_message_waits(topic) {
    await send(topic, 'now');
    const began = Date.now();
    await send(topic, 'later', message => { message.delayTimeLevel = 2; });
    const consumer = await receive(topic, `${topic}_group`);
    await consumer.wait('now', 'later');
    const { at } = consumer.received.find(message => message.body === 'later');
    check(at - began >= 4500, `it came after ${at - began} ms`);
  },

  async a_message_that_failed_comes_again(topic) {
    await send(topic, 'again');
    const refuse = message => message.reconsumeTimes === 0;
    const consumer = await receive(topic, `${topic}_group`, { refuse });
    await until(() => consumer.received.some(message => message.times > 0), 'second delivery');
    check(consumer.received.every(message => message.body === 'again'), JSON.stringify(consumer.received));
  },

  async broadcasts_reach_every_member(topic) {
    await send(topic, 'warm');
    const options = { isBroadcast: true };
    const members = await Promise.all([ 0, 1 ].map(at => receive(topic, `${topic}_group_${at}`, options)));
    // It is there once it got one.
    await until(async () => {
      await send(topic, 'probe');
      await sleep(200);
      return members.every(member => member.has('probe'));
    }, 'delivery to both');
    await send(topic, 'for all');
    await until(() => members.every(member => member.has('for all')), 'delivery to both');
  },

  async a_group_goes_on_where_it_was(topic) {
    for (const body of bodies) {
      await send(topic, body);
    }
    const first = await receive(topic, `${topic}_group`);
    await first.wait(...bodies);
    await first.push.close();
    await send(topic, 'while away');
    const second = await receive(topic, `${topic}_group`);
    await until(() => second.has('while away'), 'what came while nobody was there');
    await sleep(QUIET_MS);
    const again = second.received.filter(message => message.body !== 'while away');
    check(again.length === 0, `${again.length} came again`);
  },

  async two_groups_each_get_everything(topic) {
    for (const body of bodies) {
      await send(topic, body);
    }
    const groups = await Promise.all([ 'a', 'b' ].map(name => receive(topic, `${topic}_group_${name}`)));
    await Promise.all(groups.map(group => group.wait(...bodies)));
  },
};

const topicOf = name => `node_${name}`;

async function main() {
  if (!NAMESRV) {
    out(Object.keys(SCENARIOS).map(name => `${topicOf(name)}\n`).join(''));
    return;
  }
  producer = new Producer({ ...common, producerGroup: 'catalogue_node_producer', sendMsgTimeout: 20000 });
  producer.on('error', error => console.error(error));
  await producer.ready();
  await Promise.all(Object.entries(SCENARIOS).map(async ([ name, scenario ]) => {
    let outcome = 'ok';
    try {
      await scenario(topicOf(name));
    } catch (error) {
      outcome = String(error).replace(/\n/g, ' ').slice(0, 400);
    }
    out(`@${name} ${outcome}\n`);
  }));
  process.exit(0);
}

main();
