"""The official C++ client, driven over standard input: one command a line, NAME key=value ...;
one result a line, "@" and a JSON object, on standard output."""

import json
import os
import sys
import threading

from rocketmq.client import Message, Producer, PushConsumer

SELECTOR_QUEUES = 4
SEND_TIMEOUT_MS = 20_000
ANSWER_LIMIT_S = 60

producers = {}
consumers = {}


def body(prefix, index):
    """The body of one message; the tests compute the same."""
    filler = "".join(chr(ord("a") + at % 26) for at in range(index % 200))
    return f"{prefix}:{index}:{filler}"


def producer(namesrv):
    if namesrv not in producers:
        made = Producer("compat_cpp_producer")
        made.set_namesrv_addr(namesrv)
        made.set_timeout(SEND_TIMEOUT_MS)
        made.start()
        producers[namesrv] = made
    return producers[namesrv]


def send(options):
    client = producer(options["namesrv"])
    prefix, mode = options["prefix"], options["mode"]
    sent, failed = [], []
    answered = threading.Semaphore(0)
    pending = 0
    batch = []
    for index in range(int(options["count"])):
        message = Message(options["topic"])
        message.set_keys(f"{prefix}-{index}")
        message.set_tags(options.get("tag", "TagA"))
        message.set_body(body(prefix, index))
        message.set_property("index", str(index))
        try:
            if mode == "sync":
                record(sent, index, client.send_sync(message))
            elif mode == "selector":
                record(sent, index, client.send_orderly(message, index % SELECTOR_QUEUES))
            elif mode == "batch":
                batch.append(message)
            elif mode == "oneway":
                client.send_oneway(message)
            elif mode == "async":
                pending += 1

                def on_success(result, index=index):
                    record(sent, index, result)
                    answered.release()

                def on_failure(error, index=index):
                    failed.append(f"{index}: {error}")
                    answered.release()

                client.send_async(message, on_success, on_failure)
            else:
                raise ValueError(f"unknown mode {mode}")
        except Exception as error:
            failed.append(f"{index}: {error!r}")
    if batch:
        record(sent, 0, client.send_batch(batch))
    for _ in range(pending):
        if not answered.acquire(timeout=ANSWER_LIMIT_S):
            failed.append("an answer is missing")
            break
    return {"sent": sent, "failed": failed}


def record(sent, index, result):
    # The wheel does not tell the queue.
    sent.append({"i": index, "q": -1, "o": result.offset, "id": result.msg_id})


class Consumer:
    """A push consumer and everything it was given so far."""

    def __init__(self, options):
        self.received = []
        self.push = PushConsumer(options["group"], orderly="orderly" in options)
        self.push.set_namesrv_addr(options["namesrv"])
        self.push.set_instance_name(f"{options['id']}-{os.getpid()}")
        # One thread: what a queue holds then reaches the callback in the queue's order.
        self.push.set_thread_count(1)
        self.push.subscribe(options["topic"], self.on_message, options.get("tag", "*"))
        self.push.start()

    def on_message(self, message):
        self.received.append({
            "q": message.queue_id,
            "o": message.queue_offset,
            "id": message.id,
            "b": text(message.body),
            "t": text(message.tags),
            "k": text(message.keys),
            "x": text(message.get_property("index")),
            "r": message.reconsume_times,
        })


def text(value):
    return "" if value is None else value.decode("utf-8")


def consume(options):
    consumers[options["id"]] = Consumer(options)
    return {}


def stop(options):
    consumers[options["id"]].push.shutdown()
    return {}


def close(_options):
    """Ends every producer, as a program does that ends well."""
    for client in producers.values():
        client.shutdown()
    producers.clear()
    return {}


COMMANDS = {
    "send": send,
    "consume": consume,
    "count": lambda options: {"count": len(consumers[options["id"]].received)},
    "received": lambda options: {"received": list(consumers[options["id"]].received)},
    "stop": stop,
    "close": close,
}


def main():
    # The library may print to standard output as well: results get their own descriptor.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        name, *words = line.split()
        options = dict(word.split("=", 1) for word in words)
        try:
            result = COMMANDS[name](options)
        except Exception as error:
            result = {"error": repr(error)}
        out.write(f"@{json.dumps(result)}\n")
        out.flush()
    # Not by way of the destructors: nothing that they would tell the servers matters now.
    os._exit(0)


if __name__ == "__main__":
    main()
