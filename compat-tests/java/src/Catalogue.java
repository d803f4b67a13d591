import java.io.PrintStream;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.BiConsumer;
import java.util.function.BooleanSupplier;
import java.util.function.Function;

import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.client.consumer.store.ReadOffsetType;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * Scenarios of an ordinary application, run in parallel, each on a topic and group of its own:
 * {@code Catalogue NAMESRV TAG}. One line each on standard output, {@code @name ok} or {@code @name failed text}.
 *
 * <p>Compiled against every client version under test, so it uses only what they have in common, and reflection
 * where they differ.
 */
public final class Catalogue {
    private static final int PARALLEL = 16;
    private static final int QUEUES = 4;
    private static final long LIMIT_MS = 60_000;

    private interface Scenario {
        void run(Context context) throws Exception;
    }

    private interface RequestCall {
        Message ask() throws Exception;
    }

    /** Not built into every client: counted as neither passed nor failed. */
    private static final class NotInThisClient extends RuntimeException {
    }

    private static String namesrv;
    private static String tag;
    private static DefaultMQProducer shared;

    public static void main(String[] args) throws Exception {
        PrintStream out = System.out;
        System.setOut(System.err);
        namesrv = args[0];
        tag = args[1];
        Set<String> only = new HashSet<>(Arrays.asList(args).subList(2, args.length));
        shared = new DefaultMQProducer("catalogue_producer_" + tag);
        shared.setNamesrvAddr(namesrv);
        shared.setInstanceName("catalogue-" + tag);
        shared.setSendMsgTimeout(20_000);
        shared.setMaxMessageSize(8 << 20);
        shared.start();
        ExecutorService pool = Executors.newFixedThreadPool(PARALLEL);
        for (Map.Entry<String, Scenario> entry : scenarios().entrySet()) {
            String name = entry.getKey();
            if (!only.isEmpty() && !only.contains(name)) {
                continue;
            }
            pool.submit(() -> {
                Context context = new Context(name);
                String outcome;
                try {
                    context.createTopic(context.topic);
                    entry.getValue().run(context);
                    outcome = "ok";
                } catch (NotInThisClient absent) {
                    outcome = "absent";
                } catch (Throwable error) {
                    error.printStackTrace();
                    outcome = "failed " + withCauses(error).replace('\n', ' ').replace('\r', ' ');
                }
                context.close();
                synchronized (out) {
                    out.println("@" + name + " " + outcome);
                    out.flush();
                }
            });
        }
        pool.shutdown();
        pool.awaitTermination(10, TimeUnit.MINUTES);
        Runtime.getRuntime().halt(0);
    }

    // ---------------------------------------------------------------- what scenarios have in common

    private static final class Context {
        final String topic;
        final String group;
        final List<Runnable> closing = Collections.synchronizedList(new ArrayList<>());
        private final AtomicInteger members = new AtomicInteger();

        Context(String name) {
            topic = "cat_" + tag + "_" + name;
            group = topic + "_group";
        }

        void close() {
            for (Runnable close : closing) {
                try {
                    close.run();
                } catch (RuntimeException error) {
                    error.printStackTrace();
                }
            }
        }

        void createTopic(String name) throws Exception {
            try {
                Method method = DefaultMQProducer.class.getMethod("createTopic", String.class, String.class, int.class);
                method.invoke(shared, "TBW102", name, QUEUES);
            } catch (NoSuchMethodException newer) {
                Method method = DefaultMQProducer.class.getMethod("createTopic", String.class, String.class, int.class,
                    Map.class);
                method.invoke(shared, "TBW102", name, QUEUES, new HashMap<String, String>());
            }
            await("a route to " + name, () -> {
                try {
                    return shared.fetchPublishMessageQueues(name).size() == QUEUES;
                } catch (MQClientException notYet) {
                    return false;
                }
            });
        }

        Message message(String body) {
            return new Message(topic, body.getBytes(StandardCharsets.UTF_8));
        }

        SendResult send(String body) throws Exception {
            return sent(shared.send(message(body)));
        }

        /** Sends numbered bodies, in turn to each queue. */
        void sendMany(int count) throws Exception {
            List<MessageQueue> queues = queues();
            for (int index = 0; index < count; index++) {
                sent(shared.send(message(String.valueOf(index)), queues.get(index % queues.size())));
            }
        }

        /** Sends a thousand messages to a queue, each changed by its number. */
        void sendThousand(MessageQueue queue, BiConsumer<Message, Integer> change) throws Exception {
            for (int begin = 0; begin < 1_000; begin += 100) {
                List<Message> batch = new ArrayList<>();
                for (int index = begin; index < begin + 100; index++) {
                    Message message = message(String.valueOf(index));
                    change.accept(message, index);
                    batch.add(message);
                }
                sent(shared.send(batch, queue));
            }
            awaitMax(queue, 1_000);
        }

        /** Asks until there is an answer: the broker may not know the requester yet. */
        Message request(RequestCall call) throws Exception {
            for (int attempt = 1; ; attempt++) {
                try {
                    return call.ask();
                } catch (RequestTimeoutException unanswered) {
                    if (attempt == 4) {
                        throw unanswered;
                    }
                }
            }
        }

        List<MessageQueue> queues() throws Exception {
            List<MessageQueue> queues = new ArrayList<>(shared.fetchPublishMessageQueues(topic));
            Collections.sort(queues);
            return queues;
        }

        DefaultMQProducer producer(String suffix) {
            DefaultMQProducer producer = new DefaultMQProducer(group + suffix);
            producer.setNamesrvAddr(namesrv);
            producer.setInstanceName(topic + suffix);
            producer.setSendMsgTimeout(20_000);
            closing.add(producer::shutdown);
            return producer;
        }

        DefaultMQPushConsumer push() {
            DefaultMQPushConsumer push = new DefaultMQPushConsumer(group);
            push.setNamesrvAddr(namesrv);
            push.setInstanceName(topic + members.incrementAndGet());
            push.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            push.setConsumeThreadMin(2);
            push.setConsumeThreadMax(2);
            closing.add(push::shutdown);
            return push;
        }

