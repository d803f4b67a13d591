import java.io.BufferedReader;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.MessageQueueSelector;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * The official Java client, driven over standard input: one command a line, {@code NAME key=value ...};
 * one result a line, {@code @} and a JSON object, on standard output.
 *
 * <p>Compiled against every client version under test, so it uses only what they have in common.
 */
public final class CompatClient {
    /** As long as a busy machine may take: the clients' own limits are those of their users. */
    private static final int SEND_TIMEOUT_MS = 20_000;
    private static final int ASYNC_IN_FLIGHT = 32;
    private static final int SELECTOR_QUEUES = 4;

    private static PrintStream out;
    private static final Map<String, DefaultMQProducer> PRODUCERS = new HashMap<>();
    private static final Map<String, Consumer> CONSUMERS = new HashMap<>();

    /** A push consumer and everything it was given so far. */
    private static final class Consumer {
        DefaultMQPushConsumer push;
        final List<String> received = new ArrayList<>();
    }

    public static void main(String[] args) throws Exception {
        // Libraries print to standard output as well: results get their own stream.
        out = System.out;
        System.setOut(System.err);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.trim().split(" ");
            Map<String, String> options = new HashMap<>();
            for (int at = 1; at < words.length; at++) {
                int equals = words[at].indexOf('=');
                options.put(words[at].substring(0, equals), words[at].substring(equals + 1));
            }
            String result;
            try {
                result = run(words[0], options);
            } catch (Throwable error) {
                error.printStackTrace();
                result = "{\"error\":" + quote(error.toString()) + "}";
            }
            out.println("@" + result);
            out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private static String run(String command, Map<String, String> options) throws Exception {
        switch (command) {
            case "send":
                return send(options);
            case "transact":
                return transact(options);
            case "consume":
                return consume(options);
            case "received":
                return received(options);
            case "count":
                return "{\"count\":" + size(consumer(options)) + "}";
            case "assigned":
                return assigned(options);
            case "stop":
                consumer(options).push.shutdown();
                return "{}";
            case "offsets":
                return offsets(options);
            default:
                throw new IllegalArgumentException("unknown command " + command);
        }
    }

    // ---------------------------------------------------------------- producer

    private static String send(Map<String, String> options) throws Exception {
        DefaultMQProducer producer = producer(options);
        String topic = options.get("topic");
        String prefix = options.get("prefix");
        int count = Integer.parseInt(options.get("count"));
        List<String> sent = new ArrayList<>();
        List<String> failed = new ArrayList<>();
        Semaphore inFlight = new Semaphore(ASYNC_IN_FLIGHT);
        for (int index = 0; index < count; index++) {
            String text = body(prefix, index);
            Message message = new Message(topic, options.getOrDefault("tag", "TagA"), prefix + "-" + index,
                text.getBytes(StandardCharsets.UTF_8));
            message.putUserProperty("index", String.valueOf(index));
            try {
                switch (options.get("mode")) {
                    case "sync":
                        record(sent, failed, index, producer.send(message));
                        break;
                    case "selector":
                        record(sent, failed, index, producer.send(message, CompatClient::selectQueue, index));
                        break;
                    case "oneway":
                        producer.sendOneway(message);
                        break;
                    case "async":
                        inFlight.acquire();
                        producer.send(message, new Recorder(sent, failed, index, inFlight));
                        break;
                    default:
                        throw new IllegalArgumentException("unknown mode " + options.get("mode"));
                }
            } catch (Exception error) {
                fail(failed, index, error);
            }
        }
        if (!inFlight.tryAcquire(ASYNC_IN_FLIGHT, 60, TimeUnit.SECONDS)) {
            fail(failed, -1, new IllegalStateException("callbacks missing"));
        }
        synchronized (sent) {
            return "{\"sent\":[" + String.join(",", sent) + "],\"failed\":[" + String.join(",", failed) + "]}";
        }
    }

    /**
     * Sends half messages. By index, every fourth is committed, rolled back, committed when the broker asks,
     * rolled back when the broker asks.
     */
    private static String transact(Map<String, String> options) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(options.get("group"));
        producer.setNamesrvAddr(options.get("namesrv"));
        producer.setInstanceName("transactions-" + options.get("namesrv"));
        producer.setSendMsgTimeout(SEND_TIMEOUT_MS);
        producer.setMqClientApiTimeout(SEND_TIMEOUT_MS);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                switch ((Integer) argument % 4) {
                    case 0:
                        return LocalTransactionState.COMMIT_MESSAGE;
                    case 1:
                        return LocalTransactionState.ROLLBACK_MESSAGE;
                    default:
                        return LocalTransactionState.UNKNOW;
                }
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                boolean even = Integer.parseInt(message.getUserProperty("index")) % 2 == 0;
                return even ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
            }
        });
        producer.start();
        List<String> sent = new ArrayList<>();
        List<String> failed = new ArrayList<>();
        String prefix = options.get("prefix");
        for (int index = 0; index < Integer.parseInt(options.get("count")); index++) {
            Message message = new Message(options.get("topic"), "TagA", prefix + "-" + index,
                body(prefix, index).getBytes(StandardCharsets.UTF_8));
            message.putUserProperty("index", String.valueOf(index));
            try {
                record(sent, failed, index, producer.sendMessageInTransaction(message, index));
            } catch (Exception error) {
                fail(failed, index, error);
            }
        }
        return "{\"sent\":[" + String.join(",", sent) + "],\"failed\":[" + String.join(",", failed) + "]}";
    }

    /** Notes what became of an asynchronous send. */
    private static final class Recorder implements SendCallback {
        private final List<String> sent;
        private final List<String> failed;
        private final int index;
        private final Semaphore inFlight;

        Recorder(List<String> sent, List<String> failed, int index, Semaphore inFlight) {
            this.sent = sent;
            this.failed = failed;
            this.index = index;
            this.inFlight = inFlight;
        }

        @Override
        public void onSuccess(SendResult result) {
            record(sent, failed, index, result);
            inFlight.release();
        }

        @Override
        public void onException(Throwable error) {
            fail(failed, index, error);
            inFlight.release();
        }
    }

    private static MessageQueue selectQueue(List<MessageQueue> queues, Message message, Object argument) {
        int wanted = (Integer) argument % SELECTOR_QUEUES;
        for (MessageQueue queue : queues) {
            if (queue.getQueueId() == wanted) {
                return queue;
            }
        }
        throw new IllegalStateException("no queue " + wanted + " in " + queues);
    }

    private static void record(List<String> sent, List<String> failed, int index, SendResult result) {
        if (result.getSendStatus() != SendStatus.SEND_OK) {
            fail(failed, index, new IllegalStateException(result.toString()));
            return;
        }
        String line = "{\"i\":" + index + ",\"q\":" + result.getMessageQueue().getQueueId() + ",\"o\":"
            + result.getQueueOffset() + ",\"id\":" + quote(result.getMsgId()) + "}";
        synchronized (sent) {
            sent.add(line);
        }
    }

    private static void fail(List<String> failed, int index, Throwable error) {
        synchronized (failed) {
            failed.add(quote(index + ": " + error));
        }
    }

    private static DefaultMQProducer producer(Map<String, String> options) throws Exception {
        String namesrv = options.get("namesrv");
        DefaultMQProducer producer = PRODUCERS.get(namesrv);
        if (producer == null) {
            producer = new DefaultMQProducer("compat_producer");
            producer.setNamesrvAddr(namesrv);
            producer.setInstanceName("producer-" + namesrv);
            producer.setSendMsgTimeout(SEND_TIMEOUT_MS);
            producer.setMqClientApiTimeout(SEND_TIMEOUT_MS);
            producer.start();
            PRODUCERS.put(namesrv, producer);
        }
        return producer;
    }

    /** Max, min and earliest store time of every queue of a topic; with {@code time} also the offset at that time. */
    private static String offsets(Map<String, String> options) throws Exception {
        DefaultMQProducer admin = producer(options);
        List<String> rows = new ArrayList<>();
        for (MessageQueue queue : admin.fetchPublishMessageQueues(options.get("topic"))) {
            String row = "{\"q\":" + queue.getQueueId() + ",\"max\":" + admin.maxOffset(queue) + ",\"min\":"
                + admin.minOffset(queue);
            if (options.containsKey("time")) {
                row += ",\"at\":" + admin.searchOffset(queue, Long.parseLong(options.get("time")));
            }
            rows.add(row + "}");
        }
        return "{\"queues\":[" + String.join(",", rows) + "]}";
    }

    // ---------------------------------------------------------------- consumer

    private static String consume(Map<String, String> options) throws Exception {
        Consumer consumer = new Consumer();
        // What a consumer was given before it is killed: in the file before it is acknowledged.
        FileOutputStream journal =
            options.containsKey("journal") ? new FileOutputStream(options.get("journal")) : null;
        DefaultMQPushConsumer push = new DefaultMQPushConsumer(options.get("group"));
        push.setNamesrvAddr(options.get("namesrv"));
        push.setMqClientApiTimeout(SEND_TIMEOUT_MS);
        push.setInstanceName(options.get("id") + "-" + ProcessHandle.current().pid());
        push.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        if (options.containsKey("pop")) {
            // Not in every release that this is compiled against.
            DefaultMQPushConsumer.class.getMethod("setClientRebalance", boolean.class).invoke(push, false);
        }
        String failsOnce = options.get("failsOnce");
        // One thread: what a queue holds then reaches the listener in the queue's order.
        push.setConsumeThreadMin(1);
        push.setConsumeThreadMax(1);
        push.subscribe(options.get("topic"), options.getOrDefault("tag", "*"));
        Function<List<MessageExt>, Boolean> take = messages -> {
            synchronized (consumer.received) {
                for (MessageExt message : messages) {
                    consumer.received.add(json(message));
                    note(journal, json(message));
                }
            }
            return messages.stream().noneMatch(message -> failsOnce != null && message.getReconsumeTimes() == 0
                && new String(message.getBody(), StandardCharsets.UTF_8).startsWith(failsOnce));
        };
        if (options.containsKey("orderly")) {
            push.registerMessageListener((MessageListenerOrderly) (messages, context) -> take.apply(messages)
                ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            push.registerMessageListener((MessageListenerConcurrently) (messages, context) -> take.apply(messages)
                ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER);
        }
        consumer.push = push;
        push.start();
        CONSUMERS.put(options.get("id"), consumer);
        return "{}";
    }

    private static void note(FileOutputStream journal, String message) {
        if (journal != null) {
            try {
                journal.write((message + "\n").getBytes(StandardCharsets.UTF_8));
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        }
    }

    private static String json(MessageExt message) {
        return "{\"q\":" + message.getQueueId() + ",\"o\":" + message.getQueueOffset() + ",\"id\":"
            + quote(message.getMsgId()) + ",\"b\":" + quote(new String(message.getBody(), StandardCharsets.UTF_8))
            + ",\"t\":" + quote(message.getTags()) + ",\"k\":" + quote(message.getKeys()) + ",\"r\":"
            + message.getReconsumeTimes() + ",\"x\":" + quote(message.getUserProperty("index")) + "}";
    }

    private static String received(Map<String, String> options) {
        Consumer consumer = consumer(options);
        synchronized (consumer.received) {
            return "{\"received\":[" + String.join(",", consumer.received) + "]}";
        }
    }

    private static int size(Consumer consumer) {
        synchronized (consumer.received) {
            return consumer.received.size();
        }
    }

    private static String assigned(Map<String, String> options) {
        String topic = options.get("topic");
        List<String> queues = new ArrayList<>();
        for (MessageQueue queue : consumer(options).push.getDefaultMQPushConsumerImpl().getRebalanceImpl()
            .getProcessQueueTable().keySet()) {
            if (!queue.getTopic().startsWith("%RETRY%") && (topic == null || topic.equals(queue.getTopic()))) {
                queues.add(String.valueOf(queue.getQueueId()));
            }
        }
        return "{\"queues\":[" + String.join(",", queues) + "]}";
    }

    private static Consumer consumer(Map<String, String> options) {
        Consumer consumer = CONSUMERS.get(options.get("id"));
        if (consumer == null) {
            throw new IllegalArgumentException("no consumer " + options.get("id"));
        }
        return consumer;
    }

    // ---------------------------------------------------------------- text

    /** The body of one message; the tests compute the same. */
    private static String body(String prefix, int index) {
        StringBuilder body = new StringBuilder(prefix).append(':').append(index).append(':');
        for (int at = 0; at < index % 200; at++) {
            body.append((char) ('a' + at % 26));
        }
        return body.toString();
    }

    private static String quote(String text) {
        if (text == null) {
            return "\"\"";
        }
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                quoted.append('\\').append(c);
            } else if (c < ' ') {
                quoted.append(String.format("\\u%04x", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }
}
