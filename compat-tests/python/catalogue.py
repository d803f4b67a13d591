"""Scenarios with the official C++ client: `catalogue.py NAMESRV` prints `@name ok` or what went wrong, and
`catalogue.py` alone the topics that there have to be."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from rocketmq.client import Message, Producer, PullConsumer, PushConsumer
from rocketmq.ffi import MessageModel

NAMESRV = sys.argv[1] if len(sys.argv) > 1 else None
LIMIT_S = 90
# Deliveries that must not come are waited for this long.
QUIET_S = 2
IN_PARALLEL = 6
COUNT = 20

# What the library says when it knows no route.
NO_ROUTE = "No route info of this topic"
# Characters of what went wrong that are shown.
SHOWN = 400

# Everything that was started: the library does not survive that something ends while it works.
KEPT = []


class Sent:
    """A producer for one topic."""

    def __init__(self, topic):
        self.topic = topic
        self.producer = Producer(f"{topic}_producer")
        self.producer.set_namesrv_addr(NAMESRV)
        self.producer.set_timeout(20_000)
        self.producer.set_max_message_size(8 << 20)
        self.producer.start()
        KEPT.append(self)

    def message(self, body, tags="a", keys="", **properties):
        message = Message(self.topic)
        message.set_body(body)
        message.set_tags(tags)
        if keys:
            message.set_keys(keys)
        for name, value in properties.items():
            message.set_property(name, value)
        return message

    def patiently(self, send, *what):
        """Sends; again while the library finds no route: on a busy machine its threads, of which one at a
        time may ask for routes, give up waiting for each other after some seconds."""
        end = time.time() + LIMIT_S
        while True:
            try:
                return send(*what)
            except Exception as error:
                if NO_ROUTE not in str(error) or time.time() >= end:
                    raise
                time.sleep(0.1)

    def send(self, body, **more):
        result = self.patiently(self.producer.send_sync, self.message(body, **more))
        check(result.status == 0, f"status {result.status}")
        return result


class Received:
    """A push consumer and what it was given; `refuse` says which messages it fails at, and when."""

    made = 0

    def __init__(self, topic, group, tags="*", refuse=lambda message: False, **how):
        Received.made += 1
        self.messages = []
        self.refuse = refuse
        self.push = PushConsumer(group, **how)
        self.push.set_namesrv_addr(NAMESRV)
        self.push.set_instance_name(f"{group}-{Received.made}-{os.getpid()}")
        self.push.set_thread_count(1)
        self.push.subscribe(topic, self.on_message, tags)
        self.push.start()
        KEPT.append(self)

    def on_message(self, message):
        got = {
            "body": message.body, "tags": message.tags, "keys": message.keys, "id": message.id,
            "color": message.get_property("color"), "queue": message.queue_id,
            "times": message.reconsume_times, "offset": message.queue_offset, "at": time.time(),
        }
        self.messages.append(got)
        if self.refuse(got):
            raise RuntimeError("not now")

    def bodies(self):
        return sorted(got["body"] for got in self.messages)

    def wait(self, *bodies):
        expected = sorted(body.encode() for body in bodies)
        try:
            until(lambda: len(self.messages) >= len(expected), f"{len(expected)} messages")
        finally:
            seen = [body[:SHOWN // 20] for body in self.bodies()]
            check(self.bodies() == expected, f"got {len(seen)} messages: {seen}")


def check(right, what):
    if not right:
        raise AssertionError(what)


def until(is_so, what):
    end = time.time() + LIMIT_S
    while not is_so():
        check(time.time() < end, f"no {what} in {LIMIT_S} s")
        time.sleep(0.02)


def bodies(count=COUNT):
    return [f"body-{index}" for index in range(count)]


def a_message_arrives_as_it_was_sent(topic):
    sent = Sent(topic)
    result = sent.send("\u4e2d\u6587 body", tags="t", keys="k1 k2", color="red")
    received = Received(topic, f"{topic}_group")
    received.wait("\u4e2d\u6587 body")
    got = received.messages[0]
    check((got["tags"], got["keys"], got["color"]) == (b"t", b"k1 k2", b"red"), str(got))
    check(got["offset"] == result.offset == 0 and got["times"] == 0, str(got))


def asynchronous_sends_are_answered(topic):
    sent = Sent(topic)
    answers, failures = [], []
    def send(message):
        failed = []
        # A send that finds no route fails in both ways; its callback is not an answer.
        sent.producer.send_async(message, answers.append, failed.append)
        failures.append(failed)
    for body in bodies():
        sent.patiently(send, sent.message(body))
    until(lambda: len(answers) + sum(map(len, failures)) >= COUNT, "answers")
    check(not any(failures), str(failures))
    Received(topic, f"{topic}_group").wait(*bodies())


def oneway_sends_arrive(topic):
    sent = Sent(topic)
    sent.send("first")
    for body in bodies():
        sent.producer.send_oneway(sent.message(body))
    Received(topic, f"{topic}_group").wait("first", *bodies())


def a_batch_is_one_message(topic):
    """The client does not say that it is a batch: its messages are stored as the body of one."""
    sent = Sent(topic)
    sent.send("first")
    batch = [sent.message(body) for body in bodies()]
    check(sent.patiently(sent.producer.send_batch, batch).status == 0, "batch")
    received = Received(topic, f"{topic}_group")
    # The size of the first one begins with a zero byte, which ends the text.
    received.wait("first", "")
    time.sleep(QUIET_S)
    received.wait("first", "")


def a_large_body_is_compressed_and_comes_back(topic):
    body = "".join(chr(97 + at * 7 % 26) for at in range(300_000))
    Sent(topic).send(body)
    Received(topic, f"{topic}_group").wait(body)


def a_body_that_is_too_large_is_refused(topic):
    sent = Sent(topic)
    sent.send("small")
    try:
        # What cannot be compressed.
        sent.producer.send_sync(sent.message(os.urandom(5 << 20).hex()[:9 << 20]))
    except Exception:
        return
    raise AssertionError("it was taken")


def orderly_messages_come_in_order_from_one_queue(topic):
    sent = Sent(topic)
    for body in bodies():
        sent.patiently(sent.producer.send_orderly, sent.message(body), 1)
    received = Received(topic, f"{topic}_group", orderly=True)
    received.wait(*bodies())
    check([got["body"].decode() for got in received.messages] == bodies(), "another order")
    check(len({got["queue"] for got in received.messages}) == 1, "several queues")


def tags_choose_messages(topic):
    sent = Sent(topic)
    for tag in "abcabc":
        sent.send(f"tag-{tag}", tags=tag)
    received = Received(topic, f"{topic}_group", "a || c")
    received.wait("tag-a", "tag-a", "tag-c", "tag-c")


def a_delayed_message_waits(topic):
    sent = Sent(topic)
    sent.send("now")
    message = sent.message("later")
    message.set_delay_time_level(2)
    began = time.time()
    check(sent.patiently(sent.producer.send_sync, message).status == 0, "status")
    received = Received(topic, f"{topic}_group")
    received.wait("now", "later")
    at = next(got["at"] for got in received.messages if got["body"] == b"later")
    check(at - began >= 4.5, f"it came after {at - began:.1f} s")


def a_message_that_failed_comes_again(topic):
    Sent(topic).send("again")
    received = Received(topic, f"{topic}_group", refuse=lambda got: got["times"] == 0)
    received.wait("again", "again")
    check([got["times"] for got in received.messages] == [0, 1], str(received.messages))


def broadcasts_reach_every_member(topic):
    sent = Sent(topic)
    sent.send("warm")
    how = {"message_model": MessageModel.BROADCASTING}
    members = [Received(topic, f"{topic}_group_{at}", **how) for at in range(2)]
    # A group that broadcasts begins with the newest message: it is there once it got one.
    def reached():
        sent.send("probe")
        time.sleep(0.2)
        return all(b"probe" in member.bodies() for member in members)
    until(reached, "both members")
    sent.send("for all")
    until(lambda: all(b"for all" in member.bodies() for member in members), "delivery to both")


def members_of_a_group_share_messages(topic):
    sent = Sent(topic)
    sent.send("first")
    one = Received(topic, f"{topic}_group")
    one.wait("first")
    two = Received(topic, f"{topic}_group")
    counter = iter(range(1_000_000))
    def shared():
        sent.send(f"n-{next(counter)}")
        return two.messages
    until(shared, "delivery to the second member")
    total = next(counter)
    until(lambda: len({body for m in (one, two) for body in m.bodies()}) == total + 1, "delivery of all")


def a_group_goes_on_where_it_was(topic):
    sent = Sent(topic)
    for body in bodies():
        sent.send(body)
    first = Received(topic, f"{topic}_group")
    first.wait(*bodies())
    first.push.shutdown()
    sent.send("while away")
    second = Received(topic, f"{topic}_group")
    second.wait("while away")
    time.sleep(QUIET_S)
    second.wait("while away")


def a_pull_consumer_reads_everything(topic):
    sent = Sent(topic)
    for body in bodies():
        sent.send(body)
    consumer = PullConsumer(f"{topic}_group")
    KEPT.append(consumer)
    consumer.set_namesrv_addr(NAMESRV)
    consumer.start()
    got = set()
    def read():
        got.update(message.body.decode() for message in consumer.pull(topic))
        return len(got) >= COUNT
    until(read, "all messages")
    check(got == set(bodies()), str(got))
    consumer.shutdown()


SCENARIOS = [
    a_message_arrives_as_it_was_sent, asynchronous_sends_are_answered, oneway_sends_arrive,
    a_batch_is_one_message, a_large_body_is_compressed_and_comes_back,
    a_body_that_is_too_large_is_refused, orderly_messages_come_in_order_from_one_queue,
    tags_choose_messages, a_delayed_message_waits, a_message_that_failed_comes_again,
    broadcasts_reach_every_member, members_of_a_group_share_messages, a_group_goes_on_where_it_was,
    a_pull_consumer_reads_everything,
]


def topic_of(scenario):
    return f"cpp_{scenario.__name__}"


def main():
    if NAMESRV is None:
        print("\n".join(topic_of(scenario) for scenario in SCENARIOS))
        return
    # The library may print to standard output as well: results get their own descriptor.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    lock = threading.Lock()

    def run(scenario):
        try:
            scenario(topic_of(scenario))
            outcome = "ok"
        except Exception as error:
            outcome = repr(error).replace("\n", " ")[:SHOWN]
        with lock:
            out.write(f"@{scenario.__name__} {outcome}\n")
            out.flush()

    with ThreadPoolExecutor(IN_PARALLEL) as pool:
        list(pool.map(run, SCENARIOS))
    # Not by way of the destructors: nothing that they would tell the servers matters now.
    os._exit(0)


main()