        /** Starts a consumer that takes everything of an expression. */
        Inbox receive(String expression) throws Exception {
            DefaultMQPushConsumer push = push();
            push.subscribe(topic, expression);
            return listen(push);
        }

        Inbox listen(DefaultMQPushConsumer push) throws Exception {
            Inbox inbox = new Inbox();
            push.registerMessageListener((MessageListenerConcurrently) (messages, how) -> {
                inbox.add(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            push.start();
            return inbox;
        }

        Inbox listenInOrder(DefaultMQPushConsumer push) throws Exception {
            Inbox inbox = new Inbox();
            push.registerMessageListener((MessageListenerOrderly) (messages, how) -> {
                inbox.add(messages);
                return ConsumeOrderlyStatus.SUCCESS;
            });
            push.start();
            return inbox;
        }

        DefaultLitePullConsumer lite() {
            DefaultLitePullConsumer lite = new DefaultLitePullConsumer(group);
            lite.setNamesrvAddr(namesrv);
            lite.setInstanceName(topic + members.incrementAndGet());
            lite.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            lite.setAutoCommit(false);
            closing.add(lite::shutdown);
            return lite;
        }

        DefaultMQPullConsumer pull() throws Exception {
            DefaultMQPullConsumer pull = new DefaultMQPullConsumer(group);
            pull.setNamesrvAddr(namesrv);
            pull.setInstanceName(topic + members.incrementAndGet());
            closing.add(pull::shutdown);
            pull.start();
            return pull;
        }

        void awaitMax(MessageQueue queue, long offset) {
            await(queue + " up to " + offset, () -> {
                try {
                    return shared.maxOffset(queue) >= offset;
                } catch (MQClientException error) {
                    return false;
                }
            });
        }
    }

    /** What a consumer was given. */
    private static final class Inbox {
        private final List<MessageExt> all = new ArrayList<>();

        synchronized void add(List<MessageExt> messages) {
            all.addAll(messages);
        }

        synchronized List<MessageExt> all() {
            return new ArrayList<>(all);
        }

        List<MessageExt> await(int count) {
            Catalogue.await(count + " messages", () -> all().size() >= count);
            return all();
        }

        /** Waits until these bodies were given, however often, and nothing else was. */
        void awaitBodies(Collection<String> wanted) {
            Set<String> expected = new TreeSet<>(wanted);
            try {
                Catalogue.await("", () -> bodies().containsAll(expected));
            } catch (IllegalStateException late) {
                throw new IllegalStateException("wanted " + expected + ", got " + bodies());
            }
            equal(bodies(), expected);
        }

        Set<String> bodies() {
            Set<String> bodies = new TreeSet<>();
            for (MessageExt message : all()) {
                bodies.add(body(message));
            }
            return bodies;
        }
    }

    private static void await(String what, BooleanSupplier condition) {
        long end = System.currentTimeMillis() + LIMIT_MS;
        while (!condition.getAsBoolean()) {
            if (System.currentTimeMillis() > end) {
                throw new IllegalStateException("in vain: " + what);
            }
            try {
                Thread.sleep(20);
            } catch (InterruptedException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    private static void equal(Object actual, Object expected) {
        if (!expected.equals(actual)) {
            throw new IllegalStateException("expected " + expected + ", got " + actual);
        }
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new IllegalStateException(what);
        }
    }

    /** The error and what is behind it: the client wraps what a server or the network said. */
    private static String withCauses(Throwable error) {
        StringBuilder text = new StringBuilder(String.valueOf(error));
        for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) {
            text.append(", because of ").append(cause);
        }
        return text.toString();
    }

    private static String body(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    private static List<String> numbers(int count) {
        List<String> numbers = new ArrayList<>();
        for (int index = 0; index < count; index++) {
            numbers.add(String.valueOf(index));
        }
        return numbers;
    }

    private static SendResult sent(SendResult result) {
        equal(result.getSendStatus(), SendStatus.SEND_OK);
        return result;
    }

    private static String repeat(String text, int count) {
        StringBuilder repeated = new StringBuilder();
        for (int at = 0; at < count; at++) {
            repeated.append(text);
        }
        return repeated.toString();
    }

    /** Runs what a broker has to refuse, and answers its code. */
    private static int refused(Scenario scenario, Context context) throws Exception {
        try {
            scenario.run(context);
        } catch (MQBrokerException refusal) {
            return refusal.getResponseCode();
        } catch (MQClientException refusal) {
            return refusal.getResponseCode();
        }
        throw new IllegalStateException("not refused");
    }

    /** Each queue's messages were given in its order. */
    private static void inQueueOrder(List<MessageExt> messages) {
        Map<Integer, Long> last = new HashMap<>();
        for (MessageExt message : messages) {
            Long before = last.put(message.getQueueId(), message.getQueueOffset());
            check(before == null || before < message.getQueueOffset(), "out of order: " + message);
        }
    }

    private static void setBroadcasting(Object consumer) throws Exception {
        for (Method method : consumer.getClass().getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                for (Object model : method.getParameterTypes()[0].getEnumConstants()) {
                    if (model.toString().equals("BROADCASTING")) {
                        method.invoke(consumer, model);
                        return;
                    }
                }
            }
        }
        throw new NotInThisClient();
    }

    private static void two(Context c, AllocateMessageQueueStrategy strategy) throws Exception {
        DefaultMQPushConsumer one = c.push();
        DefaultMQPushConsumer two = c.push();
        for (DefaultMQPushConsumer push : Arrays.asList(one, two)) {
            push.setAllocateMessageQueueStrategy(strategy);
            push.subscribe(c.topic, "*");
        }
        Inbox first = c.listen(one);
        Inbox second = c.listen(two);
        await("both own queues", () -> owned(one, c.topic) > 0 && owned(two, c.topic) > 0
            && owned(one, c.topic) + owned(two, c.topic) == QUEUES);
        c.sendMany(40);
        await("all of them", () -> {
            Set<String> together = first.bodies();
            together.addAll(second.bodies());
            return together.size() == 40;
        });
        check(!first.all().isEmpty() && !second.all().isEmpty(), "one got all");
    }

    private static int owned(DefaultMQPushConsumer push, String topic) {
        int owned = 0;
        for (MessageQueue queue : push.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable()
            .keySet()) {
            if (queue.getTopic().equals(topic)) {
                owned++;
            }
        }
        return owned;
    }

    /** How many messages of a topic the client counts as consumed: not those whose listener has not returned. */
    private static long consumed(DefaultMQPushConsumer push, String topic) {
        long consumed = 0;
        for (MessageQueue queue : push.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable()
            .keySet()) {
            if (queue.getTopic().equals(topic)) {
                long offset = push.getDefaultMQPushConsumerImpl().getOffsetStore()
                    .readOffset(queue, ReadOffsetType.READ_FROM_MEMORY);
                consumed += Math.max(offset, 0);
            }
        }
        return consumed;
    }

    // ---------------------------------------------------------------- the catalogue

    private static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new LinkedHashMap<>();
        slow(all);
        sending(all);
        pushing(all);
        pulling(all);
        requests(all);
        return all;
    }

    /** First, so that they wait beside the others. */
    private static void slow(Map<String, Scenario> all) {
        all.put("request_times_out", c -> {
            try {
                shared.request(c.message("?"), 2_000);
            } catch (RequestTimeoutException expected) {
                return;
            }
            throw new IllegalStateException("answered by nobody");
        });
        all.put("pull_by_sql", c -> {
            MessageQueue queue = c.queues().get(0);
            for (String number : numbers(6)) {
                Message message = c.message(number);
                message.putUserProperty("n", number);
                sent(shared.send(message, queue));
            }
            c.awaitMax(queue, 6);
            DefaultMQPullConsumer pull = c.pull();
            pull.fetchSubscribeMessageQueues(c.topic);
            // The client learns with a heartbeat that the broker is new enough.
            AtomicReference<PullResult> result = new AtomicReference<>();
            await("a heartbeat", () -> {
                try {
                    result.set(pull.pull(queue, MessageSelector.bySql("n BETWEEN 2 AND 4"), 0, 32));
                    return true;
                } catch (Exception notYet) {
                    return false;
                }
            });
            equal(result.get().getMsgFoundList().size(), 3);
        });
        all.put("transaction_in_doubt_is_asked_about", c -> {
            decide(c, LocalTransactionState.UNKNOW, "asked");
            c.receive("*").awaitBodies(Collections.singleton("asked"));
        });
        all.put("failed_message_comes_again", c -> {
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, "*");
            Inbox inbox = new Inbox();
            push.registerMessageListener((MessageListenerConcurrently) (messages, how) -> {
                inbox.add(messages);
                how.setDelayLevelWhenNextConsume(1);
                return messages.get(0).getReconsumeTimes() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER
                    : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            push.start();
            SendResult sent = c.send("again");
            MessageExt second = inbox.await(2).get(1);
            equal(second.getReconsumeTimes(), 1);
            equal(second.getTopic(), c.topic);
            equal(second.getMsgId(), sent.getMsgId());
        });
        all.put("listener_that_throws_gets_it_again", c -> {
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, "*");
            Inbox inbox = new Inbox();
            push.registerMessageListener((MessageListenerConcurrently) (messages, how) -> {
                inbox.add(messages);
                how.setDelayLevelWhenNextConsume(1);
                if (messages.get(0).getReconsumeTimes() == 0) {
                    throw new IllegalStateException("on purpose");
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            push.start();
            c.send("x");
            equal(inbox.await(2).get(1).getReconsumeTimes(), 1);
        });
        all.put("message_that_fails_too_often_is_a_dead_letter", c -> {
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, "*");
            push.setMaxReconsumeTimes(1);
            Inbox inbox = new Inbox();
            push.registerMessageListener((MessageListenerConcurrently) (messages, how) -> {
                inbox.add(messages);
                how.setDelayLevelWhenNextConsume(1);
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            });
            push.start();
            c.send("dead");
            inbox.await(2);
            String dlq = "%DLQ%" + c.group;
            DefaultMQPullConsumer pull = c.pull();
            AtomicReference<MessageExt> dead = new AtomicReference<>();
            await("a dead letter", () -> {
                try {
                    for (MessageQueue queue : pull.fetchSubscribeMessageQueues(dlq)) {
                        PullResult result = pull.pull(queue, "*", 0, 1);
                        if (result.getPullStatus() == PullStatus.FOUND) {
                            dead.set(result.getMsgFoundList().get(0));
                            return true;
                        }
                    }
                } catch (Exception notYet) {
                    return false;
                }
                return false;
            });
            equal(body(dead.get()), "dead");
            equal(dead.get().getProperty(MessageConst.PROPERTY_RETRY_TOPIC), c.topic);
            equal(inbox.all().size(), 2);
        });
        all.put("rest_of_a_batch_comes_again", c -> {
            c.sendMany(8);
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, "*");
            push.setConsumeMessageBatchMaxSize(8);
            Inbox accepted = new Inbox();
            push.registerMessageListener((MessageListenerConcurrently) (messages, how) -> {
                how.setDelayLevelWhenNextConsume(1);
                how.setAckIndex(0);
                accepted.add(messages.subList(0, 1));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            push.start();
            accepted.awaitBodies(numbers(8));
        });
        all.put("delay_of_one_second", c -> {
            Inbox inbox = c.receive("*");
            Message message = c.message("later");
            message.setDelayTimeLevel(1);
            sent(shared.send(message));
            MessageExt got = inbox.await(1).get(0);
            long took = got.getStoreTimestamp() - got.getBornTimestamp();
            check(took >= 950 && took < 30_000, "took " + took);
            equal(got.getTopic(), c.topic);
        });
        all.put("delays_of_different_levels_overtake_each_other", c -> {
            Inbox inbox = c.receive("*");
            Message slower = c.message("slower");
            slower.setDelayTimeLevel(2);
            Message faster = c.message("faster");
            faster.setDelayTimeLevel(1);
            sent(shared.send(slower));
            sent(shared.send(faster));
            Map<String, Long> stored = new HashMap<>();
            for (MessageExt got : inbox.await(2)) {
                stored.put(body(got), got.getStoreTimestamp());
            }
            check(stored.get("faster") < stored.get("slower"), stored.toString());
        });
        all.put("a_member_leaves_and_the_other_takes_its_queues", c -> {
            DefaultMQPushConsumer one = c.push();
            DefaultMQPushConsumer two = c.push();
            one.subscribe(c.topic, "*");
            two.subscribe(c.topic, "*");
            c.listen(one);
            Inbox second = c.listen(two);
            await("shared", () -> owned(one, c.topic) == 2 && owned(two, c.topic) == 2);
            one.shutdown();
            await("taken over", () -> owned(two, c.topic) == QUEUES);
            c.sendMany(8);
            second.awaitBodies(numbers(8));
        });
        all.put("in_order_over_two_members_each_message_once", c -> {
            DefaultMQPushConsumer one = c.push();
            DefaultMQPushConsumer two = c.push();
            one.subscribe(c.topic, "*");
            two.subscribe(c.topic, "*");
            Inbox first = c.listenInOrder(one);
            Inbox second = c.listenInOrder(two);
            await("shared", () -> owned(one, c.topic) == 2 && owned(two, c.topic) == 2);
            c.sendMany(40);
            await("all", () -> first.all().size() + second.all().size() >= 40);
            inQueueOrder(first.all());
            inQueueOrder(second.all());
            equal(first.all().size() + second.all().size(), 40);
        });
        all.put("in_order_again_after_a_moment", c -> {
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, "*");
            AtomicInteger refused = new AtomicInteger();
            Inbox accepted = new Inbox();
            push.registerMessageListener((MessageListenerOrderly) (messages, how) -> {
                if (body(messages.get(0)).equals("1") && refused.getAndIncrement() == 0) {
                    how.setSuspendCurrentQueueTimeMillis(100);
                    return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                }
                accepted.add(messages);
                return ConsumeOrderlyStatus.SUCCESS;
            });
            push.start();
            MessageQueue queue = c.queues().get(0);
            for (String number : numbers(5)) {
                sent(shared.send(c.message(number), queue));
            }
            accepted.await(5);
            inQueueOrder(accepted.all());
            accepted.awaitBodies(numbers(5));
            check(refused.get() >= 2, "it came again");
        });
    }

    private static void sending(Map<String, Scenario> all) {
        all.put("send_and_receive", c -> {
            Inbox inbox = c.receive("*");
            SendResult sent = c.send("hello");
            MessageExt got = inbox.await(1).get(0);
            equal(body(got), "hello");
            equal(got.getMsgId(), sent.getMsgId());
            equal(got.getQueueOffset(), sent.getQueueOffset());
            equal(got.getQueueId(), sent.getMessageQueue().getQueueId());
        });
        all.put("offsets_of_a_queue_count_up", c -> {
            MessageQueue queue = c.queues().get(1);
            for (long offset = 0; offset < 5; offset++) {
                equal(sent(shared.send(c.message("x"), queue)).getQueueOffset(), offset);
            }
        });
        all.put("send_asynchronously", c -> {
            CountDownLatch done = new CountDownLatch(50);
            List<Throwable> failed = Collections.synchronizedList(new ArrayList<>());
            Inbox inbox = c.receive("*");
            for (String number : numbers(50)) {
                shared.send(c.message(number), new SendCallback() {
                    @Override
                    public void onSuccess(SendResult result) {
                        done.countDown();
                    }

                    @Override
                    public void onException(Throwable error) {
                        failed.add(error);
                        done.countDown();
                    }
                });
            }
            check(done.await(LIMIT_MS, TimeUnit.MILLISECONDS), "callbacks missing");
            check(failed.isEmpty(), failed.toString());
            inbox.awaitBodies(numbers(50));
        });
        all.put("send_one_way", c -> {
            Inbox inbox = c.receive("*");
            for (String number : numbers(10)) {
                shared.sendOneway(c.message(number));
            }
            inbox.awaitBodies(numbers(10));
        });
        all.put("send_to_a_queue", c -> {
            Inbox inbox = c.receive("*");
            for (MessageQueue queue : c.queues()) {
                equal(sent(shared.send(c.message("q" + queue.getQueueId()), queue)).getMessageQueue(), queue);
            }
            for (MessageExt got : inbox.await(QUEUES)) {
                equal(body(got), "q" + got.getQueueId());
            }
        });
        all.put("selector_keeps_a_key_in_one_queue", c -> {
            Set<Integer> used = new HashSet<>();
            for (int index = 0; index < 6; index++) {
                SendResult sent = sent(shared.send(c.message("x"),
                    (queues, message, key) -> queues.get(Math.abs(key.hashCode()) % queues.size()), "key"));
                used.add(sent.getMessageQueue().getQueueId());
            }
            equal(used.size(), 1);
        });
        all.put("send_a_batch", c -> {
            Inbox inbox = c.receive("*");
            List<Message> batch = new ArrayList<>();
            for (String number : numbers(10)) {
                Message message = c.message(number);
                message.setKeys("k" + number);
                batch.add(message);
            }
            SendResult sent = sent(shared.send(batch));
            equal(sent.getMsgId().split(",").length, 10);
            equal(sent.getOffsetMsgId().split(",").length, 10);
            inbox.awaitBodies(numbers(10));
            for (MessageExt got : inbox.all()) {
                equal(got.getKeys(), "k" + body(got));
                equal(got.getQueueOffset(), Long.parseLong(body(got)) + sent.getQueueOffset());
            }
        });
        all.put("send_a_batch_to_a_queue", c -> {
            MessageQueue queue = c.queues().get(3);
            List<Message> batch = Arrays.asList(c.message("a"), c.message("b"));
            equal(sent(shared.send(batch, queue)).getMessageQueue(), queue);
            c.awaitMax(queue, 2);
        });
        all.put("batch_to_a_retry_topic_is_refused", c -> {
            Message message = new Message("%RETRY%" + c.group, "x".getBytes(StandardCharsets.UTF_8));
            check(refused(x -> shared.send(Arrays.asList(message, message)), c) != 0, "has a code");
        });
        all.put("compressed_body_arrives_whole", c -> {
            Inbox inbox = c.receive("*");
            String text = repeat("all work and no play ", 2_000);
            c.send(text);
            equal(body(inbox.await(1).get(0)), text);
        });
        all.put("body_of_a_megabyte", c -> {
            Inbox inbox = c.receive("*");
            byte[] body = new byte[1 << 20];
            new java.util.Random(7).nextBytes(body);
            sent(shared.send(new Message(c.topic, body)));
            check(Arrays.equals(inbox.await(1).get(0).getBody(), body), "the body changed");
        });
        all.put("body_above_the_limit_is_refused", c -> {
            byte[] body = new byte[(4 << 20) + 1];
            new java.util.Random(7).nextBytes(body);
            equal(refused(x -> shared.send(new Message(c.topic, body)), c), 13);
        });
        all.put("properties_above_the_limit_are_refused", c -> {
            Message message = c.message("x");
            message.putUserProperty("long", repeat("x", 40_000));
            equal(refused(x -> shared.send(message), c), 13);
        });
        all.put("properties_arrive_as_they_are", c -> {
            Inbox inbox = c.receive("*");
            Message message = new Message(c.topic, "Tag", "key1 key2", 7, "x".getBytes(StandardCharsets.UTF_8), true);
            message.putUserProperty("name", "value with blanks & \u4e2d\u6587 \ud83d\ude00");
            message.setBuyerId("buyer");
            sent(shared.send(message));
            MessageExt got = inbox.await(1).get(0);
            equal(got.getUserProperty("name"), "value with blanks & \u4e2d\u6587 \ud83d\ude00");
            equal(got.getTags(), "Tag");
            equal(got.getKeys(), "key1 key2");
            equal(got.getFlag(), 7);
            equal(got.getBuyerId(), "buyer");
            check(got.getProperty(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX) != null, "no unique key");
        });
        all.put("times_and_hosts_are_noted", c -> {
            Inbox inbox = c.receive("*");
            long before = System.currentTimeMillis();
            c.send("x");
            MessageExt got = inbox.await(1).get(0);
            check(got.getBornTimestamp() >= before - 1 && got.getStoreTimestamp() >= got.getBornTimestamp() - 1_000,
                "times " + got);
            equal(got.getBornHostString(), "127.0.0.1");
            equal(got.getReconsumeTimes(), 0);
        });
        all.put("body_of_any_script", c -> {
            Inbox inbox = c.receive("*");
            c.send("\u00e4\u00f6\u00fc \u4e2d\u6587 \ud83d\ude80");
            equal(body(inbox.await(1).get(0)), "\u00e4\u00f6\u00fc \u4e2d\u6587 \ud83d\ude80");
        });
        all.put("message_that_does_not_wait_for_the_disk", c -> {
            Message message = c.message("x");
            message.setWaitStoreMsgOK(false);
            sent(shared.send(message));
        });
        all.put("queue_that_does_not_exist_is_refused", c -> {
            MessageQueue queue = new MessageQueue(c.topic, c.queues().get(0).getBrokerName(), 99);
            check(refused(x -> shared.send(c.message("x"), queue), c) > 0, "has a code");
        });
        all.put("topic_that_nothing_creates_is_refused", c -> {
            DefaultMQProducer producer = c.producer("_p");
            producer.setCreateTopicKey("no_such_default_topic");
            producer.start();
            Message message = new Message(c.topic + "_none", "x".getBytes(StandardCharsets.UTF_8));
            check(refused(x -> producer.send(message), c) != 0, "has a code");
        });
        all.put("topic_is_created_by_its_first_message", c -> {
            DefaultMQProducer producer = c.producer("_p");
            producer.setDefaultTopicQueueNums(3);
            producer.start();
            String topic = c.topic + "_new";
            sent(producer.send(new Message(topic, "x".getBytes(StandardCharsets.UTF_8))));
            await("a route", () -> {
                try {
                    return producer.fetchPublishMessageQueues(topic).size() == 3;
                } catch (MQClientException notYet) {
                    return false;
                }
            });
        });
        all.put("send_over_the_fast_port", c -> {
            DefaultMQProducer producer = c.producer("_p");
            producer.setVipChannelEnabled(true);
            producer.start();
            Inbox inbox = c.receive("*");
            sent(producer.send(c.message("fast")));
            equal(body(inbox.await(1).get(0)), "fast");
        });
        all.put("names_in_a_namespace", c -> {
            DefaultMQProducer producer = c.producer("_p");
            producer.setNamespace("ns");
            producer.start();
            DefaultMQPushConsumer push = c.push();
            push.setNamespace("ns");
            push.subscribe(c.topic, "*");
            sent(producer.send(c.message("inside")));
            MessageExt got = c.listen(push).await(1).get(0);
            equal(body(got), "inside");
            equal(got.getTopic(), c.topic);
        });
        all.put("message_is_found_by_its_key", c -> {
            Message message = new Message(c.topic, "Tag", "find-me", "x".getBytes(StandardCharsets.UTF_8));
            SendResult sent = sent(shared.send(message));
            AtomicReference<MessageExt> found = new AtomicReference<>();
            await("the index", () -> {
                try {
                    long now = System.currentTimeMillis();
                    found.set(shared.queryMessage(c.topic, "find-me", 10, now - 600_000, now + 600_000)
                        .getMessageList().get(0));
                    return true;
                } catch (Exception notYet) {
                    return false;
                }
            });
            equal(found.get().getMsgId(), sent.getMsgId());
        });
        all.put("trace_is_kept_in_its_topic", c -> {
            DefaultMQProducer producer = new DefaultMQProducer(c.group + "_traced", true, null);
            producer.setSendMsgTimeout(20_000);
            producer.setNamesrvAddr(namesrv);
            producer.setInstanceName(c.topic + "_traced");
            c.closing.add(producer::shutdown);
            producer.start();
            Message message = c.message("traced");
            message.setKeys(c.topic);
            sent(producer.send(message));
            await("a trace", () -> {
                try {
                    long now = System.currentTimeMillis();
                    return !shared.queryMessage("RMQ_SYS_TRACE_TOPIC", c.topic, 10, now - 600_000, now + 600_000)
                        .getMessageList().isEmpty();
                } catch (Exception notYet) {
                    return false;
                }
            });
        });
    }

    private static void pushing(Map<String, Scenario> all) {
        all.put("all_that_was_sent_before_comes_in_order", c -> {
            c.sendMany(100);
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, "*");
            Inbox inbox = c.listenInOrder(push);
            inbox.awaitBodies(numbers(100));
            inQueueOrder(inbox.all());
            equal(inbox.all().size(), 100);
        });
        all.put("one_tag", c -> {
            for (String tagged : Arrays.asList("A", "B", "C")) {
                sent(shared.send(new Message(c.topic, tagged, tagged.getBytes(StandardCharsets.UTF_8))));
            }
            c.receive("B").awaitBodies(Collections.singleton("B"));
        });
        all.put("several_tags", c -> {
            for (String tagged : Arrays.asList("A", "B", "C", "AB")) {
                sent(shared.send(new Message(c.topic, tagged, tagged.getBytes(StandardCharsets.UTF_8))));
            }
            c.receive("A || C").awaitBodies(Arrays.asList("A", "C"));
        });
        all.put("tags_that_share_a_hash_are_told_apart", c -> {
            for (String tagged : Arrays.asList("Aa", "BB")) {
                sent(shared.send(new Message(c.topic, tagged, tagged.getBytes(StandardCharsets.UTF_8))));
            }
            Inbox inbox = c.receive("Aa");
            sent(shared.send(new Message(c.topic, "Aa", "last".getBytes(StandardCharsets.UTF_8))));
            inbox.awaitBodies(Arrays.asList("Aa", "last"));
        });
        all.put("few_of_many_are_wanted", c -> {
            MessageQueue queue = c.queues().get(0);
            c.sendThousand(queue, (message, index) -> message.setTags(index % 100 == 99 ? "wanted" : "other"));
            equal(c.receive("wanted").await(10).size(), 10);
        });
        all.put("sql_over_properties", c -> {
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, MessageSelector.bySql("(a > 5 AND b IS NOT NULL) OR c IN ('x', 'y')"));
            Inbox inbox = c.listen(push);
            String[][] properties = {{"a", "6"}, {"a", "6", "b", "1"}, {"a", "5", "b", "1"}, {"c", "y"}, {"c", "z"},
                {"a", "word", "b", "1"}, {}};
            for (int index = 0; index < properties.length; index++) {
                Message message = c.message(String.valueOf(index));
                for (int at = 0; at < properties[index].length; at += 2) {
                    message.putUserProperty(properties[index][at], properties[index][at + 1]);
                }
                sent(shared.send(message));
            }
            Message last = c.message("last");
            last.putUserProperty("c", "x");
            sent(shared.send(last));
            inbox.awaitBodies(Arrays.asList("1", "3", "last"));
        });
        all.put("sql_that_is_none_stops_the_start", c -> {
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, MessageSelector.bySql("a >"));
            check(refused(x -> c.listen(push), c) != 0, "has a code");
        });
        all.put("sql_on_a_topic_with_few_matches", c -> {
            MessageQueue queue = c.queues().get(0);
            c.sendThousand(queue, (message, index) -> message.putUserProperty("n", String.valueOf(index % 100)));
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, MessageSelector.bySql("n = 42"));
            equal(c.listen(push).await(10).size(), 10);
        });
        all.put("broadcast_reaches_every_member", c -> {
            DefaultMQPushConsumer one = c.push();
            DefaultMQPushConsumer two = c.push();
            for (DefaultMQPushConsumer push : Arrays.asList(one, two)) {
                setBroadcasting(push);
                push.subscribe(c.topic, "*");
            }
            Inbox first = c.listen(one);
            Inbox second = c.listen(two);
            await("both own all", () -> owned(one, c.topic) == QUEUES && owned(two, c.topic) == QUEUES);
            c.sendMany(12);
            first.awaitBodies(numbers(12));
            second.awaitBodies(numbers(12));
        });
        all.put("two_members_share", c -> two(c,
            new org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely()));
        all.put("two_members_share_in_a_circle", c -> two(c, new AllocateMessageQueueAveragelyByCircle()));
        all.put("two_members_share_by_hash", c -> {
            DefaultMQPushConsumer one = c.push();
            DefaultMQPushConsumer two = c.push();
            for (DefaultMQPushConsumer push : Arrays.asList(one, two)) {
                push.setAllocateMessageQueueStrategy(new AllocateMessageQueueConsistentHash());
                push.subscribe(c.topic, "*");
            }
            Inbox first = c.listen(one);
            Inbox second = c.listen(two);
            await("all owned", () -> owned(one, c.topic) + owned(two, c.topic) == QUEUES);
            c.sendMany(20);
            await("all of them", () -> {
                Set<String> together = first.bodies();
                together.addAll(second.bodies());
                return together.size() == 20;
            });
        });
        all.put("broker_shares_the_queues_out", c -> {
            DefaultMQPushConsumer one = c.push();
            DefaultMQPushConsumer two = c.push();
            for (DefaultMQPushConsumer push : Arrays.asList(one, two)) {
                try {
                    Method method = DefaultMQPushConsumer.class.getMethod("setClientRebalance", boolean.class);
                    method.invoke(push, false);
                } catch (NoSuchMethodException older) {
                    throw new NotInThisClient();
                }
                push.subscribe(c.topic, "*");
            }
            Inbox first = c.listen(one);
            Inbox second = c.listen(two);
            await("shared", () -> owned(one, c.topic) == 2 && owned(two, c.topic) == 2);
            c.sendMany(20);
            await("all of them", () -> {
                Set<String> together = first.bodies();
                together.addAll(second.bodies());
                return together.size() == 20;
            });
        });
        all.put("group_goes_on_where_it_stopped", c -> {
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, "*");
            Inbox before = c.listen(push);
            c.sendMany(20);
            before.awaitBodies(numbers(20));
            // A message that is still with its listener then comes again.
            await("all consumed", () -> consumed(push, c.topic) == 20);
            push.shutdown();
            Message message = c.message("after");
            sent(shared.send(message));
            Inbox after = c.receive("*");
            after.awaitBodies(Collections.singleton("after"));
        });
        all.put("new_group_on_a_young_topic_starts_at_its_first_message", c -> {
            c.sendMany(4);
            DefaultMQPushConsumer push = c.push();
            push.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
            push.subscribe(c.topic, "*");
            c.listen(push).awaitBodies(numbers(4));
        });
        all.put("two_groups_each_get_all", c -> {
            c.sendMany(10);
            DefaultMQPushConsumer other = new DefaultMQPushConsumer(c.group + "_other");
            other.setNamesrvAddr(namesrv);
            other.setInstanceName(c.topic + "_other");
            other.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            other.subscribe(c.topic, "*");
            c.closing.add(other::shutdown);
            Inbox second = c.listen(other);
            c.receive("*").awaitBodies(numbers(10));
            second.awaitBodies(numbers(10));
        });
        all.put("two_topics_in_one_group", c -> {
            String more = c.topic + "_more";
            c.createTopic(more);
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, "*");
            push.subscribe(more, "*");
            c.send("one");
            sent(shared.send(new Message(more, "two".getBytes(StandardCharsets.UTF_8))));
            c.listen(push).awaitBodies(Arrays.asList("one", "two"));
        });
        all.put("suspended_consumer_waits", c -> {
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, "*");
            Inbox inbox = c.listen(push);
            c.send("before");
            inbox.await(1);
            push.suspend();
            push.resume();
            c.send("after");
            inbox.awaitBodies(Arrays.asList("before", "after"));
        });
        all.put("listener_gets_several_at_once", c -> {
            c.sendMany(64);
            DefaultMQPushConsumer push = c.push();
            push.subscribe(c.topic, "*");
            push.setConsumeMessageBatchMaxSize(16);
            AtomicInteger most = new AtomicInteger();
            Inbox inbox = new Inbox();
            push.registerMessageListener((MessageListenerConcurrently) (messages, how) -> {
                most.accumulateAndGet(messages.size(), Math::max);
                inbox.add(messages);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            push.start();
            inbox.awaitBodies(numbers(64));
            check(most.get() > 1 && most.get() <= 16, "at most " + most);
        });
    }

    private static void pulling(Map<String, Scenario> all) {
        all.put("pull_to_the_end", c -> {
            MessageQueue queue = c.queues().get(2);
            for (String number : numbers(40)) {
                sent(shared.send(c.message(number), queue));
            }
            c.awaitMax(queue, 40);
            DefaultMQPullConsumer pull = c.pull();
            Set<String> got = new TreeSet<>();
            long next = 0;
            while (next < 40) {
                PullResult result = pull.pull(queue, "*", next, 32);
                equal(result.getPullStatus(), PullStatus.FOUND);
                check(result.getMsgFoundList().size() <= 32, "too many");
                for (MessageExt message : result.getMsgFoundList()) {
                    got.add(body(message));
                }
                next = result.getNextBeginOffset();
                equal(result.getMinOffset(), 0L);
            }
            equal(got, new TreeSet<>(numbers(40)));
            equal(pull.pull(queue, "*", 40, 32).getPullStatus(), PullStatus.NO_NEW_MSG);
        });
        all.put("pull_behind_the_end_is_told_where_that_is", c -> {
            MessageQueue queue = c.queues().get(0);
            sent(shared.send(c.message("x"), queue));
            c.awaitMax(queue, 1);
            PullResult result = c.pull().pull(queue, "*", 100, 1);
            equal(result.getPullStatus(), PullStatus.OFFSET_ILLEGAL);
            equal(result.getNextBeginOffset(), 1L);
        });
        all.put("pull_of_tags_skips_the_others", c -> {
            MessageQueue queue = c.queues().get(0);
            for (String tagged : Arrays.asList("A", "A", "B")) {
                sent(shared.send(new Message(c.topic, tagged, tagged.getBytes(StandardCharsets.UTF_8)), queue));
            }
            c.awaitMax(queue, 3);
            DefaultMQPullConsumer pull = c.pull();
            PullResult result = pull.pull(queue, "C", 0, 32);
            equal(result.getPullStatus(), PullStatus.NO_MATCHED_MSG);
            equal(result.getNextBeginOffset(), 3L);
            equal(pull.pull(queue, "B", 0, 32).getMsgFoundList().size(), 1);
        });
        all.put("pull_waits_for_a_message", c -> {
            MessageQueue queue = c.queues().get(0);
            DefaultMQPullConsumer pull = c.pull();
            AtomicReference<Object> outcome = new AtomicReference<>();
            Thread waiting = new Thread(() -> {
                try {
                    outcome.set(pull.pullBlockIfNotFound(queue, "*", 0, 1).getPullStatus());
                } catch (Exception error) {
                    outcome.set(error);
                }
            });
            waiting.start();
            sent(shared.send(c.message("x"), queue));
            waiting.join(LIMIT_MS);
            equal(outcome.get(), PullStatus.FOUND);
        });
        all.put("offset_is_kept_by_the_broker", c -> {
            MessageQueue queue = c.queues().get(1);
            DefaultMQPullConsumer pull = c.pull();
            for (String number : numbers(4)) {
                sent(shared.send(c.message(number), queue));
            }
            c.awaitMax(queue, 4);
            // The first pull makes the group known.
            equal(pull.pull(queue, "*", 0, 1).getPullStatus(), PullStatus.FOUND);
            await("the offset", () -> {
                try {
                    // The client forgets it when it saves by itself in between.
                    pull.updateConsumeOffset(queue, 3);
                    pull.getDefaultMQPullConsumerImpl().getOffsetStore().persistAll(Collections.singleton(queue));
                    return pull.fetchConsumeOffset(queue, true) == 3;
                } catch (MQClientException error) {
                    return false;
                }
            });
        });
        all.put("offsets_by_time_and_at_both_ends", c -> {
            MessageQueue queue = c.queues().get(0);
            equal(shared.maxOffset(queue), 0L);
            equal(shared.minOffset(queue), 0L);
            for (String number : numbers(3)) {
                sent(shared.send(c.message(number), queue));
            }
            c.awaitMax(queue, 3);
            equal(shared.minOffset(queue), 0L);
            equal(shared.searchOffset(queue, 0), 0L);
            equal(shared.searchOffset(queue, System.currentTimeMillis() + 3_600_000), 3L);
            check(shared.earliestMsgStoreTime(queue) > 0, "a time");
        });
        all.put("poll_a_subscription", c -> {
            DefaultLitePullConsumer lite = c.lite();
            lite.subscribe(c.topic, "*");
            lite.start();
            c.sendMany(20);
            Inbox inbox = new Inbox();
            await("all", () -> {
                inbox.add(lite.poll(200));
                return inbox.bodies().size() == 20;
            });
            equal(inbox.bodies(), new TreeSet<>(numbers(20)));
        });
        all.put("poll_a_queue_from_where_one_likes", c -> {
            MessageQueue queue = c.queues().get(0);
            for (String number : numbers(5)) {
                sent(shared.send(c.message(number), queue));
            }
            c.awaitMax(queue, 5);
            DefaultLitePullConsumer lite = c.lite();
            lite.start();
            lite.assign(Collections.singletonList(queue));
            // A pull that is under way may take away the place where the next one should begin.
            await("the last two", () -> polledFrom(lite, queue, 3).equals(Arrays.asList("3", "4")));
            await("the first again", () -> polledFrom(lite, queue, 0).equals(numbers(5)));
            equal(lite.offsetForTimestamp(queue, 0L), 0L);
        });
        all.put("poll_commits_when_told_to", c -> {
            MessageQueue queue = c.queues().get(0);
            for (String number : numbers(3)) {
                sent(shared.send(c.message(number), queue));
            }
            c.awaitMax(queue, 3);
            DefaultLitePullConsumer lite = c.lite();
            lite.start();
            lite.assign(Collections.singletonList(queue));
            Inbox inbox = new Inbox();
            await("all", () -> {
                inbox.add(lite.poll(200));
                return inbox.bodies().size() == 3;
            });
            lite.commitSync();
            await("committed", () -> {
                try {
                    return lite.committed(queue) == 3;
                } catch (MQClientException error) {
                    return false;
                }
            });
        });
        all.put("queues_of_a_topic_can_be_listed", c -> {
            DefaultLitePullConsumer lite = c.lite();
            lite.start();
            equal(lite.fetchMessageQueues(c.topic).size(), QUEUES);
        });
    }

    /** What the next poll gives after a seek, in order. */
    private static List<String> polledFrom(DefaultLitePullConsumer lite, MessageQueue queue, long offset) {
        try {
            lite.seek(queue, offset);
        } catch (MQClientException error) {
            throw new IllegalStateException(error);
        }
        List<String> bodies = new ArrayList<>();
        for (MessageExt message : lite.poll(1_000)) {
            bodies.add(body(message));
        }
        return bodies;
    }

    /** Sends a message whose producer decides at once, and commits when it is asked later. */
    private static void decide(Context c, LocalTransactionState atOnce, String text) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(c.group + "_transactions");
        producer.setSendMsgTimeout(20_000);
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName(c.topic + "_transactions");
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return atOnce;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return atOnce == LocalTransactionState.UNKNOW ? LocalTransactionState.COMMIT_MESSAGE : atOnce;
            }
        });
        c.closing.add(producer::shutdown);
        producer.start();
        sent(producer.sendMessageInTransaction(c.message(text), null));
    }

    private static void requests(Map<String, Scenario> all) {
        all.put("transaction_is_committed", c -> {
            decide(c, LocalTransactionState.COMMIT_MESSAGE, "committed");
            c.receive("*").awaitBodies(Collections.singleton("committed"));
        });
        all.put("transaction_is_rolled_back", c -> {
            decide(c, LocalTransactionState.ROLLBACK_MESSAGE, "rolled back");
            Inbox inbox = c.receive("*");
            c.send("plain");
            inbox.awaitBodies(Collections.singleton("plain"));
        });
        Function<Context, DefaultMQPushConsumer> answering = c -> {
            try {
                DefaultMQProducer answers = c.producer("_answers");
                answers.start();
                DefaultMQPushConsumer push = c.push();
                push.subscribe(c.topic, "*");
                push.registerMessageListener((MessageListenerConcurrently) (messages, how) -> {
                    for (MessageExt message : messages) {
                        try {
                            Message reply = MessageUtil.createReplyMessage(message,
                                ("re: " + body(message)).getBytes(StandardCharsets.UTF_8));
                            answers.send(reply, 10_000);
                        } catch (Exception error) {
                            error.printStackTrace();
                        }
                    }
                    return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
                });
                push.start();
                await("queues", () -> owned(push, c.topic) == QUEUES);
                return push;
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        };
        all.put("request_is_answered", c -> {
            answering.apply(c);
            DefaultMQProducer asks = c.producer("_asks");
            asks.start();
            // The broker hears of the requester with its first heartbeat.
            equal(body(c.request(() -> asks.request(c.message("how are you"), 15_000))), "re: how are you");
            equal(body(c.request(() -> asks.request(c.message("and now"), 15_000))), "re: and now");
        });
        all.put("request_with_a_callback_is_answered", c -> {
            answering.apply(c);
            DefaultMQProducer asks = c.producer("_asks");
            asks.start();
            c.request(() -> asks.request(c.message("first"), 15_000));
            AtomicReference<Object> outcome = new AtomicReference<>();
            asks.request(c.message("later"), new RequestCallback() {
                @Override
                public void onSuccess(Message message) {
                    outcome.set(body(message));
                }

                @Override
                public void onException(Throwable error) {
                    outcome.set(error);
                }
            }, 30_000);
            await("an answer", () -> outcome.get() != null);
            equal(outcome.get(), "re: later");
        });
        all.put("request_to_a_queue_is_answered", c -> {
            answering.apply(c);
            DefaultMQProducer asks = c.producer("_asks");
            asks.start();
            MessageQueue queue = c.queues().get(2);
            equal(body(c.request(() -> asks.request(c.message("there"), queue, 15_000))), "re: there");
        });
    }
}
