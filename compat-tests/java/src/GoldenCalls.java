import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * One call of the official Java client after the other, to have their frames recorded: a line of
 * standard input names the call, a line of standard output, with "@" in front, tells that it is done.
 */
public final class GoldenCalls {
    private static final String TOPIC = "GoldenTopic";
    private static final int LIMIT_S = 40;
    private static final int SEND_TIMEOUT_MS = 20_000;

    private static String namesrv;
    private static DefaultMQProducer producer;
    private static SendResult last;
    private static DefaultMQPushConsumer on;

    public static void main(String[] args) throws Exception {
        namesrv = args[0];
        // Libraries print to standard output as well: results get their own stream.
        PrintStream out = System.out;
        System.setOut(System.err);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String result = "ok";
            try {
                run(line.trim().split(" "));
            } catch (Throwable error) {
                error.printStackTrace();
                result = error.toString().replace('\n', ' ');
            }
            out.println("@" + result);
            out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private static void run(String[] words) throws Exception {
        switch (words[0]) {
            case "start":
                producer = new DefaultMQProducer("golden_producer");
                setUp(producer, "producer");
                producer.setSendMsgTimeout(SEND_TIMEOUT_MS);
                producer.start();
                return;
            case "send-sync":
                last = producer.send(message("A", "one"));
                producer.send(message("B", "two \u20ac \ud83d\ude00"));
                return;
            case "send-async":
                sendAsync();
                return;
            case "send-oneway":
                producer.sendOneway(message("A", "oneway"));
                return;
            case "send-to-queue":
                producer.send(message("A", "selected"), (queues, message, at) -> queues.get((Integer) at), 1);
                return;
            case "send-delayed":
                Message delayed = message("A", "delayed");
                delayed.setDelayTimeLevel(1);
                producer.send(delayed);
                return;
            case "send-batch":
                producer.send(Arrays.asList(message("A", "first"), message("B", "second"), message(null, "third")));
                return;
            case "send-compressed":
                producer.send(message("A", String.join("", Collections.nCopies(6_000, "a"))));
                return;
            case "send-to-new-topic":
                producer.send(new Message("GoldenNewTopic", "new".getBytes(StandardCharsets.UTF_8)));
                return;
            case "send-refused":
                refused(() -> producer.send(new Message("SCHEDULE_TOPIC_XXXX", new byte[1])));
                return;
            case "offsets":
                for (MessageQueue queue : producer.fetchPublishMessageQueues(TOPIC).subList(0, 1)) {
                    producer.maxOffset(queue);
                    producer.minOffset(queue);
                    producer.earliestMsgStoreTime(queue);
                    producer.searchOffset(queue, System.currentTimeMillis() - 3_600_000);
                }
                return;
            case "query-message":
                producer.queryMessage(TOPIC, "key-one", 10, 0, System.currentTimeMillis() + 60_000);
                refused(() -> producer.queryMessage(TOPIC, "no-such-key", 10, 0, 1));
                return;
            case "view-message":
                producer.viewMessage(TOPIC, last.getOffsetMsgId());
                producer.viewMessage(TOPIC, last.getMsgId());
                return;
            case "consume":
                consume();
                return;
            case "consume-sql":
                consumeSql();
                return;
            case "consume-orderly":
                consumeOrderly();
                return;
            case "consume-broadcast":
                consumeBroadcast();
                return;
            case "consume-pop":
                consumePop();
                return;
            case "consume-on":
                on = pushConsumer("on");
                on.subscribe(TOPIC, "*");
                on.registerMessageListener(
                    (MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
                on.start();
                TimeUnit.SECONDS.sleep(2);
                return;
            case "consume-off":
                on.shutdown();
                return;
            case "pull":
                pull();
                return;
            case "lite-pull":
                litePull();
                return;
            case "transaction":
                transaction();
                return;
            case "request-reply":
                requestReply();
                return;
            case "stop":
                producer.shutdown();
                return;
            case "mqadmin":
                mqadmin(words);
                return;
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    /** The tool is not in the jars of every version. */
    private static void mqadmin(String[] words) throws Exception {
        List<String> args = new ArrayList<>();
        for (String word : Arrays.asList(words).subList(1, words.length)) {
            args.add(word.replace("@offset-id", last.getOffsetMsgId()).replace("@id", last.getMsgId())
                .replace("@client", on == null ? "" : on.buildMQClientId()));
        }
        args.addAll(Arrays.asList("-n", namesrv));
        Class.forName("org.apache.rocketmq.tools.command.MQAdminStartup")
            .getMethod("main0", String[].class, Class.forName("org.apache.rocketmq.remoting.RPCHook"))
            .invoke(null, args.toArray(new String[0]), null);
    }

    /** No address of this machine, and everything periodic often. */
    private static void setUp(ClientConfig client, String name) {
        client.setNamesrvAddr(namesrv);
        client.setClientIP("127.0.0.1");
        client.setInstanceName(name);
        client.setPollNameServerInterval(500);
        client.setHeartbeatBrokerInterval(500);
        client.setPersistConsumerOffsetInterval(500);
    }

    private static Message message(String tags, String body) {
        String key = body.isEmpty() ? "" : "key-" + body.split(" ")[0];
        Message message = new Message(TOPIC, tags, key.length() > 50 ? "long" : key,
            body.getBytes(StandardCharsets.UTF_8));
        message.putUserProperty("colour", "gr\u00fcn");
        return message;
    }

    private interface Call {
        void run() throws Exception;
    }

    private static void refused(Call call) {
        try {
            call.run();
        } catch (Exception expected) {
            return;
        }
        throw new IllegalStateException("was to be refused");
    }

    private static void await(CountDownLatch latch) throws InterruptedException {
        if (!latch.await(LIMIT_S, TimeUnit.SECONDS)) {
            throw new IllegalStateException(latch.getCount() + " are missing");
        }
    }

    private static void sendAsync() throws Exception {
        CountDownLatch done = new CountDownLatch(1);
        producer.send(message("A", "async"), new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                done.countDown();
            }

            @Override
            public void onException(Throwable error) {
                error.printStackTrace();
            }
        });
        await(done);
    }

    private static DefaultMQPushConsumer pushConsumer(String name) {
        DefaultMQPushConsumer push = new DefaultMQPushConsumer("golden_" + name);
        setUp(push, name);
        push.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        return push;
    }

    /** Two of a group; the first message fails once, which sends it back. */
    private static void consume() throws Exception {
        CountDownLatch again = new CountDownLatch(1);
        AtomicInteger failures = new AtomicInteger();
        List<DefaultMQPushConsumer> group = new ArrayList<>();
        for (String name : new String[] {"first", "second"}) {
            DefaultMQPushConsumer push = pushConsumer("concurrently");
            push.setInstanceName(name);
            push.subscribe(TOPIC, "A || B");
            push.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                MessageExt message = messages.get(0);
                if (message.getReconsumeTimes() > 0) {
                    again.countDown();
                } else if (failures.getAndIncrement() == 0) {
                    context.setDelayLevelWhenNextConsume(1);
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            push.start();
            group.add(push);
        }
        await(again);
        TimeUnit.SECONDS.sleep(2);
        group.forEach(DefaultMQPushConsumer::shutdown);
    }

    private static void consumeSql() throws Exception {
        CountDownLatch some = new CountDownLatch(1);
        DefaultMQPushConsumer push = pushConsumer("sql");
        push.subscribe(TOPIC, MessageSelector.bySql("colour IS NOT NULL"));
        push.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            some.countDown();
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        push.start();
        await(some);
        push.shutdown();
    }

    private static void consumeOrderly() throws Exception {
        CountDownLatch some = new CountDownLatch(3);
        DefaultMQPushConsumer push = pushConsumer("orderly");
        push.subscribe(TOPIC, "*");
        push.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            messages.forEach(message -> some.countDown());
            return ConsumeOrderlyStatus.SUCCESS;
        });
        push.start();
        await(some);
        push.shutdown();
    }

    private static void consumeBroadcast() throws Exception {
        CountDownLatch some = new CountDownLatch(1);
        DefaultMQPushConsumer push = pushConsumer("broadcast");
        // The package of its argument is not the same in every version.
        for (Method method : push.getClass().getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                method.invoke(push, method.getParameterTypes()[0].getField("BROADCASTING").get(null));
            }
        }
        push.subscribe(TOPIC, "A");
        push.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            some.countDown();
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        push.start();
        await(some);
        push.shutdown();
    }

    /** The broker assigns; only newer clients can. */
    private static void consumePop() throws Exception {
        CountDownLatch some = new CountDownLatch(3);
        AtomicInteger failures = new AtomicInteger();
        DefaultMQPushConsumer push = pushConsumer("pop");
        push.getClass().getMethod("setClientRebalance", boolean.class).invoke(push, false);
        push.subscribe(TOPIC, "*");
        push.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            some.countDown();
            return failures.getAndIncrement() == 0 ? ConsumeConcurrentlyStatus.RECONSUME_LATER
                : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        push.start();
        await(some);
        TimeUnit.SECONDS.sleep(1);
        push.shutdown();
    }

    private static void pull() throws Exception {
        DefaultMQPullConsumer pull = new DefaultMQPullConsumer("golden_pull");
        setUp(pull, "pull");
        pull.setRegisterTopics(Collections.singleton(TOPIC));
        pull.start();
        for (MessageQueue queue : pull.fetchSubscribeMessageQueues(TOPIC)) {
            long next = pull.pull(queue, "*", 0, 32).getNextBeginOffset();
            pull.pull(queue, "A", next, 32);
            pull.pull(queue, "A", next + 1_000, 32);
            pull.fetchConsumeOffset(queue, false);
            pull.updateConsumeOffset(queue, next);
        }
        TimeUnit.SECONDS.sleep(1);
        pull.shutdown();
    }

    private static void litePull() throws Exception {
        DefaultLitePullConsumer lite = new DefaultLitePullConsumer("golden_lite");
        setUp(lite, "lite");
        lite.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        lite.subscribe(TOPIC, "*");
        lite.start();
        for (int tries = 0; lite.poll(1_000).isEmpty() && tries < LIMIT_S;) {
            tries++;
        }
        lite.commitSync();
        lite.shutdown();
    }

    private static void transaction() throws Exception {
        CountDownLatch checked = new CountDownLatch(1);
        TransactionMQProducer transactions = new TransactionMQProducer("golden_transactions");
        setUp(transactions, "transactions");
        transactions.setSendMsgTimeout(SEND_TIMEOUT_MS);
        transactions.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object state) {
                return (LocalTransactionState) state;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                checked.countDown();
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        transactions.start();
        for (LocalTransactionState state : LocalTransactionState.values()) {
            transactions.sendMessageInTransaction(message("A", state.name()), state);
        }
        await(checked);
        TimeUnit.SECONDS.sleep(1);
        transactions.shutdown();
    }

    private static void requestReply() throws Exception {
        DefaultMQPushConsumer push = pushConsumer("replier");
        push.subscribe("GoldenRequests", "*");
        push.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            try {
                for (MessageExt message : messages) {
                    producer.send(MessageUtil.createReplyMessage(message, "yes".getBytes(StandardCharsets.UTF_8)));
                }
            } catch (Exception error) {
                error.printStackTrace();
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        push.start();
        producer.request(new Message("GoldenRequests", "may I?".getBytes(StandardCharsets.UTF_8)), LIMIT_S * 1_000L);
        push.shutdown();
    }
}
